//! Vector fields: what the vectors of a collection, or of a named field of it, are like; fields
//! that come and go.

use super::Collection;
use super::differences::Differences;
use super::space::graph_params;
use crate::error::{Error, OptionDifference, Result};
use crate::format::{DIMENSIONS_MAX, ID_BYTES_MAX, MATRIX_DIMENSIONS_MAX, VECTOR_FIELDS_MAX};
use crate::index::GraphParams;
use crate::record::{ModelContract, check_field_name};
use crate::storage::keys as key;
use crate::storage::settings::{self, Setting};
use crate::storage::tables::{self, Contract, Definition, Manifest};
use crate::storage::vector_fields::{self, FieldKind, VectorFieldEntry};
use crate::storage::{Table, WriteTxn};
use crate::vectors::{Encoding, MatrixCodec, Metric, Originals, VectorError};

/// What a named vector field is like. Fixed once the field is made.
///
/// ```
/// use portolan::{CollectionOptions, Database, Metric, Record, VectorField};
///
/// # fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("kb.portolan");
/// let db = Database::open(&path)?;
/// let options = CollectionOptions::new(3, Metric::Cosine)
///     .vector_field("image", VectorField::new(2, Metric::Dot));
/// let docs = db.create_collection("docs", options)?;
/// let chart = Record::new("chart").vector([1.0, 0.0, 0.0]).named_vector("image", [0.5, 2.0]);
/// docs.upsert(chart)?;
/// let hits = docs.search(&[0.0, 1.0]).field("image").run()?;
/// assert_eq!((hits[0].id.to_string(), hits[0].score), ("chart".to_owned(), 2.0));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct VectorField {
    dimensions: usize,
    metric: Metric,
    originals: Originals,
    leading: usize,
    graph: GraphParams,
    contract: Option<ModelContract>,
    kind: FieldKind,
    /// Of a field of matrices.
    codec: MatrixCodec,
}

impl VectorField {
    /// One vector a record, of `dimensions` components (1 to 65,536), compared by `metric`.
    pub fn new(dimensions: usize, metric: Metric) -> Self {
        Self {
            dimensions,
            metric,
            originals: Originals::F16,
            leading: dimensions,
            graph: GraphParams::default(),
            contract: None,
            kind: FieldKind::Dense,
            codec: MatrixCodec::default(),
        }
    }

    /// A matrix a record ([`Matrix`](crate::Matrix)): 1 to 4,096 rows of `dimensions` components
    /// (1 to 4,096), as late-interaction models make them. Searched by [`Collection::maxsim`],
    /// which compares rows by their dot product, as they are given.
    ///
    /// Beside the matrix a code of the mean of its rows is kept, by which candidates are found.
    pub fn multi(dimensions: usize) -> Self {
        let field = Self::new(dimensions, Metric::Cosine).originals(Originals::None);
        Self { kind: FieldKind::Multi, ..field }
    }

    /// A sparse vector a record: up to 65,536 indices with weights above 0, as learned sparse
    /// encoders make them. Searched by [`Collection::search_sparse`]. Weights are kept in 16
    /// bits, to one part in 512. The other options but the model mean nothing to it.
    pub fn sparse() -> Self {
        let field = Self::new(1, Metric::Dot).originals(Originals::None);
        Self { kind: FieldKind::Sparse, ..field }
    }

    /// How matrices are kept. Default: f16.
    pub fn codec(mut self, codec: MatrixCodec) -> Self {
        self.codec = codec;
        self
    }

    /// How the full vectors are kept beside their int8 codes. Default: f16; for a field of
    /// matrices none, as they are kept themselves.
    pub fn originals(mut self, originals: Originals) -> Self {
        self.originals = originals;
        self
    }

    /// As [`CollectionOptions::leading_dimensions`](crate::CollectionOptions::leading_dimensions).
    pub fn leading_dimensions(mut self, dimensions: usize) -> Self {
        self.leading = dimensions;
        self
    }

    /// The model that encodes the vectors; queries by another model are refused.
    pub fn model(mut self, contract: ModelContract) -> Self {
        self.contract = Some(contract);
        self
    }

    /// Links and build effort of the graph.
    pub fn graph(mut self, graph: GraphParams) -> Self {
        self.graph = graph;
        self
    }

