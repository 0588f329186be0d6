//! Several batches with the model at once, commits in order, and texts that the model refuses.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portolan::{
    BoxFuture, Cost, CostMeter, Embedded, Embedder, Error, IngestProgress, ModelContract,
    OnEmbedFailure, Record, RecordId, Reranked, Reranker, Role, StageError, TextIndex,
};

use super::models::{DIMENSIONS, bag_of_words};
use super::scripted::Scripted;
use super::{empty, records};

fn refuse_if(texts: &[&str], is_bad: impl Fn(&str) -> bool) -> Result<(), StageError> {
    match texts.iter().any(|text| is_bad(text)) {
        true => Err(StageError::new("one of these is no good").some_input()),
        false => Ok(()),
    }
}

fn rejected(report: &portolan::IngestReport) -> Vec<RecordId> {
    report.rejected.iter().map(|one| one.id.clone()).collect()
}

#[tokio::test]
async fn four_batches_are_with_the_model_at_once_and_commits_come_in_order() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    // Each call but the last three answers only when three more have begun: fewer at once would
    // wait for ever.
    let calls = 150_usize.div_ceil(8);
    let model = Scripted::new(|_, _| Ok(()));
    let model = model.while_(move |call, begun| begun < (call + 4).min(calls));
    let held = docs.clone();
    let mut told = 0;
    let report = docs
        .ingest(records(150))
        .embedder(&model)
        .progress(move |at| {
            // What is stored is always the beginning of what was given.
            let count = held.count().expect("a count");
            assert!(at.embedded > told && count >= at.embedded as u64);
            assert!(held.contains(count as i64 - 1).expect("a lookup"));
            assert_eq!(at.total, Some(150));
            assert!(at.rate() > 0.0, "{at:?}");
            let left = at.remaining().expect("a total and a rate").as_secs_f64() * at.rate();
            assert!((left - (150 - at.embedded) as f64).abs() < 0.01, "{left} {at:?}");
            told = at.embedded;
        })
        .run()
        .await
        .expect("an ingest");
    assert_eq!((report.progress.embedded, model.calls()), (150, calls));
    assert_eq!(model.most().0, 4);
    assert_eq!(report.cost.requests, 2 * calls as u64);
    assert_eq!(report.cost.bytes_received, 20 * calls as u64);
    assert_eq!(report.progress.remaining(), Some(Duration::ZERO));
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn no_more_text_is_in_flight_than_allowed_but_one_batch_always_is() {
    for (allowed, most) in [(0, 1), (1_000, 1), (2_000, 2), (1 << 20, 3)] {
        let (_dir, _db, docs) = empty(DIMENSIONS);
        let model = Scripted::new(|_, _| Ok(()));
        let texts = (0..48).map(|at| Record::new(at).text(format!("{at:099} ")));
        let ingest = docs.ingest(texts).embedder(&model).in_flight(3).in_flight_bytes(allowed);
        let report = ingest.run().await.expect("an ingest");
        assert_eq!(report.progress.embedded, 48);
        let (calls, bytes) = model.most();
        assert!(calls <= most && bytes <= allowed.max(800), "{calls} {bytes} of {allowed}");
    }
}

