//! Whole completions: bodies sent, tool calls, thoughts, what servers leave out, typed refusals.

use std::time::{Duration, Instant};

use portolan::nim::{
    CallOptions, ChatRequest, ConfigFault, FinishReason, Message, NimError, ResponseFault, Tool,
    ToolChoice,
};
use portolan::{ChatFailure, ChatModel};
use serde_json::{Value, json};

use crate::server::{Server, Then, answer, ok, raw};

fn tool() -> Tool {
    let parameters = json!({"type": "object", "properties": {"query": {"type": "string"},
        "top_k": {"type": "integer", "default": 10}}, "required": ["query"]});
    Tool::new("retrieve", "Finds documents", parameters)
}

fn completion(message: &Value, finish: &Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": {"prompt_tokens": 22, "completion_tokens": 20, "total_tokens": 42},
        "system_fingerprint": null})
}

/// What the client makes of an answer with this message.
async fn said(message: Value) -> portolan::nim::ChatAnswer {
    let body = completion(&message, &Value::Null);
    let server = Server::start(move |_, _| ok(&body)).await;
    server.nim().chat("m").complete(&[Message::user("u")]).await.expect("an answer")
}

#[tokio::test]
async fn only_what_is_set_is_sent() {
    let server =
        Server::start(|_, _| ok(&completion(&json!({"content": "c"}), &json!("stop")))).await;
    let nim = server.nim();
    let messages = [Message::system("s"), Message::user("u")];
    nim.chat("nvidia/m").complete(&messages).await.expect("an answer");

    let tools = [tool()];
    let choice = ToolChoice::Named("retrieve".to_owned());
    let request = ChatRequest::new(&messages).tools(&tools).tool_choice(&choice);
    let full = nim
        .chat("nvidia/m")
        .temperature(0.1)
        .max_tokens(1024)
        .parallel_tool_calls(false)
        .reasoning_effort("high")
        .stop(["END"])
        .extra("seed", json!(7))
        .extra("model", json!("another"));
    full.complete(request).await.expect("an answer");
    full.complete(ChatRequest::new(&messages).tool_choice(&choice)).await.expect("an answer");

    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(sent[0].header("accept"), Some("application/json"));
    let told = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]);
    assert_eq!(sent[0].json(), json!({"model": "nvidia/m", "messages": told}));
    let function = json!({"name": "retrieve", "description": "Finds documents",
        "parameters": tool().parameters});
    let expected = json!({"model": "nvidia/m", "messages": told, "temperature": 0.1,
        "max_tokens": 1024, "parallel_tool_calls": false, "reasoning_effort": "high",
        "stop": ["END"], "seed": 7, "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "retrieve"}}});
    assert_eq!(sent[1].json(), expected);
    // Without tools nothing that belongs to them is sent.
    let third = sent[2].json();
    let fields = ["tools", "tool_choice", "parallel_tool_calls"];
    assert!(fields.iter().all(|field| third.get(*field).is_none()), "{third}");
}

#[tokio::test]
async fn a_conversation_with_tools_goes_round() {
    let server = Server::start(|n, _| match n {
        0 => {
            let call = json!({"id": "tool-1", "type": "function", "function": {"name": "retrieve",
                "arguments": "{\"query\": \"q\"}"}});
            let bare = json!({"type": "function", "function": {"name": "stop", "arguments": ""}});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call, bare]});
            ok(&completion(&message, &json!(" tool_calls\n")))
        }
        _ => ok(&completion(&json!({"content": "done"}), &json!("stop"))),
    })
    .await;
    let nim = server.nim();
    let model: &dyn ChatModel = &nim.chat("m");
    assert_eq!(model.model(), "m");
    let tools = [tool()];
    let mut messages = vec![Message::user("u")];
    let first = model.chat(ChatRequest::new(&messages).tools(&tools), None).await.expect("calls");
    assert_eq!((first.content.as_str(), &first.finish), ("", &FinishReason::ToolCalls));
    assert_eq!(first.tool_calls[0].parse::<Value>(), Ok(json!({"query": "q"})));
    assert_eq!(first.tool_calls[1].arguments, "");
    assert_eq!(first.tool_calls[1].id, "call-1");
    let usage = first.usage.expect("usage");
    let tokens = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens);
    assert_eq!(tokens, (Some(22), Some(20), Some(42)));
    assert_eq!((first.id.as_deref(), first.served_model.as_deref()), (Some("chatcmpl-1"), None));
    assert_eq!((first.cost.requests, first.cost.retries), (1, 0));

    messages.push(first.message());
    messages.extend(first.tool_calls.iter().map(|call| Message::tool_result(call, "[]")));
    let last = model.chat(ChatRequest::new(&messages).tools(&tools), None).await.expect("words");
    assert_eq!((last.content.as_str(), last.finish), ("done", FinishReason::Stop));

    let sent = server.requests();
    assert_eq!(sent[0].json()["tool_choice"], "auto");
    let expected = json!([
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "tool-1", "type": "function",
                "function": {"name": "retrieve", "arguments": "{\"query\": \"q\"}"}},
            {"id": "call-1", "type": "function",
                "function": {"name": "stop", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "tool-1", "name": "retrieve", "content": "[]"},
        {"role": "tool", "tool_call_id": "call-1", "name": "stop", "content": "[]"},
    ]);
    assert_eq!(sent[1].json()["messages"], expected);
}

