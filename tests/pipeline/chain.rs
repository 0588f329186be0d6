//! Rerank stages one after the other: what each gets, what it makes of the order before it, and
//! what the report tells.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use portolan::{
    Answer, Blend, BoxFuture, CacheOptions, Candidate, Collection, CollectionOptions,
    DatabaseOptions, Error, Hit, Merge, Metric, Normalization, OnRerankFailure, RankedPassage,
    Record, RecordId, RecordReranker, Rerank, Reranked, StageError, StageOutcome, Template,
    rerank_fn,
};

use super::empty;
use super::models::{Fate, OverlapReranker};
use crate::common::Rng;

const QUESTION: &str = "compass wind rose";

/// Records of which every eleventh has nothing to read.
fn filled(count: i64) -> (tempfile::TempDir, Collection) {
    let (dir, _db, docs) = empty(2);
    let mut batch = docs.batch();
    for at in 0..count {
        let record = Record::new(at).vector([1.0, at as f32 / 40.0]).field("year", at % 7);
        let record = if at % 11 == 5 { record } else { record.text(format!("text {}", at % 17)) };
        batch.upsert(record).expect("a record");
    }
    batch.commit().expect("a commit");
    (dir, docs)
}

fn ids<'h>(hits: impl IntoIterator<Item = &'h Hit>) -> Vec<RecordId> {
    hits.into_iter().map(|hit| hit.id.clone()).collect()
}

/// A score of few values, so that there are many ties.
fn score(seed: u64, passage: &str) -> f32 {
    let hash = passage.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    (Rng::new(hash).below(6) as f32 - 2.0) / 2.0
}

/// One stage as it is drawn, beside the stage that the query gets.
struct Drawn {
    seed: u64,
    candidates: Option<usize>,
    template: Option<&'static str>,
    blend: Blend,
}

fn draw(rng: &mut Rng) -> Drawn {
    let normalization = [Normalization::MinMax, Normalization::ZScore, Normalization::None];
    let normalization = normalization[rng.below(3) as usize];
    let blend = match rng.below(4) {
        0 => Blend::Replace,
        1 => Blend::Rrf { k: rng.below(3) as f64 * 30.0 },
        _ => Blend::Weighted { rerank: rng.below(5) as f64 / 4.0, normalization },
    };
    let templates = [None, Some("{text}"), Some("{year} {text}"), Some("{year}")];
    Drawn {
        seed: rng.next(),
        candidates: (rng.below(4) > 0).then(|| rng.below(60) as usize),
        template: templates[rng.below(4) as usize],
        blend,
    }
}

fn normal(normalization: Normalization, scores: &[f64], value: f64) -> f64 {
    let (low, high) =
        scores.iter().fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(*s), high.max(*s)));
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / scores.len() as f64;
    match normalization {
        Normalization::MinMax if low == high => 1.0,
        Normalization::MinMax => (value - low) / (high - low),
        Normalization::ZScore if variance == 0.0 => 0.0,
        Normalization::ZScore => (value - mean) / variance.sqrt(),
        _ => value,
    }
}

/// The stage by its definition: hits with the score that they are ordered by.
fn naive(stage: &Drawn, before: Vec<(Hit, Option<f32>)>) -> Vec<(Hit, Option<f32>)> {
    let passage = |hit: &Hit| match stage.template {
        Some(template) => Template::parse(template).expect("a template").render(&hit.record),
        None => hit.record.passage(),
    };
    let (read, unread): (Vec<_>, Vec<_>) =
        before.into_iter().partition(|(hit, _)| !passage(hit).trim().is_empty());
    let lowest = read.iter().filter_map(|one| one.1).fold(f32::INFINITY, f32::min);
    let lowest = if lowest.is_finite() { lowest } else { 0.0 };
    let theirs: Vec<f64> = read.iter().map(|one| f64::from(one.1.unwrap_or(lowest))).collect();
    let ours: Vec<f64> =
        read.iter().map(|one| f64::from(score(stage.seed, &passage(&one.0)))).collect();
    let mut scored: Vec<(Hit, f64)> = Vec::new();
    for (at, (hit, _)) in read.into_iter().enumerate() {
        let blended = match stage.blend {
            Blend::Rrf { k } => {
                let better = |other: usize| (ours[other], at) > (ours[at], other);
                let rank = (0..ours.len()).filter(|other| *other != at && better(*other)).count();
                1.0 / (k + at as f64 + 1.0) + 1.0 / (k + rank as f64 + 1.0)
            }
            Blend::Weighted { rerank, normalization } => {
                rerank * normal(normalization, &ours, ours[at])
                    + (1.0 - rerank) * normal(normalization, &theirs, theirs[at])
            }
            _ => ours[at],
        };
        scored.push((hit, blended));
    }
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let scored = scored.into_iter().map(|(hit, score)| (hit, Some(score as f32)));
    scored.chain(unread.into_iter().map(|(hit, _)| (hit, None))).collect()
}