    /// Refuses what cannot be made, saying which option and what is allowed.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let most = if self.kind == FieldKind::Multi {
            MATRIX_DIMENSIONS_MAX
        } else {
            DIMENSIONS_MAX as usize
        };
        if self.dimensions == 0 || self.dimensions > most {
            return Err(format!("dimensions are 1 to {most}, not {}", self.dimensions));
        }
        self.encoding().map_err(|error| error.to_string())?;
        let model_bytes = self.contract.as_ref().map_or(1, |contract| contract.model.len());
        if !(1..=ID_BYTES_MAX).contains(&model_bytes) {
            return Err(format!("model ids are 1 to {ID_BYTES_MAX} bytes"));
        }
        self.graph.check().map_err(|error| error.to_string())
    }

    /// How vectors would be encoded.
    fn encoding(&self) -> std::result::Result<Encoding, VectorError> {
        Encoding::new(self.dimensions, self.metric, self.originals)?.leading(self.leading)
    }

    pub(super) fn definition(&self, id: u32) -> Definition {
        Definition {
            id,
            dimensions: self.dimensions as u32,
            metric: self.metric.to_u8(),
            originals: self.originals.to_u8(),
            graph_m: self.graph.m as u16,
            graph_ef_construction: self.graph.ef_construction,
            seed: self.graph.seed,
            leading: (self.leading < self.dimensions).then_some(self.leading as u32),
        }
    }

    /// The options that a definition came from; none if it has no valid shape.
    pub(super) fn of(definition: &Definition) -> Option<Self> {
        let metric = Metric::from_u8(definition.metric)?;
        let leading = definition.leading.unwrap_or(definition.dimensions);
        let options = Self::new(definition.dimensions as usize, metric);
        let options = options.originals(Originals::from_u8(definition.originals)?);
        let options = options.graph(graph_params(definition));
        Some(options.leading_dimensions(leading as usize))
    }

    /// As [`VectorField::of`], for a named field.
    pub(super) fn of_entry(entry: &VectorFieldEntry) -> Option<Self> {
        let codec = match entry.kind {
            FieldKind::Multi => MatrixCodec::from_u8(entry.codec)?,
            _ => MatrixCodec::default(),
        };
        Some(Self { kind: entry.kind, codec, ..Self::of(&entry.definition)? })
    }

    /// What a field that is there, with vectors of that model, has otherwise and can no longer
    /// change. Options that are as they are by default want nothing.
    pub(super) fn differs(
        &self,
        has: &Self,
        contract: Option<&ModelContract>,
    ) -> Vec<OptionDifference> {
        let mut found = Differences::default();
        found.of("kind", &has.kind, &self.kind, |kind| kind.name().to_owned());
        if self.kind == has.kind && self.kind != FieldKind::Sparse {
            let default = match self.kind {
                FieldKind::Multi => Self::multi(self.dimensions),
                _ => Self::new(self.dimensions, self.metric),
            };
            found.of("dimensions", &has.dimensions, &self.dimensions, usize::to_string);
            found.of("metric", &has.metric, &self.metric, Metric::to_string);
            let (is, asked) = (&has.leading, &self.leading);
            found.unless_default(
                "leading dimensions",
                &default.leading,
                is,
                asked,
                usize::to_string,
            );
            let (is, asked) = (&has.originals, &self.originals);
            let name = |of: &Originals| of.name().to_owned();
            found.unless_default("originals", &default.originals, is, asked, name);
            let (is, asked) = (&has.codec, &self.codec);
            found.unless_default("codec", &default.codec, is, asked, MatrixCodec::to_string);
            let graph = |of: &GraphParams| {
                format!("m {}, ef_construction {}, seed {}", of.m, of.ef_construction, of.seed)
            };
            found.unless_default("graph", &default.graph, &has.graph, &self.graph, graph);
        }
        // A field without a model takes that of its first batch.
        if let (Some(has), Some(asked)) = (contract, &self.contract) {
            found.of("model", has, asked, |of| format!("{} with {}", of.model, of.roles));
        }
        found.0
    }

    pub(super) fn first_manifest(&self) -> Manifest {
        Manifest { contract: self.contract.as_ref().map(Contract::from), ..Manifest::default() }
    }

    /// Writes the field, with a new number, and the manifest of its vectors.
    pub(super) fn create(
        &self,
        txn: &mut WriteTxn<'_>,
        collection: u32,
        name: &str,
        next_slot: u32,
    ) -> Result<()> {
        let id = tables::take_collection_number(txn)?;
        let codec = if self.kind == FieldKind::Multi { self.codec as u8 } else { 0 };
        let (kind, definition) = (self.kind, self.definition(id));
        let entry = VectorFieldEntry { kind, codec, definition };
        vector_fields::put(txn, collection, name, &entry)?;
        let manifest = Manifest { next_slot, ..self.first_manifest() };
        let at = key::manifest(id);
        Ok(txn.put(Table::Collections, &at, &tables::encode_manifest(id, &manifest)?)?)
    }
}

