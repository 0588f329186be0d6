//! A query: every way in which a stage can fail, be late, or answer nonsense.

use std::time::Duration;

use portolan::{
    Answer, Collection, Error, Filter, OnRerankFailure, RankedPassage, Record, RecordId,
    StageError, StageOutcome,
};

use super::models::{DIMENSIONS, Fate, OverlapReranker, WordEmbedder, overlap};
use super::scripted::Scripted;
use super::{empty, records};

const QUESTION: &str = "compass wind rose";

/// Long enough for every stage that answers, even on a machine under load, except where the
/// test wants it to pass.
const SHORT: Duration = Duration::from_millis(300);

async fn filled() -> (tempfile::TempDir, Collection, WordEmbedder) {
    let (dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(120)).embedder(&embedder).run().await.expect("an ingest");
    (dir, docs, embedder.fated(Fate::Answer))
}

fn ids(answer: &Answer) -> Vec<RecordId> {
    answer.hits.iter().map(|hit| hit.id.clone()).collect()
}

fn outcome<'a>(answer: &'a Answer, stage: &str) -> &'a StageOutcome {
    let report = answer.report.stages.iter().find(|report| report.stage == stage);
    &report.expect("the stage").outcome
}

/// Checks that the hits are those of the search, and that the report says why.
fn in_first_stage_order(answer: &Answer, first: &Answer, reason: &str) {
    assert_eq!(ids(answer), ids(first));
    assert!(!answer.report.reranked);
    assert!(answer.hits.iter().all(|hit| hit.rerank_score.is_none()));
    match outcome(answer, "rerank") {
        StageOutcome::Failed(found) => assert!(found.contains(reason), "{found}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn hits_come_in_the_order_of_the_reranker() {
    let (_dir, docs, embedder) = filled().await;
    let reranker = OverlapReranker::new(Fate::Answer);
    let query = || docs.query(QUESTION).embedder(&embedder).limit(6);
    let plain = query().limit(20).run().await.expect("an answer");
    assert_eq!(outcome(&plain, "rerank"), &StageOutcome::Skipped);
    assert!(!plain.report.reranked);
    let answer = query().reranker(&reranker).candidates(20).run().await.expect("an answer");
    assert!(answer.report.reranked);
    assert_eq!((answer.report.candidates, answer.hits.len()), (20, 6));
    let mut expected: Vec<(RecordId, f32)> =
        plain.hits.iter().map(|hit| (hit.id.clone(), overlap(QUESTION, hit.text()))).collect();
    // Stable: equal scores keep the order of the search.
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let found: Vec<(RecordId, f32)> = answer
        .hits
        .iter()
        .map(|hit| (hit.id.clone(), hit.rerank_score.expect("a logit")))
        .collect();
    assert_eq!(found, expected[..6]);
    let stages: Vec<_> = answer.report.stages.iter().map(|s| (s.stage, s.cost.tokens)).collect();
    assert_eq!(stages, [("embed", Some(1)), ("search", None), ("rerank", Some(5))]);
    assert_eq!((embedder.calls(), reranker.calls()), (2, 1));
}

#[tokio::test]
async fn candidates_and_limit_are_what_the_reranker_and_the_caller_get() {
    let (_dir, docs, embedder) = filled().await;
    for (candidates, limit, expected) in [
        (Some(30), 5, (30, 5)),
        (Some(3), 8, (8, 8)),
        (None, 4, (50, 4)),
        (None, 70, (70, 70)),
        (Some(500), 10, (120, 10)),
    ] {
        let reranker = OverlapReranker::new(Fate::Answer);
        let mut query = docs.query(QUESTION).embedder(&embedder).reranker(&reranker).limit(limit);
        if let Some(candidates) = candidates {
            query = query.candidates(candidates);
        }
        let answer = query.run().await.expect("an answer");
        assert_eq!((reranker.last().len(), answer.hits.len()), expected);
        assert_eq!(answer.report.candidates, expected.0);
    }
    let reranker = OverlapReranker::new(Fate::Answer);
    let query = docs.query(QUESTION).embedder(&embedder).reranker(&reranker).limit(0);
    assert_eq!(query.run().await.expect("an answer").hits, []);
    let none = Filter::eq("number", -1);
    let query = docs.query(QUESTION).embedder(&embedder).reranker(&reranker).filter(none);
    assert_eq!(query.run().await.expect("an answer").hits, []);
    assert_eq!(reranker.calls(), 0);
    let some = Filter::lt("number", 7);
    let query = docs.query(QUESTION).embedder(&embedder).reranker(&reranker).filter(some);
    assert_eq!(query.run().await.expect("an answer").hits.len(), 7);
    assert_eq!(reranker.last().len(), 7);
}

#[tokio::test]
async fn a_reranker_that_fails_or_is_late_is_left_out_and_the_report_says_why() {
    let (_dir, docs, embedder) = filled().await;
    let query = || docs.query(QUESTION).embedder(&embedder);
    let first = query().run().await.expect("an answer");
    let failing = OverlapReranker::new(Fate::FailAt(0));
    let answer = query().reranker(&failing).run().await.expect("an answer");
    in_first_stage_order(&answer, &first, "no opinion");
    let late = OverlapReranker::new(Fate::HangAt(0));
    let answer = query().reranker(&late).deadline(SHORT).run().await.expect("an answer");
    in_first_stage_order(&answer, &first, "deadline of 300 ms");
}

#[tokio::test]
async fn a_query_that_must_be_reranked_fails_with_the_reranker() {
    let (_dir, docs, embedder) = filled().await;
    let query =
        || docs.query(QUESTION).embedder(&embedder).on_rerank_failure(OnRerankFailure::Fail);
    let failing = OverlapReranker::new(Fate::FailAt(0));
    let error = query().reranker(&failing).run().await.expect_err("it fails");
    assert!(matches!(error, Error::Model { stage: "rerank", retryable: false, .. }), "{error}");
    assert!(!error.is_retryable());
    let late = OverlapReranker::new(Fate::HangAt(0));
    let error = query().reranker(&late).deadline(SHORT).run().await.expect_err("it is late");
    assert!(matches!(error, Error::DeadlineExceeded { stage: "rerank", deadline_ms: 300 }));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn rankings_that_are_not_a_permutation_are_not_used() {
    let (_dir, docs, embedder) = filled().await;
    let query = || docs.query(QUESTION).embedder(&embedder).candidates(12);
    let first = query().run().await.expect("an answer");
    let all = |passages: &[&str]| -> Vec<RankedPassage> {
        (0..passages.len()).map(|index| RankedPassage { index, score: index as f32 }).collect()
    };
    type Spoil = fn(&mut Vec<RankedPassage>);
    let spoils: [Spoil; 7] = [
        |ranking| ranking.truncate(11),
        |ranking| ranking.clear(),
        |ranking| ranking.push(RankedPassage { index: 0, score: 9.0 }),
        |ranking| ranking[1].index = 0,
        |ranking| ranking[1].index = usize::MAX,
        |ranking| ranking[1].score = f32::NAN,
        |ranking| ranking[1].score = f32::INFINITY,
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let reranker = OverlapReranker::answering(Fate::Answer, move |_, passages| {
            let mut ranking = all(passages);
            spoil(&mut ranking);
            ranking
        });
        let answer =
            query().reranker(&reranker).run().await.unwrap_or_else(|e| panic!("{at}: {e}"));
        in_first_stage_order(&answer, &first, "did not rank every passage");
        let query = query().reranker(&reranker).on_rerank_failure(OnRerankFailure::Fail);
        assert!(matches!(query.run().await, Err(Error::Query { .. })), "{at}");
    }
    // Out of order is fine: the scores tell.
    let reversed = OverlapReranker::answering(Fate::Answer, move |_, passages| all(passages));
    let answer = query().reranker(&reversed).limit(12).run().await.expect("an answer");
    let mut expected =
        ids(&docs.query(QUESTION).embedder(&embedder).limit(12).run().await.expect("an answer"));
    expected.reverse();
    assert_eq!(ids(&answer), expected);
}

#[tokio::test]
async fn hits_without_text_come_after_the_ranked_ones() {
    let (_dir, docs, embedder) = filled().await;
    let vector = super::models::bag_of_words(QUESTION);
    docs.upsert(Record::new("silent").vector(vector)).expect("a commit");
    let query = || docs.query(QUESTION).embedder(&embedder).limit(10);
    let first = query().run().await.expect("an answer");
    assert_eq!(ids(&first)[0], RecordId::from("silent"));
    let reranker = OverlapReranker::new(Fate::Answer);
    let answer = query().reranker(&reranker).candidates(10).run().await.expect("an answer");
    assert_eq!(reranker.last().len(), 9);
    assert_eq!(ids(&answer)[9], RecordId::from("silent"));
    assert_eq!(answer.hits[9].rerank_score, None);
}

#[tokio::test]
async fn an_embedder_that_is_late_or_fails_fails_the_query() {
    let (_dir, docs, _) = filled().await;
    let late = WordEmbedder::new(Fate::HangAt(0));
    let error = docs.query(QUESTION).embedder(&late).deadline(SHORT).run().await;
    let error = error.expect_err("it is late");
    assert!(matches!(error, Error::DeadlineExceeded { stage: "embed", deadline_ms: 300 }));
    assert!(error.is_retryable());
    let (_dir, _db, docs) = empty(DIMENSIONS);
    docs.upsert(Record::new(1).vector([1.0; DIMENSIONS])).expect("a record");
    for can_pass in [false, true] {
        let failing = Scripted::new(move |_, _| Err(StageError::new("no").retryable(can_pass)));
        let error = docs.query(QUESTION).embedder(&failing).run().await.expect_err("it fails");
        assert!(matches!(error, Error::Model { stage: "embed", .. }), "{error}");
        assert_eq!((error.is_retryable(), failing.calls()), (can_pass, 1));
    }
}

#[tokio::test]
async fn an_embedder_of_another_model_is_refused_before_it_is_asked() {
    let (_dir, docs, _) = filled().await;
    let other = WordEmbedder::new(Fate::Answer).model("test/other");
    let error = docs.query(QUESTION).embedder(&other).run().await.expect_err("another model");
    let named = matches!(&error, Error::ModelMismatch { expected, found, .. }
        if expected == "test/words" && found == "test/other");
    assert!(named && error.is_invalid_input(), "{error}");
    assert_eq!(other.calls(), 0);
}

#[tokio::test]
async fn a_query_needs_a_text_or_a_vector_and_a_text_for_a_reranker() {
    let (_dir, docs, embedder) = filled().await;
    let reranker = OverlapReranker::new(Fate::Answer);
    let vector = || super::models::bag_of_words(QUESTION);
    let errors = [
        docs.query(QUESTION).run().await.expect_err("no embedder"),
        docs.query(" ").embedder(&embedder).run().await.expect_err("no text"),
        docs.query("").vector(vector()).reranker(&reranker).run().await.expect_err("no text"),
    ];
    for error in &errors {
        assert!(matches!(error, Error::Query { .. }) && error.is_invalid_input(), "{error}");
    }
    let answer = docs.query("").vector(vector()).run().await.expect("an answer");
    assert_eq!(outcome(&answer, "embed"), &StageOutcome::Skipped);
    assert_eq!((embedder.calls(), reranker.calls()), (0, 0));
    let by_text = docs.query(QUESTION).embedder(&embedder).run().await.expect("an answer");
    assert_eq!(ids(&answer), ids(&by_text));
    let error = docs.query("").vector([1.0]).run().await.expect_err("one dimension");
    assert!(matches!(error, Error::Vector { id: None, .. }), "{error}");
}
