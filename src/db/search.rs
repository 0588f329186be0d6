//! Vector search over the segments and the delta of a collection: query to hits.

use std::time::{Duration, Instant};

use super::Collection;
use super::delta::delta_keep;
use super::matching::Matching;
use super::view::View;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::{Effort, Neighbor, SearchParams, SearchPath, Segment, best_of};
use crate::record::{Metadata, Record, RecordId, Slot};
use crate::storage::tables;
use crate::vectors::PreparedQuery;

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
    /// Unsealed vectors, which are scanned.
    pub delta: usize,
    /// Candidates the search kept before the cut to the limit.
    pub candidates: usize,
    /// Nodes whose links were followed, in all graphs; 0 where nothing but scans was needed.
    pub steps: usize,
    /// Candidates that the walks of graphs were to keep before filters widened them, the most of
    /// all segments; 0 where there was no graph to walk.
    pub ef: usize,
    /// Records with a vector that could be found: those that match the filter, or all.
    pub passing: u64,
    /// How each segment was searched, in their order.
    pub paths: Vec<SearchPath>,
    /// What made it slower than it need be, and what to do about it: fields of the filter without
    /// an index.
    pub warnings: Vec<String>,
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
    effort: Effort,
    exact: bool,
    filter: Option<Filter>,
    model: Option<String>,
}

/// Refuses a recall target that is no share.
pub(super) fn check_effort(effort: Effort) -> Result<()> {
    match effort {
        Effort::Recall(target) if !(target > 0.0 && target <= 1.0) => {
            Err(Error::RecallTarget { found: target })
        }
        _ => Ok(()),
    }
}

impl<'q> Search<'q> {
    pub(super) fn new(collection: Collection, vector: &'q [f32]) -> Self {
        let effort = Effort::default();
        Self { collection, vector, limit: 10, effort, exact: false, filter: None, model: None }
    }

    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// Candidates the graph walk keeps; more is slower and finds more. At least a few more than
    /// the limit are used. Replaces [`Search::recall`]; without either, the search is for a
    /// recall of 0.98 with 64 candidates or more.
    pub fn ef(mut self, candidates: usize) -> Self {
        self.effort = Effort::Ef(candidates);
        self
    }

    /// The share of the true neighbors that searches should find on average, above 0 and up to
    /// 1: each graph is walked with the candidates that it took to find that share of the
    /// neighbors of its own vectors when it was built. Queries that are unlike the stored
    /// vectors can find less; measure with [`Collection::audit`] or queries of your own.
    ///
    /// A target above what was measured (about 0.996) is extrapolated, to at most four times the
    /// most candidates measured; 1 is an exact search. Replaces [`Search::ef`]. Graphs of files
    /// written before recall was measured are walked with 64 candidates for 0.95, 96 for 0.98
    /// and 192 for 0.99.
    pub fn recall(mut self, target: f32) -> Self {
        self.effort = Effort::Recall(target);
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
    /// [`Error::RecallTarget`]; [`Error::ModelMismatch`]; [`Error::Filter`]; storage.
    pub fn run(self) -> Result<Hits> {
        let begin = Instant::now();
        check_effort(self.effort)?;
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
        let (found, paths, steps) = self.candidates(&view, &query, &matching)?;
        let candidates = found.len();
        let found = best_of(found, self.limit);
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
            steps,
            ef: self.widest(&view),
            passing: matching.passing,
            paths,
            warnings: matching.warnings.clone(),
        };
        Ok(Hits { hits, report })
    }

    /// The most candidates that a graph is walked with.
    fn widest(&self, view: &View) -> usize {
        let graphs = view.segments.iter().filter(|segment| segment.has_graph());
        let params = graphs.map(|graph| params(graph, self.limit, self.effort, self.exact));
        params.filter(|params| !params.exact).map(|params| params.ef).max().unwrap_or(0)
    }

    /// The best `limit` of each segment and of the delta together, how segments were searched, and
    /// the steps of all walks.
    fn candidates(
        &self,
        view: &View,
        query: &PreparedQuery,
        matching: &Matching,
    ) -> Result<(Vec<Neighbor>, Vec<SearchPath>, usize)> {
        if self.limit == 0 {
            return Ok((Vec::new(), Vec::new(), 0));
        }
        let keep = delta_keep(self.limit, self.effort, self.exact);
        let mut found = view.scan_delta(query, matching, keep);
        let (mut paths, mut steps) = (Vec::with_capacity(view.segments.len()), 0);
        for (segment, passing) in view.segments.iter().zip(&matching.segments) {
            let params = params(segment, self.limit, self.effort, self.exact);
            let searched = segment.search_passing(query, &params, passing);
            let searched = searched.map_err(|source| Error::Index {
                collection: self.collection.name().to_owned(),
                source,
            })?;
            found.extend(searched.hits);
            paths.push(searched.path);
            steps += searched.steps;
        }
        Ok((found, paths, steps))
    }
}

/// How a segment is searched.
pub(super) fn params(segment: &Segment, limit: usize, effort: Effort, exact: bool) -> SearchParams {
    let params = segment.params(limit, effort);
    SearchParams { exact: exact || params.exact, ..params }
}
