//! A collection: records of one shape under one name.

use std::sync::Arc;

use super::batch::{Batch, Committed};
use super::space::Space;
use super::vector_field::VectorField;
use super::view::View;
use super::{IndexFields, Inner, Search};
use crate::error::{Error, Result};
use crate::index::GraphParams;
use crate::lexical::TextIndex;
use crate::record::{ModelContract, Record, RecordId, Slot};
use crate::storage::field_settings::{self, Progress};
use crate::storage::keys as key;
use crate::storage::tables::{self, Definition, Manifest, StoredRecord};
use crate::storage::{Snapshot, StorageError, Table, WriteTxn};
use crate::vectors::{Encoding, Metric, Originals};

/// What a new collection is like. Fixed once the collection is made, but for the model, which
/// the first batch that names one can set, and the text index.
#[derive(Debug, Clone)]
#[must_use]
pub struct CollectionOptions {
    vectors: VectorField,
    /// Whether the application said what default vectors are like.
    states_vectors: bool,
    fields: Vec<(String, VectorField)>,
    pub(super) text: Option<TextIndex>,
    indexed: IndexFields,
    declared: Vec<String>,
}

impl CollectionOptions {
    /// Vectors of `dimensions` components (1 to 65,536), compared by `metric`.
    pub fn new(dimensions: usize, metric: Metric) -> Self {
        Self {
            vectors: VectorField::new(dimensions, metric),
            states_vectors: true,
            fields: Vec::new(),
            text: None,
            indexed: IndexFields::default(),
            declared: Vec::new(),
        }
    }

    /// A collection whose records have no default vector: to be searched by words, once it has a
    /// [text index](CollectionOptions::text), or in named vector fields. The format wants a shape
    /// of default vectors all the same, which is 1 component, compared by dot product.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Language, Record, TextIndex};
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = Database::open(dir.path().join("kb.portolan"))?;
    /// let words = TextIndex::new(Language::English);
    /// let docs = db.create_collection("docs", CollectionOptions::without_vectors().text(words))?;
    /// docs.upsert(Record::new("a").text("A chart of the harbor."))?;
    /// assert_eq!(docs.search_text("charts").run()?[0].id, "a".into());
    /// # Ok(()) }
    /// ```
    pub fn without_vectors() -> Self {
        Self { states_vectors: false, ..Self::new(1, Metric::Dot) }
    }

    /// How the full vectors are kept beside their int8 codes. Default: f16.
    pub fn originals(mut self, originals: Originals) -> Self {
        self.vectors = self.vectors.originals(originals);
        self
    }

    /// Makes codes, and from them the graph, of the leading `dimensions` components of each vector
    /// alone, as embeddings of models with Matryoshka training allow. Originals keep all
    /// components; they give the scores and the order of the hits. Under cosine the leading part
    /// is normalized again. Default: all components.
    ///
    /// Half the components take half the bytes of codes and half the work to compare them: worth it
    /// from about 2,048 components on, if the leading ones say most. If they do not, searches
    /// must compare more candidates by their originals: how many for a
    /// [recall target](crate::Search::recall) is measured on all components when a graph is
    /// built, which reads each original once. An exact search knows no cut.
    ///
    /// Not to be confused with shortening the vectors themselves, which models call
    /// `truncate_dim` or `dimensions`: that leaves nothing to order by, and needs no option here.
    ///
    /// Creating the collection fails for none, for more than the vectors have, and for fewer with
    /// [`Originals::None`]. Under cosine a vector whose leading components are all zeros is
    /// refused by [`VectorError::ZeroLeading`](crate::VectorError::ZeroLeading), as one of zeros
    /// alone is, whether it is to be stored or searched for: its code would say nothing.
    pub fn leading_dimensions(mut self, dimensions: usize) -> Self {
        self.vectors = self.vectors.leading_dimensions(dimensions);
        self
    }

