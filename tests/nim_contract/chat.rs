//! Case 7, `test_bind_tools`, `test_parallel_tool_calls`, `test_streaming` and `test_metadata`,
//! against a strict service of each generation: fields, roles and the pairing of tool calls with
//! their results are checked, and the bodies are compared whole.

use portolan::nim::{ChatDelta, ChatRequest, FinishReason, Message, NimError, Tool, ToolChoice};
use serde_json::{Value, json};

use crate::server::{Step, answer, ok};
use crate::service::{ALL, Generation};

pub const CHAT: &str = "nvidia/llama-3.3-nemotron-super-49b-v1.5";
const FIELDS: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "temperature",
    "max_tokens",
    "parallel_tool_calls",
    "reasoning_effort",
    "stop",
    "stream",
    "stream_options",
];

/// The service: calls the tool that it may call until it has its results, then speaks.
pub fn serve(generation: Generation, body: &Value) -> Step {
    match check(generation, body) {
        Ok(()) if body["stream"] == true => streamed(body),
        Ok(()) => ok(&whole(generation, body)),
        Err(refusal) => refusal,
    }
}

fn check(generation: Generation, body: &Value) -> Result<(), Step> {
    generation.only(body, FIELDS)?;
    generation.served(body, &[CHAT])?;
    if body["tools"].is_null() != body["tool_choice"].is_null() {
        return Err(generation.refuse("tools and tool_choice go together"));
    }
    if body["tools"].is_null() && !body["parallel_tool_calls"].is_null() {
        return Err(generation.refuse("parallel_tool_calls: only with tools"));
    }
    let mut open: Vec<&str> = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        let is_filled = message["content"].is_string();
        let known: &[&str] = match message["role"].as_str() {
            Some("system" | "user") if is_filled => &["role", "content"],
            Some("assistant") => &["role", "content", "tool_calls"],
            Some("tool") if is_filled => &["role", "content", "tool_call_id", "name"],
            _ => return Err(generation.refuse("messages: a role or its content")),
        };
        let fields = message.as_object().expect("an object");
        if fields.keys().any(|name| !known.contains(&name.as_str())) {
            return Err(generation.refuse("messages: unknown field"));
        }
        match &message["tool_call_id"] {
            Value::String(id) => match open.iter().position(|known| known == id) {
                Some(at) => drop(open.remove(at)),
                None => return Err(generation.refuse("messages: a result of no call")),
            },
            _ if !open.is_empty() => {
                return Err(generation.refuse("messages: a call without its result"));
            }
            _ => {}
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str();
            match (call["id"].as_str(), &call["type"], call["function"]["name"].as_str()) {
                (Some(id), kind, Some(_)) if kind == "function" && arguments.is_some() => {
                    open.push(id);
                }
                _ => return Err(generation.refuse("messages: a tool call")),
            }
        }
        if message["role"] == "assistant" && !is_filled && open.is_empty() {
            return Err(generation.refuse("messages: an assistant that says and calls nothing"));
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(generation.refuse("messages: a call without its result")),
    }
}

/// Whether the tool is called: once, or twice side by side; none when its results are there.
fn calls(body: &Value) -> usize {
    let last = body["messages"].as_array().and_then(|list| list.last()).expect("a message");
    match (body["tools"].is_null(), last["role"] == "tool") {
        (false, false) if body["parallel_tool_calls"] == false => 1,
        (false, false) => 2,
        _ => 0,
    }
}

fn whole(generation: Generation, body: &Value) -> Value {
    let count = calls(body);
    // Generations differ in how they say that there are no arguments, and in what they leave out.
    let none = if generation == Generation::V1 { "" } else { "{}" };
    let call = |at: usize| {
        let arguments = if at == 0 { "{\"input\": 3}" } else { none };
        json!({"id": format!("tool-{at}"), "type": "function",
            "function": {"name": "magic", "arguments": arguments}})
    };
    let message = match count {
        0 => json!({"role": "assistant", "content": "done"}),
        _ => json!({"role": "assistant", "content": null,
            "tool_calls": (0..count).map(call).collect::<Vec<_>>()}),
    };
    let finish = if count == 0 { "stop" } else { " tool_calls " };
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    match generation {
        Generation::V1 => json!({"choices": [choice]}),
        _ => json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": CHAT,
            "choices": [choice], "system_fingerprint": null,
            "usage": {"prompt_tokens": 22, "completion_tokens": 20, "total_tokens": 42}}),
    }
}

