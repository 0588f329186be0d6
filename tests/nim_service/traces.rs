//! What a `tracing` subscriber sees: spans with sizes and ends, no key, no text unless asked.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portolan::nim::{InputType, Message, Nim};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::server::{Server, answer, embedded, ok, raw};

const KEY: &str = "nvapi-canary-0123456789";
const SECRET_TEXT: &str = "the treaty of Tordesillas";

/// Writes every span and event of this client, with all fields, as one line each.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes all");
    }
}

impl Log {
    fn add(&self, name: &str, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(name.to_owned());
        record(&mut fields);
        self.lines.lock().expect("the log").push(fields.0);
    }

    fn text(&self) -> String {
        self.lines.lock().expect("the log").join("\n")
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.add(span.metadata().name(), |fields| span.record(fields));
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.add("record", |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.add(event.metadata().target(), |fields| event.record(fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Calls every kind of endpoint, with an echo of text and key in each failure.
async fn traced(set: impl Fn(portolan::nim::NimBuilder) -> portolan::nim::NimBuilder) -> String {
    let server = Server::start(|n, request| {
        let echo = format!("{{\"detail\":\"{KEY} {SECRET_TEXT}\"}}");
        match n {
            0 => answer(503, &format!("x-request-id: id-7\r\nx-echo: {KEY}\r\n"), echo),
            1 => embedded(request),
            2 => answer(400, "", echo),
            3 => ok(&serde_json::json!({"choices": [{"message": {"content": SECRET_TEXT}}]})),
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
    // Two dispatchers: with one alone, a span that another thread meets first is off for all, as
    // that thread has no subscriber.
    let _second = tracing::Dispatch::new(log.clone());
    let guard = tracing::subscriber::set_default(log.clone());
    let texts = [SECRET_TEXT];
    nim.embedder("m").embed(&texts, InputType::Query).await.expect("the second try");
    nim.reranker("m").rank(SECRET_TEXT, &texts).await.expect_err("a refusal");
    let messages = [Message::user(SECRET_TEXT)];
    nim.chat("m").complete(&messages).await.expect("an answer");
    nim.chat("m").stream(&messages).await.expect("a stream").finish().await.expect("its end");
    drop(guard);
    log.text()
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