#[tokio::test]
async fn content_and_thoughts_come_in_many_forms() {
    let plain = said(json!({"content": "a", "reasoning_content": "r"})).await;
    assert_eq!((plain.content.as_str(), plain.reasoning.as_deref()), ("a", Some("r")));
    let other = said(json!({"content": "a", "reasoning": "r", "reasoning_content": null})).await;
    assert_eq!(other.reasoning.as_deref(), Some("r"));
    let inline = said(json!({"content": "<think>\nr\n</think>\n\na"})).await;
    assert_eq!((inline.content.as_str(), inline.reasoning.as_deref()), ("a", Some("r")));
    let blocks = json!([{"type": "text", "text": "a"}, "b", {"type": "image"}, 7]);
    let blocks = said(json!({"content": blocks})).await;
    assert_eq!((blocks.content.as_str(), blocks.finish), ("ab", FinishReason::Stop));
    let absent = said(json!({"role": "assistant"})).await;
    assert_eq!((absent.content.as_str(), absent.reasoning), ("", None));
    let object = json!({"id": null, "function": {"name": "f", "arguments": {"a": 1}}});
    let object = said(json!({"tool_calls": [object]})).await;
    assert_eq!(object.tool_calls[0].arguments, r#"{"a":1}"#);
}

#[tokio::test]
async fn answers_of_which_nothing_can_be_made_are_typed() {
    let nameless =
        completion(&json!({"tool_calls": [{"id": "a", "function": {}}]}), &json!("stop"));
    let call = json!({"id": "a", "function": {"name": "f"}});
    let many = completion(&json!({"tool_calls": vec![call; 129]}), &json!("tool_calls"));
    let cases = [
        (json!({}), ResponseFault::NoChoice),
        (json!([]), ResponseFault::NoChoice),
        (json!({"choices": []}), ResponseFault::NoChoice),
        (json!({"choices": [{}]}), ResponseFault::NoChoice),
        (json!({"choices": [{"message": "text"}]}), ResponseFault::NoChoice),
        (nameless, ResponseFault::ToolCall),
        (many, ResponseFault::ToolCall),
    ];
    for (body, fault) in cases {
        let server = Server::start(move |_, _| ok(&body)).await;
        let found = server.nim().chat("m").complete(&[Message::user("u")]).await;
        let is_fault =
            matches!(&found, Err(NimError::InvalidResponse { what, .. }) if *what == fault);
        assert!(is_fault, "{found:?}");
    }
}

#[tokio::test]
async fn refusals_that_an_agent_acts_on_have_kinds_of_their_own() {
    let cases = [
        (400, r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#, "context_overflow"),
        (400, r#"{"message":"maximum context length is 8192 tokens"}"#, "context_overflow"),
        (400, r#"{"error":{"message":"m","code":"content_filter"}}"#, "content_policy"),
        (
            400,
            r#"{"message":"\"auto\" tool choice requires --enable-auto-tool-choice"}"#,
            "tools_not_enabled",
        ),
        (400, r#"{"detail":"top_p is immutable"}"#, "bad_request"),
        (404, r#"{"detail":"Function 'x': Not found for account 'y'"}"#, "not_found"),
        (200, r#"{"error":{"message":"worker died","type":"internal"}}"#, "answer_failed"),
        (200, r#"{"error":{"code":429,"message":"slow down"}}"#, "rate_limited"),
    ];
    for (status, body, kind) in cases {
        let server = Server::start(move |_, _| answer(status, "", body)).await;
        let error = server.nim().chat("m").complete(&[Message::user("u")]).await;
        let error = error.expect_err("a refusal");
        let requests = if kind == "rate_limited" { 4 } else { 1 };
        assert_eq!((error.kind(), server.requests().len()), (kind, requests), "{error:?}");
        assert_eq!(error.reply().expect("a reply").raw, body);
    }
    let server = Server::start(|_, _| answer(413, "", "")).await;
    let chat = server.nim().chat("m");
    let messages = [Message::user("u")];
    let failure = ChatModel::chat(&chat, ChatRequest::new(&messages), None).await;
    assert!(matches!(failure, Err(ChatFailure::ContextOverflow(_))), "{failure:?}");
}

#[tokio::test]
async fn calls_that_cannot_succeed_send_nothing() {
    let server = Server::start(|_, _| answer(500, "", "")).await;
    let chat = server.nim().chat("m");
    let messages = [Message::user("u")];
    let none: [Message; 0] = [];
    let fault = |found: Result<_, NimError>| match found {
        Err(NimError::Config(fault)) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(chat.complete(&none).await), ConfigFault::NoMessages);
    for temperature in [-1.0, f32::NAN, f32::INFINITY] {
        let found = chat.clone().temperature(temperature).complete(&messages).await;
        let setting = "temperature";
        assert_eq!(fault(found), ConfigFault::ChatSetting { setting });
    }
    let found = chat.clone().max_tokens(0).complete(&messages).await;
    assert_eq!(fault(found), ConfigFault::ChatSetting { setting: "max_tokens" });
    let past = CallOptions::new().deadline(Instant::now());
    assert_eq!(chat.complete_with(&messages, past).await, Err(NimError::DeadlineExceeded));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_a_deadline_ends_a_call() {
    let server = Server::start(|n, _| match n {
        0 => answer(503, "", "busy"),
        1 => raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", Then::Close),
        _ => ok(&completion(&json!({"content": "c"}), &json!("length"))),
    })
    .await;
    let found = server.nim().chat("m").complete(&[Message::user("u")]).await.expect("an answer");
    assert_eq!((found.cost.requests, found.cost.retries), (3, 2));
    assert_eq!(found.finish, FinishReason::Length);
    assert!(found.cost.bytes_sent > 3 * 20 && found.cost.bytes_received > 20);

    let silent = Server::always("", Then::Hang).await;
    let soon = CallOptions::new().timeout(Duration::from_millis(30));
    let late = silent.nim().chat("m").complete_with(&[Message::user("u")], soon).await;
    assert_eq!(late, Err(NimError::DeadlineExceeded));
}
