//! A conversation with the chat model: asks for the next answer within all limits, and notes what
//! it took. Knows no tools.

use std::time::Instant;

use serde_json::Value;

use super::cancel::{Patience, Stopped};
use super::outcome::{AgentFailure, FailureKind};
use super::settings::AgentSettings;
use super::trace::StepTrace;
use crate::nim::{ChatAnswer, ChatRequest, FinishReason, Message, Tool, ToolChoice};
use crate::pipeline::chat_model::{ChatFailure, ChatModel, answered};
use crate::pipeline::cost::{Cost, CostMeter, Ended};
use crate::record::estimated_tokens;

/// Longest words of an error that go into a trace, in characters.
const MESSAGE_CHARS: usize = 1_000;
/// Tokens that tell a message, or a call, from the next.
const FRAME_TOKENS: u64 = 4;

/// All calls of the model in a run, those of the selection too.
pub(super) struct Calls<'r> {
    pub(super) chat: &'r dyn ChatModel,
    pub(super) settings: &'r AgentSettings,
    pub(super) patience: Patience<'r>,
    pub(super) steps: Vec<StepTrace>,
    pub(super) served_model: Option<String>,
    pub(super) meter: Option<&'r CostMeter>,
}

/// Messages so far, and how long they are.
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<Tool>,
    is_selection: bool,
    /// So many of the messages had so many tokens, as the model counted.
    known: Option<(usize, u64)>,
}

impl Conversation {
    pub(super) fn search(messages: Vec<Message>, tools: Vec<Tool>) -> Self {
        Self { messages, tools, is_selection: false, known: None }
    }

    pub(super) fn selection(messages: Vec<Message>, tools: Vec<Tool>) -> Self {
        Self { messages, tools, is_selection: true, known: None }
    }

    /// Tokens that the next call will send: as counted, and the rest by estimate.
    fn tokens(&self) -> u64 {
        let (counted, tokens) = self.known.unwrap_or((0, 0));
        let rest = self.messages.get(counted..).unwrap_or_default();
        let tools = if counted == 0 { json(&self.tools) } else { Vec::new() };
        let tools = tools.iter().map(|tool| tokens_of(&tool.to_string()));
        rest.iter().map(message_tokens).chain(tools).fold(tokens, u64::saturating_add)
    }

    pub(super) fn messages_json(&self) -> Vec<Value> {
        json(&self.messages)
    }

    pub(super) fn tools_json(&self) -> Vec<Value> {
        json(&self.tools)
    }
}

fn json<T: serde::Serialize>(items: &[T]) -> Vec<Value> {
    // Strings alone: there is nothing that could fail.
    items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect()
}

fn tokens_of(text: &str) -> u64 {
    estimated_tokens(text) as u64
}

/// Tokens of a message by estimate.
fn message_tokens(message: &Message) -> u64 {
    let framed =
        |texts: [&str; 2]| texts.map(tokens_of).into_iter().fold(FRAME_TOKENS, u64::saturating_add);
    match message {
        Message::System(content) | Message::User(content) => framed([content, ""]),
        Message::Assistant { content, tool_calls } => {
            let calls = tool_calls.iter().map(|call| framed([&call.name, &call.arguments]));
            calls.fold(framed([content, ""]), u64::saturating_add)
        }
        Message::Tool { name, content, .. } => framed([name, content]),
    }
}

