//! What the transport does beyond one request: retry budget, circuit breaker, requests per minute,
//! meter, proxy, headers, status polling, health, metadata, key check.

use std::time::Duration;

use portolan::nim::{
    CallOptions, CircuitBreaker, Embeddings, InputType, Nim, NimError, RetryBudget, RetryPolicy,
    Service,
};
use serde_json::json;

use crate::server::{Server, Then, answer, embedded, ok, raw};

const KEY: &str = "nvapi-canary-0123456789";

async fn embed(nim: &Nim) -> Result<Embeddings, NimError> {
    nim.embedder("m").embed(&["a"], InputType::Query).await
}

fn instant() -> RetryPolicy {
    RetryPolicy::new().tries(4).base(Duration::ZERO)
}

#[tokio::test]
async fn retries_end_with_the_budget_that_clones_share() {
    let server = Server::start(|_, _| answer(503, "", "busy")).await;
    let budget = RetryBudget::new().burst(4).share(0.0).per_second(0.0);
    let builder = server.builder().circuit_breaker(CircuitBreaker::off());
    let nim = builder.retry_budget(budget).build().expect("a client");
    let clone = nim.clone();
    embed(&nim).await.expect_err("never well");
    assert_eq!(server.requests().len(), 4);
    embed(&clone).await.expect_err("never well");
    assert_eq!(server.requests().len(), 6);
    embed(&nim).await.expect_err("never well");
    assert_eq!(server.requests().len(), 7);
    let seen = nim.meter();
    assert_eq!((seen.cost.requests, seen.cost.retries), (7, 4));
    assert_eq!((seen.failures, seen.retries_denied), (7, 2));
    assert_eq!(seen, clone.meter());

    // A wait that the server asks for costs nothing of it; one of no time is none.
    for (headers, requests) in [("retry-after: 1\r\n", 2), ("retry-after: 0\r\n", 1)] {
        let asked = Server::start(move |_, _| answer(429, headers, "")).await;
        let builder = asked.builder().retry_budget(RetryBudget::new().burst(0).share(0.0));
        let nim = builder.retry(RetryPolicy::new().tries(2)).build().expect("a client");
        embed(&nim).await.expect_err("never well");
        assert_eq!(asked.requests().len(), requests, "{headers}");
    }
}

#[tokio::test]
async fn an_address_that_keeps_failing_is_left_alone_and_tried_by_one_request() {
    let server = Server::start(|n, request| match n {
        0..3 => answer(500, "", "broken"),
        _ if request.line.contains("ranking") => {
            ok(&json!({"rankings": [{"index": 0, "logit": 1}]}))
        }
        _ => embedded(request),
    })
    .await;
    let breaker = CircuitBreaker::new().failures(3).cooldown(Duration::from_millis(200));
    let builder = server.builder().retry(instant().tries(9)).circuit_breaker(breaker);
    let nim = builder.build().expect("a client");
    let first = embed(&nim).await.expect_err("three failures");
    assert_eq!((first.status(), server.requests().len()), (Some(500), 3));
    let second = embed(&nim).await.expect_err("an open circuit");
    assert!(matches!(second, NimError::CircuitOpen { .. }), "{second:?}");
    assert!(second.is_retryable());
    let wait = second.retry_after().expect("a time");
    assert!(wait <= Duration::from_millis(200), "{wait:?}");
    assert_eq!(server.requests().len(), 3);
    // The circuit of one address is not that of another.
    nim.reranker("m").rank("q", &["a"]).await.expect("a ranking");
    tokio::time::sleep(wait).await;
    embed(&nim).await.expect("the probe");
    embed(&nim).await.expect("a closed circuit");
    let seen = nim.meter();
    assert_eq!((seen.circuits_opened, seen.circuit_refusals), (1, 1));
}