#[tokio::test]
async fn a_cascade_is_its_stages_one_after_the_other() {
    let (_dir, docs) = filled(80);
    let mut rng = Rng::new(11);
    for _ in 0..60 {
        let drawn: Vec<Drawn> = (0..1 + rng.below(3)).map(|_| draw(&mut rng)).collect();
        let (limit, default) = (1 + rng.below(15) as usize, 1 + rng.below(70) as usize);
        let query = || docs.query(QUESTION).vector([1.0, 0.3]).candidates(default);
        let first = query().limit(80).run().await.expect("an answer");
        let mut expected: Vec<(Hit, Option<f32>)> =
            first.hits.into_iter().map(|hit| (hit.clone(), Some(hit.score))).collect();
        let rerankers: Vec<_> = drawn
            .iter()
            .map(|stage| {
                let seed = stage.seed;
                rerank_fn(move |query, passages| {
                    assert_eq!(query, QUESTION);
                    passages.iter().map(|passage| score(seed, passage)).collect()
                })
            })
            .collect();
        let mut query = query().limit(limit);
        for (stage, reranker) in drawn.iter().zip(&rerankers) {
            let mut rerank = Rerank::new(reranker).blend(stage.blend);
            if let Some(candidates) = stage.candidates {
                rerank = rerank.candidates(candidates);
            }
            if let Some(template) = stage.template {
                rerank = rerank.passage(template.parse().expect("a template"));
            }
            query = query.rerank(rerank);
            expected.truncate(stage.candidates.unwrap_or(default).max(limit));
            expected = naive(stage, expected);
        }
        expected.truncate(limit);
        let answer = query.run().await.expect("an answer");
        let found: Vec<_> =
            answer.hits.iter().map(|hit| (hit.id.clone(), hit.rerank_score)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(hit, score)| (hit.id.clone(), *score)).collect();
        assert_eq!(found, expected);
        assert_eq!(answer.report.stages.len(), 2 + drawn.len());
    }
}

#[tokio::test]
async fn one_reranker_is_a_stage_without_a_word() {
    let (_dir, docs) = filled(40);
    let reranker = OverlapReranker::new(Fate::Answer);
    let query = || docs.query(QUESTION).vector([1.0, 0.0]).candidates(30);
    let short = query().reranker(&reranker).run().await.expect("an answer");
    let long = query().rerank(Rerank::new(&reranker)).run().await.expect("an answer");
    let own = docs.query(QUESTION).vector([1.0, 0.0]);
    let own = own.rerank(Rerank::new(&reranker).candidates(30)).run().await.expect("an answer");
    assert_eq!(short.hits, long.hits);
    assert_eq!(short.hits, own.hits);
}

/// Orders by the field `year`, the latest first, and remembers what it was given.
#[derive(Default)]
struct Latest {
    given: Mutex<Vec<(RecordId, String, Option<f32>)>>,
}

impl RecordReranker for Latest {
    fn name(&self) -> &str {
        "latest"
    }

    fn rank<'a>(
        &'a self,
        _query: &'a str,
        candidates: &'a [Candidate<'a>],
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>> {
        let of = |one: &Candidate<'_>| (one.record.id.clone(), one.text.to_owned(), one.score);
        *self.given.lock().expect("the log") = candidates.iter().map(of).collect();
        let year = |one: &Candidate<'_>| match one.collection.get(&one.record.id) {
            Ok(Some(record)) => match record.metadata["year"] {
                portolan::Value::Int(year) => year as f32,
                _ => 0.0,
            },
            _ => 0.0,
        };
        let ranking = candidates.iter().map(year).enumerate();
        let ranking = ranking.map(|(index, score)| RankedPassage { index, score }).collect();
        Box::pin(async move { Ok(Reranked::new(ranking)) })
    }
}

