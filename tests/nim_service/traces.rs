//! What a `tracing` subscriber sees: spans with sizes and ends, no key, no text unless asked.

use portolan::nim::{InputType, Message, Nim};

use crate::server::{Server, answer, embedded, raw};
use crate::span_log::Log;

const KEY: &str = "nvapi-canary-0123456789";
const SECRET_TEXT: &str = "the treaty of Tordesillas";

/// Calls every kind of endpoint, with an echo of text and key in each failure.
async fn traced(set: impl Fn(portolan::nim::NimBuilder) -> portolan::nim::NimBuilder) -> String {
    let server = Server::start(|n, request| {
        let echo = format!("{{\"detail\":\"{KEY} {SECRET_TEXT}\"}}");
        match n {
            0 => answer(503, &format!("x-request-id: id-7\r\nx-echo: {KEY}\r\n"), echo),
            1 => embedded(request),
            2 => answer(400, "", echo),
            3 => answer(
                200,
                "nvcf-reqid: id-8\r\n",
                serde_json::json!({"choices": [{"message": {"content": SECRET_TEXT}}]}).to_string(),
            ),
            _ => raw(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
                     data: {{\"choices\":[{{\"delta\":{{\"content\":\"{SECRET_TEXT}\"}}}}]}}\n\n\
                     data: [DONE]\n\n"
                ),
                crate::server::Then::Close,
            ),
        }
    })
    .await;
    let nim: Nim = set(server.builder().api_key(KEY).header("x-other", KEY)).build().expect("one");
    let log = Log::default();
    let listening = log.listen();
    let texts = [SECRET_TEXT];
    nim.embedder("m").embed(&texts, InputType::Query).await.expect("the second try");
    nim.reranker("m").rank(SECRET_TEXT, &texts).await.expect_err("a refusal");
    let messages = [Message::user(SECRET_TEXT)];
    nim.chat("m").complete(&messages).await.expect("an answer");
    nim.chat("m").stream(&messages).await.expect("a stream").finish().await.expect("its end");
    drop(listening);
    log.lines().join("\n")
}

#[tokio::test]
async fn spans_tell_sizes_ids_and_ends_without_texts_or_keys() {
    let seen = traced(|builder| builder).await;
    assert!(!seen.contains("canary") && !seen.contains("Tordesillas"), "{seen}");
    for part in [
        "nim.call method=\"POST\"",
        "/v1/embeddings bytes=",
        "/v1/ranking",
        "/v1/chat/completions",
        "nim.try number=0",
        "nim.try number=1",
        "kind=\"server\" status=503 request_id=\"id-7\" wait_ms=",
        "kind=\"bad_request\" status=400",
        "request_id=\"id-8\"",
        "answered",
    ] {
        assert!(seen.contains(part), "no {part} in\n{seen}");
    }
}

#[tokio::test]
async fn texts_are_traced_on_request_and_keys_never() {
    let seen = traced(|builder| builder.trace_texts(true)).await;
    assert!(!seen.contains("canary"), "{seen}");
    assert!(seen.matches("Tordesillas").count() >= 6, "{seen}");
    for what in ["request", "answer", "refusal", "event"] {
        assert!(seen.contains(&format!("what=\"{what}\"")), "no {what} in\n{seen}");
    }
}

#[tokio::test]
async fn a_deprecated_model_and_an_old_name_are_warned_of() {
    let nim = Nim::builder().base_url("http://localhost:8000").build().expect("a client");
    let told = |ask: &dyn Fn()| {
        let log = Log::default();
        let listening = log.listen();
        ask();
        drop(listening);
        log.lines().join("\n")
    };
    let embedder = |name: &'static str| told(&|| drop(nim.embedder(name)));
    let seen = embedder("nvidia/llama-3.2-nv-embedqa-1b-v2");
    let replacement = "replacement=\"nvidia/llama-nemotron-embed-1b-v2\"";
    assert!(seen.contains("deprecated") && seen.contains(replacement), "{seen}");
    let seen = embedder("ai-embed-qa-4");
    assert!(seen.contains("model=\"ai-embed-qa-4\" sent=\"NV-Embed-QA\""), "{seen}");
    assert!(embedder("my/model").contains("unknown"));
    assert_eq!(embedder("nvidia/llama-nemotron-embed-1b-v2"), "");
    let seen = told(&|| drop(nim.reranker("nvidia/llama-3.2-nv-rerankqa-1b-v2")));
    assert!(seen.contains("replacement=\"nvidia/llama-nemotron-rerank-1b-v2\""), "{seen}");
    assert_eq!(told(&|| drop(nim.reranker("nvidia/llama-nemotron-rerank-1b-v2"))), "");
}
