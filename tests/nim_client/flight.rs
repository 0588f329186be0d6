//! Many requests of one call: how many are in flight, what a failure does to the rest, what a
//! timeout does to later calls, and what is not sent twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use portolan::nim::{CallOptions, InputType, NimError, ResponseFault};
use serde_json::{Value, json};

use crate::server::{Request, Server, Step, Then, answer, embedded, ok, raw};

const PASSAGE: InputType = InputType::Passage;
const TEXTS: [&str; 12] =
    ["a", "bb", "ccc", "dddd", "e", "ff", "ggg", "hhhh", "i", "jj", "kkk", "llll"];

fn sizes(server: &Server) -> Vec<usize> {
    server.requests().iter().map(|request| request.inputs().len()).collect()
}

/// Answers once as many requests are there as `together`, and notes the most seen at once.
fn gate(together: usize, most: &Arc<AtomicUsize>) -> impl Fn(usize, &Request) -> Step + use<> {
    let (barrier, now, most) = (Barrier::new(together), AtomicUsize::new(0), Arc::clone(most));
    move |_, request| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // A worker that waits gives the tasks in its hands away first: the other one may be there.
        tokio::task::block_in_place(|| barrier.wait());
        now.fetch_sub(1, Ordering::SeqCst);
        embedded(request)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn as_many_requests_as_allowed_are_in_flight_and_no_more() {
    let most = Arc::new(AtomicUsize::new(0));
    let server = Server::start(gate(3, &most)).await;
    let model = server.nim().embedder("m").batch_size(1).concurrency(3);
    let found = model.embed(&TEXTS, PASSAGE).await.expect("vectors");
    let lengths: Vec<f32> = found.vectors.iter().map(|vector| vector[0]).collect();
    assert_eq!(lengths, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!((found.cost.requests, found.prompt_tokens), (12, Some(24)));
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn clones_share_the_bound() {
    let most = Arc::new(AtomicUsize::new(0));
    let server = Server::start(gate(2, &most)).await;
    let model = server.nim().embedder("m").batch_size(1).concurrency(2);
    let other = model.clone();
    let both = tokio::join!(model.embed(&TEXTS[..4], PASSAGE), other.embed(&TEXTS[4..8], PASSAGE));
    assert_eq!(
        (both.0.expect("vectors").cost.requests, both.1.expect("vectors").cost.requests),
        (4, 4)
    );
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_that_is_done_does_not_wait_for_the_requests_of_others() {
    let server = Server::start(|_, request| match request.inputs()[0].as_str() {
        "hang" => raw("", Then::Hang),
        _ => embedded(request),
    })
    .await;
    let model = server.nim().embedder("m").concurrency(2);
    // In this order the last call is next in line for the seat that the second gives up.
    tokio::select! {
        biased;
        hung = model.embed(&["hang"], PASSAGE) => panic!("{hung:?}"),
        found = model.embed(&["a", "b"], PASSAGE) => {
            assert_eq!(found.expect("vectors").cost.requests, 1);
        }
        hung = model.embed(&["hang"], PASSAGE) => panic!("{hung:?}"),
    }
}

#[tokio::test]
async fn the_first_failure_ends_the_requests_beside_it() {
    let server = Server::start(|_, request| match request.inputs()[0].as_str() {
        "bb" => answer(400, "", "no"),
        "a" => raw("", Then::Hang),
        _ => embedded(request),
    })
    .await;
    let model = server.nim().embedder("m").batch_size(1).concurrency(2);
    let found = model.embed(&TEXTS, PASSAGE).await;
    assert!(matches!(found, Err(NimError::BadRequest(_))), "{found:?}");
    // The seats of what was given up are free again.
    let found = model.embed(&TEXTS[2..6], PASSAGE).await.expect("vectors");
    assert_eq!(found.cost.requests, 4);
}

#[tokio::test]
async fn after_a_timeout_the_same_size_is_never_sent_again() {
    let server = Server::start(|_, request| match request.inputs().len() > 4 {
        true => raw("", Then::Hang),
        false => embedded(request),
    })
    .await;
    let nim = server.builder().attempt_timeout(Duration::from_millis(200)).build();
    let model = nim.expect("a client").embedder("m").batch_size(8).concurrency(1);
    let texts = &TEXTS[..8];
    let error = model.embed(texts, PASSAGE).await.expect_err("too slow");
    assert!(matches!(error, NimError::Timeout { .. }) && error.is_retryable(), "{error:?}");
    // Not in halves at once either: the server may still be busy with the first.
    assert_eq!(sizes(&server), [8]);
    // A clone knows it too.
    let found = model.clone().embed(texts, PASSAGE).await.expect("vectors");
    assert_eq!(found.vectors.len(), 8);
    assert_eq!(sizes(&server), [8, 4, 4]);
    // A model of its own does not.
    let fresh = server.nim().embedder("m").batch_size(4);
    assert_eq!(fresh.embed(texts, PASSAGE).await.expect("vectors").cost.requests, 2);
}

#[tokio::test]
async fn a_refused_size_is_remembered_by_clones() {
    let server = Server::start(|_, request| match request.inputs().len() > 2 {
        true => answer(413, "", ""),
        false => embedded(request),
    })
    .await;
    let model = server.nim().embedder("m").concurrency(1);
    let texts = ["aa", "bb", "cc", "dd"];
    assert_eq!(model.embed(&texts, PASSAGE).await.expect("vectors").cost.requests, 3);
    assert_eq!(model.clone().embed(&texts, PASSAGE).await.expect("vectors").cost.requests, 2);
    assert_eq!(sizes(&server), [4, 2, 2, 2, 2]);
}

#[tokio::test]
async fn equal_texts_are_sent_once_and_named_by_their_first_place() {
    let server = Server::start(|_, request| embedded(request)).await;
    let model = server.nim().embedder("m");
    let found = model.embed(&["bb", "a", "bb", "bb", "ccc", "a"], PASSAGE).await.expect("vectors");
    let lengths: Vec<f32> = found.vectors.iter().map(|vector| vector[0]).collect();
    assert_eq!(lengths, [2.0, 1.0, 2.0, 2.0, 3.0, 1.0]);
    assert_eq!(server.requests()[0].inputs(), ["bb", "a", "ccc"]);

    let body = json!({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [0]}]});
    let zero = Server::start(move |_, _| ok(&body)).await;
    let found = zero.nim().embedder("m").embed(&["a", "a", "b"], PASSAGE).await;
    let expected = ResponseFault::ZeroVector { index: 2 };
    assert!(matches!(found, Err(NimError::InvalidResponse { what, .. }) if what == expected));

    let long = "Input length 9 exceeds maximum allowed token size 8";
    let server = Server::start(move |_, request| match request.inputs().contains(&"xxx".into()) {
        true => answer(400, "", long),
        false => embedded(request),
    })
    .await;
    let model = server.nim().embedder("m").concurrency(1);
    let found = model.embed(&["a", "a", "a", "xxx", "b"], PASSAGE).await;
    assert!(matches!(found, Err(NimError::InputTooLong { index: 3, .. })), "{found:?}");
}

#[tokio::test]
async fn batches_are_bounded_by_characters_and_by_estimated_tokens() {
    let server = Server::start(|_, request| embedded(request)).await;
    let model = server.nim().embedder("m").concurrency(1);
    let texts = ["aaaaaaaa", "\u{4e2d}\u{6587}", "bbbbbbbb", "cccc"];
    model.clone().batch_tokens(4).embed(&texts, PASSAGE).await.expect("vectors");
    assert_eq!(sizes(&server), [2, 2]);
    model.batch_chars(8).embed(&texts, PASSAGE).await.expect("vectors");
    assert_eq!(sizes(&server)[2..], [1, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_rankings_are_split_side_by_side() {
    let barrier = Barrier::new(2);
    let server = Server::start(move |_, request| {
        // A worker that waits gives the tasks in its hands away first: the other one may be there.
        tokio::task::block_in_place(|| barrier.wait());
        let passages = request.json()["passages"].as_array().cloned().expect("passages");
        let logit = |p: &Value| p["text"].as_str().and_then(|t| t.parse::<f32>().ok());
        let item = |(i, p): (usize, &Value)| json!({"index": i, "logit": logit(p)});
        ok(&json!({"rankings": passages.iter().enumerate().map(item).collect::<Vec<_>>()}))
    })
    .await;
    let texts: Vec<String> = (0..1024).map(|at| (at * 7 % 1024).to_string()).collect();
    let passages: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = server.nim().reranker("m").concurrency(2).rank("q", &passages).await;
    let found = found.expect("scores");
    assert_eq!(found.cost.requests, 2);
    let logits: Vec<f32> = found.scores.iter().map(|score| score.logit).collect();
    let expected: Vec<f32> = (0..1024_u16).rev().map(f32::from).collect();
    assert_eq!(logits, expected);
    assert!(found.scores.iter().all(|score| score.index * 7 % 1024 == score.logit as usize));
}

#[tokio::test]
async fn after_the_deadline_of_a_call_the_same_size_is_not_sent_again() {
    let server = Server::always(Vec::new(), Then::Hang).await;
    let model = server.nim().embedder("m");
    for _ in 0..3 {
        let options = CallOptions::new().timeout(Duration::from_millis(100));
        let late = model.embed_with(&TEXTS, PASSAGE, options).await;
        assert_eq!(late, Err(NimError::DeadlineExceeded));
    }
    let sizes = sizes(&server);
    // Halves of 12, then of 6, by number and by characters.
    assert_eq!((sizes[0], sizes[1..].iter().max()), (12, Some(&6)), "{sizes:?}");
    assert!(sizes.last() <= Some(&3), "{sizes:?}");
}
