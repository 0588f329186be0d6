//! Lists by late interaction: the best by MaxSim in a field of matrices.

use super::list::{Common, Given, ListReport, Ranking, SegmentReport, common_setters};
use crate::db::maxsim::{CANDIDATES, MaxSimDepth};
use crate::db::search::SearchReport;
use crate::error::Result;
use crate::record::Matrix;

/// A list of the best by MaxSim, for [`Find::multi_with`](crate::Find::multi_with).
///
/// ```
/// use portolan::{CollectionOptions, Database, Matrix, Metric, Multi, Record, VectorField};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("kb.portolan");
/// let db = Database::open(&path)?;
/// let options = CollectionOptions::new(2, Metric::Cosine)
///     .vector_field("tokens", VectorField::multi(2));
/// let docs = db.create_collection("docs", options)?;
/// let tokens = Matrix::from_rows([[1.0, 0.0], [0.0, 1.0]])?;
/// docs.upsert(Record::new("a").vector([1.0, 0.0]).named_vector("tokens", tokens.clone()))?;
/// let late = Multi::new("tokens", tokens).candidates(50).weight(2.0);
/// let found = docs.find().dense(&[1.0, 0.0]).multi_with(late).run()?;
/// assert_eq!(found.hits[0].id.to_string(), "a");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Multi {
    field: String,
    matrix: Matrix,
    candidates: usize,
    exact: bool,
    model: Option<String>,
    pub(super) common: Common,
}

impl Multi {
    /// The best by MaxSim with the rows of a matrix.
    pub fn new(field: impl Into<String>, matrix: Matrix) -> Self {
        let (field, common) = (field.into(), Common::default());
        Self { field, matrix, candidates: CANDIDATES, exact: false, model: None, common }
    }

    /// Records whose matrices are compared; see
    /// [`MaxSim::candidates`](crate::MaxSim::candidates).
    pub fn candidates(mut self, records: usize) -> Self {
        self.candidates = records;
        self
    }

    /// Compares the matrices of all records.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Names the model that encoded the query; another than the field's is refused.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    common_setters!();

    pub(super) fn run(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let Given { collection, snapshot, .. } = given;
        let field = collection.multi_field(snapshot, &self.field)?;
        let (view, matching) = given.in_space(field.space)?;
        if let Some(model) = &self.model {
            collection.check_model(&view.manifest, model)?;
        }
        let query = collection.maxsim_query(&field, &self.matrix)?;
        let (candidates, exact) = (self.candidates, self.exact);
        let depth = MaxSimDepth { limit: depth, candidates, exact };
        let of = (view.as_ref(), matching.as_ref());
        let (found, compared) = collection.nearest_maxsim(snapshot, &field, &query, of, depth)?;
        let about = format!("MaxSim of {} rows, field {:?}", self.matrix.rows().len(), self.field);
        let how = if compared.paths.is_none() { "all of them" } else { "candidates by vectors" };
        let search = SearchReport {
            segments: view.segments.len(),
            delta: view.delta.len(),
            candidates: compared.matrices,
            passing: matching.passing,
            paths: compared.paths.clone().unwrap_or_default(),
            ..SearchReport::default()
        };
        let report = ListReport {
            kind: "multi",
            about: format!("{about}: {how}"),
            scored: compared.matrices as u64,
            search: Some(search),
            // Of candidates by vectors it was never measured.
            expected_recall: compared.paths.is_none().then_some(1.0),
            segments: compared
                .paths
                .map(|paths| SegmentReport::of(&view, &matching, &paths))
                .unwrap_or_default(),
            ..ListReport::default()
        };
        Ok(Ranking::new(found, report))
    }
}
