//! One query under way: the time that is left to each stage, and what the stages report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::report::{QueryReport, StageOutcome, StageReport};
use crate::error::Error;
use crate::pipeline::cost::{Cost, CostMeter, Ended};
use crate::pipeline::stage::StageError;

/// When a stage must have ended.
#[derive(Debug, Clone)]
pub(super) struct Until {
    pub(super) at: Option<Instant>,
    /// The time that was given, for the message.
    given: Duration,
    spent: Spent,
}

/// What calls took that failed, until their stage is reported.
#[derive(Debug, Clone, Default)]
struct Spent(Arc<Mutex<Cost>>);

impl Spent {
    fn lock(&self) -> MutexGuard<'_, Cost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Until {
    /// The result, or none if the time is up first. Work that comes too late is not begun, so
    /// that no model is asked for what nobody waits for.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.at {
            None => Some(work.await),
            Some(at) if at <= Instant::now() => None,
            Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
        }
    }

    pub(super) fn late(&self, stage: &'static str) -> Error {
        Error::DeadlineExceeded { stage, deadline_ms: self.given.as_millis() as u64 }
    }

    /// A model that gave up because the time was up is late, not broken.
    pub(super) fn failed(&self, stage: &'static str, error: StageError) -> Error {
        self.spent.lock().add(error.spent());
        match self.at {
            Some(at) if Instant::now() >= at => self.late(stage),
            _ => error.into_error(stage),
        }
    }
}

/// One query under way.
pub(super) struct Run {
    pub(super) begin: Instant,
    deadline: Option<Duration>,
    meter: Option<CostMeter>,
    pub(super) report: QueryReport,
    /// Whether what waits for the cache is to be written.
    pub(super) cache_is_due: bool,
    spent: Spent,
}

impl Run {
    pub(super) fn begin(deadline: Option<Duration>, meter: Option<CostMeter>) -> Self {
        let (begin, report) = (Instant::now(), QueryReport::default());
        Self { begin, deadline, meter, report, cache_is_due: false, spent: Spent::default() }
    }

    /// What is left for a stage: until the deadline, less what is kept for later stages, or as
    /// long as the stage may take at most.
    pub(super) fn until(&self, reserve: Duration, within: Option<Duration>) -> Until {
        let (given, spent) = (self.deadline.unwrap_or_default(), self.spent.clone());
        let whole =
            self.deadline.and_then(|time| self.begin.checked_add(time.saturating_sub(reserve)));
        let own = within.and_then(|time| Instant::now().checked_add(time));
        match (whole, own, within) {
            (whole, Some(own), Some(within)) if whole.is_none_or(|whole| own < whole) => {
                Until { at: Some(own), given: within, spent }
            }
            (at, ..) => Until { at, given, spent },
        }
    }

    /// Adds a stage that has ended.
    pub(super) fn report(
        &mut self,
        stage: &'static str,
        outcome: StageOutcome,
        begin: Instant,
        mut cost: Cost,
    ) {
        let took = begin.elapsed();
        cost.add(self.take_spent());
        let (ended, name) = match &outcome {
            StageOutcome::Done => (Some(Ended::Done), "done"),
            StageOutcome::Cached => (Some(Ended::Cached), "cached"),
            StageOutcome::Failed(_) => (Some(Ended::Failed), "failed"),
            StageOutcome::Skipped => (None, "skipped"),
        };
        tracing::debug!(
            stage,
            outcome = name,
            took_us = took.as_micros() as u64,
            requests = cost.requests,
            retries = cost.retries,
            tokens = cost.tokens,
            "stage ended"
        );
        if let (Some(meter), Some(ended)) = (&self.meter, ended) {
            meter.note(stage, ended, took, cost);
        }
        self.report.stages.push(StageReport { stage, outcome, took, cost });
    }

    /// Notes a stage by which the query fails.
    pub(super) fn failing(&self, stage: &'static str, begin: Instant, error: Error) -> Error {
        tracing::debug!(stage, outcome = "failed", retryable = error.is_retryable(), "stage ended");
        if let Some(meter) = &self.meter {
            meter.note(stage, Ended::Failed, begin.elapsed(), self.take_spent());
        }
        error
    }

    fn take_spent(&self) -> Cost {
        std::mem::take(&mut *self.spent.lock())
    }
}
