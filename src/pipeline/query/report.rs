//! What a query found, and how: the answer and its report. Plain data.

use std::time::Duration;

use super::explain::QueryExplanation;
use crate::db::{Cursor, Explanation, FacetCounts, FindReport, Group, Hit, Origin, SearchReport};
use crate::error::Error;
use crate::pipeline::cost::Cost;
use crate::record::Value;

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

impl StageOutcome {
    /// Of a stage that failed: the reason names no stage, as the report does.
    pub(in crate::pipeline) fn failed(error: &Error) -> Self {
        match error {
            Error::Model { source, .. } => Self::Failed(source.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// One stage of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageReport {
    /// `embed`, `search` or `rerank`, and `chat` where a model has answered. A query over several
    /// models has several of them.
    pub stage: &'static str,
    /// The model, or what a reranker of records is called; none for a search and for a stage
    /// that was not asked for.
    pub model: Option<String>,
    /// What became of it.
    pub outcome: StageOutcome,
    /// Records that a search, or candidates that a reranker gave a score, those from the cache
    /// too; 0 for an embedder and for what failed.
    pub scored: u64,
    /// Wall time.
    pub took: Duration,
    /// What the calls of the model took, as far as it was told; nothing if it was not asked.
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

/// What a query did in one of its collections.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// Which it is.
    pub origin: Origin,
    /// Whether it was searched; the reason if it was left out.
    pub outcome: StageOutcome,
    /// Hits it gave.
    pub hits: usize,
    /// What the search did.
    pub find: FindReport,
    /// The counts of [`Find::facets`](crate::Find::facets).
    pub facets: Vec<FacetCounts>,
}

impl CollectionReport {
    /// What the search did, in words or as JSON: see
    /// [`Findings::explain`](crate::Findings::explain).
    #[must_use]
    pub fn explain(&self) -> Explanation<'_> {
        Explanation::new(&self.find)
    }
}

/// What a query did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct QueryReport {
    /// The stages, in order.
    pub stages: Vec<StageReport>,
    /// Candidates that the search gave to the next stage.
    pub candidates: usize,
    /// What the searches did: the sums of the vector searches, the longest time, the largest `ef`,
    /// and what made any of them slow.
    pub search: SearchReport,
    /// The collections, in the order they were given.
    pub collections: Vec<CollectionReport>,
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

    /// All stages, rerankers too, and the search of each collection, in words (`Display`) or as
    /// JSON.
    #[must_use]
    pub fn explain(&self) -> QueryExplanation<'_> {
        QueryExplanation::new(self)
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
    /// Where the next page begins, for [`Find::after`](crate::Find::after) of
    /// [`Query::find`](crate::Query::find); none after rerankers and of several collections.
    pub next: Option<Cursor>,
    pub(super) groups: Vec<(Value, usize)>,
}

impl Answer {
    /// The counts of [`Find::facets`](crate::Find::facets), of the first collection; those of
    /// others are in [`QueryReport::collections`].
    #[must_use]
    pub fn facets(&self) -> &[FacetCounts] {
        self.report.collections.first().map_or(&[], |first| &first.facets)
    }

    /// The hits by the values of [`Find::group_by`](crate::Find::group_by); none if they are not
    /// grouped, after rerankers, and of several collections.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let mut rest = self.hits.as_slice();
        self.groups.iter().map(move |(value, count)| {
            let (hits, after) = rest.split_at_checked(*count).unwrap_or((rest, &[]));
            rest = after;
            Group { value, hits }
        })
    }
}

/// How hits are shaped, as long as no reranker takes them apart.
#[derive(Default)]
pub(super) struct Shape {
    pub(super) groups: Vec<(Value, usize)>,
    pub(super) next: Option<Cursor>,
}
