//! Search by sparse vectors: the dot product with what records have in a field of them.

use std::time::Instant;

use super::Collection;
use super::matching::records_of;
use super::search::{Hits, SearchReport};
use crate::error::{Error, Result};
use crate::filter::{Filter, Slots};
use crate::format::SPARSE_PAIRS_MAX;
use crate::index::Neighbor;
use crate::lexical::{Scored, search_sparse};
use crate::storage::Snapshot;
use crate::vectors::check_sparse;

/// A search by a sparse vector. Made by [`Collection::search_sparse`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SparseSearch<'q> {
    collection: Collection,
    field: String,
    pairs: &'q [(u32, f32)],
    limit: usize,
    filter: Option<Filter>,
    model: Option<String>,
}

impl Collection {
    /// Searches a field made by [`VectorField::sparse`](crate::VectorField::sparse) by the dot
    /// product with pairs of index and weight, in any order. Exact for the weights as they are
    /// kept; reads the postings of the indices of the query.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Metric, Record, VectorField};
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("kb.portolan");
    /// let db = Database::open(&path)?;
    /// let options = CollectionOptions::new(3, Metric::Cosine)
    ///     .vector_field("splade", VectorField::sparse());
    /// let docs = db.create_collection("docs", options)?;
    /// docs.upsert(Record::new("a").named_vector("splade", [(7, 1.5), (2054, 0.5)]))?;
    /// docs.upsert(Record::new("b").named_vector("splade", [(7, 1.0)]))?;
    /// let hits = docs.search_sparse("splade", &[(2054, 2.0), (7, 1.0)]).run()?;
    /// assert_eq!((hits[0].id.to_string(), hits[0].score), ("a".to_owned(), 2.5));
    /// # Ok(()) }
    /// ```
    pub fn search_sparse<'q>(
        &self,
        field: impl Into<String>,
        pairs: &'q [(u32, f32)],
    ) -> SparseSearch<'q> {
        let (collection, field) = (self.clone(), field.into());
        SparseSearch { collection, field, pairs, limit: 10, filter: None, model: None }
    }

    /// The best of a field of sparse vectors that pass, best first.
    pub(super) fn nearest_sparse(
        &self,
        snapshot: &dyn Snapshot,
        field: &str,
        pairs: &[(u32, f32)],
        limit: usize,
        passes: &Slots,
    ) -> Result<(Vec<Neighbor>, u64)> {
        let field = self.sparse_field(snapshot, field)?;
        let pairs = check_sparse(pairs, SPARSE_PAIRS_MAX);
        let pairs = pairs.map_err(|source| Error::NamedVector {
            field: field.name.clone(),
            id: None,
            source,
        })?;
        let searched = search_sparse(snapshot, field.space.id, &pairs, limit, passes)?;
        let neighbor = |Scored { slot, score }| Neighbor { slot: slot.0, score };
        Ok((searched.best.into_iter().map(neighbor).collect(), searched.scored))
    }
}

impl SparseSearch<'_> {
    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// Finds only records that match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Names the model that encoded the query; another than the field's is refused.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Runs the search on the newest version of the file. Records that have none of the indices
    /// are not found.
    ///
    /// # Errors
    /// [`Error::VectorFieldNotFound`], [`Error::VectorFieldKind`]; [`Error::NamedVector`] for a
    /// query without a weight above 0, with one that is negative or no number, or with an index
    /// twice; [`Error::ModelMismatch`]; [`Error::Filter`]; storage.
    pub fn run(self) -> Result<Hits> {
        let begin = Instant::now();
        let collection = &self.collection;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let field = collection.sparse_field(snapshot, &self.field)?;
        let manifest = collection.manifest_of(snapshot, field.space)?;
        if let Some(model) = &self.model {
            collection.check_model(&manifest, model)?;
        }
        let (passes, warnings) = collection.passing(self.filter.as_ref(), snapshot)?;
        let (found, scored) =
            collection.nearest_sparse(snapshot, &self.field, self.pairs, self.limit, &passes)?;
        let hits = collection.hits(snapshot, found)?;
        let passing = records_of(&passes, manifest.records);
        let (took, candidates) = (begin.elapsed(), usize::try_from(scored).unwrap_or(usize::MAX));
        let report =
            SearchReport { took, candidates, passing, warnings, ..SearchReport::default() };
        Ok(Hits { hits, report })
    }
}
