//! What is tried again and what is not, deadlines, status polling, health.

use std::time::{Duration, Instant};

use portolan::nim::{CallOptions, Embeddings, InputType, Nim, NimError, RetryPolicy, Service};
use serde_json::json;
use tokio::net::TcpListener;

use crate::server::{Server, Step, Then, answer, embedded, ok, raw};

async fn embed(nim: &Nim) -> Result<Embeddings, NimError> {
    nim.embedder("m").embed(&["a"], InputType::Query).await
}

/// A server that fails in one way until request number `good`, then answers.
async fn failing(good: usize, failure: impl Fn() -> Step + Send + Sync + 'static) -> Server {
    Server::start(move |n, request| if n < good { failure() } else { embedded(request) }).await
}

#[tokio::test]
async fn an_error_under_status_200_is_tried_again_as_its_code_says() {
    for (code, requests) in [(503, 3), (429, 3), (400, 1)] {
        let words = json!({"error": {"code": code, "message": "Loading model"}});
        let server = failing(2, move || ok(&words)).await;
        let found = embed(&server.nim()).await;
        assert_eq!((found.is_ok(), server.requests().len()), (requests == 3, requests), "{code}");
    }
    // Beside a result it is no failure.
    let beside = json!({"error": "none", "data": [{"index": 0, "embedding": [1.0]}]});
    let server = failing(1, move || ok(&beside)).await;
    assert_eq!(embed(&server.nim()).await.expect("a vector").cost.requests, 1);
}

#[tokio::test]
async fn a_refusal_whose_body_does_not_come_keeps_its_status() {
    for (status, kind, requests) in [(401, "unauthorized", 1), (503, "server", 4)] {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 99\r\n\r\n{{\"detail\":\"");
        let server = Server::always(head, Then::Hang).await;
        let patience = Duration::from_millis(400);
        let builder = server.builder().attempt_timeout(patience).read_timeout(patience);
        let refused = embed(&builder.build().expect("a client")).await.expect_err("a refusal");
        assert_eq!((refused.kind(), server.requests().len()), (kind, requests), "{refused}");
    }
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let server = failing(2, move || answer(status, "", "busy")).await;
        let found = embed(&server.nim()).await.expect("the third try");
        assert_eq!((found.cost.requests, found.cost.retries), (3, 2), "{status}");
        let bodies: Vec<Vec<u8>> = server.requests().into_iter().map(|r| r.body).collect();
        assert!(bodies.iter().all(|b| *b == bodies[0]) && bodies.len() == 3);
    }
}

#[tokio::test]
async fn a_broken_exchange_is_tried_again() {
    for then in [Then::Close, Then::Reset] {
        for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"data\":["] {
            let server = failing(1, move || raw(bytes, then)).await;
            let found = embed(&server.nim()).await.expect("the second try");
            assert_eq!(found.vectors, [[1.0, 1.0]]);
            assert_eq!(server.requests().len(), 2, "{bytes}");
        }
        let bytes = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
        let server = Server::always(bytes, then).await;
        let error = embed(&server.nim()).await.expect_err("never whole");
        assert!(matches!(error, NimError::Disconnected { .. }), "{error:?}");
        assert!(error.is_retryable());
        assert_eq!(server.requests().len(), 4);
    }
}

