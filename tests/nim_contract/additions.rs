//! What the tests of two other clients add: NVIDIA's own ingest (`test_remote_embedding_http`,
//! `test_nemotron_rerank_v2`) and ogx (`test_rerank_inference`).

use std::time::Duration;

use portolan::nim::{InputType, Nim, NimError, ResponseFault, RetryPolicy};
use serde_json::json;

use crate::server::{Server, answer, embedded, ok};
use crate::service::{EMBED, RANK};

#[tokio::test]
async fn a_503_and_then_an_answer_are_two_calls() {
    let server = Server::start(|n, request| match n {
        0 => answer(503, "", "temporarily unavailable"),
        _ => embedded(request),
    })
    .await;
    let found = server.nim().embedder(EMBED).embed(&["a"], InputType::Passage).await;
    let found = found.expect("the second answer");
    assert_eq!((found.cost.requests, found.cost.retries), (2, 1));
}

#[tokio::test]
async fn a_400_is_one_call_and_its_detail_is_kept() {
    let server = Server::start(|_, _| answer(400, "", r#"{"detail":"set modality='text'"}"#)).await;
    let error = server.nim().embedder(EMBED).embed(&["a"], InputType::Passage).await;
    let error = error.expect_err("a refusal");
    assert!(matches!(error, NimError::BadRequest(_)), "{error:?}");
    assert_eq!(error.reply().expect("a reply").message, "set modality='text'");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn retry_after_7_is_seven_seconds() {
    let server = Server::start(|_, _| answer(429, "Retry-After: 7\r\n", "")).await;
    let nim = server.builder().retry(RetryPolicy::new().tries(1)).build().expect("a client");
    let error = nim.embedder(EMBED).embed(&["a"], InputType::Passage).await.expect_err("429");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn rankings_in_another_order_are_realigned() {
    let body = json!({"rankings": [{"index": 2, "logit": 0.1}, {"index": 0, "logit": 0.8},
        {"index": 1, "logit": 0.5}]});
    let server = Server::start(move |_, _| ok(&body)).await;
    let url = format!("{}/v1/", server.url);
    let nim = Nim::builder().base_url(url).build().expect("a client");
    let found = nim.reranker(RANK).rank("q", &["a", "b", "c"]).await.expect("scores");
    let mut logits = [0.0; 3];
    for score in &found.scores {
        logits[score.index] = score.logit;
    }
    assert_eq!(logits, [0.8, 0.5, 0.1]);
    let sent = &server.requests()[0];
    assert_eq!(sent.line, "POST /v1/ranking HTTP/1.1");
    assert_eq!(sent.header("authorization"), None);
    assert_eq!(sent.json().get("top_n"), None);
}

#[tokio::test]
async fn a_url_that_ends_in_rerank_speaks_the_other_schema() {
    let body = json!({"results": [{"index": 1, "relevance_score": 0.9},
        {"index": 0, "relevance_score": 0.2}]});
    let server = Server::start(move |_, _| ok(&body)).await;
    for path in ["/v1/rerank", "/v1/rerank/", "/v2/rerank", "/rerank"] {
        let url = format!("{}{path}", server.url);
        let nim = Nim::builder().rerank_url(url).embed_url(&server.url).build().expect(path);
        let found = nim.reranker("nvidia/nvidia/r").rank("q", &["a", "b"]).await.expect(path);
        assert_eq!((found.scores[0].index, found.scores[0].relevance()), (1, 0.9));
        let sent = server.requests().pop().expect("a request");
        assert_eq!(sent.line, format!("POST {} HTTP/1.1", path.trim_end_matches('/')));
        let body = json!({"model": "nvidia/nvidia/r", "query": "q", "documents": ["a", "b"],
            "top_n": 2});
        assert_eq!(sent.json(), body);
    }
}

/// ogx takes an answer without `rankings` for an empty one; that would lose every passage.
#[tokio::test]
async fn an_answer_without_rankings_is_an_error() {
    let server = Server::start(|_, _| ok(&json!({"usage": {}}))).await;
    let error = server.nim().reranker(RANK).rank("q", &["a"]).await.expect_err("nothing");
    let is_json = |what: &ResponseFault| matches!(what, ResponseFault::Json { .. });
    assert!(matches!(&error, NimError::InvalidResponse { what, .. } if is_json(what)), "{error:?}");
}

#[tokio::test]
async fn any_other_status_is_an_error_with_status_and_text() {
    let server = Server::start(|_, _| answer(418, "", "short and stout")).await;
    let error = server.nim().reranker(RANK).rank("q", &["a"]).await.expect_err("a teapot");
    assert_eq!(error.status(), Some(418));
    assert!(error.to_string().contains("short and stout"));
}