#[tokio::test]
async fn what_needs_no_model_is_read_no_further_ahead_of_its_commits_than_allowed() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    // Chunks of 32 records, of which each takes more than 250 bytes with what holds it.
    let most = 32 + 16_384 / 250 + 32 + 32;
    let text = |at: usize| format!("{at:0250} ");
    let texts = |count: usize| (0..count).map(move |at| Record::new(at as i64).text(text(at)));
    let changed = |count| texts(count).map(|record| record.field("changed", true));
    let own = |count| texts(count).map(|record| record.vector(vec![1.0; DIMENSIONS]));
    let first: Vec<Record> = texts(1_500).collect();
    let (kept, own): (Vec<Record>, Vec<Record>) = (changed(1_500).collect(), own(1_500).collect());
    for (records, pending) in [(first, true), (kept, false), (own, false)] {
        let taken = AtomicUsize::new(0);
        let records = records.into_iter().inspect(|_| {
            taken.fetch_add(1, Ordering::Relaxed);
        });
        let mut ahead = 0;
        let ingest = docs.ingest(records).batch_size(4).in_flight_bytes(16_384);
        let ingest = ingest.embedder(&model).pending(pending).progress(|at| {
            let done = at.done() + at.pending;
            ahead = ahead.max(taken.load(Ordering::Relaxed) - done.min(1_500));
        });
        let report = ingest.run().await.expect("an ingest");
        assert_eq!(report.progress.done(), 1_500, "{:?}", report.progress);
        assert!(ahead <= most, "{ahead} records were read ahead, of {most}");
    }
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn a_text_that_the_error_does_not_name_is_found_by_halving() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let is_bad = |text: &str| ["5", "17", "18", "39"].contains(&text.rsplit(' ').next().unwrap());
    let model = Scripted::new(move |_, texts| refuse_if(texts, is_bad));
    let mut told = Vec::new();
    let ingest = docs.ingest(records(40)).embedder(&model);
    let report = ingest.on_reject(|one| told.push(one.id.clone())).run().await.expect("a report");
    let expected: Vec<RecordId> = [5, 17, 18, 39].map(RecordId::from).into();
    assert_eq!((rejected(&report), told), (expected.clone(), expected));
    assert!(report.rejected.iter().all(|one| one.reason == "one of these is no good"));
    assert_eq!((report.progress.embedded, report.progress.rejected), (36, 4));
    // A batch of 8 with one bad text takes 7 calls; one with two neighbors in one quarter as many.
    assert!(model.calls() <= 1 + 7 + 1 + 9 + 7 + 1, "{}", model.calls());
    let embedded = model.embedded.lock().expect("the log").clone();
    let mut once = embedded.clone();
    once.sort();
    once.dedup();
    assert_eq!((embedded.len(), once.len()), (36, 36));
    assert_eq!(docs.count().expect("a count"), 36);
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn a_text_that_the_error_names_costs_one_call_more() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, texts| {
        match texts.iter().position(|text| text.ends_with(" 11") || text.ends_with(" 13")) {
            Some(at) => Err(StageError::new("too long").input(at)),
            None => Ok(()),
        }
    });
    let report = docs.ingest(records(24)).embedder(&model).run().await.expect("a report");
    assert_eq!(rejected(&report), [11, 13].map(RecordId::from));
    assert_eq!((report.progress.embedded, model.calls()), (22, 3 + 2));
    // An index that is out of range names nothing.
    let model = Scripted::new(|_, _| Err(StageError::new("what?").input(99)));
    let error = docs.ingest(records(30)).embedder(&model).run().await.expect_err("it fails");
    assert!(matches!(error, Error::Model { stage: "embed", .. }), "{error}");
}

/// Says what it likes, told the number of the call; to an ingest, which asks past refusals.
struct Told<F>(AtomicUsize, F);

impl<F> Embedder for Told<F>
where
    F: Fn(usize, &[&str]) -> Result<Embedded, StageError> + Send + Sync,
{
    fn contract(&self) -> ModelContract {
        ModelContract::new("test/told")
    }

    fn embed<'a>(
        &'a self,
        _: &'a [&'a str],
        _: Role,
        _: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        let refused = Err::<Embedded, _>(StageError::new("all or nothing"));
        Box::pin(std::future::ready(refused))
    }

    fn embed_past_refusals<'a>(
        &'a self,
        texts: &'a [&'a str],
        _: Role,
        _: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        let call = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.1(call, texts)))
    }
}

fn vectors(texts: &[&str]) -> Embedded {
    Embedded::new(texts.iter().map(|text| bag_of_words(text)).collect())
}

