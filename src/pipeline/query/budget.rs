//! One query under way: the time that is left to each stage, and what the stages report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::report::{CollectionReport, QueryReport, StageOutcome, StageReport};
use crate::db::{Collection, FindReport, Findings};
use crate::error::Error;
use crate::pipeline::cost::{Cost, CostMeter, Ended};
use crate::pipeline::stage::StageError;

/// When a stage must have ended.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Until {
    pub(in crate::pipeline) at: Option<Instant>,
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
    /// The end of a time that began at an instant.
    pub(in crate::pipeline) fn of(begin: Instant, time: Option<Duration>) -> Self {
        let at = time.and_then(|time| begin.checked_add(time));
        Self { at, given: time.unwrap_or_default(), spent: Spent::default() }
    }

    /// The result, or none if the time is up first. Work that comes too late is not begun, so
    /// that no model is asked for what nobody waits for.
    pub(in crate::pipeline) async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.at {
            None => Some(work.await),
            Some(at) if at <= Instant::now() => None,
            Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
        }
    }

    pub(in crate::pipeline) fn late(&self, stage: &'static str) -> Error {
        Error::DeadlineExceeded { stage, deadline_ms: self.given.as_millis() as u64 }
    }

    /// A model that gave up because the time was up is late, not broken.
    pub(in crate::pipeline) fn failed(&self, stage: &'static str, error: StageError) -> Error {
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
    /// What the stage took that failed last.
    lost_cost: Spent,
    /// Why the first collection was left out.
    pub(super) lost: Option<Error>,
}

impl Run {
    pub(super) fn begin(
        collections: &[Collection],
        deadline: Option<Duration>,
        meter: Option<CostMeter>,
    ) -> Self {
        let unsearched = |collection: &Collection| CollectionReport {
            origin: collection.origin(),
            outcome: StageOutcome::Skipped,
            hits: 0,
            find: FindReport::default(),
            facets: Vec::new(),
        };
        let collections = collections.iter().map(unsearched).collect();
        let report = QueryReport { collections, ..QueryReport::default() };
        let begin = Instant::now();
        let (spent, lost_cost) = (Spent::default(), Spent::default());
        Self { begin, deadline, meter, report, cache_is_due: false, lost: None, spent, lost_cost }
    }

    /// Notes what a collection gave.
    pub(super) fn found(&mut self, at: usize, found: &Findings) {
        let sum = &mut self.report.search;
        sum.took = sum.took.max(found.report.took);
        sum.passing += found.report.passing;
        for warning in &found.report.warnings {
            if !sum.warnings.contains(warning) {
                sum.warnings.push(warning.clone());
            }
        }
        for of in found.report.lists.iter().filter_map(|list| list.search.as_ref()) {
            sum.segments += of.segments;
            sum.delta += of.delta;
            sum.candidates += of.candidates;
            sum.steps += of.steps;
            sum.ef = sum.ef.max(of.ef);
            sum.paths.extend(of.paths.iter().copied());
        }
        if let Some(report) = self.report.collections.get_mut(at) {
            report.outcome = StageOutcome::Done;
            report.hits = found.hits.len();
            (report.find, report.facets) = (found.report.clone(), found.facets.clone());
        }
    }

    /// Notes why a collection is left out.
    pub(super) fn left_out(&mut self, at: usize, reason: &str) {
        if let Some(report) = self.report.collections.get_mut(at) {
            report.outcome = StageOutcome::Failed(reason.to_owned());
        }
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
        model: Option<&str>,
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
        let model = model.map(str::to_owned);
        self.report.stages.push(StageReport { stage, model, outcome, scored: 0, took, cost });
    }

    /// Says of the stage that has just ended how many it scored.
    pub(super) fn scored(&mut self, scored: u64) {
        if let Some(stage) = self.report.stages.last_mut() {
            stage.scored = scored;
        }
    }

    /// Adds a stage whose failure was noted already by [`Self::failing`].
    pub(super) fn report_failed(
        &mut self,
        stage: &'static str,
        model: Option<&str>,
        outcome: StageOutcome,
        begin: Instant,
    ) {
        let model = model.map(str::to_owned);
        let (took, cost) = (begin.elapsed(), std::mem::take(&mut *self.lost_cost.lock()));
        self.report.stages.push(StageReport { stage, model, outcome, scored: 0, took, cost });
    }

    /// Notes a stage by which the query fails.
    pub(super) fn failing(&self, stage: &'static str, begin: Instant, error: Error) -> Error {
        tracing::debug!(stage, outcome = "failed", retryable = error.is_retryable(), "stage ended");
        // Taken in any case, so that no later stage seems to have paid it.
        let spent = self.take_spent();
        if let Some(meter) = &self.meter {
            meter.note(stage, Ended::Failed, begin.elapsed(), spent);
        }
        *self.lost_cost.lock() = spent;
        error
    }

    fn take_spent(&self) -> Cost {
        std::mem::take(&mut *self.spent.lock())
    }
}
