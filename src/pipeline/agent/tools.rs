//! The functions the model may call: their schemas, and their arguments out of what it wrote. What
//! does not fit is refused in words that help it to do better.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::outcome::SearchSuccess;
use super::settings::{AgentSettings, hash};
use crate::nim::{Tool, ToolCall};

pub(super) const THINK: &str = "think";
pub(super) const RETRIEVE: &str = "retrieve";
pub(super) const FINAL_RESULTS: &str = "final_results";
pub(super) const SELECT: &str = "log_selected_documents";

/// Longest query of a call, in characters.
pub(super) const QUERY_CHARS: usize = 4096;
/// Longest words of the model that are given back to it in a refusal, in characters.
const QUOTED_CHARS: usize = 300;

/// What the model wants done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Think,
    Retrieve { query: String, top_k: usize },
    Finish(End),
    Select { ids: Vec<String>, message: String },
}

/// What a call of `final_results` names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct End {
    pub(super) ids: Vec<String>,
    pub(super) message: String,
    pub(super) success: Option<SearchSuccess>,
}

/// An id in a list: the label as it was shown, or a number where that looks like one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Text(String),
    Int(i64),
}

impl Label {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Int(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkArguments {
    #[serde(rename = "thought")]
    _thought: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetrieveArguments {
    query: String,
    top_k: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinalArguments {
    doc_ids: Vec<Label>,
    #[serde(default)]
    message: String,
    search_successful: SearchSuccess,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectArguments {
    doc_ids: Vec<Label>,
    #[serde(default)]
    message: String,
}

/// The functions of one conversation, and their limits.
#[derive(Debug, Clone)]
pub(super) struct Toolbox {
    pub(super) tools: Vec<Tool>,
    top_k: usize,
    top_k_max: usize,
}

impl Toolbox {
    /// Those of the search, as an agent is set up.
    pub(super) fn of(settings: &AgentSettings) -> Self {
        let AgentSettings { top_k, top_k_max, think, .. } = *settings;
        Self::search(&settings.count(), top_k, top_k_max, think)
    }

    fn search(count: &str, top_k: usize, top_k_max: usize, thinks: bool) -> Self {
        let mut tools = vec![retrieve(top_k, top_k_max), final_results(count)];
        tools.extend(thinks.then(think));
        Self { tools, top_k, top_k_max }
    }

    /// Those of the selection.
    pub(super) fn selection(count: &str) -> Self {
        Self { tools: vec![think(), select(count)], top_k: 1, top_k_max: 1 }
    }

    /// What tells these functions from others: of another version, or described otherwise.
    pub(super) fn hash(&self) -> String {
        // Strings and schemas: there is nothing that could fail.
        hash(&serde_json::to_string(&self.tools).unwrap_or_default())
    }

    fn offers(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// What a call asks for, or why it is refused, in words for the model.
    pub(super) fn read(&self, call: &ToolCall) -> Result<Wanted, String> {
        let name = call.name.trim();
        if !self.offers(name) {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
            let names = names.join(", ");
            return Err(format!("there is no function {}: use one of {names}", quoted(name)));
        }
        match name {
            THINK => parsed::<ThinkArguments>(call).map(|_| Wanted::Think),
            RETRIEVE => self.read_retrieve(parsed(call)?),
            FINAL_RESULTS => {
                let FinalArguments { doc_ids, message, search_successful } = parsed(call)?;
                let ids = doc_ids.into_iter().map(Label::text).collect();
                Ok(Wanted::Finish(End { ids, message, success: Some(search_successful) }))
            }
            _ => {
                let SelectArguments { doc_ids, message } = parsed(call)?;
                Ok(Wanted::Select { ids: doc_ids.into_iter().map(Label::text).collect(), message })
            }
        }
    }

    /// What a call of `final_results` names that [`read`](Self::read) has refused: whatever of it
    /// can be made out. None of another call, and where nothing can.
    pub(super) fn read_broken_end(&self, call: &ToolCall) -> Option<End> {
        if call.name.trim() != FINAL_RESULTS || !self.offers(FINAL_RESULTS) {
            return None;
        }
        let mut fields = call.parse::<serde_json::Map<String, Value>>().ok()?;
        let Value::Array(labels) = fields.remove("doc_ids")? else { return None };
        let labels = labels.into_iter().map(serde_json::from_value::<Label>);
        let ids = labels.filter_map(Result::ok).map(Label::text).collect();
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        let success = fields.remove("search_successful");
        let success = success.and_then(|success| serde_json::from_value(success).ok());
        Some(End { ids, message, success })
    }

    fn read_retrieve(&self, arguments: RetrieveArguments) -> Result<Wanted, String> {
        let RetrieveArguments { query, top_k } = arguments;
        if query.trim().is_empty() {
            return Err("retrieve was not run: query is empty".to_owned());
        }
        let chars = query.chars().count();
        if chars > QUERY_CHARS {
            return Err(format!(
                "retrieve was not run: query has {chars} characters, at most {QUERY_CHARS} are \
                 allowed"
            ));
        }
        let default = i64::try_from(self.top_k).unwrap_or(i64::MAX);
        let asked = top_k.unwrap_or(default);
        match usize::try_from(asked) {
            Ok(top_k) if (1..=self.top_k_max).contains(&top_k) => {
                Ok(Wanted::Retrieve { query, top_k })
            }
            _ => Err(format!(
                "retrieve was not run: top_k is {asked}, it must be from 1 to {}",
                self.top_k_max
            )),
        }
    }
}

fn parsed<T: DeserializeOwned>(call: &ToolCall) -> Result<T, String> {
    call.parse().map_err(|error| {
        format!(
            "{} was not run: its arguments could not be parsed: {}. Write one JSON object as its \
             schema says",
            call.name.trim(),
            quoted(&error.detail)
        )
    })
}

/// The beginning of words that may be long.
pub(super) fn quoted(text: &str) -> String {
    let mut cut: String = text.chars().take(QUOTED_CHARS).collect();
    if cut.len() < text.len() {
        cut.push_str("...");
    }
    cut
}

/// The call as it goes into the conversation: servers decode arguments again for their chat
/// templates, and refuse the whole conversation if these are no JSON object.
pub(super) fn sendable(call: &ToolCall) -> ToolCall {
    match call.parse::<serde_json::Map<String, Value>>() {
        Ok(object) => {
            let is_plain = serde_json::from_str::<serde_json::Map<String, Value>>(&call.arguments);
            match is_plain {
                Ok(_) => call.clone(),
                Err(_) => {
                    let arguments = Value::Object(object).to_string();
                    ToolCall::new(call.id.as_str(), call.name.as_str(), arguments)
                }
            }
        }
        Err(_) => ToolCall::new(call.id.as_str(), call.name.as_str(), "{}"),
    }
}

fn retrieve(top_k: usize, top_k_max: usize) -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "description": "What to search for, in plain words; it stands for itself",
            },
            "top_k": {
                "type": "integer", "default": top_k, "minimum": 1, "maximum": top_k_max,
                "description": "How many passages that were not shown before",
            },
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let description = "Searches the collection. Gives one JSON object a line, the best match \
                       first: id of a document, score, title and text of a passage of it, which \
                       may be the whole document. Passages that were shown before come with a \
                       note instead of their text.";
    Tool::new(RETRIEVE, description, parameters)
}

fn final_results(count: &str) -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "doc_ids": doc_ids(count),
            "message": {
                "type": "string",
                "description": "What was searched for, why these documents, what is missing",
            },
            "search_successful": {
                "type": "string", "enum": ["true", "false", "partial"],
                "description": "Whether the documents cover what the query needs",
            },
        },
        "required": ["doc_ids", "search_successful"],
        "additionalProperties": false,
    });
    let description = "Ends the search with its result. Must be called, once, at the end.";
    Tool::new(FINAL_RESULTS, description, parameters)
}