#[tokio::test]
async fn a_reranker_of_records_gets_all_of_them_with_text_and_score() {
    let (_dir, docs) = filled(30);
    let latest = Latest::default();
    let plain = docs.query("").vector([1.0, 0.0]).limit(20).run().await.expect("an answer");
    let query = docs.query("").vector([1.0, 0.0]).rerank(Rerank::records(&latest).candidates(20));
    let answer = query.run().await.expect("an answer");
    let given = latest.given.lock().expect("the log").clone();
    let expected: Vec<_> = plain
        .hits
        .iter()
        .map(|hit| (hit.id.clone(), hit.text().to_owned(), Some(hit.score)))
        .collect();
    assert_eq!(given, expected);
    assert!(given.iter().any(|(_, text, _)| text.is_empty()));
    let years: Vec<_> = answer.hits.iter().map(|hit| hit.rerank_score).collect();
    assert_eq!(years[..3], [Some(6.0), Some(6.0), Some(5.0)]);
    assert_eq!(answer.report.stages[2].model.as_deref(), Some("latest"));
}

/// Knows the even ids alone.
struct Even;

impl RecordReranker for Even {
    fn name(&self) -> &str {
        "even"
    }

    fn rank<'a>(
        &'a self,
        _query: &'a str,
        candidates: &'a [Candidate<'a>],
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>> {
        let score = |one: &Candidate<'_>| match &one.record.id {
            RecordId::Int(id) if id % 2 == 0 => Some(*id as f32),
            _ => None,
        };
        let known = candidates.iter().enumerate();
        let known =
            known.filter_map(|(index, one)| Some(RankedPassage { index, score: score(one)? }));
        let ranking = known.collect();
        Box::pin(async move { Ok(Reranked::new(ranking)) })
    }
}

#[tokio::test]
async fn what_a_reranker_of_records_leaves_out_follows_in_its_order() {
    let (_dir, docs) = filled(9);
    let query = || docs.query("").vector([1.0, 0.0]);
    let plain = ids(&query().run().await.expect("an answer").hits);
    for blend in [Blend::Replace, Blend::weighted(1.0)] {
        let stage = Rerank::records(&Even).blend(blend);
        let answer = query().rerank(stage).run().await.expect("an answer");
        let odd = plain.iter().filter(|id| matches!(id, RecordId::Int(id) if id % 2 == 1));
        let even = [8, 6, 4, 2, 0].map(RecordId::from);
        let expected: Vec<RecordId> = even.into_iter().chain(odd.cloned()).collect();
        assert_eq!(ids(&answer.hits), expected);
        let scored = answer.hits.iter().filter(|hit| hit.rerank_score.is_some());
        assert_eq!(scored.count(), 5);
    }
}

fn told(answer: &Answer) -> Vec<(Option<&str>, bool)> {
    let stages = answer.report.stages.iter().skip(2);
    let told = |stage: &StageOutcome| matches!(stage, StageOutcome::Failed(_));
    stages.map(|stage| (stage.model.as_deref(), told(&stage.outcome))).collect()
}

#[tokio::test]
async fn a_stage_that_fails_leaves_the_order_before_it_to_the_next() {
    let (_dir, docs) = filled(60);
    let failing = OverlapReranker::new(Fate::FailAt(0));
    let length = rerank_fn(|_, passages| passages.iter().map(|text| text.len() as f32).collect());
    let query = || docs.query(QUESTION).vector([1.0, 0.0]).candidates(40);
    let only = query().reranker(&length).run().await.expect("an answer");
    let both = query().reranker(&failing).reranker(&length).run().await.expect("an answer");
    assert_eq!(both.hits, only.hits);
    assert_eq!(told(&both), [(Some("test/overlap"), true), (Some("closure"), false)]);
    let failing = OverlapReranker::new(Fate::FailAt(0));
    let last = query().reranker(&length).reranker(&failing).run().await.expect("an answer");
    assert_eq!(last.hits, only.hits);
    assert!(last.report.reranked);
    // One stage may be left out while another must not.
    let failing = OverlapReranker::new(Fate::FailAt(0));
    let must = Rerank::new(&failing).on_failure(OnRerankFailure::Fail);
    let error = query().reranker(&length).rerank(must).run().await.expect_err("it must");
    assert!(matches!(error, Error::Model { stage: "rerank", .. }), "{error}");
    let failing = OverlapReranker::new(Fate::FailAt(0));
    let may = Rerank::new(&failing).on_failure(OnRerankFailure::FirstStageOrder);
    let query = query().rerank(may).reranker(&length).on_rerank_failure(OnRerankFailure::Fail);
    assert_eq!(query.run().await.expect("an answer").hits, only.hits);
}

