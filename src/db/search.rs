//! Vector search over the segments and the delta of a collection: query to hits.

use std::time::{Duration, Instant};

use super::Collection;
use super::matching::Matching;
use super::view::{DeltaRow, View};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::{Neighbor, SearchParams, SearchPath, merge};
use crate::record::{Metadata, Record, RecordId, Slot};
use crate::storage::tables;
use crate::vectors::{Metric, Originals, PreparedQuery};

/// One record that was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The record's id.
    pub id: RecordId,
    /// Higher is better: cosine similarity, dot product, or negative squared Euclidean distance.
    pub score: f32,
    /// The reranker's logit, if a reranker ordered the hits.
    pub rerank_score: Option<f32>,
    /// The record, without its vector.
    pub record: Record,
}

impl Hit {
    /// The record's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.record.text
    }

    /// The record's title.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.record.title.as_deref()
    }

    /// The record's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.record.metadata
    }
}

/// What a search did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SearchReport {
    /// Wall time.
    pub took: Duration,
    /// Segments searched.
    pub segments: usize,
    /// Unsealed vectors scanned exactly.
    pub delta: usize,
    /// Candidates the search kept before the cut to the limit.
    pub candidates: usize,
    /// Records with a vector that could be found: those that match the filter, or all.
    pub passing: u64,
    /// How each segment was searched, in their order.
    pub paths: Vec<SearchPath>,
}

/// The hits of a search, best first; equal scores in order of insertion.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Hits {
    /// Best first.
    pub hits: Vec<Hit>,
    /// What was done.
    pub report: SearchReport,
}

impl std::ops::Deref for Hits {
    type Target = [Hit];

    fn deref(&self) -> &[Hit] {
        &self.hits
    }
}

impl IntoIterator for Hits {
    type Item = Hit;
    type IntoIter = std::vec::IntoIter<Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

impl<'h> IntoIterator for &'h Hits {
    type Item = &'h Hit;
    type IntoIter = std::slice::Iter<'h, Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.iter()
    }
}

/// A vector search. Made by [`Collection::search`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Search<'q> {
    collection: Collection,
    vector: &'q [f32],
    limit: usize,
    ef: usize,
    exact: bool,
    filter: Option<Filter>,
    model: Option<String>,
}

/// Candidates the graph walk keeps by default: recall@10 about 0.98 on embedding-like vectors.
pub(super) const EF: usize = 96;

impl<'q> Search<'q> {
    pub(super) fn new(collection: Collection, vector: &'q [f32]) -> Self {
        Self { collection, vector, limit: 10, ef: EF, exact: false, filter: None, model: None }
    }

    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// Candidates the graph walk keeps; more is slower and finds more. At least the limit is
    /// used. Default: 96.
    pub fn ef(mut self, candidates: usize) -> Self {
        self.ef = candidates;
        self
    }

    /// Compares with every vector at full precision: the true order, in linear time.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Finds only records that match. If at least `limit` records with a vector match, there
    /// are `limit` hits.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Names the model that encoded the query; another than the collection's is refused.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Runs the search on the newest version of the file.
    ///
    /// # Errors
    /// [`Error::Vector`] for another number of dimensions, NaN, infinity, or zero under cosine;
    /// [`Error::ModelMismatch`]; [`Error::Filter`]; storage.
    pub fn run(self) -> Result<Hits> {
        let begin = Instant::now();
        let collection = &self.collection;
        let query = PreparedQuery::new(&collection.encoding, self.vector)
            .map_err(|source| Error::Vector { id: None, source })?;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let view = collection.view(snapshot)?;
        if let Some(model) = &self.model {
            collection.check_model(&view.manifest, model)?;
        }
        let matching = view.matching(self.filter.as_ref(), snapshot, collection.id)?;
        let (found, paths) = self.candidates(&view, &query, &matching)?;
        let candidates = found.iter().map(Vec::len).sum();
        let found = merge(found, self.limit);
        let mut hits = Vec::with_capacity(found.len());
        for Neighbor { slot, score, .. } in found {
            let record = tables::record(snapshot, collection.id, Slot(slot))?.record;
            hits.push(Hit { id: record.id.clone(), score, rerank_score: None, record });
        }
        let report = SearchReport {
            took: begin.elapsed(),
            segments: view.segments.len(),
            delta: view.delta.len(),
            candidates,
            passing: matching.passing,
            paths,
        };
        Ok(Hits { hits, report })
    }

    /// The best `limit` of each segment and of the delta, and how segments were searched.
    fn candidates(
        &self,
        view: &View,
        query: &PreparedQuery,
        matching: &Matching,
    ) -> Result<(Vec<Vec<Neighbor>>, Vec<SearchPath>)> {
        if self.limit == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let params = SearchParams {
            exact: self.exact,
            ..SearchParams::new(self.limit, self.ef.max(self.limit))
        };
        let mut found = vec![view.scan_delta(query, matching)];
        let mut paths = Vec::with_capacity(view.segments.len());
        for (segment, passing) in view.segments.iter().zip(&matching.segments) {
            let searched = segment.search_passing(query, &params, passing);
            let searched = searched.map_err(|source| Error::Index {
                collection: self.collection.name().to_owned(),
                source,
            })?;
            found.push(searched.hits);
            paths.push(searched.path);
        }
        Ok((found, paths))
    }
}

impl View {
    /// Scores every unsealed vector that passes.
    pub(super) fn scan_delta(&self, query: &PreparedQuery, matching: &Matching) -> Vec<Neighbor> {
        let originals = self.encoding.originals();
        let mut scratch = Vec::new();
        let score = |(slot, row): &(Slot, DeltaRow)| {
            let score = if originals == Originals::None {
                query.score_code(row.code())
            } else {
                query.score_raw(row.raw(), originals, &mut scratch)
            };
            // As in a segment: rounded codes can put a squared distance slightly below zero.
            let score = if query.metric() == Metric::L2 { score.min(0.0) } else { score };
            Neighbor { slot: slot.0, score }
        };
        match &matching.delta {
            None => self.delta.iter().map(score).collect(),
            Some(places) => {
                let rows = places.iter().filter_map(|&place| self.delta.get(place as usize));
                rows.map(score).collect()
            }
        }
    }
}