impl Calls<'_> {
    /// Tokens so far: of what was sent, and of the answers.
    pub(super) fn tokens(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), step: &StepTrace| {
            let prompt = sum.0.saturating_add(step.prompt_tokens);
            (prompt, sum.1.saturating_add(step.completion_tokens))
        };
        self.steps.iter().fold((0, 0), add)
    }

    /// A failure of the step that was begun last, or would have been next.
    pub(super) fn failure(&self, kind: FailureKind, message: &str) -> AgentFailure {
        let message = message.chars().take(MESSAGE_CHARS).collect();
        AgentFailure { kind, message, step: self.steps.len().max(1) }
    }

    /// Why something was not waited for.
    pub(super) fn stopped(&self, stopped: Stopped) -> AgentFailure {
        match stopped {
            Stopped::Cancelled => {
                self.failure(FailureKind::Cancelled, "stopped by the application")
            }
            Stopped::Late => self.failure(FailureKind::TimeLimit, "the deadline passed"),
        }
    }

    /// The model's next answer, which is appended to the conversation.
    pub(super) async fn ask(
        &mut self,
        conversation: &mut Conversation,
    ) -> Result<ChatAnswer, AgentFailure> {
        self.check_limits(conversation)?;
        let begin = Instant::now();
        let choice = ToolChoice::Auto;
        let request = ChatRequest::new(&conversation.messages);
        let request = request.tools(&conversation.tools).tool_choice(&choice);
        let is_begun = !self.patience.is_over();
        let called = self.patience.bound(self.chat.chat(request, self.patience.until)).await;
        if let Some(meter) = self.meter.filter(|_| is_begun) {
            let (ended, cost) = match &called {
                Ok(Ok(answer)) => (Ended::Done, answered(answer)),
                Ok(Err(failure)) => (Ended::Failed, failure.stage().spent()),
                // What it took until then is not known.
                Err(_) => (Ended::Failed, Cost::new()),
            };
            meter.note("chat", ended, begin.elapsed(), cost);
        }
        let mut step = StepTrace {
            step: self.steps.len() + 1,
            selection: conversation.is_selection,
            took_ms: begin.elapsed().as_secs_f64() * 1e3,
            ..StepTrace::default()
        };
        let answered = match called {
            Ok(Ok(answer)) => {
                self.count(&mut step, conversation, &answer);
                self.steps.push(step);
                self.accept(conversation, answer)
            }
            Ok(Err(failure)) => {
                self.steps.push(step);
                Err(self.failed(&failure))
            }
            Err(stopped) => {
                self.steps.push(step);
                Err(self.stopped(stopped))
            }
        };
        if let (Err(failure), Some(step)) = (&answered, self.steps.last_mut()) {
            step.failure = Some(failure.message.clone());
        }
        answered
    }

    /// Refuses a call that could exceed a limit, before it costs anything.
    fn check_limits(&self, conversation: &Conversation) -> Result<(), AgentFailure> {
        let next = conversation.tokens();
        let (prompt, completion) = self.tokens();
        let fail = |kind, message: String| {
            let step = self.steps.len() + 1;
            Err(AgentFailure { kind, message, step })
        };
        if let Some(limit) = self.settings.context_tokens.filter(|limit| next > *limit) {
            let message = format!("the conversation has about {next} tokens of {limit}");
            return fail(FailureKind::ContextLimit, message);
        }
        let sum = prompt.saturating_add(completion).saturating_add(next);
        if let Some(limit) = self.settings.max_tokens.filter(|limit| sum > *limit) {
            let message =
                format!("with the next call there would be about {sum} tokens of {limit}");
            return fail(FailureKind::TokenLimit, message);
        }
        if let (Some(price), Some(limit)) = (self.settings.price, self.settings.max_cost) {
            let cost = price.of(prompt.saturating_add(next), completion);
            if cost > limit {
                let message =
                    format!("with the next call it would cost about {cost:.6} of {limit}");
                return fail(FailureKind::MoneyLimit, message);
            }
        }
        Ok(())
    }

    /// Notes the tokens of an answer, as the server told them or by estimate.
    fn count(
        &mut self,
        step: &mut StepTrace,
        conversation: &mut Conversation,
        answer: &ChatAnswer,
    ) {
        let usage = answer.usage.unwrap_or_default();
        let said = || {
            let thoughts = answer.reasoning.as_deref().map_or(0, tokens_of);
            message_tokens(&answer.message()).saturating_add(thoughts)
        };
        step.estimated = usage.prompt_tokens.is_none() || usage.completion_tokens.is_none();
        step.prompt_tokens = usage.prompt_tokens.unwrap_or_else(|| conversation.tokens());
        step.completion_tokens = usage.completion_tokens.unwrap_or_else(said);
        conversation.known = Some((conversation.messages.len(), step.prompt_tokens));
        step.finish = match &answer.finish {
            FinishReason::Stop => "stop".to_owned(),
            FinishReason::ToolCalls => "tool_calls".to_owned(),
            FinishReason::Length => "length".to_owned(),
            FinishReason::ContentFilter => "content_filter".to_owned(),
            FinishReason::Other(reason) => reason.clone(),
        };
        step.reasoning.clone_from(&answer.reasoning);
        if answer.served_model.is_some() {
            self.served_model.clone_from(&answer.served_model);
        }
    }

    /// Takes an answer that is complete.
    fn accept(
        &self,
        conversation: &mut Conversation,
        answer: ChatAnswer,
    ) -> Result<ChatAnswer, AgentFailure> {
        match &answer.finish {
            FinishReason::Stop | FinishReason::ToolCalls => {
                let tool_calls = answer.tool_calls.iter().map(super::tools::sendable).collect();
                let content = answer.content.clone();
                conversation.messages.push(Message::Assistant { content, tool_calls });
                Ok(answer)
            }
            FinishReason::ContentFilter => {
                Err(self.failure(FailureKind::ContentPolicy, "its answer was stopped by a filter"))
            }
            FinishReason::Length => {
                let message = "its answer was cut off at the most tokens of an answer";
                Err(self.failure(FailureKind::BadFinishReason, message))
            }
            FinishReason::Other(reason) => {
                let message = format!("it stopped for the reason {reason:?}");
                Err(self.failure(FailureKind::BadFinishReason, &message))
            }
        }
    }

    fn failed(&self, failure: &ChatFailure) -> AgentFailure {
        let kind = match failure {
            ChatFailure::ContextOverflow(_) => FailureKind::ContextLimit,
            ChatFailure::ContentPolicy(_) => FailureKind::ContentPolicy,
            // A model that gave up because the time was up is late, not broken.
            ChatFailure::Other(_) if self.patience.is_late() => FailureKind::TimeLimit,
            ChatFailure::Other(_) => FailureKind::LlmCallFailed,
        };
        self.failure(kind, &failure.to_string())
    }
}