#[tokio::test]
async fn permanent_refusals_are_sent_once() {
    for status in [301, 400, 401, 402, 403, 404, 405, 410, 413, 422, 501] {
        let server = Server::start(move |_, _| answer(status, "", r#"{"detail":"no"}"#)).await;
        let error = embed(&server.nim()).await.expect_err("a refusal");
        assert_eq!((error.status(), server.requests().len()), (Some(status), 1), "{error:?}");
        assert!(!error.is_retryable(), "{error:?}");
        let is_expected = match status {
            401 => matches!(error, NimError::Unauthorized(_)),
            402 | 403 => matches!(error, NimError::Forbidden(_)),
            404 | 410 => matches!(error, NimError::NotFound(_)),
            413 => matches!(error, NimError::InputTooLong { index: 0, .. }),
            301 => matches!(error, NimError::UnexpectedStatus(_)),
            501 => matches!(error, NimError::Server { .. }),
            _ => matches!(error, NimError::BadRequest(_)),
        };
        assert!(is_expected, "{status} gave {error:?}");
    }
}

#[tokio::test]
async fn the_last_refusal_is_reported_after_all_tries() {
    let headers = "nvcf-reqid: req-1\r\n";
    let server = Server::start(move |_, _| answer(503, headers, "<html>\nno worker</html>")).await;
    let nim = server.builder().retry(RetryPolicy::new().tries(3).cap(Duration::ZERO)).build();
    let error = embed(&nim.expect("a client")).await.expect_err("503 for ever");
    assert_eq!(server.requests().len(), 3);
    assert!(matches!(error, NimError::Server { .. }) && error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("503") && text.contains("(request req-1): <html>\\nno worker</html>"));
}

#[tokio::test]
async fn retry_after_replaces_the_back_off() {
    // A back-off of years would not end; the second that the server asks for does.
    let patient = RetryPolicy::new().base(Duration::from_secs(1 << 40)).cap(Duration::MAX);
    let server = failing(1, || answer(429, "retry-after: 1\r\n", "")).await;
    let nim = server.builder().retry(patient).build().expect("a client");
    let found = embed(&nim).await.expect("the second try");
    assert_eq!((found.cost.retries, found.cost.paused), (1, Duration::from_secs(1)));
    // What asks for no wait is no answer to how long: the back-off decides.
    for text in ["soon", "0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let headers = format!("retry-after: {text}\r\n");
        let server = failing(1, move || answer(429, &headers, "")).await;
        assert_eq!(embed(&server.nim()).await.expect("it is ignored").cost.retries, 1, "{text}");
        let headers = format!("retry-after: {text}\r\n");
        let server = failing(1, move || answer(429, &headers, "")).await;
        let nim = server.builder().retry(patient).build().expect("a client");
        let options = CallOptions::new().timeout(Duration::from_secs(5));
        let model = nim.embedder("m");
        let error = model.embed_with(&["a"], InputType::Query, options).await.expect_err("years");
        assert!(matches!(error, NimError::RateLimited { retry_after: None, .. }), "{error:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_retry_after_beyond_cap_or_deadline_ends_the_call_at_once() {
    let server = Server::start(|_, _| answer(429, "retry-after: 315360000\r\n", "")).await;
    let error = embed(&server.nim()).await.expect_err("ten years");
    assert!(matches!(error, NimError::RateLimited { .. }));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(315_360_000)));
    assert_eq!(server.requests().len(), 1);

    let server = Server::start(|_, _| answer(503, "retry-after: 50\r\n", "")).await;
    let options = CallOptions::new().timeout(Duration::from_secs(30));
    let model = server.nim().embedder("m");
    let error = model.embed_with(&["a"], InputType::Query, options).await.expect_err("50 > 30");
    assert_eq!((error.status(), server.requests().len()), (Some(503), 1));
}

#[tokio::test]
async fn a_slow_answer_meets_timeout_or_deadline() {
    for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"] {
        let server = Server::always(bytes, Then::Hang).await;
        let soon = Duration::from_millis(30);
        for builder in [server.builder().read_timeout(soon), server.builder().attempt_timeout(soon)]
        {
            let error = embed(&builder.build().expect("a client")).await.expect_err("no answer");
            assert!(matches!(error, NimError::Timeout { .. }), "{error:?}");
            assert!(error.is_retryable());
        }
        assert_eq!(server.requests().len(), 2);

        let options = CallOptions::new().timeout(soon);
        let model = server.nim().embedder("m");
        let found = model.embed_with(&["a"], InputType::Query, options).await;
        assert_eq!(found, Err(NimError::DeadlineExceeded));
        let ranked = server.nim().reranker("m").rank_with("q", &["a"], options.timeout(soon)).await;
        assert_eq!(ranked, Err(NimError::DeadlineExceeded));
    }
}

#[tokio::test]
async fn a_deadline_in_the_past_sends_nothing() {
    let server = Server::start(|_, request| embedded(request)).await;
    let options = CallOptions::new().deadline(Instant::now());
    let model = server.nim().embedder("m");
    let found = model.embed_with(&["a"], InputType::Query, options).await;
    assert_eq!(found, Err(NimError::DeadlineExceeded));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_refused_connection_is_typed_and_tried_again_within_the_policy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let policy = RetryPolicy::new().tries(2).base(Duration::ZERO);
    let nim = Nim::builder().base_url(&url).retry(policy).build().expect("a client");
    let error = embed(&nim).await.expect_err("nobody listens");
    assert!(matches!(error, NimError::Connect { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(error.status(), None);
}

#[tokio::test]
async fn a_dropped_call_leaves_the_client_usable_and_futures_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let server = Server::start(|n, request| match n {
        0 => raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", Then::Hang),
        _ => embedded(request),
    })
    .await;
    let nim = server.nim();
    let model = nim.embedder("m");
    let call = send(model.embed(&["a"], InputType::Query));
    let cut = tokio::time::timeout(Duration::from_millis(50), call).await;
    assert!(cut.is_err());
    let ranker = nim.reranker("m");
    drop(send(ranker.rank("q", &["a"])));
    assert_eq!(embed(&nim).await.expect("the next call").cost.requests, 1);
}

#[tokio::test]
async fn an_accepted_request_is_asked_for_until_it_is_done() {
    let server = Server::start(|n, request| match n {
        0 | 1 => answer(202, "NVCF-REQID: test-request-id\r\n", "{}"),
        // The first answer has said where to ask.
        2 => answer(202, "", "{}"),
        _ => {
            assert_eq!(request.line, "GET /status/test-request-id HTTP/1.1");
            assert_eq!(request.header("authorization"), Some("Bearer key-1"));
            ok(&json!({"data": [{"index": 0, "embedding": [1]}]}))
        }
    })
    .await;
    let builder = server.builder().api_key("key-1").poll_url(format!("{}/status/", server.url));
    let found = embed(&builder.build().expect("a client")).await.expect("a vector");
    assert_eq!((found.cost.requests, found.cost.retries), (4, 0));

    // Without an id, with one that could leave its path, or without a status address.
    for headers in ["", "nvcf-reqid: ../x\r\n", "nvcf-reqid: id\r\n"] {
        let server = Server::start(move |_, _| answer(202, headers, "{}")).await;
        let builder = match headers.ends_with("id\r\n") {
            true => server.builder(),
            false => server.builder().poll_url(&server.url),
        };
        let error = embed(&builder.build().expect("a client")).await.expect_err("no way to ask");
        assert!(matches!(error, NimError::InvalidResponse { .. }), "{error:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn health_and_models_are_small_reads() {
    let server = Server::start(|n, request| match (n, request.line.as_str()) {
        (0, "GET /v1/health/ready HTTP/1.1") => ok(&json!({"ready": true})),
        (1, "GET /v1/health/ready HTTP/1.1") => answer(503, "", "loading"),
        (_, "GET /v1/models HTTP/1.1") => {
            ok(&json!({"data": [{"id": "b", "root": "x"}, {"id": "a"}, {"id": "b"}]}))
        }
        other => panic!("{other:?}"),
    })
    .await;
    let nim = server.nim();
    assert_eq!(nim.health_ready(Service::Embedding).await, Ok(true));
    assert_eq!(nim.health_ready(Service::Ranking).await, Ok(false));
    assert_eq!(nim.models(Service::Embedding).await.expect("a list"), ["b", "a"]);
}
