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
    let model = Queued { each, patience, free };
    let ingest = docs.ingest(records(64)).embedder(&model).batch_size(8).in_flight(4);
    let begin = tokio::time::Instant::now();
    let report = ingest.run().await.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (64, 0));
    // Some of what it did was given up. With four calls at once for ever it would be most.
    let took = begin.elapsed();
    assert!(took < 64 * each * 3, "{took:?}");
    db.verify().expect("an undamaged file");
}

/// One text after another, those of calls that were given up too.
struct Queued {
    each: Duration,
    patience: Duration,
    free: Mutex<tokio::time::Instant>,
}

impl Embedder for Queued {
    fn contract(&self) -> ModelContract {
        ModelContract::new("test/queued")
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _role: Role,
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        Box::pin(async move {
            let now = tokio::time::Instant::now();
            let done = {
                let mut free = self.free.lock().expect("a time");
                *free = (*free).max(now) + self.each * texts.len() as u32;
                *free
            };
            if done.duration_since(now) > self.patience {
                tokio::time::sleep(self.patience).await;
                return Err(StageError::new("no answer in time").retryable(true).timed_out());
            }
            tokio::time::sleep_until(done).await;
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
        false => Err(StageError::new("left alone").retryable(true)),
    });
    let error = docs.ingest(records(8)).embedder(&model).run().await.expect_err("no answer");
    assert!(error.to_string().contains("no answer in time"), "{error}");
    // It was waited for: a service that is too slow is there.
    assert!(model.calls() > 5, "{}", model.calls());
    // One that comes back in the meantime is not given up.
    let model = Scripted::new(|call, _| match call {
        0 => Err(StageError::new("no answer in time").retryable(true).timed_out()),
        1..4 => Err(StageError::new("left alone").retryable(true)),
        _ => Ok(()),
    });
    let report = docs.ingest(records(8)).embedder(&model).run().await.expect("an ingest");
    assert_eq!(report.progress.embedded, 8);
}