fn streamed(body: &Value) -> Step {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({"object": "chat.completion.chunk", "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    let part = |index: usize, name: Option<&str>, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(name) = name {
            call["id"] = json!(format!("ID{index}"));
            call["type"] = json!("function");
            call["function"]["name"] = json!(name);
        }
        chunk(json!({"content": null, "tool_calls": [call]}), Value::Null)
    };
    let mut text = match calls(body) {
        0 => {
            chunk(json!({"role": "assistant", "content": "do"}), Value::Null)
                + &chunk(json!({"content": "ne"}), Value::Null)
                + &chunk(json!({}), json!("stop"))
        }
        count => {
            // Arguments in pieces; of a second call none at all.
            let first = ["{\"in", "put\"", ": 3}"].map(|piece| part(0, None, piece)).concat();
            let second = if count > 1 { part(1, Some("magic"), "") } else { String::new() };
            part(0, Some("magic"), "") + &first + &second + &chunk(json!({}), json!("tool_calls"))
        }
    };
    if body["stream_options"]["include_usage"] == true {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
        text += &format!("data: {}\n\n", json!({"choices": [], "usage": usage}));
    }
    answer(200, "content-type: text/event-stream\r\n", text + "data: [DONE]\n\n")
}

fn magic() -> Tool {
    let parameters = json!({"type": "object", "properties": {"input": {"type": "integer"}}});
    Tool::new("magic", "Does magic", parameters)
}

fn offered() -> Value {
    json!([{"type": "function", "function": {"name": "magic", "description": "Does magic",
        "parameters": {"type": "object", "properties": {"input": {"type": "integer"}}}}}])
}

#[tokio::test]
async fn case_7_tools_are_called_and_their_results_are_sent_back() {
    for generation in ALL {
        let server = generation.start().await;
        let chat = generation.client(&server).chat(CHAT);
        let (tools, mut messages) = ([magic()], vec![Message::user("cast")]);
        let request = ChatRequest::new(&messages).tools(&tools).tool_choice(&ToolChoice::Auto);
        let said = chat.complete(request).await.expect("two calls");
        assert_eq!((said.content.as_str(), &said.finish), ("", &FinishReason::ToolCalls));
        let calls: Vec<_> = said.tool_calls.iter().map(|call| (&*call.id, &*call.name)).collect();
        assert_eq!(calls, [("tool-0", "magic"), ("tool-1", "magic")]);
        let arguments = said.tool_calls[0].parse::<Value>().expect("arguments");
        assert_eq!(arguments, json!({"input": 3}));
        // No arguments are an empty object, whichever way that is said.
        assert_eq!(said.tool_calls[1].parse::<Value>().expect("none"), json!({}));

        // The assistant's message goes back with null for its content. Empty arguments do as an
        // object, since not every service takes its own empty text back.
        messages.push(said.message());
        let results = said.tool_calls.iter().map(|call| Message::tool_result(call, "42"));
        messages.extend(results);
        let request = ChatRequest::new(&messages).tools(&tools).tool_choice(&ToolChoice::Auto);
        let said = chat.complete(request).await.expect("an answer");
        assert_eq!((said.content.as_str(), &said.finish), ("done", &FinishReason::Stop));
        let total = said.usage.and_then(|usage| usage.total_tokens);
        let told = generation != Generation::V1;
        assert_eq!((total, said.served_model), (told.then_some(42), None));

        let sent = server.requests();
        let ask = json!({"role": "user", "content": "cast"});
        let body = json!({"model": CHAT, "messages": [ask], "tools": offered(),
            "tool_choice": "auto"});
        assert_eq!(sent[0].json(), body);
        let call = |id: &str, arguments: &str| {
            json!({"id": id, "type": "function",
            "function": {"name": "magic", "arguments": arguments}})
        };
        let result = |id: &str| {
            json!({"role": "tool", "tool_call_id": id, "name": "magic",
            "content": "42"})
        };
        let silent = json!({"role": "assistant", "content": null,
            "tool_calls": [call("tool-0", "{\"input\": 3}"), call("tool-1", "{}")]});
        let body = json!({"model": CHAT, "tools": offered(), "tool_choice": "auto",
            "messages": [ask, silent, result("tool-0"), result("tool-1")]});
        assert_eq!(sent[1].json(), body);

        // What the service refuses: a call that nobody answered.
        let unanswered = ChatRequest::new(&messages[..2]).tools(&tools);
        let error = chat.complete(unanswered).await.expect_err("no result");
        assert!(matches!(error, NimError::BadRequest(_)), "{generation:?}: {error:?}");
    }
}

