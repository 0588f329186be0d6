//! Lists of vector search: the nearest to a vector.

use super::list::{Common, Given, ListReport, Ranking, SegmentReport, common_setters};
use crate::db::Search;
use crate::db::search::{SearchReport, check_effort, params, refused_query};
use crate::error::{Error, Result};
use crate::index::{Effort, Neighbor, SearchPath};
use crate::vectors::PreparedQuery;

/// A list of the nearest to a vector, for [`Find::dense_with`](crate::Find::dense_with).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::Dense;
///
/// let near = Dense::new([1.0, 0.0, 0.0]).recall(0.99).depth(20).weight(2.0);
/// let found = docs.find().dense_with(near).limit(2).run()?;
/// assert_eq!(found.hits[0].text(), "chart of the harbor");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Dense {
    pub(super) vector: Option<Vec<f32>>,
    field: Option<String>,
    effort: Effort,
    exact: bool,
    pub(super) model: Option<String>,
    pub(super) common: Common,
}

impl Dense {
    /// The nearest to this vector.
    pub fn new(vector: impl Into<Vec<f32>>) -> Self {
        Self { vector: Some(vector.into()), ..Self::of_question() }
    }

    /// The nearest to the vector of a question that a model has still to encode: a pipeline
    /// fills it in. A query that is run without is refused.
    pub fn of_question() -> Self {
        let (effort, common) = (Effort::default(), Common::default());
        Self { vector: None, field: None, effort, exact: false, model: None, common }
    }

    /// Searches a named vector field; see [`Search::field`].
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// Candidates the graph walk keeps; see [`Search::ef`].
    pub fn ef(mut self, candidates: usize) -> Self {
        self.effort = Effort::Ef(candidates);
        self
    }

    /// The share of the true neighbors to find; see [`Search::recall`].
    pub fn recall(mut self, target: f32) -> Self {
        self.effort = Effort::Recall(target);
        self
    }

    /// Compares with every vector at full precision; see [`Search::exact`].
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Names the model that encoded the vector; another than the collection's is refused.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    common_setters!();

    pub(super) fn check(&self) -> Result<()> {
        if self.vector.is_none() {
            let reason = "a dense list has no vector yet: give it one, or ask through a Query \
                          with an embedder";
            return Err(Error::Query { reason });
        }
        check_effort(self.effort)
    }

    pub(super) fn run(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let Some(field) = &self.field else { return self.run_in(given, depth) };
        let (view, matching) = given.in_field(field)?;
        let mut ranking =
            self.run_in(Given { view: &view, matching: &matching, ..given }, depth)?;
        ranking.report.about.push_str(&format!(" of field {field:?}"));
        Ok(ranking)
    }

    fn run_in(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        if let Some(model) = &self.model {
            given.collection.check_model(&given.view.manifest, model)?;
        }
        let vector = self.vector.as_deref().unwrap_or_default();
        let field = self.field.as_deref();
        let nearest = Nearest { vector, field, effort: self.effort, exact: self.exact };
        let (found, mut report) = nearest.run(given, depth)?;
        report.about = format!("{} dimensions", vector.len());
        Ok(Ranking::new(found, report))
    }
}

/// A vector search on the version of a query.
pub(super) struct Nearest<'v> {
    pub(super) vector: &'v [f32],
    /// The field it is in, for messages.
    pub(super) field: Option<&'v str>,
    pub(super) effort: Effort,
    pub(super) exact: bool,
}

impl Nearest<'_> {
    /// The best `depth`, and a report of a dense list.
    pub(super) fn run(
        &self,
        given: Given<'_>,
        depth: usize,
    ) -> Result<(Vec<Neighbor>, ListReport)> {
        let Given { collection, view, matching, .. } = given;
        let query = PreparedQuery::new(&view.encoding, self.vector)
            .map_err(|source| refused_query(self.field, source))?;
        let search = Search::new(collection.clone(), self.vector).limit(depth);
        let search = search.with_effort(self.effort, self.exact);
        let (found, search) = search.nearest(view, &query, matching)?;
        Ok((found, self.report(given, depth, search)))
    }

    fn report(&self, given: Given<'_>, depth: usize, search: SearchReport) -> ListReport {
        let Given { view, matching, .. } = given;
        let mut segments = Vec::with_capacity(search.paths.len());
        // Unsealed vectors are scanned.
        let in_delta = matching.delta.as_ref().map_or(view.delta.len(), Vec::len) as u64;
        let (mut scored, mut expected) = (in_delta, in_delta as f64);
        for ((segment, passing), &path) in
            view.segments.iter().zip(&matching.segments).zip(&search.paths)
        {
            let params = params(segment, depth, self.effort, self.exact);
            let (rows, count) = (segment.len(), passing.count());
            let is_scan = matches!(path, SearchPath::Scan | SearchPath::Exact);
            scored += u64::from(count).min(if is_scan { u64::MAX } else { params.ef as u64 });
            let share = if is_scan { 1.0 } else { segment.expected_recall(&params) };
            expected += f64::from(count) * f64::from(share);
            let has_graph = segment.has_graph();
            segments.push(SegmentReport { rows, passing: count, has_graph, path });
        }
        let passing = matching.passing;
        let share = if passing == 0 { 1.0 } else { expected / passing as f64 };
        let expected_recall = Some(share.min(1.0) as f32);
        ListReport {
            kind: "dense",
            scored,
            search: Some(search),
            segments,
            expected_recall,
            ..ListReport::default()
        }
    }
}
