//! A chat service whose answers a test writes down, and what it was sent.

use std::collections::BTreeSet;

use portolan::nim::Chat;
use serde_json::{Value, json};

use crate::server::{Server, Step, Then, answer, ok, raw};

/// Tokens that each answer of the service says it took.
pub const USAGE: (u64, u64) = (100, 10);

/// What the service does at one call.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Calls functions, with arguments as text.
    Call(Vec<(String, String)>),
    /// Says something.
    Say(String),
    /// Says something and stops for another reason.
    Stop(String),
    /// Refuses.
    Refuse(u16, String),
    /// Never answers.
    Hang,
}

pub fn call(name: &str, arguments: &Value) -> Turn {
    raw_call(name, &arguments.to_string())
}

pub fn raw_call(name: &str, arguments: &str) -> Turn {
    Turn::Call(vec![(name.to_owned(), arguments.to_owned())])
}

pub fn retrieve(query: &str) -> Turn {
    call("retrieve", &json!({ "query": query }))
}

pub fn say(words: &str) -> Turn {
    Turn::Say(words.to_owned())
}

/// `final_results` with these ids.
pub fn finish(ids: &[String]) -> Turn {
    call(
        "final_results",
        &json!({"doc_ids": ids, "message": "enough", "search_successful": "partial"}),
    )
}

pub fn select(ids: &[String]) -> Turn {
    call("log_selected_documents", &json!({"doc_ids": ids, "message": "these"}))
}

pub fn overflow() -> Turn {
    let body = json!({"error": {"message": "This model's maximum context length is 8 tokens",
        "type": "invalid_request_error", "code": "context_length_exceeded"}});
    Turn::Refuse(400, body.to_string())
}

/// The bytes of an answer.
pub fn step(turn: &Turn) -> Step {
    let complete = |message: Value, finish: &str| {
        let (prompt, completion) = USAGE;
        ok(&json!({"id": "c", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                "total_tokens": prompt + completion}}))
    };
    match turn {
        Turn::Call(calls) => {
            let calls = calls.iter().enumerate().map(|(at, (name, arguments))| {
                json!({"id": format!("c{at}"), "type": "function",
                    "function": {"name": name, "arguments": arguments}})
            });
            let calls: Vec<Value> = calls.collect();
            let message = json!({"role": "assistant", "content": null, "tool_calls": calls,
                "reasoning_content": "let me see"});
            complete(message, "tool_calls")
        }
        Turn::Say(words) => complete(json!({"role": "assistant", "content": words}), "stop"),
        Turn::Stop(reason) => complete(json!({"role": "assistant", "content": "cut"}), reason),
        Turn::Refuse(status, body) => answer(*status, "", body),
        Turn::Hang => raw("", Then::Hang),
    }
}

/// A service that follows a list; beyond its end it searches for something else each time.
pub async fn service(turns: Vec<Turn>) -> Server {
    deciding(move |call, _| turns.get(call).cloned().unwrap_or_else(|| retrieve("star"))).await
}

/// A service that decides by the number of the call and by what it is sent.
pub async fn deciding(decide: impl Fn(usize, &Value) -> Turn + Send + Sync + 'static) -> Server {
    Server::start(move |call, request| {
        assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
        step(&decide(call, &request.json()))
    })
    .await
}

pub fn chat(server: &Server) -> Chat {
    server.nim().chat("test/agent")
}

/// All lines of documents that a conversation shows, with their ids, in order.
pub fn lines(body: &Value) -> Vec<Value> {
    let messages = body["messages"].as_array().expect("messages");
    let contents = messages.iter().filter(|message| message["role"] != "system");
    let contents = contents.filter_map(|message| message["content"].as_str());
    let lines = contents.flat_map(str::lines).filter(|line| line.starts_with("{\"id\""));
    lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Ids of all documents that a conversation shows, each once, in order.
pub fn ids(body: &Value) -> Vec<String> {
    let mut once = BTreeSet::new();
    let ids = lines(body).into_iter().map(|line| line["id"].as_str().expect("an id").to_owned());
    ids.filter(|id| once.insert(id.clone())).collect()
}

/// The first of them, at most so many.
pub fn first(body: &Value, count: usize) -> Vec<String> {
    ids(body).into_iter().take(count).collect()
}

/// What the last message of a conversation says.
pub fn last(body: &Value) -> String {
    let messages = body["messages"].as_array().expect("messages");
    messages.last().expect("a message")["content"].as_str().expect("words").to_owned()
}

/// The names of the functions that were offered.
pub fn offered(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().expect("tools").iter();
    tools.map(|tool| tool["function"]["name"].as_str().expect("a name").to_owned()).collect()
}
