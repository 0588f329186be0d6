//! Many vector searches at once: projected together, spread over threads, ids and scores only.

use rayon::prelude::*;

use super::Collection;
use super::matching::Matching;
use super::search::{Depth, check_effort, refused_query};
use super::view::View;
use crate::error::Result;
use crate::filter::Filter;
use crate::index::{Effort, Neighbor};
use crate::record::{RecordId, Slot};
use crate::storage::{Snapshot, tables};
use crate::vectors::PreparedQuery;

/// One record that a batch search found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// The record's id.
    pub id: RecordId,
    /// Higher is better, as [`Hit::score`](super::Hit::score).
    pub score: f32,
}

/// Searches for several vectors. Made by [`Collection::search_batch`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SearchBatch<'q, V> {
    collection: Collection,
    vectors: &'q [V],
    limit: usize,
    effort: Effort,
    exact: bool,
    filter: Option<Filter>,
    field: Option<String>,
}

/// Queries that one task projects and searches together.
const TASK: usize = 16;

impl Collection {
    /// Searches for many vectors at once: faster than one [`Collection::search`] each, because
    /// queries share the work of preparing them and records are not read, and spread over the
    /// threads of the current rayon pool.
    pub fn search_batch<'q, V: AsRef<[f32]> + Sync>(&self, vectors: &'q [V]) -> SearchBatch<'q, V> {
        let collection = self.clone();
        let (effort, exact) = (Effort::default(), false);
        SearchBatch { collection, vectors, limit: 10, effort, exact, filter: None, field: None }
    }
}

impl<V: AsRef<[f32]> + Sync> SearchBatch<'_, V> {
    /// As [`Search::field`](super::Search::field).
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// At most so many hits for each vector. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// As [`Search::ef`](super::Search::ef).
    pub fn ef(mut self, candidates: usize) -> Self {
        self.effort = Effort::Ef(candidates);
        self
    }

    /// As [`Search::recall`](super::Search::recall).
    pub fn recall(mut self, target: f32) -> Self {
        self.effort = Effort::Recall(target);
        self
    }

    /// As [`Search::exact`](super::Search::exact).
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Finds only records that match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Runs all searches on one version of the file: for each vector its hits, best first. As
    /// [`Maintain::run`](super::Maintain::run), it must not be called from a task that a rayon
    /// worker may steal while another writes.
    ///
    /// # Errors
    /// As [`Search::run`](super::Search::run); one bad vector fails the batch.
    pub fn run(self) -> Result<Vec<Vec<Found>>> {
        check_effort(self.effort)?;
        let collection = &self.collection;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let space = collection.dense_space(snapshot, self.field.as_deref())?;
        let view = collection.view_of(snapshot, space)?;
        let matching = view.matching(self.filter.as_ref(), snapshot, collection.id)?;
        let search = |vectors: &[V]| self.task(&view, &matching, vectors);
        let found = self.vectors.par_chunks(TASK).map(search).collect::<Result<Vec<_>>>()?;
        let found = found.into_iter().flatten();
        found.map(|neighbors| named(collection, snapshot, &view, neighbors)).collect()
    }

    /// The best of all segments and of the delta for each vector of a task.
    fn task(&self, view: &View, matching: &Matching, vectors: &[V]) -> Result<Vec<Vec<Neighbor>>> {
        let prepare = |vector: &V| {
            PreparedQuery::new(&view.encoding, vector.as_ref())
                .map_err(|source| refused_query(self.field.as_deref(), source))
        };
        let mut queries = Vec::with_capacity(vectors.len());
        for vector in vectors {
            queries.push(prepare(vector)?);
        }
        let depth = Depth { limit: self.limit, effort: self.effort, exact: self.exact };
        let found = view.nearest_many(&queries, matching, depth);
        Ok(found.map_err(|source| self.collection.failed(source))?.0)
    }
}

/// The ids of what was found: beside the codes, or else from the records.
fn named(
    collection: &Collection,
    snapshot: &dyn Snapshot,
    view: &View,
    neighbors: Vec<Neighbor>,
) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(neighbors.len());
    for Neighbor { slot, score } in neighbors {
        let id = match view.int_id(Slot(slot)) {
            Some(id) => id,
            None => tables::record_id(snapshot, collection.id, Slot(slot))?,
        };
        found.push(Found { id, score });
    }
    Ok(found)
}
