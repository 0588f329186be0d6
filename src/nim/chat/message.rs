//! What is said in a conversation, as data, and its JSON form. Not the sending (see `mod`).
//! Layer: leaf of `nim::chat`.

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use thiserror::Error;

/// One message of a conversation. Contents are plain strings: some servers refuse lists of parts
/// for the roles system and tool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Instructions.
    System(String),
    /// What a person, or the program in their place, says.
    User(String),
    /// What the model said before, see [`ChatAnswer::message`](super::ChatAnswer::message).
    Assistant {
        /// Its words; empty when it only called tools.
        content: String,
        /// Tools it called.
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool gave back.
    Tool {
        /// [`ToolCall::id`] of the call that this answers.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Its result, usually JSON.
        content: String,
    },
}

impl Message {
    /// Instructions.
    pub fn system(content: impl Into<String>) -> Self {
        Self::System(content.into())
    }

    /// What a person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::User(content.into())
    }

    /// What the model said, without tool calls.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant { content: content.into(), tool_calls: Vec::new() }
    }

    /// The result of a tool call.
    pub fn tool_result(call: &ToolCall, content: impl Into<String>) -> Self {
        let (call_id, name) = (call.id.clone(), call.name.clone());
        Self::Tool { call_id, name, content: content.into() }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::System(content) => {
                map.serialize_entry("role", "system")?;
                map.serialize_entry("content", content)?;
            }
            Self::User(content) => {
                map.serialize_entry("role", "user")?;
                map.serialize_entry("content", content)?;
            }
            Self::Assistant { content, tool_calls } => {
                map.serialize_entry("role", "assistant")?;
                let silent = content.is_empty() && !tool_calls.is_empty();
                map.serialize_entry("content", &(!silent).then_some(content))?;
                if !tool_calls.is_empty() {
                    map.serialize_entry("tool_calls", tool_calls)?;
                }
            }
            Self::Tool { call_id, name, content } => {
                map.serialize_entry("role", "tool")?;
                map.serialize_entry("tool_call_id", call_id)?;
                map.serialize_entry("name", name)?;
                map.serialize_entry("content", content)?;
            }
        }
        map.end()
    }
}

/// A tool that the model wants called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolCall {
    /// Name of the call, which its result must repeat; made up by the client where the server
    /// gave none.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Arguments as the model wrote them: JSON if all went well, empty for none.
    pub arguments: String,
}

/// Arguments that are not what the tool takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the arguments of tool {tool} are not what it takes: {detail}")]
#[non_exhaustive]
pub struct ArgumentsError {
    /// Name of the tool.
    pub tool: String,
    /// The parser's words; fit to be given back to the model.
    pub detail: String,
}

impl ToolCall {
    /// A call; `arguments` is a JSON object as text, or empty.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    /// The arguments as a type of the caller's. Empty text counts as `{}`, and an object that was
    /// encoded twice is decoded twice.
    ///
    /// # Errors
    ///
    /// [`ArgumentsError`] when the text is not JSON, or not of this type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ArgumentsError> {
        let text = self.json_text();
        let parsed = serde_json::from_str(text).or_else(|error| {
            match serde_json::from_str::<String>(text) {
                Ok(inner) => serde_json::from_str(&inner),
                Err(_) => Err(error),
            }
        });
        parsed
            .map_err(|error| ArgumentsError { tool: self.name.clone(), detail: error.to_string() })
    }

    fn json_text(&self) -> &str {
        if self.arguments.trim().is_empty() { "{}" } else { &self.arguments }
    }
}

impl Serialize for ToolCall {
    /// Empty arguments become `{}`: chat templates of some models decode them again.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let function = json!({"name": self.name, "arguments": self.json_text()});
        json!({"id": self.id, "type": "function", "function": function}).serialize(serializer)
    }
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tool {
    /// Name, of letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON schema of its arguments, an object.
    pub parameters: Value,
}

impl Tool {
    /// A tool with the JSON schema of its arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        Self { name: name.into(), description: description.into(), parameters }
    }
}

impl Serialize for Tool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let function = json!({
            "name": self.name, "description": self.description, "parameters": self.parameters,
        });
        json!({"type": "function", "function": function}).serialize(serializer)
    }
}

/// Whether the model calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::None => serializer.serialize_str("none"),
            Self::Required => serializer.serialize_str("required"),
            Self::Named(name) => {
                json!({"type": "function", "function": {"name": name}}).serialize(serializer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_documented_form() {
        let call = ToolCall::new("c1", "retrieve", r#"{"query":"q"}"#);
        let messages = [
            Message::system("s"),
            Message::user("u"),
            Message::assistant(""),
            Message::Assistant { content: String::new(), tool_calls: vec![call.clone()] },
            Message::tool_result(&call, "[]"),
        ];
        let expected = json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                "function": {"name": "retrieve", "arguments": "{\"query\":\"q\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "name": "retrieve", "content": "[]"},
        ]);
        assert_eq!(serde_json::to_value(messages).expect("json"), expected);
        let named = serde_json::to_value(ToolChoice::Named("f".to_owned())).expect("json");
        assert_eq!(named, json!({"type": "function", "function": {"name": "f"}}));
    }

    #[test]
    fn arguments_are_parsed_on_request_and_empty_ones_are_an_object() {
        let parsed = |arguments: &str| ToolCall::new("", "t", arguments).parse::<Value>();
        assert_eq!(parsed(r#"{"a": 3}"#), Ok(json!({"a": 3})));
        assert_eq!(parsed(" "), Ok(json!({})));
        let error = parsed("{\"a\": ").expect_err("cut off");
        assert_eq!(error.tool, "t");
        assert!(error.to_string().contains("EOF while parsing"), "{error}");
        let none = serde_json::to_value(ToolCall::new("i", "n", "")).expect("json");
        assert_eq!(none["function"]["arguments"], "{}");
        type Typed = std::collections::BTreeMap<String, i64>;
        let twice = ToolCall::new("", "t", r#""{\"a\": 3}""#).parse::<Typed>();
        assert_eq!(twice, Ok(Typed::from([("a".to_owned(), 3)])));
        assert!(ToolCall::new("", "t", r#"{"a": "x"}"#).parse::<Typed>().is_err());
    }
}