/// Refuses names and shapes that cannot be made.
pub(super) fn check_field(name: &str, field: &VectorField) -> Result<()> {
    let refuse = |reason| Error::VectorFieldOptions { field: name.to_owned(), reason };
    check_field_name(name).map_err(|error| refuse(error.to_string()))?;
    field.check().map_err(refuse)
}

/// Refuses more vector fields than there can be.
pub(super) fn check_count(name: &str, fields: usize) -> Result<()> {
    if fields > VECTOR_FIELDS_MAX {
        let reason = format!("a collection has at most {VECTOR_FIELDS_MAX} named vector fields");
        return Err(Error::VectorFieldOptions { field: name.to_owned(), reason });
    }
    Ok(())
}

impl Collection {
    /// Adds a named vector field. Records that are there have no vector in it until they are
    /// stored again. One durable commit.
    ///
    /// ```
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use portolan::{CollectionOptions, Database, Metric, Record, VectorField};
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let docs = db.create_collection("docs", CollectionOptions::new(3, Metric::Cosine))?;
    /// docs.upsert(Record::new("chart").vector([1.0, 0.0, 0.0]))?;
    /// docs.add_vector_field("image", VectorField::new(2, Metric::Dot))?;
    /// assert_eq!(docs.vector_fields()?, ["image"]);
    /// assert!(docs.search(&[1.0, 0.0]).field("image").run()?.is_empty());
    /// docs.upsert(Record::new("map").vector([0.0, 1.0, 0.0]).named_vector("image", [0.5, 2.0]))?;
    /// assert_eq!(docs.search(&[1.0, 0.0]).field("image").run()?[0].id, "map".into());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::VectorFieldExists`]; [`Error::VectorFieldOptions`];
    /// [`StorageError::Older`](crate::StorageError::Older) in a file of before format version 3;
    /// read-only; storage.
    pub fn add_vector_field(&self, name: &str, field: VectorField) -> Result<()> {
        check_field(name, &field)?;
        self.inner.lmdb()?.write(self.inner.writer, |txn| {
            let next_slot = self.manifest(txn)?.next_slot;
            if vector_fields::get(txn, self.id, name)?.is_some() {
                let (collection, field) = (self.name.to_string(), name.to_owned());
                return Err(Error::VectorFieldExists { collection, field });
            }
            check_count(name, vector_fields::all(txn, self.id)?.len() + 1)?;
            field.create(txn, self.id, name, next_slot)
        })
    }

    /// Removes a named vector field with all its vectors; whether it was there. The records stay.
    ///
    /// # Errors
    /// Read-only; storage.
    pub fn remove_vector_field(&self, name: &str) -> Result<bool> {
        let store = self.inner.lmdb()?;
        self.inner.views.clear();
        store.write(self.inner.writer, |txn| {
            self.manifest(txn)?;
            let Some(entry) = vector_fields::get(txn, self.id, name)? else { return Ok(false) };
            settings::remove(txn, self.id, Setting::Vector, name)?;
            vector_fields::remove_content(txn, entry.definition.id)?;
            self.inner.residents.forget(entry.definition.id);
            Ok(true)
        })
    }

    /// Names of the named vector fields, sorted bytewise. [`Collection::info`] says more.
    ///
    /// # Errors
    /// Storage; the collection was deleted.
    pub fn vector_fields(&self) -> Result<Vec<String>> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        Ok(self.fields(snapshot.as_ref())?.into_iter().map(|field| field.name).collect())
    }
}
