//! A whole completion: what the model said and did, out of the JSON that servers of this family
//! send. Lenient where they differ (content as blocks, arguments as an object, missing ids), typed
//! errors where nothing can be made of it. Layer: above `message`; pure.

use serde_json::Value;

use super::message::{Message, ToolCall};
use super::think;
use crate::nim::fault::ResponseFault;
use crate::nim::meter::CallCost;

/// Most tool calls that an answer may hold.
pub(super) const MAX_CALLS: usize = 128;

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FinishReason {
    /// It had said what it had to say; also when the server gave no reason.
    #[default]
    Stop,
    /// It wants tools called.
    ToolCalls,
    /// The limit of tokens was reached: the answer is cut off.
    Length,
    /// The server's content policy stopped it.
    ContentFilter,
    /// Another reason, in the server's words.
    Other(String),
}

impl FinishReason {
    pub(super) fn read(value: Option<&Value>) -> Option<Self> {
        let text = value?.as_str()?.trim();
        Some(match text {
            "" => return None,
            "stop" => Self::Stop,
            "tool_calls" => Self::ToolCalls,
            "length" => Self::Length,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.chars().take(64).collect()),
        })
    }
}

/// Tokens of a chat call, as far as the server told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChatUsage {
    /// Tokens of the conversation and the tools.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, thoughts included.
    pub completion_tokens: Option<u64>,
    /// Both, as the server added them.
    pub total_tokens: Option<u64>,
}

impl ChatUsage {
    pub(super) fn read(value: Option<&Value>) -> Option<Self> {
        let fields = value?.as_object()?;
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        Some(Self {
            prompt_tokens: number("prompt_tokens"),
            completion_tokens: number("completion_tokens"),
            total_tokens: number("total_tokens"),
        })
    }
}

/// What a chat model answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChatAnswer {
    /// What it said, without its thoughts; empty when it only called tools.
    pub content: String,
    /// What it thought aloud, if it did: the server's field for it, or the content between
    /// `<think>` tags.
    pub reasoning: Option<String>,
    /// Tools it wants called, in its order.
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish: FinishReason,
    /// Tokens, when the server told.
    pub usage: Option<ChatUsage>,
    /// Model that the server says has answered, when it is not the one asked for.
    pub served_model: Option<String>,
    /// The server's id of the answer.
    pub id: Option<String>,
    /// Requests, retries, bytes and time of the call.
    pub cost: CallCost,
}

impl ChatAnswer {
    /// An answer of words alone, for models of other kinds.
    #[must_use]
    pub fn new(content: impl Into<String>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }

    /// The message to append to the conversation before the results of the tools.
    #[must_use]
    pub fn message(&self) -> Message {
        Message::Assistant { content: self.content.clone(), tool_calls: self.tool_calls.clone() }
    }

    /// Reads a completion; model name and cost are left to the caller.
    pub(super) fn read(body: &Value) -> Result<Self, ResponseFault> {
        let choice = body.get("choices").and_then(|choices| choices.get(0));
        let choice = choice.ok_or(ResponseFault::NoChoice)?;
        let message = choice.get("message").filter(|message| message.is_object());
        let message = message.ok_or(ResponseFault::NoChoice)?;
        let content = text(message.get("content"));
        let (thought, content) = think::split(&content);
        Ok(Self {
            content,
            reasoning: reasoning(message).or(thought),
            tool_calls: tool_calls(message.get("tool_calls"))?,
            finish: FinishReason::read(choice.get("finish_reason")).unwrap_or_default(),
            usage: ChatUsage::read(body.get("usage")),
            served_model: None,
            id: body.get("id").and_then(Value::as_str).map(str::to_owned),
            cost: CallCost::default(),
        })
    }
}

/// Content that is a string, or a list of strings and of blocks with a text.
pub(super) fn text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            let texts = blocks.iter().filter_map(|block| match block {
                Value::String(text) => Some(text.as_str()),
                block => block.get("text").and_then(Value::as_str),
            });
            texts.collect()
        }
        _ => String::new(),
    }
}

pub(super) fn reasoning(message: &Value) -> Option<String> {
    let texts = ["reasoning_content", "reasoning"].iter().map(|name| text(message.get(*name)));
    texts.into_iter().find(|text| !text.is_empty())
}

/// Arguments as text: servers also send an object, or nothing.
pub(super) fn arguments(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn tool_calls(calls: Option<&Value>) -> Result<Vec<ToolCall>, ResponseFault> {
    let Some(calls) = calls.and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    if calls.len() > MAX_CALLS {
        return Err(ResponseFault::ToolCall);
    }
    let read = calls.iter().enumerate().map(|(at, call)| {
        let function = call.get("function").ok_or(ResponseFault::ToolCall)?;
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        finished(at, ToolCall::new(id, name, arguments(function.get("arguments"))))
    });
    read.collect()
}

/// A complete call: it must have a name, and gets an id if it has none.
pub(super) fn finished(at: usize, mut call: ToolCall) -> Result<ToolCall, ResponseFault> {
    if call.name.trim().is_empty() {
        return Err(ResponseFault::ToolCall);
    }
    if call.id.trim().is_empty() {
        call.id = format!("call-{at}");
    }
    Ok(call)
}