    /// The model that encodes the vectors; queries by another model are refused.
    pub fn model(mut self, contract: ModelContract) -> Self {
        self.vectors = self.vectors.model(contract);
        self
    }

    /// Links and build effort of the graph.
    pub fn graph(mut self, graph: GraphParams) -> Self {
        self.vectors = self.vectors.graph(graph);
        self
    }

    /// Adds a named vector field: records have a vector, or a matrix, in it beside or in place of
    /// their default vector.
    pub fn vector_field(mut self, name: impl Into<String>, field: VectorField) -> Self {
        self.fields.push((name.into(), field));
        self
    }

    /// Which metadata fields have an index. Default: all. A new collection of a file of before
    /// version 3 can have nothing else.
    pub fn index_fields(mut self, fields: IndexFields) -> Self {
        self.indexed = fields;
        self
    }

    /// Indexes this metadata field, and of all others only those that are declared as well; those
    /// can be filtered by too, but their records are read for it.
    pub fn index_field(mut self, name: impl Into<String>) -> Self {
        self.indexed = IndexFields::Declared;
        self.declared.push(name.into());
        self
    }

    pub(super) fn declared_fields(&self) -> &[String] {
        &self.declared
    }

    /// Stores which fields are indexed, where the file can have that.
    pub(super) fn put_fields(&self, id: u32, txn: &mut WriteTxn<'_>) -> Result<()> {
        match field_settings::put_policy(txn, id, self.indexed.policy()) {
            // A collection of an older file has an entry for each value, as that file's others.
            Err(StorageError::Older { .. }) if self.indexed == IndexFields::All => return Ok(()),
            put => put?,
        }
        for name in &self.declared {
            field_settings::put_progress(txn, id, name, Progress::Complete)?;
        }
        Ok(())
    }

    pub(super) fn states_vectors(&self) -> bool {
        self.states_vectors
    }

    /// What the default vectors are like.
    pub(super) fn vectors(&self) -> &VectorField {
        &self.vectors
    }

    /// The named vector fields.
    pub(super) fn fields(&self) -> &[(String, VectorField)] {
        &self.fields
    }

    pub(super) fn text_index(&self) -> Option<&TextIndex> {
        self.text.as_ref()
    }

    /// The options that a definition came from; none if it has no valid shape.
    pub(super) fn of(definition: &Definition) -> Option<Self> {
        Some(Self { vectors: VectorField::of(definition)?, ..Self::new(1, Metric::Cosine) })
    }
}

/// A collection of a [`Database`](super::Database). A cheap clone of a shared handle.
#[derive(Clone)]
pub struct Collection {
    pub(super) inner: Arc<Inner>,
    pub(super) name: Arc<str>,
    pub(super) id: u32,
    pub(super) encoding: Encoding,
    pub(super) graph: GraphParams,
}

impl Collection {
    pub(super) fn open(inner: Arc<Inner>, name: &str, definition: Definition) -> Result<Self> {
        let Space { id, encoding, graph } = Space::of(&definition)?;
        Ok(Self { inner, name: name.into(), id, encoding, graph })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Components of a vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.encoding.dim()
    }

    /// Components, the leading ones, that codes and graphs are made of: all of them unless
    /// [`CollectionOptions::leading_dimensions`] said otherwise.
    #[must_use]
    pub fn leading_dimensions(&self) -> usize {
        self.encoding.coded_dim()
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.encoding.metric()
    }

    /// How full vectors are kept beside their codes.
    #[must_use]
    pub fn originals(&self) -> Originals {
        self.encoding.originals()
    }

    /// The model that encodes the vectors, if one is known.
    ///
    /// # Errors
    /// Storage; the collection was deleted.
    pub fn model(&self) -> Result<Option<ModelContract>> {
        let snapshot = self.inner.snapshot()?;
        Ok(self.manifest(snapshot.as_ref())?.contract.as_ref().map(ModelContract::from))
    }