#[tokio::test]
async fn refusals_do_not_open_a_circuit() {
    let server = Server::start(|_, _| answer(400, "", "no")).await;
    let breaker = CircuitBreaker::new().failures(1);
    let nim = server.builder().circuit_breaker(breaker).build().expect("a client");
    for _ in 0..3 {
        let error = embed(&nim).await.expect_err("a refusal");
        assert!(matches!(error, NimError::BadRequest(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_dropped_probe_lets_another_try() {
    let server = Server::start(|n, request| match n {
        0 => answer(500, "", ""),
        1 => raw("", Then::Hang),
        _ => embedded(request),
    })
    .await;
    let breaker = CircuitBreaker::new().failures(1).cooldown(Duration::ZERO);
    let nim = server.builder().circuit_breaker(breaker).build().expect("a client");
    embed(&nim).await.expect_err("a failure");
    let soon = CallOptions::new().timeout(Duration::from_millis(30));
    let model = nim.embedder("m");
    let dropped = model.embed_with(&["a"], InputType::Query, soon).await;
    assert_eq!(dropped, Err(NimError::DeadlineExceeded));
    embed(&nim).await.expect("another probe");
}

#[tokio::test]
async fn requests_per_minute_are_kept_and_a_deadline_before_its_turn_ends_a_call() {
    let server = Server::start(|_, request| embedded(request)).await;
    let nim = server.builder().requests_per_minute(2).build().expect("a client");
    embed(&nim).await.expect("the first");
    embed(&nim.clone()).await.expect("the second");
    let options = CallOptions::new().timeout(Duration::from_secs(5));
    let model = nim.embedder("m");
    let third = model.embed_with(&["a"], InputType::Query, options).await.expect_err("no room");
    assert!(matches!(third, NimError::Paced { requests_per_minute: 2, .. }), "{third:?}");
    assert!(third.retry_after().is_some_and(|wait| wait > Duration::from_secs(50)));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn clients_of_one_builder_and_its_clones_share_the_limit_of_a_minute() {
    let server = Server::start(|_, request| embedded(request)).await;
    let builder = server.builder().requests_per_minute(2).attempt_timeout(Duration::from_secs(5));
    let other = builder.clone().read_timeout(Duration::from_secs(5)).build().expect("a client");
    let apart = builder.clone().requests_per_minute(1).build().expect("a client");
    let one = builder.build().expect("a client");
    embed(&one).await.expect("the first");
    embed(&other).await.expect("the second");
    let options = CallOptions::new().timeout(Duration::from_secs(5));
    for nim in [&one, &other] {
        let model = nim.embedder("m");
        let third = model.embed_with(&["a"], InputType::Query, options).await.expect_err("no room");
        assert!(matches!(third, NimError::Paced { requests_per_minute: 2, .. }), "{third:?}");
    }
    embed(&apart).await.expect("a limit of its own");
}

#[tokio::test]
async fn status_requests_count_as_requests_of_the_minute() {
    let server = Server::start(|_, _| answer(202, "NVCF-REQID: id-1\r\n", "{}")).await;
    let builder = server.builder().poll_url(format!("{}/poll", server.url));
    let builder = builder.requests_per_minute(2).attempt_timeout(Duration::from_secs(5));
    let error = embed(&builder.build().expect("a client")).await.expect_err("no room");
    assert!(matches!(error, NimError::Paced { requests_per_minute: 2, .. }), "{error:?}");
    let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["POST /v1/embeddings HTTP/1.1", "GET /poll/id-1 HTTP/1.1"]);
}

#[tokio::test]
async fn the_meter_counts_bytes_and_calls_tell_their_cost() {
    let server = Server::start(|_, request| embedded(request)).await;
    let nim = server.nim();
    embed(&nim).await.expect("a vector");
    let sent: usize = server.requests().iter().map(|request| request.body.len()).sum();
    let seen = nim.meter().cost;
    assert_eq!((seen.requests, seen.bytes_sent), (1, sent as u64));
    assert!(seen.bytes_received > 20 && !seen.exchange.is_zero());
}

#[tokio::test]
async fn a_proxy_is_used_when_set_and_only_then() {
    let proxy = Server::start(|_, request| embedded(request)).await;
    let target = "http://127.0.0.1:9/v1";
    let nim = Nim::builder().base_url(target).proxy(&proxy.url).build().expect("a client");
    embed(&nim).await.expect("by the proxy");
    let sent = proxy.requests();
    assert_eq!(sent[0].line, "POST http://127.0.0.1:9/v1/embeddings HTTP/1.1");
    assert_eq!(sent[0].header("proxy-authorization"), None);
}

#[tokio::test]
async fn a_proxy_that_asks_for_a_login_gets_it_and_cannot_have_it_shown() {
    let login = "Basic dXNlcjpjYW5hcnktb2YtcHJveHk=";
    let echo = r#"{"error": "no way for user:canary-of-proxy, dXNlcjpjYW5hcnktb2YtcHJveHk="}"#;
    let proxy = Server::start(move |n, request| match n {
        0 => embedded(request),
        1 => answer(400, "", echo),
        _ => answer(407, "", echo),
    })
    .await;
    let at = proxy.url.replace("http://", "http://user:canary-of-proxy@");
    let builder = Nim::builder().base_url("http://127.0.0.1:9/v1").proxy(at);
    assert!(!format!("{builder:?}").contains("canary"));
    let nim = builder.build().expect("a client");
    embed(&nim).await.expect("by the proxy");
    // "user:canary-of-proxy" in base64.
    assert_eq!(proxy.requests()[0].header("proxy-authorization"), Some(login));
    let error = embed(&nim).await.expect_err("refused");
    let shown = format!("{error} {error:?} {nim:?}");
    assert!(!shown.contains("canary") && !shown.contains("dXNlcjpj"), "{shown}");
    // What the proxy refuses is told of the proxy, and not tried again.
    let error = embed(&nim).await.expect_err("refused");
    assert!(matches!(error, NimError::ProxyLogin { .. }), "{error:?}");
    assert_eq!((error.status(), proxy.requests().len()), (Some(407), 3));
    let error = nim.check_key(Service::Embedding, "m").await.expect_err("refused");
    assert!(matches!(error, NimError::ProxyLogin { .. }), "{error:?}");
    // Of an https address it is what the proxy says to CONNECT.
    let builder = Nim::builder().base_url("https://127.0.0.1:9/v1").proxy(&proxy.url);
    let error = embed(&builder.build().expect("a client")).await.expect_err("refused");
    assert!(matches!(error, NimError::ProxyLogin { .. }), "{error:?}");
}

#[tokio::test]
async fn the_gateway_is_asked_to_hold_requests_where_it_can_be_polled() {
    let server = Server::start(|n, request| match n {
        0 => answer(202, "NVCF-REQID: id-1\r\n", "{}"),
        _ => {
            let body = json!({"data": [{"index": 0, "embedding": [1]}]});
            let (code, held) = ("GET /poll/id-1 HTTP/1.1", request.header("nvcf-poll-seconds"));
            assert!(n > 1 || (request.line == code && held == Some("3")), "{request:?}");
            ok(&body)
        }
    })
    .await;
    let poll = format!("{}/poll", server.url);
    let builder = server.builder().poll_url(poll).poll_hold(Duration::from_secs(3));
    let found = embed(&builder.build().expect("a client")).await.expect("a vector");
    assert_eq!(found.cost.requests, 2);
    embed(&server.nim()).await.expect("a vector");
    let held: Vec<_> =
        server.requests().iter().map(|r| r.header("nvcf-poll-seconds").is_some()).collect();
    assert_eq!(held, [true, true, false]);
}

#[tokio::test]
async fn health_metadata_and_version_are_small_reads_without_the_key() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "GET /v1/health/live HTTP/1.1" => ok(&json!({"status": "live"})),
        "GET /v1/metadata HTTP/1.1" => ok(&json!({"a": [{"k": KEY}, 7], "b": null})),
        "GET /v1/version HTTP/1.1" => ok(&json!("2.0.0")),
        other => panic!("{other}"),
    })
    .await;
    let nim = server.builder().api_key(KEY).build().expect("a client");
    assert_eq!(nim.health_live(Service::Chat).await, Ok(true));
    let found = nim.metadata(Service::Ranking).await.expect("a document");
    assert_eq!(found, json!({"a": [{"k": "[redacted]"}, 7], "b": null}));
    assert_eq!(nim.version(Service::Embedding).await, Ok(json!("2.0.0")));
}

#[tokio::test]
async fn the_key_is_checked_by_an_empty_object() {
    let cases = [
        (401, Some("unauthorized")),
        (403, Some("forbidden")),
        (400, None),
        (404, None),
        (422, None),
        (500, None),
        (503, Some("server")),
        (302, Some("unexpected_status")),
        (200, None),
    ];
    for (status, kind) in cases {
        let server = Server::start(move |_, _| answer(status, "", "{}")).await;
        let nim = server.builder().api_key(KEY).build().expect("a client");
        let found = nim.check_key(Service::Embedding, "m").await;
        assert_eq!(found.as_ref().err().map(NimError::kind), kind, "{status}");
        let sent = server.requests();
        assert_eq!((sent.len(), sent[0].body.as_slice()), (1, b"{}".as_slice()));
        assert_eq!(sent[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
    }
}
