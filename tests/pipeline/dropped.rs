//! Futures that are dropped at any point, and deadlines: nothing is left half done, and nobody is
//! asked for what comes too late.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use portolan::{Error, OnRerankFailure, StageOutcome};

use super::models::{DIMENSIONS, Fate, OverlapReranker, WordEmbedder};
use super::scripted::Scripted;
use super::{empty, records};
use crate::common::everything;

/// Polls a future so many times, then drops it; what it gave, if it ended before.
pub async fn poll_times<T>(
    mut work: Pin<Box<dyn Future<Output = T> + '_>>,
    times: usize,
) -> Option<T> {
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_query_that_is_dropped_at_any_point_leaves_nothing_half_done() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(60)).embedder(&embedder).run().await.expect("an ingest");
    let reranker = OverlapReranker::new(Fate::Answer);
    let query = || {
        let query = docs.query("compass rose").embedder(&embedder).reranker(&reranker);
        query.cache(true)
    };
    let expected = query().run().await.expect("an answer").hits;
    let mut ended = false;
    for polls in 0..1_000 {
        db.clear_cache().expect("a commit");
        let answer = poll_times(Box::pin(query().run()), polls).await;
        db.write_cache().expect("a commit");
        if let Some(answer) = answer {
            assert_eq!(answer.expect("an answer").hits, expected);
            ended = true;
            break;
        }
        // The search that was dropped holds nothing that a writer or another query waits for.
        docs.upsert(records(1).remove(0).vector(vec![1.0; DIMENSIONS])).expect("a commit");
        docs.ingest(records(1)).embedder(&embedder).run().await.expect("an ingest");
        assert_eq!(query().run().await.expect("an answer").hits.len(), expected.len());
    }
    assert!(ended);
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn an_ingest_that_is_dropped_at_any_point_is_resumed() {
    let (_dir, _db, plain) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    plain.ingest(records(40)).embedder(&model).run().await.expect("an ingest");
    let expected = everything(&plain, 100);
    for pending in [false, true] {
        let mut ended = false;
        for polls in 0..1_000 {
            let (_dir, db, docs) = empty(DIMENSIONS);
            let ingest = || docs.ingest(records(40)).embedder(&model).pending(pending);
            ended = poll_times(Box::pin(ingest().run()), polls).await.is_some();
            db.verify().expect("an undamaged file");
            ingest().run().await.expect("an ingest");
            assert!(everything(&docs, 100) == expected, "dropped after {polls} polls");
            db.verify().expect("an undamaged file");
            if ended {
                break;
            }
        }
        assert!(ended);
    }
}

#[tokio::test]
async fn nobody_is_asked_when_the_time_is_up() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(30)).embedder(&embedder).run().await.expect("an ingest");
    let embedder = embedder.fated(Fate::Answer);
    let query = docs.query("star").embedder(&embedder).deadline(Duration::ZERO);
    let error = query.run().await.expect_err("no time");
    assert!(matches!(error, Error::DeadlineExceeded { stage: "embed", deadline_ms: 0 }), "{error}");
    assert_eq!(embedder.calls(), 0);

    let reranker = OverlapReranker::new(Fate::Answer);
    let query = || docs.query("star").embedder(&embedder).reranker(&reranker);
    let answer = query().rerank_within(Duration::ZERO).run().await.expect("an answer");
    let outcome = answer.report.stages.last().map(|stage| stage.outcome.clone());
    let late = "the deadline of 0 ms passed in stage rerank: allow more time";
    assert_eq!(outcome, Some(StageOutcome::Failed(late.to_owned())));
    assert_eq!((answer.hits.len(), reranker.calls()), (10, 0));
    let query = query().rerank_within(Duration::ZERO).on_rerank_failure(OnRerankFailure::Fail);
    let error = query.run().await.expect_err("no time");
    assert!(matches!(error, Error::DeadlineExceeded { stage: "rerank", .. }), "{error}");
}

#[tokio::test]
async fn embedding_leaves_the_time_that_is_kept_for_the_search() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    docs.ingest(records(30)).embedder(&model).run().await.expect("an ingest");
    let begin = Instant::now();
    let query = || docs.query("star").embedder(&model);
    query().run().await.expect("an answer");
    query().deadline(Duration::from_secs(9_000)).run().await.expect("an answer");
    let reserve = Duration::from_secs(4_000);
    let query = query().deadline(Duration::from_secs(9_000)).search_reserve(reserve);
    query.run().await.expect("an answer");
    let deadlines = model.deadlines.lock().expect("the log").clone();
    let deadlines = &deadlines[deadlines.len() - 3..];
    let after = |at: usize| deadlines[at].map(|at| (at - begin).as_secs() / 1_000);
    assert_eq!([after(0), after(1), after(2)], [None, Some(9), Some(5)]);
}

#[tokio::test]
async fn an_embedder_that_would_use_up_the_time_of_the_search_is_late() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let late = WordEmbedder::new(Fate::HangAt(0));
    let query = docs.query("star").embedder(&late).deadline(Duration::from_secs(9_000));
    let query = query.search_reserve(Duration::from_secs(9_000));
    let error = query.run().await.expect_err("nothing is left to embed");
    assert!(matches!(error, Error::DeadlineExceeded { stage: "embed", deadline_ms: 9_000_000 }));
    assert_eq!(late.calls(), 0);
}
