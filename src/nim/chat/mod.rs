//! Chat completions: a conversation and tools in, words and tool calls out, whole or as a stream.
//! Not the loop that calls the tools. Layer: top of `nim`, next to `embed`. Endpoint:
//! `POST {base}/chat/completions`, which NIMs for language models and every server that follows
//! OpenAI's form have: another base URL is another server.

mod answer;
mod message;
mod pieces;
mod redaction;
mod refusal;
mod stream;
pub(crate) mod think;

use std::fmt;

use serde_json::{Map, Value, json};

use super::answer::other_model;
use super::client::{CallOptions, Nim};
use super::document::Document;
use super::error::NimError;
use super::exchange::{Got, Reading};
use super::fault::{ConfigFault, ResponseFault};
use super::meter::{CallCost, Counted, Spent, Tally, total};
use super::target::Target;
use super::transport::invalid;

pub use answer::{ChatAnswer, ChatUsage, FinishReason};
pub use message::{ArgumentsError, Message, Tool, ToolCall, ToolChoice};
pub use pieces::ChatDelta;
pub use stream::ChatStream;

use refusal::chat_error;

/// No right answer is larger, whole or as a stream.
const ANSWER_LIMIT: u64 = 16 << 20;

/// One turn of a conversation: all messages so far and the tools the model may call.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct ChatRequest<'a> {
    messages: &'a [Message],
    tools: &'a [Tool],
    choice: Option<&'a ToolChoice>,
}

impl<'a> ChatRequest<'a> {
    /// A turn without tools.
    pub fn new(messages: &'a [Message]) -> Self {
        Self { messages, tools: &[], choice: None }
    }

    /// Tools the model may call.
    pub fn tools(mut self, tools: &'a [Tool]) -> Self {
        self.tools = tools;
        self
    }

    /// Whether it has to; [`ToolChoice::Auto`] unless set. Not sent when there are no tools.
    pub fn tool_choice(mut self, choice: &'a ToolChoice) -> Self {
        self.choice = Some(choice);
        self
    }

    /// All messages so far.
    #[must_use]
    pub fn messages(&self) -> &'a [Message] {
        self.messages
    }

    /// Tools the model may call.
    #[must_use]
    pub fn offered(&self) -> &'a [Tool] {
        self.tools
    }

    /// Whether it has to call them, if set.
    #[must_use]
    pub fn choice(&self) -> Option<&'a ToolChoice> {
        self.choice
    }
}

impl<'a> From<&'a [Message]> for ChatRequest<'a> {
    fn from(messages: &'a [Message]) -> Self {
        Self::new(messages)
    }
}

impl<'a> From<&'a Vec<Message>> for ChatRequest<'a> {
    fn from(messages: &'a Vec<Message>) -> Self {
        Self::new(messages)
    }
}

impl<'a, const N: usize> From<&'a [Message; N]> for ChatRequest<'a> {
    fn from(messages: &'a [Message; N]) -> Self {
        Self::new(messages)
    }
}

/// A chat model of a NIM, or of a server of the same form. Cheap to clone; holds no conversation.
/// Only what is set is sent: servers refuse fields they do not know, or do not let change.
#[derive(Clone)]
#[must_use]
pub struct Chat {
    nim: Nim,
    model: String,
    temperature: Option<f32>,
    max_tokens: Option<u32>,
    parallel_tool_calls: Option<bool>,
    reasoning_effort: Option<String>,
    stop: Vec<String>,
    stream_usage: bool,
    extra: Map<String, Value>,
}

impl Chat {
    pub(super) fn new(nim: Nim, model: String) -> Self {
        Self {
            nim,
            model,
            temperature: None,
            max_tokens: None,
            parallel_tool_calls: None,
            reasoning_effort: None,
            stop: Vec::new(),
            stream_usage: false,
            extra: Map::new(),
        }
    }

    /// Sampling temperature, at least 0; 0 for the likeliest words.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Most tokens of an answer, at least 1.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Whether the model may call several tools at once. Sent only along with tools.
    pub fn parallel_tool_calls(mut self, allow: bool) -> Self {
        self.parallel_tool_calls = Some(allow);
        self
    }

    /// How much a reasoning model thinks: `low`, `medium` or `high`, or what else the server knows.
    pub fn reasoning_effort(mut self, effort: impl Into<String>) -> Self {
        self.reasoning_effort = Some(effort.into());
        self
    }

