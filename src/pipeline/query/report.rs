//! What a query found, and how: the answer and its report. Plain data.

use std::time::Duration;

use crate::db::{Hit, SearchReport};
use crate::pipeline::cost::Cost;

/// What became of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageOutcome {
    /// It ran to its end.
    Done,
    /// The cache had the whole answer: no model was asked.
    Cached,
    /// It was not asked for, or had nothing to do.
    Skipped,
    /// It failed or ran out of time; the reason.
    Failed(String),
}

/// One stage of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageReport {
    /// `embed`, `search` or `rerank`.
    pub stage: &'static str,
    /// What became of it.
    pub outcome: StageOutcome,
    /// Wall time.
    pub took: Duration,
    /// What the call of the model took; nothing if it failed or was not asked.
    pub cost: Cost,
}

/// What a query did with the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheUse {
    /// Whether the query was looked up at all.
    pub used: bool,
    /// Whether the vector of the question was there.
    pub embedding: bool,
    /// Passages whose logit was there and was used.
    pub rerank_hits: usize,
    /// Passages that the reranker was asked for.
    pub rerank_misses: usize,
    /// Entries that this process has dropped so far because another writer was at work, or the
    /// file could not be written. They cost a call more, no query fails by it.
    pub skipped: u64,
}

/// What a query did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct QueryReport {
    /// The stages, in order.
    pub stages: Vec<StageReport>,
    /// Candidates that the search gave to the next stage.
    pub candidates: usize,
    /// What the search did.
    pub search: SearchReport,
    /// Whether the hits are in the reranker's order.
    pub reranked: bool,
    /// What came from the cache.
    pub cache: CacheUse,
    /// Wall time of all.
    pub took: Duration,
}

impl QueryReport {
    /// What all stages together cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let mut sum = Cost::new();
        self.stages.iter().for_each(|stage| sum.add(stage.cost));
        sum
    }
}

/// Hits, best first, and how they came about.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// Best first.
    pub hits: Vec<Hit>,
    /// What was done, what was skipped, and why.
    pub report: QueryReport,
}