    /// Number of records.
    ///
    /// # Errors
    /// Storage; the collection was deleted.
    pub fn count(&self) -> Result<u64> {
        let snapshot = self.inner.snapshot()?;
        Ok(self.manifest(snapshot.as_ref())?.records)
    }

    /// A batch of changes, committed whole or not at all.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// Inserts a record or replaces the one of the same id. One durable commit (milliseconds):
    /// use [`Collection::batch`] for many. Like every commit it may set off maintenance
    /// ([`Maintenance::Inline`](crate::Maintenance::Inline)), which can take as long as building
    /// a graph.
    ///
    /// # Errors
    /// Those of [`Batch::upsert`] and [`Batch::commit`].
    pub fn upsert(&self, record: Record) -> Result<Committed> {
        let mut batch = self.batch();
        batch.upsert(record)?;
        batch.commit()
    }

    /// Removes a record; whether it was there. One durable commit.
    ///
    /// # Errors
    /// Those of [`Batch::commit`].
    pub fn delete(&self, id: impl Into<RecordId>) -> Result<bool> {
        let mut batch = self.batch();
        batch.delete(id);
        Ok(batch.commit()?.deleted > 0)
    }

    /// The record of that id with its vectors as they are stored (f16 by default, normalized under
    /// cosine), or none.
    ///
    /// # Errors
    /// Storage.
    pub fn get(&self, id: impl Into<RecordId>) -> Result<Option<Record>> {
        let snapshot = self.inner.snapshot()?;
        let Some(slot) = self.slot(snapshot.as_ref(), &id.into())? else { return Ok(None) };
        let StoredRecord { mut record, has_vector } =
            tables::record(snapshot.as_ref(), self.id, slot)?;
        if has_vector {
            record.vector = Some(self.view(snapshot.as_ref())?.vector(slot)?);
        }
        record.named_vectors = self.named_reader(snapshot.as_ref())?.vectors(slot)?;
        Ok(Some(record))
    }

    /// Whether there is a record of that id.
    ///
    /// # Errors
    /// Storage.
    pub fn contains(&self, id: impl Into<RecordId>) -> Result<bool> {
        let snapshot = self.inner.snapshot()?;
        Ok(self.slot(snapshot.as_ref(), &id.into())?.is_some())
    }

    /// Reads records page by page, in order of id: integers by value, then strings bytewise.
    pub fn scan(&self) -> Scan {
        Scan { collection: self.clone(), after: None, limit: 100, vectors: false }
    }

