//! Streamed answers: deltas, the whole at the end, cuts anywhere, ends that are none.

use std::time::Duration;

use portolan::nim::{
    CallOptions, ChatAnswer, ChatDelta, ChatUsage, FinishReason, Message, NimError, ResponseFault,
    RetryPolicy,
};
use serde_json::json;

use crate::server::{Server, Step, Then, answer, raw};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

/// A stream that ends with its connection.
fn events(body: impl AsRef<[u8]>) -> Step {
    raw([HEAD.as_bytes(), body.as_ref()].concat(), Then::Close)
}

/// One that sends each byte as a chunk of its own.
fn byte_by_byte(body: &str) -> Step {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let chunks = body.bytes().flat_map(|byte| [b"1\r\n".as_slice(), &[byte], b"\r\n"].concat());
    let bytes = head.bytes().chain(chunks).chain(*b"0\r\n\r\n");
    raw(bytes.collect::<Vec<u8>>(), Then::Keep)
}

async fn read(server: &Server) -> Result<(Vec<ChatDelta>, ChatAnswer), NimError> {
    let mut stream = server.nim().chat("m").stream(&[Message::user("u")]).await?;
    let mut deltas = Vec::new();
    while let Some(delta) = stream.next().await? {
        deltas.push(delta);
    }
    Ok((deltas, stream.finish().await?))
}

fn text(deltas: &[ChatDelta]) -> String {
    let texts = deltas.iter().filter_map(|delta| match delta {
        ChatDelta::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

const WORDS: &str = "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":\
    {\"role\":\"assistant\",\"content\":\"\"}}]}\n\n: keep alive\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{e9}t\u{1f600}\"}}]}\r\n\r\n\
    data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"e\"},\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"another choice\"}}]}\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":\
    {\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n\
    data: [DONE]\n\n";

#[tokio::test]
async fn words_come_as_deltas_and_as_a_whole_however_the_bytes_are_cut() {
    for step in [|| events(WORDS), || byte_by_byte(WORDS)] {
        let server = Server::start(move |_, _| step()).await;
        let (deltas, whole) = read(&server).await.expect("a stream");
        assert_eq!(text(&deltas), "\u{e9}t\u{1f600}e");
        assert_eq!(whole.content, "\u{e9}t\u{1f600}e");
        assert_eq!((whole.id.as_deref(), &whole.finish), (Some("c1"), &FinishReason::Stop));
        assert_eq!(whole.usage.and_then(|usage| usage.total_tokens), Some(5));
        assert!(deltas.contains(&ChatDelta::Finished(FinishReason::Stop)));
        let is_usage = |delta: &ChatDelta| matches!(delta, ChatDelta::Usage(ChatUsage { .. }));
        assert_eq!(deltas.iter().position(is_usage), Some(deltas.len() - 1));
        assert!(whole.cost.bytes_received >= WORDS.len() as u64);
        let sent = server.requests();
        assert_eq!(sent[0].header("accept"), Some("text/event-stream"));
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "u"}],
            "stream": true});
        assert_eq!(sent[0].json(), body);
    }
}

#[tokio::test]
async fn usage_is_asked_for_only_on_request() {
    let server = Server::start(|_, _| events(WORDS)).await;
    let chat = server.nim().chat("m").stream_usage(true);
    chat.stream(&[Message::user("u")]).await.expect("a stream");
    let sent = server.requests();
    assert_eq!(sent[0].json()["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn tool_calls_are_put_together_by_index() {
    let delta = |calls: serde_json::Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}))
    };
    let body = [
        delta(json!([{"index": 0, "id": "a", "type": "function",
            "function": {"name": "one", "arguments": ""}}])),
        delta(json!([{"index": 1, "id": "b", "function": {"name": "two", "arguments": ""}}])),
        delta(json!([{"index": 0, "function": {"arguments": "{\"in"}},
            {"index": 1, "id": null, "function": {"name": null, "arguments": ""}}])),
        delta(json!([{"index": 0, "id": "", "function": {"name": "", "arguments": "put\": 3}"}}])),
        // Another id under a known index is another call.
        delta(json!([{"index": 1, "id": "c", "function": {"name": "three", "arguments": "{}"}}])),
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n".to_owned(),
        "data: [DONE]".to_owned(),
    ]
    .concat();
    let server = Server::start(move |_, _| events(&body)).await;
    let (deltas, whole) = read(&server).await.expect("a stream");
    let calls: Vec<_> =
        whole.tool_calls.iter().map(|c| (&*c.id, &*c.name, &*c.arguments)).collect();
    let expected = [("a", "one", "{\"input\": 3}"), ("b", "two", ""), ("c", "three", "{}")];
    assert_eq!(calls, expected);
    assert_eq!((whole.content.as_str(), whole.finish), ("", FinishReason::ToolCalls));
    let first = ChatDelta::ToolCall {
        index: 0,
        id: Some("a".to_owned()),
        name: Some("one".to_owned()),
        arguments: String::new(),
    };
    assert_eq!(deltas[0], first);
}

#[tokio::test]
async fn thoughts_are_split_from_words_in_the_stream_too() {
    let delta = |content: &str| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": content}}]}))
    };
    let body = ["<thi", "nk>so", " so</th", "ink>\n\nyes"].map(delta).concat() + "data: [DONE]\n\n";
    let server = Server::start(move |_, _| events(&body)).await;
    let (deltas, whole) = read(&server).await.expect("a stream");
    assert_eq!(text(&deltas), "yes");
    assert_eq!((whole.content.as_str(), whole.reasoning.as_deref()), ("yes", Some("so so")));

    let fields = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"r\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"c\"}}]}\n\ndata: [DONE]\n\n";
    let server = Server::start(move |_, _| events(fields)).await;
    let (deltas, whole) = read(&server).await.expect("a stream");
    let expected = [ChatDelta::Reasoning("r".to_owned()), ChatDelta::Text("c".to_owned())];
    assert_eq!(deltas, expected);
    assert_eq!(whole.reasoning.as_deref(), Some("r"));
}

