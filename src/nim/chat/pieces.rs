//! The chunks of a stream put together: text by text, tool calls by their index. Not the reading
//! of the stream (see `stream`). Layer: above `answer`; pure.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::answer::{self, ChatAnswer, ChatUsage, FinishReason, MAX_CALLS};
use super::message::ToolCall;
use super::think::{self, Part, ThinkSplitter};
use crate::nim::fault::ResponseFault;

/// A step of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatDelta {
    /// The next words of the answer.
    Text(String),
    /// The next words of its thoughts.
    Reasoning(String),
    /// A part of a tool call. The first part of a call has its name.
    ToolCall {
        /// Position in [`ChatAnswer::tool_calls`].
        index: usize,
        /// Id of the call, when this part has it.
        id: Option<String>,
        /// Name of the tool, when this part has it.
        name: Option<String>,
        /// The next characters of the arguments.
        arguments: String,
    },
    /// The model has stopped.
    Finished(FinishReason),
    /// Tokens, when the server tells; usually last.
    Usage(ChatUsage),
}

/// What has come so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    content: String,
    reasoning: String,
    splitter: ThinkSplitter,
    calls: Vec<ToolCall>,
    /// Place in `calls` by the server's index.
    places: BTreeMap<u64, usize>,
    finish: Option<FinishReason>,
    usage: Option<ChatUsage>,
    id: Option<String>,
    pub(super) model: Option<String>,
}

impl Pieces {
    /// Takes a chunk and appends the steps it makes.
    pub(crate) fn take(
        &mut self,
        chunk: &Value,
        deltas: &mut VecDeque<ChatDelta>,
    ) -> Result<(), ResponseFault> {
        if !chunk.is_object() {
            return Err(ResponseFault::Json { detail: "a chunk that is no object".to_owned() });
        }
        let named = |name: &str| chunk.get(name).and_then(Value::as_str).map(str::to_owned);
        self.id = self.id.take().or_else(|| named("id"));
        self.model = self.model.take().or_else(|| named("model"));
        let choices = chunk.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            let is_first = |index: &Value| index.as_u64() == Some(0);
            if choice.get("index").is_none_or(is_first) {
                self.take_choice(choice, deltas)?;
            }
        }
        if let Some(usage) = ChatUsage::read(chunk.get("usage")) {
            self.usage = Some(usage);
            deltas.push_back(ChatDelta::Usage(usage));
        }
        Ok(())
    }

    fn take_choice(
        &mut self,
        choice: &Value,
        deltas: &mut VecDeque<ChatDelta>,
    ) -> Result<(), ResponseFault> {
        if let Some(delta) = choice.get("delta") {
            if let Some(thought) = answer::reasoning(delta) {
                self.reasoning.push_str(&thought);
                deltas.push_back(ChatDelta::Reasoning(thought));
            }
            let text = answer::text(delta.get("content"));
            self.content.push_str(&text);
            deltas.extend(self.splitter.push(&text).into_iter().map(delta_of));
            let calls = delta.get("tool_calls").and_then(Value::as_array);
            for (at, call) in calls.into_iter().flatten().enumerate() {
                deltas.push_back(self.take_call(at, call)?);
            }
        }
        if let Some(finish) = FinishReason::read(choice.get("finish_reason")) {
            deltas.extend(self.splitter.end().map(delta_of));
            self.finish = Some(finish.clone());
            deltas.push_back(ChatDelta::Finished(finish));
        }
        Ok(())
    }

    fn take_call(&mut self, at: usize, call: &Value) -> Result<ChatDelta, ResponseFault> {
        let text = |value: Option<&Value>| {
            value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let function = call.get("function");
        let id = text(call.get("id"));
        let name = text(function.and_then(|function| function.get("name")));
        let arguments = answer::arguments(function.and_then(|f| f.get("arguments")));
        let told = match call.get("index") {
            None | Some(Value::Null) => u64::try_from(at).unwrap_or(u64::MAX),
            Some(index) => index.as_u64().ok_or(ResponseFault::ToolCall)?,
        };
        let known = self.places.get(&told).copied().filter(|place| {
            // Some servers number every call 0: another id begins another call.
            let before = self.calls.get(*place).map(|call| call.id.as_str()).unwrap_or_default();
            before.is_empty() || id.as_deref().is_none_or(|id| id == before)
        });
        let index = match known {
            Some(place) => place,
            None if self.calls.len() >= MAX_CALLS => return Err(ResponseFault::ToolCall),
            None => {
                self.calls.push(ToolCall::default());
                self.places.insert(told, self.calls.len().saturating_sub(1));
                self.calls.len().saturating_sub(1)
            }
        };
        if let Some(call) = self.calls.get_mut(index) {
            if let Some(id) = &id {
                call.id.clone_from(id);
            }
            if let Some(name) = name.as_ref().filter(|_| call.name.is_empty()) {
                call.name.clone_from(name);
            }
            call.arguments.push_str(&arguments);
        }
        Ok(ChatDelta::ToolCall { index, id, name, arguments })
    }

    /// The steps of what was held back for a tag that did not come.
    pub(crate) fn rest(&mut self) -> Option<ChatDelta> {
        self.splitter.end().map(delta_of)
    }

    /// The whole answer.
    pub(crate) fn answer(&self) -> Result<ChatAnswer, ResponseFault> {
        let (thought, content) = think::split(&self.content);
        let reasoning = Some(self.reasoning.clone()).filter(|text| !text.is_empty());
        let calls = self.calls.iter().cloned().enumerate();
        Ok(ChatAnswer {
            content,
            reasoning: reasoning.or(thought),
            tool_calls: calls
                .map(|(at, call)| answer::finished(at, call))
                .collect::<Result<_, _>>()?,
            finish: self.finish.clone().unwrap_or_default(),
            usage: self.usage,
            id: self.id.clone(),
            ..ChatAnswer::default()
        })
    }
}

fn delta_of(part: Part) -> ChatDelta {
    match part {
        Part::Thought(text) => ChatDelta::Reasoning(text),
        Part::Text(text) => ChatDelta::Text(text),
    }
}
