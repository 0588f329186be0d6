//! Case 3, `test_202_polling`: an accepted request is asked for at the status address. The status
//! address of the hosted gateway is known to the client; here a server in the process stands in.

use portolan::nim::{InputType, NimError, ResponseFault, Service};
use serde_json::json;

use crate::server::{Server, answer, ok};
use crate::service::{EMBED, KEY, RANK};

const ID: &str = "NVCF-REQID: test-request-id\r\n";

#[tokio::test]
async fn case_3_models_post_and_poll_are_three_requests_with_the_key_on_each() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "GET /v1/models HTTP/1.1" => ok(&json!({"object": "list", "data": [{"id": EMBED}]})),
        "POST /v1/embeddings HTTP/1.1" => answer(202, ID, "{}"),
        "GET /v2/nvcf/pexec/status/test-request-id HTTP/1.1" => {
            ok(&json!({"data": [{"index": 0, "embedding": [1.0, 2.0]}]}))
        }
        other => panic!("{other}"),
    })
    .await;
    let poll = format!("{}/v2/nvcf/pexec/status", server.url);
    let nim = server.builder().api_key(KEY).poll_url(poll).build().expect("a client");
    assert_eq!(nim.models(Service::Embedding).await.expect("a list"), [EMBED]);
    let found = nim.embedder(EMBED).embed(&["a"], InputType::Query).await.expect("a vector");
    assert_eq!((found.vectors, found.cost.requests), (vec![vec![1.0, 2.0]], 2));
    let sent = server.requests();
    assert_eq!(sent.len(), 3);
    for request in sent {
        assert_eq!(request.header("authorization"), Some("Bearer nvapi-contract"));
    }
}

#[tokio::test]
async fn case_3_ranking_is_polled_alike_and_a_failure_found_by_polling_is_typed() {
    let server = Server::start(|n, _| match n {
        0 | 2 => answer(202, ID, "{}"),
        1 => ok(&json!({"rankings": [{"index": 0, "logit": 1.5}]})),
        _ => answer(422, "", r#"{"title": "Bad", "status": 422, "detail": "no"}"#),
    })
    .await;
    let nim = server.builder().poll_url(&server.url).build().expect("a client");
    let found = nim.reranker(RANK).rank("q", &["a"]).await.expect("a score");
    assert_eq!(found.scores[0].logit, 1.5);
    let error = nim.reranker(RANK).rank("q", &["a"]).await.expect_err("a refusal");
    assert!(matches!(error, NimError::BadRequest(_)), "{error:?}");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn case_3_an_accepted_request_without_an_id_fails() {
    let server = Server::start(|_, _| answer(202, "", "{}")).await;
    let nim = server.builder().poll_url(&server.url).build().expect("a client");
    let error = nim.reranker(RANK).rank("q", &["a"]).await.expect_err("no id");
    let what = ResponseFault::Accepted;
    assert!(matches!(error, NimError::InvalidResponse { what: found, .. } if found == what));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_status_request_that_fails_for_once_is_repeated_and_the_work_is_not_sent_again() {
    let server = Server::start(|n, _| match n {
        0 => answer(202, ID, "{}"),
        1 | 2 => answer(503, "", r#"{"detail": "busy"}"#),
        3 => answer(202, ID, "{}"),
        4 => answer(429, "retry-after: 0\r\n", ""),
        _ => ok(&json!({"rankings": [{"index": 0, "logit": 1.5}]})),
    })
    .await;
    let nim = server.builder().poll_url(&server.url).build().expect("a client");
    let found = nim.reranker(RANK).rank("q", &["a"]).await.expect("a score");
    assert_eq!((found.scores[0].logit, found.cost.retries), (1.5, 0));
    let sent = server.requests();
    let posts = sent.iter().filter(|request| request.line.starts_with("POST")).count();
    assert_eq!((posts, sent.len()), (1, 6));
}
