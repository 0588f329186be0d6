//! Vector search over the segments and the delta of a collection: query to hits.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Collection;
use super::delta::delta_keep;
use super::matching::Matching;
use super::origin::Origin;
use super::view::View;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::{Effort, IndexError, Neighbor, SearchParams, SearchPath, Segment, best_of};
use crate::record::{Metadata, Record, RecordId, Slot};
use crate::storage::{Snapshot, tables};
use crate::vectors::{PreparedQuery, VectorError};

/// One record that was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The record's id.
    pub id: RecordId,
    /// Higher is better: cosine similarity, dot product, or negative squared Euclidean distance.
    pub score: f32,
    /// What the last reranker ordered it by, if one did: its logit, or what a blend made of it.
    pub rerank_score: Option<f32>,
    /// Where it was found, if the query was over several collections.
    pub origin: Option<Arc<Origin>>,
    /// The record; with its vector if that was asked for.
    pub record: Record,
    /// Where the lists of a [`Find`](crate::Find) had it, if that was asked for.
    pub places: Vec<ListPlace>,
    /// What the words of the query stand on, if that was asked for.
    pub highlights: Highlights,
    /// The chunks before it in its document, in reading order, if they were asked for.
    pub before: Vec<Record>,
    /// The chunks after it in its document, in reading order, if they were asked for.
    pub after: Vec<Record>,
}

/// Ranges of bytes that the words of a query stand on, in order and apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Highlights {
    /// In the title.
    pub title: Vec<Range<usize>>,
    /// In the text.
    pub text: Vec<Range<usize>>,
    /// In the metadata fields that the text index has; texts without any are left out.
    pub fields: Vec<FieldHighlight>,
}

/// Where the words of a query stand in a text of a metadata field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldHighlight {
    /// The field.
    pub field: String,
    /// Which item of its list, from 0; 0 of a field that is no list.
    pub item: usize,
    /// Ranges of bytes, in order and apart from each other.
    pub ranges: Vec<Range<usize>>,
}

/// Where a list of a [`Find`](crate::Find) had a hit.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ListPlace {
    /// The list, from 0 in the order they were added.
    pub list: usize,
    /// The place, from 1.
    pub rank: usize,
    /// The list's own score.
    pub score: f32,
    /// What the list added to the hit's score.
    pub share: f64,
}

impl ListPlace {
    pub(super) fn new(list: usize, rank: usize, score: f32, share: f64) -> Self {
        Self { list, rank, score, share }
    }
}

impl Hit {
    /// A hit that nothing more is known of.
    pub(super) fn new(score: f32, record: Record) -> Self {
        let id = record.id.clone();
        let (before, after) = (Vec::new(), Vec::new());
        let (places, highlights) = (Vec::new(), Highlights::default());
        Self {
            id,
            score,
            rerank_score: None,
            origin: None,
            record,
            places,
            highlights,
            before,
            after,
        }
    }

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
    /// an index. And comparisons that no record can meet, as of a field that none has.
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
    field: Option<String>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    pub(super) limit: usize,
    pub(super) effort: Effort,
    pub(super) exact: bool,
}

/// What the segments and the delta of a view gave.
#[derive(Debug, Default)]
pub(super) struct Nearest {
    /// The best of each; not yet in order.
    pub(super) found: Vec<Neighbor>,
    pub(super) paths: Vec<SearchPath>,
    pub(super) steps: usize,
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
        Self {
            collection,
            vector,
            limit: 10,
            effort: Effort::default(),
            exact: false,
            filter: None,
            model: None,
            field: None,
        }
    }

    /// Searches a named vector field, of one vector a record. Default: the default vectors.
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
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

    /// Names the model that encoded the query; another than that of the searched vectors is
    /// refused.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Runs the search on the newest version of the file.
    ///
    /// # Errors
    /// [`Error::Vector`] for another number of dimensions, NaN, infinity, or zero under cosine, and
    /// so [`Error::NamedVector`]; [`Error::VectorFieldNotFound`], [`Error::VectorFieldKind`];
    /// [`Error::RecallTarget`]; [`Error::ModelMismatch`]; [`Error::Filter`]; storage.
    pub fn run(self) -> Result<Hits> {
        let begin = Instant::now();
        check_effort(self.effort)?;
        let collection = &self.collection;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let space = collection.dense_space(snapshot, self.field.as_deref())?;
        let query = PreparedQuery::new(&space.encoding, self.vector)
            .map_err(|source| refused_query(self.field.as_deref(), source))?;
        let view = collection.view_of(snapshot, space)?;
        if let Some(model) = &self.model {
            collection.check_model(&view.manifest, model)?;
        }
        let matching = view.matching(self.filter.as_ref(), snapshot, collection.id)?;
        let (found, report) = self.nearest(&view, &query, &matching)?;
        let hits = collection.hits(snapshot, found)?;
        Ok(Hits { hits, report: SearchReport { took: begin.elapsed(), ..report } })
    }

    /// How hard it tries, for callers that have no need of the setters.
    pub(super) fn with_effort(self, effort: Effort, exact: bool) -> Self {
        Self { effort, exact, ..self }
    }

    /// The best `limit` slots, and what was done to find them.
    pub(super) fn nearest(
        &self,
        view: &View,
        query: &PreparedQuery,
        matching: &Matching,
    ) -> Result<(Vec<Neighbor>, SearchReport)> {
        let begin = Instant::now();
        let depth = Depth { limit: self.limit, effort: self.effort, exact: self.exact };
        let nearest = view.nearest(query, matching, depth);
        let Nearest { found, paths, steps } =
            nearest.map_err(|source| self.collection.failed(source))?;
        let candidates = found.len();
        let found = best_of(found, self.limit);
        let report = SearchReport {
            took: begin.elapsed(),
            segments: view.segments.len(),
            delta: view.delta.len(),
            candidates,
            steps,
            ef: view.widest(depth),
            passing: matching.passing,
            paths,
            warnings: matching.warnings.clone(),
        };
        Ok((found, report))
    }
}

