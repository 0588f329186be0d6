//! The lists of a query: what each kind is asked, and the ranking it gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dense::Dense;
use super::like::Like;
use super::multi::Multi;
use super::sparse::Sparse;
use super::text::Lexical;
use crate::db::Collection;
use crate::db::matching::Matching;
use crate::db::search::SearchReport;
use crate::db::space::Space;
use crate::db::view::View;
use crate::error::{Error, Result};
use crate::filter::{Filter, Slots};
use crate::index::{Neighbor, Passing, SearchPath, Segment};
use crate::record::Slot;
use crate::storage::{Snapshot, Table, keys};

/// One list of a query. A kind more is a variant here and a file that asks it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum List {
    Dense(Dense),
    Like(Like),
    Text(Lexical),
    Multi(Multi),
    Sparse(Sparse),
}

/// What every list has, whatever its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Common {
    pub(super) depth: Option<usize>,
    pub(super) weight: f64,
    pub(super) min_score: Option<f32>,
}

impl Default for Common {
    fn default() -> Self {
        Self { depth: None, weight: 1.0, min_score: None }
    }
}

/// The setters that every kind of list has.
macro_rules! common_setters {
    () => {
        /// Takes so many of the best into the query, at least 1. Default:
        /// [`Find::depth`](crate::Find::depth).
        pub fn depth(mut self, records: usize) -> Self {
            self.common.depth = Some(records);
            self
        }

        /// How much the list counts in the fusion, 0 or more. Default: 1. Alone, a list keeps its
        /// own scores.
        pub fn weight(mut self, weight: f64) -> Self {
            self.common.weight = weight;
            self
        }

        /// Leaves out of the list what scores less by the list's own score, before anything is
        /// fused.
        pub fn min_score(mut self, score: f32) -> Self {
            self.common.min_score = Some(score);
            self
        }
    };
}
pub(super) use common_setters;

/// The version of a collection that all lists of a query are asked of.
#[derive(Clone, Copy)]
pub(super) struct Given<'r> {
    pub(super) collection: &'r Collection,
    pub(super) snapshot: &'r dyn Snapshot,
    pub(super) view: &'r View,
    pub(super) filter: Option<&'r Filter>,
    pub(super) matching: &'r Matching,
}

impl Given<'_> {
    /// Slots of the first `most` records from a slot on that match and for which another condition
    /// holds, ascending.
    pub(super) fn slots(
        &self,
        first: u32,
        also: impl Fn(u32) -> bool,
        most: usize,
    ) -> Result<Vec<u32>> {
        let slots = &self.matching.slots;
        if let Slots::Only(only) = slots {
            return Ok(only.range(first..).filter(|slot| also(*slot)).take(most).collect());
        }
        let id = self.collection.id;
        let (prefix, start) = (keys::collection(id), keys::slot(id, Slot(first)));
        let mut listed = Vec::new();
        for entry in self.snapshot.range(Table::Records, &prefix, &start)? {
            let slot = keys::slot_of(entry?.0).map(|slot| slot.0);
            listed.extend(slot.filter(|&slot| slots.contains(slot) && also(slot)));
            if listed.len() >= most {
                break;
            }
        }
        Ok(listed)
    }

    /// The view of a named field of one vector a record, and what of it passes.
    pub(super) fn in_field(&self, name: &str) -> Result<(Arc<View>, Arc<Matching>)> {
        self.in_space(self.collection.dense_space(self.snapshot, Some(name))?)
    }

    pub(super) fn in_space(&self, space: Space) -> Result<(Arc<View>, Arc<Matching>)> {
        let view = self.collection.view_of(self.snapshot, space)?;
        let matching = view.matching_as(self.filter, self.matching)?;
        Ok((view, matching))
    }
}

/// What a list found, best first; equal scores by slot.
pub(super) struct Ranking {
    pub(super) found: Vec<Neighbor>,
    pub(super) report: ListReport,
    /// Why it can find nothing.
    pub(super) warning: Option<&'static str>,
}

impl Ranking {
    pub(super) fn new(found: Vec<Neighbor>, report: ListReport) -> Self {
        Self { found, report, warning: None }
    }
}

impl List {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Dense(dense) => &dense.common,
            Self::Like(like) => &like.common,
            Self::Text(text) => &text.common,
            Self::Multi(multi) => &multi.common,
            Self::Sparse(sparse) => &sparse.common,
        }
    }

    /// Refuses what no collection could answer.
    pub(super) fn check(&self) -> Result<()> {
        let Common { depth, weight, min_score } = *self.common();
        let refuse = |reason| Err(Error::Query { reason });
        if depth == Some(0) {
            return refuse("the depth of a list is 0: give at least 1");
        }
        if !(weight.is_finite() && weight >= 0.0) {
            return refuse("the weight of a list is negative or no number: give 0 or more");
        }
        if min_score.is_some_and(f32::is_nan) {
            return refuse("the least score of a list is no number");
        }
        match self {
            Self::Dense(dense) => dense.check(),
            Self::Like(like) => like.check(),
            Self::Text(_) | Self::Multi(_) | Self::Sparse(_) => Ok(()),
        }
    }

    /// The best `depth` by this list.
    pub(super) fn run(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let begin = Instant::now();
        let depth = self.common().depth.unwrap_or(depth);
        let mut ranking = match self {
            Self::Dense(dense) => dense.run(given, depth)?,
            Self::Like(like) => like.run(given, depth)?,
            Self::Text(text) => text.run(given, depth)?,
            Self::Multi(multi) => multi.run(given, depth)?,
            Self::Sparse(sparse) => sparse.run(given, depth)?,
        };
        if let Some(least) = self.common().min_score {
            ranking.found.retain(|found| found.score >= least);
        }
        let report = &mut ranking.report;
        (report.depth, report.weight) = (depth, self.common().weight);
        (report.found, report.took) = (ranking.found.len(), begin.elapsed());
        Ok(ranking)
    }
}

/// What one list of a query did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ListReport {
    /// `dense`, `like`, `text`, `multi`, or `sparse`.
    pub kind: &'static str,
    /// What it was asked, in a few words.
    pub about: String,
    /// The most records it was to give.
    pub depth: usize,
    /// How much it counts in the fusion.
    pub weight: f64,
    /// Records it gave.
    pub found: usize,
    /// Records whose score it knew: candidates of walks, and all rows of scans.
    pub scored: u64,
    /// Wall time.
    pub took: Duration,
    /// The vector search behind it, if there was one.
    pub search: Option<SearchReport>,
    /// How each segment was searched, in their order; vectors only.
    pub segments: Vec<SegmentReport>,
    /// The share of the `depth` true neighbors that the walks of graphs are expected to find, from
    /// what was measured when the graphs were built; none for lists that are not of vectors.
    pub expected_recall: Option<f32>,
}

/// How one segment was searched.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SegmentReport {
    /// Vectors in it.
    pub rows: u32,
    /// Those that pass the filter and are alive.
    pub passing: u32,
    /// Whether it has a graph; one that is small has none.
    pub has_graph: bool,
    /// The path.
    pub path: SearchPath,
}

impl SegmentReport {
    /// Of the segments of a view that were searched on these paths.
    pub(super) fn of(view: &View, matching: &Matching, paths: &[SearchPath]) -> Vec<Self> {
        let searched = view.segments.iter().zip(&matching.segments).zip(paths);
        let report = |((segment, passing), &path): ((&Segment, &Passing), &SearchPath)| Self {
            rows: segment.len(),
            passing: passing.count(),
            has_graph: segment.has_graph(),
            path,
        };
        searched.map(report).collect()
    }
}
