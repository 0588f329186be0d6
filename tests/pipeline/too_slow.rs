//! A model that is too slow, and goes on with what was given up.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use portolan::{BoxFuture, Embedded, Embedder, ModelContract, Role, StageError};

use super::models::{DIMENSIONS, bag_of_words};
use super::scripted::Scripted;
use super::{empty, records};

#[tokio::test(start_paused = true)]
async fn a_model_that_goes_on_with_what_was_given_up_gets_fewer_calls_at_once() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    // It takes three seconds for a text, one after another, and is waited for half a minute.
    let (each, patience) = (Duration::from_secs(3), Duration::from_secs(30));
    let free = Mutex::new(tokio::time::Instant::now());
    // One text after another, those of calls that were given up too.
    let model = Timed(|texts: &[&str]| {
        let now = tokio::time::Instant::now();
        let mut free = free.lock().expect("a time");
        *free = (*free).max(now) + each * texts.len() as u32;
        let time = free.duration_since(now);
        (time.min(patience), time <= patience)
    });
    let ingest = docs.ingest(records(64)).embedder(&model).batch_size(8).in_flight(4);
    let begin = tokio::time::Instant::now();
    let report = ingest.run().await.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (64, 0));
    // Some of what it did was given up. With four calls at once for ever it would be most.
    let took = begin.elapsed();
    assert!(took < 64 * each * 3, "{took:?}");
    db.verify().expect("an undamaged file");
}

/// Takes as long for a call as this tells, and comes to an answer if it says so.
struct Timed<F>(F);