#[tokio::test]
async fn a_stream_is_tried_again_before_its_first_event_and_never_after() {
    let server = Server::start(|n, _| match n {
        0 => answer(503, "", "busy"),
        1 => events(""),
        _ => events(WORDS),
    })
    .await;
    // An empty stream is no passing failure.
    let found = read(&server).await.map(|found| found.1.content);
    assert!(
        matches!(&found, Err(NimError::InvalidResponse { what, .. })
        if *what == ResponseFault::StreamEnded),
        "{found:?}"
    );
    assert_eq!(server.requests().len(), 2);

    let first = "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n";
    let server =
        Server::start(move |n, _| if n == 0 { events(first) } else { events(WORDS) }).await;
    let (_, whole) = read(&server).await.expect("the second try");
    assert_eq!((whole.cost.requests, whole.cost.retries), (2, 1));

    let half = WORDS.split_inclusive("e\"},\"finish").next().expect("a part");
    let broken = move || {
        raw(
            format!("{}{half}", HEAD.replace("\r\n\r\n", "\r\ncontent-length: 9999\r\n\r\n")),
            Then::Close,
        )
    };
    let server = Server::start(move |_, _| broken()).await;
    let found = read(&server).await;
    assert!(matches!(found, Err(NimError::Disconnected { .. })), "{found:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn ends_that_are_none_are_typed_and_final() {
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"w\"}}]}\n\n";
    let error = |error: &str| format!("{word}data: {{\"error\":{error}}}\n\n");
    let cases = [
        (word.to_owned(), "invalid_response"),
        (format!("{word}data: {{\"choices\":\n\n"), "invalid_response"),
        (format!("{word}data: [1]\n\n"), "invalid_response"),
        (error(r#"{"object":"error","message":"late","type":"x"}"#), "answer_failed"),
        (error(r#"{"message":"m","code":"context_length_exceeded"}"#), "context_overflow"),
        (error(r#"{"message":"m","type":"content_filter"}"#), "content_policy"),
        (error(r#"{"message":"m","code":500}"#), "server"),
        (error("\"text\""), "answer_failed"),
    ];
    for (body, kind) in cases {
        let shown = body.clone();
        let server = Server::start(move |_, _| events(&body)).await;
        let mut stream = server.nim().chat("m").stream(&[Message::user("u")]).await.expect("one");
        assert_eq!(stream.next().await, Ok(Some(ChatDelta::Text("w".to_owned()))), "{shown}");
        let error = stream.next().await.expect_err("no end");
        assert_eq!(error.kind(), kind, "{shown} gave {error:?}");
        assert!(stream.next().await.is_err(), "{shown}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_read_whole() {
    let call = json!({"id": "a", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"choices": [{"message": {"content": "<think>r</think>c",
        "tool_calls": [call]}, "finish_reason": "tool_calls"}], "usage": {"total_tokens": 1}});
    let body = body.to_string();
    let server =
        Server::start(move |_, _| answer(200, "content-type: application/json\r\n", &body)).await;
    let (deltas, whole) = read(&server).await.expect("an answer");
    assert_eq!(deltas.len(), 5);
    assert_eq!(deltas[0], ChatDelta::Reasoning("r".to_owned()));
    assert_eq!((text(&deltas).as_str(), whole.content.as_str()), ("c", "c"));
    assert_eq!(whole.tool_calls[0].name, "f");

    let server = Server::start(|_, _| answer(200, "content-type: text/html\r\n", "<html>")).await;
    let found = read(&server).await;
    assert!(matches!(found, Err(NimError::InvalidResponse { .. })), "{found:?}");
}

#[tokio::test]
async fn events_without_empty_lines_between_them_are_read_one_by_one() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\ndata: [DONE]\n";
    let server = Server::start(move |_, _| events(body)).await;
    let (deltas, whole) = read(&server).await.expect("a stream");
    assert_eq!((text(&deltas).as_str(), whole.content.as_str()), ("ab", "ab"));
}

#[tokio::test]
async fn a_silent_stream_ends_by_timeout_or_deadline_and_a_dropped_read_loses_nothing() {
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"w\"}}]}\n\n";
    let server = Server::always([HEAD, word].concat(), Then::Hang).await;
    let short = Duration::from_millis(60);
    let nim = server.builder().attempt_timeout(short).retry(RetryPolicy::new().tries(1));
    let nim = nim.build().expect("a client");
    let messages = [Message::user("u")];
    let mut stream = nim.chat("m").stream(&messages).await.expect("a first event");
    assert_eq!(stream.next().await, Ok(Some(ChatDelta::Text("w".to_owned()))));
    let silent = stream.next().await;
    assert!(matches!(silent, Err(NimError::Timeout { .. })), "{silent:?}");

    let options = CallOptions::new().timeout(short);
    let stream = server.nim().chat("m").stream_with(&messages, options).await;
    let mut stream = stream.expect("a first event");
    assert_eq!(stream.next().await, Ok(Some(ChatDelta::Text("w".to_owned()))));
    let cut = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
    assert!(cut.is_err());
    assert_eq!(stream.next().await, Err(NimError::DeadlineExceeded));
}