#[tokio::test]
async fn what_an_error_tells_is_finished_or_refused_is_not_sent_again() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let sent = Mutex::new(Vec::<Vec<String>>::new());
    // Of the first call texts 0 and 3 are finished and text 1 is refused; which of the others it
    // does not like, the last, is left open.
    let model = Told(AtomicUsize::new(0), |call: usize, texts: &[&str]| {
        sent.lock().expect("the log").push(texts.iter().map(|text| (*text).to_owned()).collect());
        if call == 0 {
            let finished = vectors(&[texts[3], texts[0]]).likely_truncated(1);
            let error = StageError::new("one of these").some_input().refused(1, "this one");
            return Err(error.finished(vec![3, 0], finished));
        }
        refuse_if(texts, |text| text.ends_with(" 4"))?;
        Ok(vectors(texts))
    });
    let report = docs.ingest(records(5)).embedder(&model).run().await.expect("a report");
    assert_eq!(rejected(&report), [1, 4].map(RecordId::from));
    assert_eq!(report.rejected[0].reason, "this one");
    assert_eq!((report.progress.embedded, report.likely_truncated), (3, 1));
    let text = |at: usize| records(5)[at].text.clone();
    let sent = sent.lock().expect("the log").clone();
    let again = [vec![text(2)], vec![text(4)]];
    assert_eq!((sent[0].len(), &sent[1..]), (5, &again[..]));
    for at in [0, 2, 3] {
        let stored = docs.get(at as i64).expect("a lookup").expect("a record").vector;
        let (stored, of) = (stored.expect("a vector"), bag_of_words(&text(at)));
        let length = of.iter().map(|x| x * x).sum::<f32>().sqrt();
        let scale = stored.iter().map(|x| x * x).sum::<f32>().sqrt() / length;
        assert!(stored.iter().zip(&of).all(|(a, b)| (a - b * scale).abs() < 0.01), "{at}");
    }
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn a_text_that_an_earlier_batch_had_is_not_sent_again() {
    let text =
        |at: u32| if at % 4 == 1 { "all rights reserved".to_owned() } else { at.to_string() };
    let repeated: Vec<Record> = (0..40).map(|at| Record::new(at).text(text(at))).collect();
    let (_dir, db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    let ingest = docs.ingest(repeated.clone()).embedder(&model).in_flight(1);
    let report = ingest.run().await.expect("an ingest");
    // Ten records have the text, two of them in the first batch of eight.
    assert_eq!((report.progress.embedded, report.repeated), (40, 8));
    assert_eq!(
        (model.times("all rights reserved"), model.embedded.lock().expect("the log").len()),
        (2, 32)
    );
    for record in &repeated {
        let text = &record.text;
        assert_eq!(docs.get(record.id.clone()).expect("a lookup").expect("a record").text, *text);
        let hits = docs.search(&bag_of_words(text)).limit(40).run().expect("a search").hits;
        let own = hits.iter().find(|hit| hit.id == record.id).expect("a vector");
        assert!(own.score > 0.99, "{:?} has another text's vector: {}", record.id, own.score);
    }
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn what_a_call_that_failed_has_finished_is_remembered_too() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let sent = Mutex::new(Vec::<String>::new());
    let model = Told(AtomicUsize::new(0), |call: usize, texts: &[&str]| {
        sent.lock().expect("the log").extend(texts.iter().map(|text| (*text).to_owned()));
        if call == 0 {
            let error = StageError::new("too long").input(0).refused(0, "too long");
            return Err(error.finished(vec![1], vectors(&[texts[1]])));
        }
        Ok(vectors(texts))
    });
    let texts = ["long", "same", "other", "same"].into_iter().zip(0..);
    let records = texts.map(|(text, at): (_, i64)| Record::new(at).text(text));
    let ingest = docs.ingest(records).embedder(&model).batch_size(2).in_flight(1);
    let report = ingest.run().await.expect("a report");
    assert_eq!((report.progress.embedded, report.repeated), (3, 1));
    assert_eq!(*sent.lock().expect("the log"), ["long", "same", "other"]);
}

#[tokio::test]
async fn a_model_that_refuses_every_text_ends_the_run() {
    for size in [1, 8] {
        let (_dir, _db, docs) = empty(DIMENSIONS);
        let model = Scripted::new(|_, texts| refuse_if(texts, |_| true));
        let ingest = docs.ingest(records(1_000)).embedder(&model).batch_size(size);
        let error = ingest.run().await.expect_err("it refuses all");
        assert!(matches!(error, Error::Model { .. } | Error::Query { .. }), "{error}");
        assert!(model.calls() < 100, "{} calls", model.calls());
        assert_eq!(docs.count().expect("a count"), 0);
    }
}

#[tokio::test]
async fn vectors_that_cannot_be_stored_are_set_aside() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    let mut given = records(10);
    given.push(Record::new(10).text("own").vector(vec![f32::NAN; DIMENSIONS]));
    let report = docs.ingest(given).embedder(&model).run().await.expect("a report");
    assert_eq!(rejected(&report), [RecordId::from(10)]);
    assert_eq!((report.progress.embedded, report.progress.with_vector), (10, 0));
}