/// A query vector that a field does not take.
pub(super) fn refused_query(field: Option<&str>, source: VectorError) -> Error {
    match field {
        Some(field) => Error::NamedVector { field: field.to_owned(), id: None, source },
        None => Error::Vector { id: None, source },
    }
}

impl Collection {
    /// A segment of this collection that cannot be used.
    pub(super) fn failed(&self, source: IndexError) -> Error {
        Error::Index { collection: self.name().to_owned(), source }
    }

    /// The records of what was found, in the same order.
    pub(super) fn hits(&self, snapshot: &dyn Snapshot, found: Vec<Neighbor>) -> Result<Vec<Hit>> {
        let mut hits = Vec::with_capacity(found.len());
        for Neighbor { slot, score, .. } in found {
            let record = tables::record(snapshot, self.id, Slot(slot))?.record;
            hits.push(Hit::new(score, record));
        }
        Ok(hits)
    }
}

impl View {
    /// The most candidates that a graph is walked with.
    pub(super) fn widest(&self, depth: Depth) -> usize {
        let graphs = self.segments.iter().filter(|segment| segment.has_graph());
        let params = graphs.map(|graph| depth.params(graph));
        params.filter(|params| !params.exact).map(|params| params.ef).max().unwrap_or(0)
    }

    /// The best `limit` of each segment and of the delta together, how segments were searched, and
    /// the steps of all walks.
    pub(super) fn nearest(
        &self,
        query: &PreparedQuery,
        matching: &Matching,
        depth: Depth,
    ) -> std::result::Result<Nearest, IndexError> {
        if depth.limit == 0 {
            return Ok(Nearest::default());
        }
        let keep = delta_keep(depth.limit, depth.effort, depth.exact);
        let found = self.scan_delta(query, matching, keep);
        let paths = Vec::with_capacity(self.segments.len());
        let mut nearest = Nearest { found, paths, steps: 0 };
        for (segment, passing) in self.segments.iter().zip(&matching.segments) {
            let searched = segment.search_passing(query, &depth.params(segment), passing)?;
            nearest.found.extend(searched.hits);
            nearest.paths.push(searched.path);
            nearest.steps += searched.steps;
        }
        Ok(nearest)
    }

    /// The best of all segments and of the delta for each of some queries, which share the work,
    /// and how each segment was searched for the first of them.
    pub(super) fn nearest_many(
        &self,
        queries: &[PreparedQuery],
        matching: &Matching,
        depth: Depth,
    ) -> std::result::Result<(Vec<Vec<Neighbor>>, Vec<SearchPath>), IndexError> {
        let keep = delta_keep(depth.limit, depth.effort, depth.exact);
        let scan = |query| self.scan_delta(query, matching, keep);
        let mut lists: Vec<Vec<Neighbor>> = queries.iter().map(scan).collect();
        let mut paths = Vec::with_capacity(self.segments.len());
        for (segment, passing) in self.segments.iter().zip(&matching.segments) {
            let found = segment.search_many(queries, &depth.params(segment), passing)?;
            paths.extend(found.first().map(|first| first.path));
            for (list, found) in lists.iter_mut().zip(found) {
                if list.is_empty() { *list = found.hits } else { list.extend(found.hits) }
            }
        }
        let best = lists.into_iter().map(|list| best_of(list, depth.limit));
        Ok((best.collect(), paths))
    }
}

impl Depth {
    fn params(self, segment: &Segment) -> SearchParams {
        params(segment, self.limit, self.effort, self.exact)
    }
}

/// How a segment is searched.
pub(super) fn params(segment: &Segment, limit: usize, effort: Effort, exact: bool) -> SearchParams {
    let params = segment.params(limit, effort);
    SearchParams { exact: exact || params.exact, ..params }
}