fn select(count: &str) -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "message": {"type": "string", "description": "Why these documents"},
            "doc_ids": doc_ids(count),
        },
        "required": ["doc_ids"],
        "additionalProperties": false,
    });
    Tool::new(SELECT, "Ends the selection with the chosen documents.", parameters)
}

fn doc_ids(count: &str) -> Value {
    let description = format!("Ids of {count} documents, most relevant first");
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

fn think() -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {"thought": {"type": "string", "description": "The thought"}},
        "required": ["thought"],
        "additionalProperties": false,
    });
    let description = "Notes a thought and does nothing else. Use it to plan which facts are \
                       needed and which are found, to judge what a search gave, to find other \
                       words, and before the end to compare the documents.";
    Tool::new(THINK, description, parameters)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn read(name: &str, arguments: &str) -> Result<Wanted, String> {
        Toolbox::search("exactly 10", 10, 100, true).read(&ToolCall::new("c", name, arguments))
    }

    #[test]
    fn arguments_are_read_strictly_and_numbers_are_bounded() {
        let wanted = |query: &str, top_k| Ok(Wanted::Retrieve { query: query.into(), top_k });
        assert_eq!(read("retrieve", r#"{"query": "q"}"#), wanted("q", 10));
        assert_eq!(read(" retrieve\n", r#"{"query": "q", "top_k": 100}"#), wanted("q", 100));
        // Encoded twice, as some servers do.
        assert_eq!(read("retrieve", r#""{\"query\": \"q\"}""#), wanted("q", 10));
        for (arguments, words) in [
            (r#"{"query": "q", "top_k": 0}"#, "top_k is 0, it must be from 1 to 100"),
            (r#"{"query": "q", "top_k": -9223372036854775808}"#, "from 1 to 100"),
            (r#"{"query": "q", "top_k": 101}"#, "from 1 to 100"),
            (r#"{"query": "q", "top_k": 18446744073709551615}"#, "could not be parsed"),
            (r#"{"query": "q", "top_k": 2.5}"#, "could not be parsed"),
            (r#"{"query": "q", "query": "r"}"#, "duplicate field"),
            (r#"{"query": "\n"}"#, "query is empty"),
        ] {
            let refused = read("retrieve", arguments).expect_err(arguments);
            assert!(refused.contains(words), "{arguments}: {refused}");
        }
        let ends = r#"{"doc_ids": ["a", 7], "search_successful": "false"}"#;
        let (ids, message) = (vec!["a".to_owned(), "7".to_owned()], String::new());
        let success = Some(SearchSuccess::False);
        assert_eq!(read("final_results", ends), Ok(Wanted::Finish(End { ids, message, success })));
        assert!(read("log_selected_documents", "{}").is_err());
    }

    #[test]
    fn of_an_end_that_is_refused_whatever_can_be_made_out_is_kept() {
        let toolbox = Toolbox::search("exactly 10", 10, 100, true);
        let kept = |name: &str, arguments: &str| {
            let call = ToolCall::new("c", name, arguments);
            assert!(toolbox.read(&call).is_err(), "{arguments}");
            toolbox.read_broken_end(&call)
        };
        let end = |message: &str, success| {
            let ids = vec!["a".to_owned(), "7".to_owned()];
            Some(End { ids, message: message.to_owned(), success })
        };
        for (arguments, expected) in [
            (r#"{"doc_ids": ["a", 7]}"#, end("", None)),
            (r#"{"doc_ids": ["a", 7], "message": "m", "search_successful": true}"#, end("m", None)),
            (r#"{"doc_ids": ["a", null, [], 2.5, 7], "message": 1}"#, end("", None)),
            (
                r#""{\"doc_ids\":[\"a\",7],\"search_successful\":\"true\",\"k\":1}""#,
                end("", Some(SearchSuccess::True)),
            ),
            (r#"{"doc_ids": "a"}"#, None),
            (r#"{"search_successful": "true"}"#, None),
            (r#"["a"]"#, None),
            (r#"{"doc_ids": ["a""#, None),
        ] {
            assert_eq!(kept(" final_results", arguments), expected, "{arguments}");
        }
        assert_eq!(kept("retrieve", r#"{"doc_ids": ["a"]}"#), None);
        let ends = ToolCall::new("c", "final_results", r#"{"doc_ids": ["a"]}"#);
        assert_eq!(Toolbox::selection("exactly 1").read_broken_end(&ends), None);
    }

    #[test]
    fn functions_that_are_described_otherwise_have_another_hash() {
        let toolbox = Toolbox::search("exactly 10", 10, 100, true);
        let (mut named, mut typed) = (toolbox.clone(), toolbox.clone());
        named.tools[0].description.push('.');
        typed.tools[1].parameters["properties"]["message"]["type"] = json!("array");
        let few = Toolbox::search("exactly 10", 10, 100, false);
        let selection = Toolbox::selection("exactly 10");
        let hashes = [&toolbox, &named, &typed, &few, &selection].map(Toolbox::hash);
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), hashes.len());
        assert_eq!(toolbox.hash(), Toolbox::search("exactly 10", 10, 100, true).hash());
    }

    #[test]
    fn arguments_go_back_as_an_object_of_json_or_not_at_all() {
        let sent = |arguments: &str| sendable(&ToolCall::new("c", "think", arguments)).arguments;
        assert_eq!(sent(r#"{ "a": 1 }"#), r#"{ "a": 1 }"#);
        assert_eq!(sent(r#""{\"a\": 1}""#), r#"{"a":1}"#);
        for broken in ["", " ", "{", "[1]", "7", "null", "\u{0}", &"[".repeat(10_000)] {
            assert_eq!(sent(broken), "{}", "{broken}");
        }
    }

    #[test]
    fn long_words_of_the_model_are_not_given_back_whole() {
        let name = "x".repeat(100_000);
        assert!(read(&name, "{}").expect_err("no such function").len() < 500);
        let field = format!("{{\"{name}\": 1}}");
        assert!(read("retrieve", &field).expect_err("no such field").len() < 600);
    }
}