#[tokio::test]
async fn a_record_that_comes_again_while_it_is_on_its_way_is_compared_with_its_commit() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    // As it is stored, changed, and again as it was stored, far enough apart for other chunks.
    docs.ingest([Record::new(-1).text("first")]).embedder(&model).run().await.expect("an ingest");
    let mut given = vec![Record::new(-1).text("second")];
    given.extend(records(70));
    given.push(Record::new(-1).text("first"));
    docs.ingest(given).embedder(&model).run().await.expect("an ingest");
    assert_eq!(docs.get(-1).expect("a lookup").expect("a record").text, "first");
}

#[tokio::test]
async fn a_meter_adds_up_ingests_and_queries() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|call, _| match call {
        5 => Err(StageError::new("gone")),
        _ => Ok(()),
    });
    let meter = CostMeter::new();
    docs.ingest(records(24)).embedder(&model).meter(&meter).run().await.expect("an ingest");
    for _ in 0..2 {
        docs.query("star").embedder(&model).meter(&meter).run().await.expect("an answer");
    }
    docs.query("star").embedder(&model).meter(&meter).run().await.expect_err("the sixth call");
    let totals = meter.totals();
    assert_eq!((totals.embed.runs, totals.embed.failures), (3 + 3, 1));
    assert_eq!((totals.embed.cost.requests, totals.embed.cost.retries), (10, 5));
    assert_eq!(totals.embed.cost.tokens, Some(24 + 2));
    assert_eq!((totals.search.runs, totals.rerank.runs), (2, 0));
}

#[tokio::test]
async fn calls_that_failed_are_paid_too() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let spent = || Cost::new().requests(3, 2).bytes(7, 11);
    let model = Scripted::new(move |call, _| match call {
        0 => Ok(()),
        1 => Err(StageError::new("overload").cost(spent())),
        2 => Ok(()),
        _ => Err(StageError::new("gone").cost(spent())),
    });
    let meter = CostMeter::new();
    let ingest = docs.ingest(records(24)).embedder(&model).in_flight(1).meter(&meter);
    ingest.run().await.expect_err("the second call");
    let totals = meter.totals().embed;
    assert_eq!((totals.runs, totals.failures), (2, 1));
    // Two requests of the call that was answered, three of the one that failed.
    assert_eq!((totals.cost.requests, totals.cost.retries), (2 + 3, 1 + 2));
    assert_eq!((totals.cost.bytes_sent, totals.cost.bytes_received), (10 + 7, 20 + 11));
    let query = || docs.query("star").embedder(&model).meter(&meter);
    query().run().await.expect("an answer");
    query().run().await.expect_err("the fourth call");
    let totals = meter.totals().embed;
    assert_eq!((totals.runs, totals.failures), (4, 2));
    assert_eq!((totals.cost.requests, totals.cost.retries), (5 + 2 + 3, 3 + 1 + 2));
    // The report of a query that goes on without its reranker has the cost as well.
    struct Broken;
    impl Reranker for Broken {
        fn model(&self) -> &str {
            "test/broken"
        }
        fn rank<'a>(
            &'a self,
            _: &'a str,
            _: &'a [&'a str],
            _: Option<Instant>,
        ) -> BoxFuture<'a, Result<Reranked, StageError>> {
            Box::pin(async { Err(StageError::new("no").cost(Cost::new().requests(5, 4))) })
        }
    }
    let vector = super::models::bag_of_words("star");
    let query = docs.query("star").vector(vector).reranker(&Broken).meter(&meter);
    let answer = query.run().await.expect("an answer without it");
    assert_eq!((answer.report.reranked, answer.report.cost().requests), (false, 5));
    assert_eq!(meter.totals().rerank.cost.retries, 4);
}