impl<F: Fn(&[&str]) -> (Duration, bool) + Send + Sync> Embedder for Timed<F> {
    fn contract(&self) -> ModelContract {
        ModelContract::new("test/timed")
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _role: Role,
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        Box::pin(async move {
            let (time, is_answered) = (self.0)(texts);
            tokio::time::sleep(time).await;
            if !is_answered {
                return Err(StageError::new("no answer in time").retryable(true).timed_out());
            }
            Ok(Embedded::new(texts.iter().map(|text| bag_of_words(text)).collect()))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_too_slow_and_is_then_left_alone_fails_as_too_slow() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    // As a circuit that opens after calls that came to no answer.
    let model = Scripted::new(|call, _| match call < 3 {
        true => Err(StageError::new("no answer in time").retryable(true).timed_out()),
        false => Err(StageError::new("left alone").retryable(true).not_sent()),
    });
    let error = docs.ingest(records(8)).embedder(&model).run().await.expect_err("no answer");
    assert!(error.to_string().contains("no answer in time"), "{error}");
    // It was waited for: a service that is too slow is there.
    assert!(model.calls() > 5, "{}", model.calls());
    // One that comes back in the meantime is not given up.
    let model = Scripted::new(|call, _| match call {
        0 => Err(StageError::new("no answer in time").retryable(true).timed_out()),
        1..4 => Err(StageError::new("left alone").retryable(true).not_sent()),
        _ => Ok(()),
    });
    let report = docs.ingest(records(8)).embedder(&model).run().await.expect("an ingest");
    assert_eq!(report.progress.embedded, 8);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_answers_nothing_for_some_minutes_costs_no_record() {
    for circuit in [None, Some(5)] {
        let (_dir, db, docs) = empty(DIMENSIONS);
        let model = Away::new(Duration::from_secs(2), Duration::from_secs(240), circuit);
        let ingest = docs.ingest(records(200)).embedder(&model).batch_size(16).in_flight(4);
        let report = ingest.run().await.expect("an ingest");
        let progress = report.progress;
        assert_eq!((progress.embedded, progress.rejected), (200, 0), "{circuit:?}");
        db.verify().expect("an undamaged file");
    }
    // Two single texts come to no answer in turns, and then one of them does.
    for length in [60, 90, 120, 150, 180] {
        let (_dir, _db, docs) = empty(DIMENSIONS);
        let model = Away::new(Duration::from_secs(2), Duration::from_secs(length), None);
        let ingest = docs.ingest(records(12)).embedder(&model).batch_size(1).in_flight(2);
        let report = ingest.run().await.expect("an ingest");
        assert_eq!((report.progress.embedded, report.progress.rejected), (12, 0), "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_answers_nothing_any_more_is_given_up_in_some_minutes_as_too_slow() {
    for from in [0, 1] {
        for circuit in [None, Some(5)] {
            let (_dir, _db, docs) = empty(DIMENSIONS);
            let model = Away::new(Duration::from_secs(from), Duration::MAX, circuit);
            let begin = tokio::time::Instant::now();
            let ingest = docs.ingest(records(400)).embedder(&model).batch_size(50).in_flight(4);
            let error = ingest.run().await.expect_err("no answer");
            assert!(error.to_string().contains("no answer in time"), "{error}");
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(9 * 60), "{from} {circuit:?}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn texts_that_are_never_answered_are_found_wherever_they_are() {
    for (bad, batch, in_flight) in [
        (&[0][..], 8, 1),
        (&[7], 8, 1),
        (&[22, 23], 8, 4),
        (&[3, 4], 24, 2),
        (&[5], 1, 1),
        (&[23], 1, 4),
        (&[0, 8, 16], 8, 4),
        (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 24, 1),
        (&[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22], 24, 1),
        (&[14, 15, 16, 17, 18, 19, 20, 21, 22, 23], 6, 4),
    ] {
        let (_dir, _db, docs) = empty(DIMENSIONS);
        let texts: Vec<String> =
            bad.iter().map(|&at: &usize| records(24)[at].text.clone()).collect();
        let model = Timed(|sent: &[&str]| {
            let is_bad = sent.iter().any(|text| texts.iter().any(|bad| bad == text));
            (Duration::from_secs(if is_bad { 30 } else { 1 }), !is_bad)
        });
        let ingest = docs.ingest(records(24)).embedder(&model).batch_size(batch);
        let report = ingest.in_flight(in_flight).run().await.expect("a report");
        let mut found: Vec<String> = report.rejected.iter().map(|one| one.id.to_string()).collect();
        found.sort_by_key(|id| id.parse::<usize>().ok());
        let expected: Vec<String> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{batch} {in_flight}");
        assert_eq!(report.progress.embedded, 24 - bad.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_given_up_tells_what_happened_last_and_not_what_was_slow_before() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|call, _| match call {
        0 => Err(StageError::new("no answer in time").retryable(true).timed_out()),
        _ => Err(StageError::new("out of order").retryable(true)),
    });
    let error = docs.ingest(records(8)).embedder(&model).run().await.expect_err("an outage");
    assert!(error.to_string().contains("out of order"), "{error}");
}

/// Answers after a second, but for a time of the run, in which each call is waited for in vain.
struct Away {
    begin: tokio::time::Instant,
    from: Duration,
    length: Duration,
    /// Failures in a row after which calls are refused for five seconds, then one is let through.
    circuit: Option<u32>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    failures: u32,
    closed_until: Option<tokio::time::Instant>,
}

impl Away {
    fn new(from: Duration, length: Duration, circuit: Option<u32>) -> Self {
        let begin = tokio::time::Instant::now();
        Self { begin, from, length, circuit, seen: Mutex::default() }
    }

    /// How long a call is refused for.
    fn refused(&self) -> Option<Duration> {
        let mut seen = self.seen.lock().expect("what was seen");
        let now = tokio::time::Instant::now();
        let wait = seen.closed_until?.saturating_duration_since(now);
        if wait.is_zero() {
            // This one is let through, others are refused until it has ended.
            seen.closed_until = Some(now + Duration::from_secs(30));
            return None;
        }
        Some(wait.min(Duration::from_secs(5)))
    }

    fn ended(&self, has_failed: bool) {
        let mut seen = self.seen.lock().expect("what was seen");
        seen.failures = if has_failed { seen.failures + 1 } else { 0 };
        let is_closed = self.circuit.is_some_and(|most| seen.failures >= most);
        let until = tokio::time::Instant::now() + Duration::from_secs(5);
        seen.closed_until = is_closed.then_some(until);
    }
}

impl Embedder for Away {
    fn contract(&self) -> ModelContract {
        ModelContract::new("test/away")
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _role: Role,
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        Box::pin(async move {
            if let Some(wait) = self.refused() {
                let error = StageError::new("left alone").retryable(true).not_sent();
                return Err(error.retry_after(Some(wait)));
            }
            let since = self.begin.elapsed();
            let is_away = since >= self.from && since - self.from < self.length;
            tokio::time::sleep(Duration::from_secs(if is_away { 30 } else { 1 })).await;
            self.ended(is_away);
            if is_away {
                return Err(StageError::new("no answer in time").retryable(true).timed_out());
            }
            Ok(Embedded::new(texts.iter().map(|text| bag_of_words(text)).collect()))
        })
    }
}
