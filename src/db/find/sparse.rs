//! Lists by sparse vectors: the best by dot product in a field of them.

use super::list::{Common, Given, ListReport, Ranking, common_setters};
use crate::error::Result;

/// A list of the best by dot product, for [`Find::sparse_with`](crate::Find::sparse_with).
///
/// ```
/// use portolan::{CollectionOptions, Database, Metric, Record, Sparse, VectorField};
///
/// # fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("kb.portolan");
/// let db = Database::open(&path)?;
/// let options = CollectionOptions::new(2, Metric::Cosine)
///     .vector_field("splade", VectorField::sparse());
/// let docs = db.create_collection("docs", options)?;
/// docs.upsert(Record::new("a").vector([1.0, 0.0]).named_vector("splade", [(7, 1.5)]))?;
/// let learned = Sparse::new("splade", [(7, 1.0), (9, 0.5)]).weight(2.0);
/// let found = docs.find().dense(&[1.0, 0.0]).sparse_with(learned).run()?;
/// assert_eq!(found.hits[0].id.to_string(), "a");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Sparse {
    field: String,
    pairs: Vec<(u32, f32)>,
    model: Option<String>,
    pub(super) common: Common,
}

impl Sparse {
    /// The best by the dot product with pairs of index and weight.
    pub fn new(field: impl Into<String>, pairs: impl Into<Vec<(u32, f32)>>) -> Self {
        let (model, common) = (None, Common::default());
        Self { field: field.into(), pairs: pairs.into(), model, common }
    }

    /// Names the model that encoded the query; another than the field's is refused.
    ///
    /// ```
    /// use portolan::{
    ///     CollectionOptions, Database, Error, Metric, ModelContract, Record, Sparse, VectorField,
    /// };
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("kb.portolan");
    /// let db = Database::open(&path)?;
    /// let splade = VectorField::sparse().model(ModelContract::new("splade-v3"));
    /// let options = CollectionOptions::new(2, Metric::Cosine).vector_field("terms", splade);
    /// let docs = db.create_collection("docs", options)?;
    /// docs.upsert(Record::new("a").named_vector("terms", [(7, 1.5)]))?;
    /// let by = |model: &str| {
    ///     docs.find().sparse_with(Sparse::new("terms", [(7, 1.0)]).model(model)).run()
    /// };
    /// assert_eq!(by("splade-v3")?.hits.len(), 1);
    /// assert!(matches!(by("another"), Err(Error::ModelMismatch { .. })));
    /// # Ok(()) }
    /// ```
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    common_setters!();

    pub(super) fn run(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let Given { collection, snapshot, matching, .. } = given;
        if let Some(model) = &self.model {
            let field = collection.sparse_field(snapshot, &self.field)?;
            let manifest = collection.manifest_of(snapshot, field.space)?;
            collection.check_model(&manifest, model)?;
        }
        let (found, scored) = collection.nearest_sparse(
            snapshot,
            &self.field,
            &self.pairs,
            depth,
            &matching.slots,
        )?;
        let about = format!("{} weights, field {:?}", self.pairs.len(), self.field);
        let report = ListReport { kind: "sparse", about, scored, ..Default::default() };
        Ok(Ranking::new(found, report))
    }
}