#[tokio::test]
async fn an_embedder_that_failed_is_paid_by_its_own_stage_where_words_go_on() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let spent = || Cost::new().requests(3, 2);
    let model = Scripted::new(move |call, _| match call {
        0..=2 => Ok(()),
        _ => Err(StageError::new("gone").cost(spent())),
    });
    docs.ingest(records(20)).embedder(&model).run().await.expect("three calls");
    docs.index_text(&TextIndex::default()).expect("an index of words");
    let meter = CostMeter::new();
    for meter in [None, Some(&meter)] {
        let query = docs.query("star").embedder(&model);
        let query = query.on_embed_failure(OnEmbedFailure::Lexical);
        let query = match meter {
            Some(meter) => query.meter(meter),
            None => query,
        };
        let answer = query.run().await.expect("an answer by words");
        let stages = answer.report.stages.iter().map(|of| (of.stage, of.cost.requests));
        let stages: Vec<_> = stages.collect();
        assert_eq!(stages[..2], [("embed", 3), ("search", 0)]);
    }
    assert_eq!(meter.totals().embed.cost.requests, 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_has_finished_shows_that_others_than_a_stalled_text_are_answered() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let late = || StageError::new("no answer in time").retryable(true).timed_out();
    let model = Told(AtomicUsize::new(0), move |call: usize, texts: &[&str]| match call {
        0 => Err(late().refused(1, "too long").finished(vec![0], vectors(&texts[..1]))),
        _ if texts[0].ends_with(" 2") => Err(late()),
        _ => Ok(vectors(texts)),
    });
    let report = docs.ingest(records(3)).embedder(&model).run().await.expect("a report");
    assert_eq!(rejected(&report), [1, 2].map(RecordId::from));
    // Alone three times, and each time another was answered after it.
    assert_eq!((report.progress.embedded, model.0.into_inner()), (1, 1 + 2 * 3));
}

#[tokio::test]
async fn an_error_that_tells_only_what_it_has_refused_leaves_the_others_to_be_sent() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Told(AtomicUsize::new(0), |call: usize, texts: &[&str]| match call {
        0 => Err(StageError::new("one is too long").refused(1, "too long")),
        _ => Ok(vectors(texts)),
    });
    let report = docs.ingest(records(3)).embedder(&model).run().await.expect("a report");
    assert_eq!(rejected(&report), [RecordId::from(1)]);
    assert_eq!((report.progress.embedded, model.0.into_inner()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_too_slow_for_large_batches_gets_smaller_ones() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    // It never takes more than three texts in its time.
    let slow = Scripted::new(|_, texts| match texts.len() > 3 {
        true => Err(StageError::new("no answer in time").retryable(true).timed_out()),
        false => Ok(()),
    });
    let report = docs.ingest(records(40)).embedder(&slow).in_flight(1).run().await;
    let report = report.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (40, 0));
    // Eight at once, then four, and two from then on; after eight answers of two it tries four.
    assert_eq!(slow.calls(), 2 + 8 + 1 + 8 + 1 + 4);
    for record in records(40) {
        assert_eq!(slow.times(&record.text), 1);
    }
    db.verify().expect("an undamaged file");
}