    /// Searches by vector. Synchronous; knows no model.
    pub fn search<'q>(&self, vector: &'q [f32]) -> Search<'q> {
        Search::new(self.clone(), vector)
    }

    /// The slot of an id. Only an id that is not found raises the question whether the
    /// collection is still there.
    fn slot(&self, snapshot: &dyn Snapshot, id: &RecordId) -> Result<Option<Slot>> {
        let slot = tables::slot(snapshot, self.id, id)?;
        if slot.is_none() {
            self.manifest(snapshot)?;
        }
        Ok(slot)
    }

    /// The manifest as the snapshot has it; the collection may have been deleted since opened.
    pub(super) fn manifest(&self, snapshot: &dyn Snapshot) -> Result<Manifest> {
        if snapshot.get(Table::Collections, &key::manifest(self.id))?.is_none() {
            return Err(Error::CollectionNotFound { name: self.name.to_string() });
        }
        Ok(tables::manifest(snapshot, self.id)?)
    }

    pub(super) fn view(&self, snapshot: &dyn Snapshot) -> Result<Arc<View>> {
        self.view_of(snapshot, self.space())
    }

    /// Refuses a model other than the one that the collection has now, before it is asked.
    #[cfg(feature = "nim")]
    pub(crate) fn refuse_other_model(&self, contract: &ModelContract) -> Result<()> {
        let snapshot = self.inner.snapshot()?;
        self.check_contract(&self.manifest(snapshot.as_ref())?, contract)
    }

    /// The record of an id, its vector only marked by an empty one; and that vector on demand.
    #[cfg(feature = "nim")]
    pub(crate) fn get_without_vector(&self, id: &RecordId) -> Result<Option<Record>> {
        let snapshot = self.inner.snapshot()?;
        let Some(slot) = self.slot(snapshot.as_ref(), id)? else { return Ok(None) };
        let StoredRecord { mut record, has_vector } =
            tables::record(snapshot.as_ref(), self.id, slot)?;
        record.vector = has_vector.then(Vec::new);
        Ok(Some(record))
    }

    /// Refuses a model other than the collection's, and the same model with other roles.
    pub(super) fn check_contract(
        &self,
        manifest: &Manifest,
        contract: &ModelContract,
    ) -> Result<()> {
        self.check_model(manifest, &contract.model)?;
        match manifest.contract.as_ref().map(ModelContract::from) {
            Some(known) if known.roles != contract.roles => Err(Error::ModelMismatch {
                collection: self.name.to_string(),
                expected: format!("{} with {}", known.model, known.roles),
                found: format!("{} with {}", contract.model, contract.roles),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses a model other than the collection's.
    pub(super) fn check_model(&self, manifest: &Manifest, model: &str) -> Result<()> {
        match manifest.contract.as_ref().map(ModelContract::from) {
            Some(contract) if contract.model != model => Err(Error::ModelMismatch {
                collection: self.name.to_string(),
                expected: contract.model,
                found: model.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.name)
            .field("dimensions", &self.dimensions())
            .field("metric", &self.metric())
            .finish()
    }
}

/// Reads one page of records. Made by [`Collection::scan`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Scan {
    collection: Collection,
    after: Option<RecordId>,
    limit: usize,
    vectors: bool,
}

/// A page of records.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// The records, in order of id.
    pub records: Vec<Record>,
    /// Where the next page begins: give it to [`Scan::after`]. None on the last page.
    pub next: Option<RecordId>,
}

impl Scan {
    /// Begins after that id; it need not exist.
    pub fn after(mut self, id: impl Into<RecordId>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most so many records, at least 1. Default: 100.
    pub fn limit(mut self, records: usize) -> Self {
        self.limit = records.max(1);
        self
    }

    /// Reads the vectors too. Default: records come without.
    pub fn with_vectors(mut self) -> Self {
        self.vectors = true;
        self
    }

    /// Reads the page. Each page sees the newest version of the file.
    ///
    /// # Errors
    /// Storage.
    pub fn run(self) -> Result<Page> {
        let Self { collection, after, limit, vectors } = self;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        collection.manifest(snapshot)?;
        let view = if vectors { Some(collection.view(snapshot)?) } else { None };
        let named = if vectors { Some(collection.named_reader(snapshot)?) } else { None };
        let prefix = key::collection(collection.id);
        let start = match &after {
            // The id's key with a zero byte is the next key there can be.
            Some(id) => {
                let mut key = key::id(collection.id, id);
                key.push(0);
                key
            }
            None => prefix.to_vec(),
        };
        let mut records = Vec::new();
        let mut more = false;
        for entry in snapshot.range(Table::Ids, &prefix, &start)? {
            let (found, sealed) = entry?;
            if records.len() == limit {
                more = true;
                break;
            }
            let slot = tables::decode_slot(sealed, found)?;
            let mut stored = tables::record(snapshot, collection.id, slot)?;
            if let Some(view) = view.as_ref().filter(|_| stored.has_vector) {
                stored.record.vector = Some(view.vector(slot)?);
            }
            if let Some(named) = &named {
                stored.record.named_vectors = named.vectors(slot)?;
            }
            records.push(stored.record);
        }
        let last = records.last().map(|record| record.id.clone());
        let next = if more { last } else { None };
        Ok(Page { records, next })
    }
}
