//! What models cost: per call, per query, per ingest, and in total over a run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What calls of a model took, as far as the model tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Requests sent, those sent again included.
    pub requests: u64,
    /// Requests sent again after a passing failure.
    pub retries: u64,
    /// Tokens the model read, and of a chat model those it wrote; none if it never told.
    pub tokens: Option<u64>,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// Bytes of answers.
    pub bytes_received: u64,
}

impl Cost {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many requests were sent, and how many of them again.
    #[must_use]
    pub fn requests(mut self, requests: u64, retries: u64) -> Self {
        (self.requests, self.retries) = (requests, retries);
        self
    }

    /// Sets how many tokens the model read and wrote, if it tells.
    #[must_use]
    pub fn tokens(mut self, tokens: impl Into<Option<u64>>) -> Self {
        self.tokens = tokens.into();
        self
    }

    /// Sets how many bytes of bodies were sent and received.
    #[must_use]
    pub fn bytes(mut self, sent: u64, received: u64) -> Self {
        (self.bytes_sent, self.bytes_received) = (sent, received);
        self
    }

    /// Adds another cost. Tokens are the sum of those that were told.
    pub fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.retries = self.retries.saturating_add(other.retries);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        if let Some(tokens) = other.tokens {
            self.tokens = Some(self.tokens.unwrap_or(0).saturating_add(tokens));
        }
    }
}

/// One stage over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageTotal {
    /// How often it ran: to its end, from the cache, or until it failed.
    pub runs: u64,
    /// How often it failed or was late.
    pub failures: u64,
    /// How often the cache alone answered.
    pub cached: u64,
    /// Time of all runs together.
    pub took: Duration,
    /// What the calls cost, those that failed included as far as the model tells.
    pub cost: Cost,
}

/// All stages over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostTotals {
    /// Embedding queries and passages.
    pub embed: StageTotal,
    /// Searching.
    pub search: StageTotal,
    /// Reranking.
    pub rerank: StageTotal,
    /// Chat models.
    pub chat: StageTotal,
}

/// Adds up what queries, answers, agents and ingests cost. Clones share one sum, so that one meter
/// can be given to every query of a service and read at any time.
///
/// ```
/// let meter = portolan::CostMeter::new();
/// assert_eq!(meter.totals().embed.cost.requests, 0);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CostMeter {
    totals: Arc<Mutex<CostTotals>>,
}

/// What became of one run of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Cached,
    Failed,
}

impl CostMeter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sums so far.
    #[must_use]
    pub fn totals(&self) -> CostTotals {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, CostTotals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, stage: &'static str, ended: Ended, took: Duration, cost: Cost) {
        let mut totals = self.lock();
        let total = match stage {
            "embed" => &mut totals.embed,
            "rerank" => &mut totals.rerank,
            "chat" => &mut totals.chat,
            _ => &mut totals.search,
        };
        total.runs += 1;
        total.failures += u64::from(ended == Ended::Failed);
        total.cached += u64::from(ended == Ended::Cached);
        total.took = total.took.saturating_add(took);
        total.cost.add(cost);
    }
}