fn out_of_order() -> StageError {
    StageError::new("overload").retryable(true)
}

#[tokio::test(start_paused = true)]
async fn a_model_that_has_answered_before_is_waited_for() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    // Of three calls one fails, as one of a service that says no time to wait.
    let model = Scripted::new(|call, _| match call % 3 {
        1 => Err(out_of_order().retry_after(Some(Duration::from_millis(1)))),
        _ => Ok(()),
    });
    let report = docs.ingest(records(80)).embedder(&model).run().await.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (80, 0));
    for record in records(80) {
        assert_eq!(model.times(&record.text), 1);
    }
    db.verify().expect("an undamaged file");
    // One that has never answered may not be there at all: that is told at once.
    let model = Scripted::new(|_, _| Err(out_of_order()));
    let ingest = docs.ingest([Record::new(99).text("more")]).embedder(&model);
    let error = ingest.run().await.expect_err("it is out of order");
    assert!(matches!(error, Error::Model { retryable: true, .. }), "{error}");
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_short_waits_do_not_make_an_outage_of_a_minute_the_end() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let back = tokio::time::Instant::now() + Duration::from_secs(60);
    // As a circuit that lets a call through every tenth of a second.
    let model =
        Scripted::new(move |call, _| match call > 0 && tokio::time::Instant::now() < back {
            true => Err(out_of_order().retry_after(Some(Duration::from_millis(100)))),
            false => Ok(()),
        });
    let mut waited = Vec::new();
    let told = |at: IngestProgress| waited.push(at.waiting);
    let ingest = docs.ingest(records(80)).embedder(&model).progress(told);
    let report = ingest.run().await.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (80, 0));
    // Who listens is told of it, at its beginning and at its end.
    assert!(waited.iter().any(|waiting| *waiting > 0), "{waited:?}");
    assert_eq!((waited.last(), report.progress.waiting), (Some(&0), 0));
    // One that stays away ends the run, after two minutes.
    let begin = tokio::time::Instant::now();
    let model = Scripted::new(|call, _| match call {
        0 => Ok(()),
        _ => Err(out_of_order().retry_after(Some(Duration::from_millis(100)))),
    });
    let more = records(120).split_off(80);
    let error = docs.ingest(more).embedder(&model).run().await.expect_err("an outage");
    assert!(matches!(error, Error::Model { retryable: true, .. }), "{error}");
    let took = begin.elapsed().as_secs();
    assert!((118..130).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_never_comes_to_an_answer_is_set_aside_if_others_do() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let stalls = |texts: &[&str]| match texts.iter().any(|text| text.ends_with(" 5")) {
        true => Err(StageError::new("no answer in time").retryable(true).timed_out()),
        false => Ok(()),
    };
    let model = Scripted::new(move |_, texts| stalls(texts));
    let ingest = docs.ingest(records(24)).embedder(&model).batch_size(2);
    let report = ingest.run().await.expect("a report");
    assert_eq!(rejected(&report), [RecordId::from(5)]);
    assert_eq!((report.progress.embedded, docs.count().expect("a count")), (23, 23));
    db.verify().expect("an undamaged file");
    // A run that has no other text to send sends one that is stored.
    let alone = || Record::new("alone").text("again 5");
    let report = docs.ingest([alone()]).embedder(&model).run().await.expect("a report");
    assert_eq!(rejected(&report), [RecordId::from("alone")]);
    // Where nothing was ever answered it is the model.
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let error = docs.ingest([alone()]).embedder(&model).run().await.expect_err("no answer");
    assert!(matches!(error, Error::Model { .. }), "{error}");
}

#[tokio::test]
async fn a_report_tells_of_texts_that_were_cut_and_of_another_model() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(())).cutting("another/model");
    let report = docs.ingest(records(24)).embedder(&model).run().await.expect("a report");
    assert_eq!(report.likely_truncated, 3);
    assert_eq!(report.served_model.as_deref(), Some("another/model"));
}