#[tokio::test]
async fn case_7_calls_side_by_side_are_allowed_or_not() {
    for generation in ALL {
        let server = generation.start().await;
        let chat = generation.client(&server).chat(CHAT);
        let (tools, messages) = ([magic()], [Message::user("cast")]);
        for (allow, count) in [(Some(false), 1), (Some(true), 2), (None, 2)] {
            let chat = match allow {
                Some(allow) => chat.clone().parallel_tool_calls(allow),
                None => chat.clone(),
            };
            let said = chat.complete(ChatRequest::new(&messages).tools(&tools)).await;
            assert_eq!(said.expect("calls").tool_calls.len(), count);
            let sent = server.requests().pop().expect("a request").json();
            assert_eq!(sent["parallel_tool_calls"], json!(allow));
            // Without tools neither is sent; the service would refuse it.
            let said = chat.complete(&messages).await.expect("an answer");
            assert_eq!(said.content, "done");
            let sent = server.requests().pop().expect("a request").json();
            let ask = json!({"role": "user", "content": "cast"});
            assert_eq!(sent, json!({"model": CHAT, "messages": [ask]}));
        }
    }
}

#[tokio::test]
async fn case_7_streams_bring_words_calls_in_pieces_and_usage() {
    for generation in ALL {
        let server = generation.start().await;
        let chat = generation.client(&server).chat(CHAT).stream_usage(true);
        let (tools, messages) = ([magic()], [Message::user("cast")]);
        let mut stream = chat.stream(&messages).await.expect("a stream");
        let mut words = Vec::new();
        while let Some(delta) = stream.next().await.expect("a step") {
            if let ChatDelta::Text(text) = delta {
                words.push(text);
            }
        }
        assert_eq!(words, ["do", "ne"]);
        let said = stream.finish().await.expect("an answer");
        assert_eq!((said.content.as_str(), &said.finish), ("done", &FinishReason::Stop));
        assert_eq!(said.usage.and_then(|usage| usage.total_tokens), Some(12));
        let sent = server.requests().pop().expect("a request").json();
        assert_eq!(
            (&sent["stream"], &sent["stream_options"]["include_usage"]),
            (&json!(true), &json!(true))
        );

        let stream = chat.stream(ChatRequest::new(&messages).tools(&tools)).await;
        let said = stream.expect("a stream").finish().await.expect("calls");
        assert_eq!((said.content.as_str(), &said.finish), ("", &FinishReason::ToolCalls));
        let calls: Vec<_> =
            said.tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
        assert_eq!(calls, [("ID0", "{\"input\": 3}"), ("ID1", "")]);
        assert_eq!(said.usage.and_then(|usage| usage.prompt_tokens), Some(5));
        // What was streamed can be sent back too.
        let mut messages = messages.to_vec();
        messages.push(said.message());
        messages.extend(said.tool_calls.iter().map(|call| Message::tool_result(call, "42")));
        let said = chat.complete(ChatRequest::new(&messages).tools(&tools)).await;
        // A stream's options have no place in a whole completion.
        let sent = server.requests().pop().expect("a request").json();
        assert_eq!(
            (said.expect("an answer").content.as_str(), &sent["stream"]),
            ("done", &Value::Null)
        );
    }
}