    /// Ends the answer before any of these texts.
    pub fn stop<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.stop = texts.into_iter().map(Into::into).collect();
        self
    }

    /// Asks for a usage chunk at the end of streams (`stream_options`).
    pub fn stream_usage(mut self, ask: bool) -> Self {
        self.stream_usage = ask;
        self
    }

    /// A field of the request that has no method here, such as `seed` or `chat_template_kwargs`.
    /// Fields that have one win.
    pub fn extra(mut self, name: impl Into<String>, value: Value) -> Self {
        self.extra.insert(name.into(), value);
        self
    }

    /// Name of the model, as sent.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Asks for the next answer of a conversation: messages, or a [`ChatRequest`] with tools.
    ///
    /// # Errors
    ///
    /// [`NimError::ContextOverflow`], [`NimError::ContentPolicy`], [`NimError::ToolsNotEnabled`],
    /// [`NimError::InvalidResponse`] for an answer without a choice or with a nameless tool call,
    /// and any other [`NimError`].
    pub async fn complete<'a>(
        &self,
        request: impl Into<ChatRequest<'a>>,
    ) -> Result<ChatAnswer, NimError> {
        self.complete_with(request, CallOptions::new()).await
    }

    /// As [`complete`](Self::complete), with a deadline.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete), and [`NimError::DeadlineExceeded`].
    pub async fn complete_with<'a>(
        &self,
        request: impl Into<ChatRequest<'a>>,
        options: CallOptions,
    ) -> Result<ChatAnswer, NimError> {
        self.complete_counted(request.into(), options, &mut CallCost::default()).await
    }

    /// As [`complete_with`](Self::complete_with); tells what it took even when it fails.
    pub(crate) async fn complete_counted(
        &self,
        request: ChatRequest<'_>,
        options: CallOptions,
        spent: &mut CallCost,
    ) -> Result<ChatAnswer, NimError> {
        let (target, body) = self.checked(request, false)?;
        let counter = Spent::default();
        let answer = options.bound(self.whole(&target, &body, options, &counter)).await;
        *spent = total(counter);
        answer
    }

    /// Asks for the next answer as a stream. Returns when its first event has come, up to which
    /// passing failures are tried again; later ones end the stream.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete).
    pub async fn stream<'a>(
        &self,
        request: impl Into<ChatRequest<'a>>,
    ) -> Result<ChatStream, NimError> {
        self.stream_with(request, CallOptions::new()).await
    }

    /// As [`stream`](Self::stream), with a deadline for the whole stream.
    ///
    /// # Errors
    ///
    /// As [`stream`](Self::stream), and [`NimError::DeadlineExceeded`].
    pub async fn stream_with<'a>(
        &self,
        request: impl Into<ChatRequest<'a>>,
        options: CallOptions,
    ) -> Result<ChatStream, NimError> {
        self.stream_counted(request.into(), options, &mut CallCost::default()).await
    }

    /// As [`stream_with`](Self::stream_with); tells what it took even when it fails.
    pub(crate) async fn stream_counted(
        &self,
        request: ChatRequest<'_>,
        options: CallOptions,
        spent: &mut CallCost,
    ) -> Result<ChatStream, NimError> {
        let (target, body) = self.checked(request, true)?;
        let counter = Spent::default();
        let stream = options.bound(self.open(target, &body, options, &counter)).await;
        *spent = total(counter);
        stream
    }

    /// Model and settings as they are sent with each conversation.
    pub(crate) fn settings_key(&self) -> String {
        let mut body = self.body(ChatRequest::new(&[]), false);
        body.remove("messages");
        if let Some(allow) = self.parallel_tool_calls {
            body.insert("parallel_tool_calls".to_owned(), json!(allow));
        }
        Value::Object(body).to_string()
    }

    async fn whole(
        &self,
        target: &Target,
        body: &Map<String, Value>,
        options: CallOptions,
        spent: &Spent,
    ) -> Result<ChatAnswer, NimError> {
        let (got, tally) = self.ask(target, body, Reading::Whole, options, spent).await?;
        self.read(target, got, tally)
    }

    /// What came back, and what it took.
    async fn ask(
        &self,
        target: &Target,
        body: &Map<String, Value>,
        reading: Reading,
        options: CallOptions,
        spent: &Spent,
    ) -> Result<(Got, Tally), NimError> {
        let mut counted = Counted::of(spent);
        let (transport, tally) = (self.nim.transport(), &mut counted.tally);
        let deadline = options.latest();
        let got = transport.ask(target, body, ANSWER_LIMIT, reading, deadline, tally).await;
        Ok((got.map_err(chat_error)?, counted.tally))
    }

    fn read(&self, target: &Target, got: Got, tally: Tally) -> Result<ChatAnswer, NimError> {
        let (transport, request_id) = (self.nim.transport(), got.request_id());
        let Document(body) = transport.whole(target, got).map_err(chat_error)?;
        if body.get("choices").is_none_or(Value::is_null)
            && let Ok(bytes) = serde_json::to_vec(&body)
            && let Some(failure) =
                transport.failure_in(target, &bytes, &body, request_id.as_deref())
        {
            return Err(chat_error(failure));
        }
        let wrong = |what| invalid(target, what).of_request(request_id.as_deref());
        let answer = ChatAnswer::read(&body).map_err(wrong)?;
        let served = body.get("model").and_then(Value::as_str);
        Ok(clean(self, answer, served, tally))
    }

    async fn open(
        &self,
        target: Target,
        body: &Map<String, Value>,
        options: CallOptions,
        spent: &Spent,
    ) -> Result<ChatStream, NimError> {
        let (got, tally) = self.ask(&target, body, Reading::Events, options, spent).await?;
        match got {
            Got::Events(incoming, first) => {
                let mut stream = ChatStream::new(self.clone(), target, options, Some(incoming));
                stream.cost = tally;
                let first = first.ok_or_else(|| stream.wrong(ResponseFault::StreamEnded))?;
                stream.take(&first)?;
                Ok(stream)
            }
            // A server that does not stream answers whole.
            got @ Got::Whole(_) => {
                let answer = self.read(&target, got, tally)?;
                let mut stream = ChatStream::new(self.clone(), target, options, None);
                stream.cost = tally;
                stream.take_whole(answer);
                Ok(stream)
            }
        }
    }

    fn checked(
        &self,
        request: ChatRequest<'_>,
        stream: bool,
    ) -> Result<(Target, Map<String, Value>), NimError> {
        if request.messages.is_empty() {
            return Err(ConfigFault::NoMessages.into());
        }
        if self.temperature.is_some_and(|t| !t.is_finite() || t < 0.0) {
            return Err(ConfigFault::ChatSetting { setting: "temperature" }.into());
        }
        if self.max_tokens == Some(0) {
            return Err(ConfigFault::ChatSetting { setting: "max_tokens" }.into());
        }
        let target = self.nim.chat_endpoint().target(&self.model)?;
        Ok((target, self.body(request, stream)))
    }

    fn body(&self, request: ChatRequest<'_>, stream: bool) -> Map<String, Value> {
        let mut body = self.extra.clone();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("model", json!(self.model));
        set("messages", json!(request.messages));
        if !request.tools.is_empty() {
            set("tools", json!(request.tools));
            set("tool_choice", json!(request.choice.unwrap_or(&ToolChoice::Auto)));
            if let Some(allow) = self.parallel_tool_calls {
                set("parallel_tool_calls", json!(allow));
            }
        }
        if let Some(temperature) = self.temperature {
            // By its shortest text: 0.1 as f64 would be 0.10000000149011612.
            let shortest: f64 = temperature.to_string().parse().unwrap_or_default();
            set("temperature", json!(shortest));
        }
        if let Some(tokens) = self.max_tokens {
            set("max_tokens", json!(tokens));
        }
        if let Some(effort) = &self.reasoning_effort {
            set("reasoning_effort", json!(effort));
        }
        if !self.stop.is_empty() {
            set("stop", json!(self.stop));
        }
        if stream {
            set("stream", json!(true));
            if self.stream_usage {
                set("stream_options", json!({"include_usage": true}));
            }
        }
        body
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat")
            .field("model", &self.model)
            .field("nim", &self.nim)
            .finish_non_exhaustive()
    }
}

/// An answer with its cost and model, and without the key, should the server have echoed it.
fn clean(chat: &Chat, answer: ChatAnswer, served: Option<&str>, cost: CallCost) -> ChatAnswer {
    let transport = chat.nim.transport();
    let redact = |text: &str| transport.redact(text);
    let calls = answer.tool_calls.iter();
    let calls = calls
        .map(|call| ToolCall::new(redact(&call.id), redact(&call.name), redact(&call.arguments)));
    ChatAnswer {
        content: redact(&answer.content),
        reasoning: answer.reasoning.as_deref().map(redact),
        tool_calls: calls.collect(),
        finish: match answer.finish {
            FinishReason::Other(reason) => FinishReason::Other(transport.presentable(&reason, 64)),
            finish => finish,
        },
        usage: answer.usage,
        served_model: other_model(transport, &chat.model, served),
        id: answer.id.map(|id| transport.presentable(&id, 128)),
        cost,
    }
}