#[tokio::test]
async fn a_stage_that_is_late_by_its_own_time_leaves_the_rest_to_the_others() {
    let (_dir, docs) = filled(60);
    let hanging = OverlapReranker::new(Fate::HangAt(0));
    let length = rerank_fn(|_, passages| passages.iter().map(|text| text.len() as f32).collect());
    let brief = Rerank::new(&hanging).within(Duration::from_millis(1));
    let query = docs.query(QUESTION).vector([1.0, 0.0]).rerank(brief).reranker(&length);
    let answer = query.run().await.expect("an answer");
    assert_eq!(told(&answer), [(Some("test/overlap"), true), (Some("closure"), false)]);
    match &answer.report.stages[2].outcome {
        StageOutcome::Failed(reason) => assert!(reason.contains("deadline of 1 ms"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closure_that_does_not_score_each_passage_is_not_used() {
    let (_dir, docs) = filled(30);
    let query = || docs.query(QUESTION).vector([1.0, 0.0]);
    let plain = query().run().await.expect("an answer");
    let short = rerank_fn(|_, passages| vec![1.0; passages.len() - 1]);
    let nan = rerank_fn(|_, passages| vec![f32::NAN; passages.len()]);
    for wrong in [short, nan] {
        let answer = query().reranker(&wrong).run().await.expect("an answer");
        assert_eq!(ids(&answer.hits), ids(&plain.hits));
        assert_eq!(told(&answer), [(Some("closure"), true)]);
    }
}

#[tokio::test]
async fn the_cache_knows_passages_by_their_template_and_closures_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions::new().cache(CacheOptions::new());
    let db = options.open(dir.path().join("p.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine));
    let docs = docs.expect("a collection");
    for at in 0..5 {
        let record = Record::new(at).text(format!("wind {at}")).field("lang", "en");
        docs.upsert(record.vector([1.0, at as f32])).expect("a commit");
    }
    let reranker = OverlapReranker::new(Fate::Answer).pointwise();
    let template = |text: &str| Template::parse(text).expect("a template");
    let ask = |text: &'static str| {
        let stage = Rerank::new(&reranker).passage(template(text));
        docs.query(QUESTION).vector([1.0, 0.0]).rerank(stage).run()
    };
    for (text, calls) in [("{text}", 1), ("{text}", 1), ("{text} {lang}", 2), ("{text}", 2)] {
        let answer = ask(text).await.expect("an answer");
        assert_eq!(reranker.calls(), calls, "{text}");
        let known = answer.report.cache.rerank_hits;
        assert!(known == 0 || known == 5);
    }
    assert_eq!(reranker.last()[0], "wind 0 en");
    let closure = rerank_fn(|_, passages| vec![0.5; passages.len()]);
    for _ in 0..2 {
        let query = docs.query(QUESTION).vector([1.0, 0.0]).reranker(&closure);
        let answer = query.run().await.expect("an answer");
        assert_eq!((answer.report.cache.rerank_hits, answer.report.cache.rerank_misses), (0, 5));
    }
}

#[tokio::test]
async fn blends_and_merges_by_what_is_no_number_are_refused() {
    let (_dir, docs) = filled(5);
    let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    let normalization = Normalization::MinMax;
    for blend in [
        Blend::Rrf { k: f64::NAN },
        Blend::Rrf { k: -1.0 },
        Blend::Weighted { rerank: f64::NAN, normalization },
        Blend::weighted(1.5),
    ] {
        let query = docs.query(QUESTION).vector([1.0, 0.0]);
        let refused = query.rerank(Rerank::new(&model).blend(blend)).run().await;
        assert!(matches!(refused, Err(Error::Query { .. })), "{blend:?}");
    }
    for k in [f64::NAN, f64::INFINITY, -1.0] {
        let query = docs.query(QUESTION).vector([1.0, 0.0]).merge(Merge::Rrf { k });
        assert!(matches!(query.run().await, Err(Error::Query { .. })), "{k}");
    }
}

#[tokio::test]
async fn an_explanation_tells_of_rerankers_and_of_the_search() {
    let (_dir, docs) = filled(9);
    let answer = docs.query("").vector([1.0, 0.0]).rerank(Rerank::records(&Even)).run().await;
    let answer = answer.expect("an answer");
    let scored: Vec<u64> = answer.report.stages.iter().map(|stage| stage.scored).collect();
    assert_eq!(scored, [0, 9, 5]);
    let json = answer.report.explain().to_json();
    assert_eq!(json["stages"][2]["model"], "even");
    assert_eq!(json["stages"][2]["scored"], 5);
    assert_eq!(json["collections"][0]["find"]["lists"][0]["kind"], "dense");
    let words = answer.report.explain().to_string();
    for part in ["rerank by even: done, 5 scored", "search: done, 9 scored", "  list 1: dense"] {
        assert!(words.contains(part), "{part} in {words}");
    }
}
