//! Ranking calls: bodies sent, order, checks of the logits, batches.

use portolan::nim::{NimError, RankTruncate, Rankings, ResponseFault};
use serde_json::{Value, json};

use crate::server::{Server, answer, ok};

async fn rank(body: &str, passages: &[&str]) -> Result<Rankings, NimError> {
    let body = body.to_owned();
    let server = Server::start(move |_, _| answer(200, "", &body)).await;
    server.nim().reranker("m").rank("q", passages).await
}

fn order(found: &Rankings) -> Vec<(usize, f32)> {
    found.scores.iter().map(|s| (s.index, s.logit)).collect()
}

#[tokio::test]
async fn the_request_holds_exactly_four_fields() {
    let body = json!({"rankings": [{"index": 0, "logit": 1}, {"index": 1, "logit": 0}]});
    let server = Server::start(move |_, _| ok(&body)).await;
    let model = server.nim().reranker("nvidia/r");
    model.rank("q", &["a", "b"]).await.expect("scores");
    model.truncate(RankTruncate::None).rank("q", &["a", "b"]).await.expect("scores");
    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /v1/ranking HTTP/1.1");
    let mut expected = json!({"model": "nvidia/r", "query": {"text": "q"},
        "passages": [{"text": "a"}, {"text": "b"}], "truncate": "END"});
    assert_eq!(sent[0].json(), expected);
    expected["truncate"] = json!("NONE");
    assert_eq!(sent[1].json(), expected);
}

#[tokio::test]
async fn unsorted_rankings_are_placed_by_index_and_sorted() {
    let body = r#"{"rankings":[{"index":2,"logit":-3.5,"text":"x"},{"index":0,"logit":-8.25},
        {"index":3,"logit":-3.5},{"index":1,"logit":4}],"usage":{"prompt_tokens":7},"more":[1]}"#;
    let found = rank(body, &["a", "b", "c", "d"]).await.expect("scores");
    assert_eq!(order(&found), [(1, 4.0), (2, -3.5), (3, -3.5), (0, -8.25)]);
    assert_eq!((found.prompt_tokens, found.cost.requests, found.cost.retries), (Some(7), 1, 0));
    assert_eq!(found.top(2), &found.scores[..2]);
    assert_eq!(found.top(9), &found.scores[..]);
    assert_eq!(found.top(0), &[]);
    assert!((found.scores[0].relevance() - 0.982_014).abs() < 1e-6);
}

#[tokio::test]
async fn every_passage_needs_exactly_one_finite_logit() {
    let what = |found: Result<Rankings, NimError>| match found {
        Err(NimError::InvalidResponse { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let two = ["a", "b"];
    let count = |found| ResponseFault::Count { expected: 2, found };
    let cases = [
        (r#"{"rankings":[{"index":0,"logit":1}]}"#, count(1)),
        (r#"{"rankings":[]}"#, count(0)),
        (
            r#"{"rankings":[{"index":0,"logit":1},{"index":0,"logit":2}]}"#,
            ResponseFault::DuplicateIndex { index: 0 },
        ),
        (
            r#"{"rankings":[{"index":0,"logit":1},{"index":2,"logit":2}]}"#,
            ResponseFault::IndexOutOfRange { index: 2, inputs: 2 },
        ),
        (
            r#"{"rankings":[{"index":1,"logit":-1e39},{"index":0,"logit":2}]}"#,
            ResponseFault::NotFinite { index: 1 },
        ),
    ];
    for (body, fault) in cases {
        assert_eq!(what(rank(body, &two).await), fault, "{body}");
    }
    for body in [r#"{"results":[]}"#, r#"{"rankings":[{"index":0,"logit":null}]}"#] {
        assert!(matches!(what(rank(body, &two).await), ResponseFault::Json { .. }), "{body}");
    }
}

#[tokio::test]
async fn batches_are_merged_into_one_order() {
    let server = Server::start(|_, request| {
        let passages = request.json()["passages"].as_array().cloned().expect("passages");
        let logit = |p: &Value| p["text"].as_str().and_then(|t| t.parse::<f32>().ok());
        let rankings: Vec<Value> = passages
            .iter()
            .enumerate()
            .map(|(i, p)| json!({"index": i, "logit": logit(p)}))
            .collect();
        ok(&json!({"rankings": rankings}))
    })
    .await;
    let model = server.nim().reranker("m").batch_size(2);
    let found = model.rank("q", &["1", "9", "4", "7", "8"]).await.expect("scores");
    assert_eq!(order(&found), [(1, 9.0), (4, 8.0), (3, 7.0), (2, 4.0), (0, 1.0)]);
    assert_eq!((found.cost.requests, found.prompt_tokens), (3, None));
    let many = vec!["1"; 513];
    let most = server.nim().reranker("m").batch_size(9999);
    assert_eq!(most.rank("q", &many).await.expect("scores").cost.requests, 2);
}

#[tokio::test]
async fn calls_without_a_query_or_passages_send_nothing() {
    let server = Server::start(|_, _| answer(500, "", "")).await;
    let model = server.nim().reranker("m");
    let none = model.rank("q", &[]).await.expect("nothing to do");
    assert_eq!((none.scores.len(), none.cost.requests), (0, 0));
    assert_eq!(model.rank("", &["a"]).await, Err(NimError::EmptyQuery));
    assert_eq!(model.rank("q", &["a", ""]).await, Err(NimError::EmptyInput { index: 1 }));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_passage_that_is_too_long_is_found_and_named() {
    let server = Server::start(|_, request| match request.body.windows(4).any(|w| w == b"long") {
        true => answer(400, "", "Input length 16384 exceeds maximum allowed token size 8192"),
        false => {
            let count = request.json()["passages"].as_array().map_or(0, Vec::len);
            let items: Vec<Value> = (0..count).map(|i| json!({"index": i, "logit": 0})).collect();
            ok(&json!({"rankings": items}))
        }
    })
    .await;
    let model = server.nim().reranker("m").truncate(RankTruncate::None);
    let found = model.rank("q", &["a", "b", "c", "long"]).await;
    assert!(matches!(found, Err(NimError::InputTooLong { index: 3, .. })), "{found:?}");
}
