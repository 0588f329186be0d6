//! A space: one set of vectors of a collection, with a number, an encoding and a graph of its own.
//! The default vectors are the space that has the collection's number; each named vector field is
//! another. All share the slots, ids and records of the collection.

use std::sync::Arc;

use super::Collection;
use super::view::View;
use crate::error::{Error, Result};
use crate::index::GraphParams;
use crate::storage::keys as key;
use crate::storage::tables::{self, Definition, Manifest};
use crate::storage::vector_fields::{self, FieldKind, VectorFieldEntry};
use crate::storage::{Snapshot, StorageError, Table};
use crate::vectors::{Encoding, MatrixCodec, Metric, Originals};

/// The set of vectors that a search, a fold or a view is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Space {
    /// Its number: keys of delta, extents, tombstones and manifest begin with it.
    pub(super) id: u32,
    pub(super) encoding: Encoding,
    pub(super) graph: GraphParams,
}

impl Space {
    /// The space of a definition.
    ///
    /// # Errors
    /// [`StorageError::Missing`] for one that we cannot have written.
    pub(super) fn of(definition: &Definition) -> Result<Self, StorageError> {
        let damaged = |_| StorageError::Missing { what: "a valid shape of a collection" };
        let metric = Metric::from_u8(definition.metric);
        let originals = Originals::from_u8(definition.originals);
        let (Some(metric), Some(originals)) = (metric, originals) else {
            return Err(StorageError::Missing { what: "a known metric and codec" });
        };
        let leading = definition.leading.unwrap_or(definition.dimensions);
        let encoding = Encoding::new(definition.dimensions as usize, metric, originals)
            .and_then(|encoding| encoding.leading(leading as usize))
            .map_err(damaged)?;
        Ok(Self { id: definition.id, encoding, graph: graph_params(definition) })
    }
}

pub(super) fn graph_params(definition: &Definition) -> GraphParams {
    GraphParams {
        m: u32::from(definition.graph_m),
        ef_construction: definition.graph_ef_construction,
        seed: definition.seed,
    }
}

/// A named vector field as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) space: Space,
    pub(super) kind: FieldKind,
    /// How matrices are kept, in a field that has one a record.
    pub(super) codec: Option<MatrixCodec>,
}

impl Field {
    pub(super) fn of(name: &str, entry: &VectorFieldEntry) -> Result<Self, StorageError> {
        let codec = match entry.kind {
            FieldKind::Dense | FieldKind::Sparse => None,
            FieldKind::Multi => {
                let missing = StorageError::Missing { what: "a known codec of matrices" };
                Some(MatrixCodec::from_u8(entry.codec).ok_or(missing)?)
            }
        };
        let space = Space::of(&entry.definition)?;
        Ok(Self { name: name.to_owned(), space, kind: entry.kind, codec })
    }

    /// What it takes of each record, for messages.
    pub(super) fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// Refuses a field of another kind than a query is for.
    fn needs(self, kind: FieldKind, found: &'static str) -> Result<Self> {
        if self.kind == kind {
            return Ok(self);
        }
        let expected = self.kind();
        Err(Error::VectorFieldKind { field: self.name, expected, found })
    }
}

impl Collection {
    /// The space of the default vectors.
    pub(super) fn space(&self) -> Space {
        Space { id: self.id, encoding: self.encoding, graph: self.graph }
    }

    /// The named vector fields, by name.
    pub(super) fn fields(&self, snapshot: &dyn Snapshot) -> Result<Vec<Field>> {
        let entries = vector_fields::all(snapshot, self.id)?;
        let fields = entries.iter().map(|(name, entry)| Ok(Field::of(name, entry)?));
        fields.collect()
    }

    /// All spaces, the default vectors first.
    pub(super) fn spaces(&self, snapshot: &dyn Snapshot) -> Result<Vec<Space>> {
        let named = self.fields(snapshot)?.into_iter().map(|field| field.space);
        Ok(std::iter::once(self.space()).chain(named).collect())
    }

    /// A named vector field.
    ///
    /// # Errors
    /// [`Error::VectorFieldNotFound`], or that the collection is gone; storage.
    pub(super) fn field(&self, snapshot: &dyn Snapshot, name: &str) -> Result<Field> {
        match vector_fields::get(snapshot, self.id, name)? {
            Some(entry) => Ok(Field::of(name, &entry)?),
            None => {
                self.manifest(snapshot)?;
                Err(self.no_field(name))
            }
        }
    }

    pub(super) fn no_field(&self, name: &str) -> Error {
        let (collection, field) = (self.name.to_string(), name.to_owned());
        Error::VectorFieldNotFound { collection, field }
    }

    /// The space that a search by one vector is in: of a field that has one vector a record.
    pub(super) fn dense_space(&self, snapshot: &dyn Snapshot, name: Option<&str>) -> Result<Space> {
        let Some(name) = name else { return Ok(self.space()) };
        Ok(self.field(snapshot, name)?.needs(FieldKind::Dense, "one vector")?.space)
    }

    /// A field that has a matrix a record.
    pub(super) fn multi_field(&self, snapshot: &dyn Snapshot, name: &str) -> Result<Field> {
        self.field(snapshot, name)?.needs(FieldKind::Multi, "a matrix")
    }

    /// A field that has a sparse vector a record.
    pub(super) fn sparse_field(&self, snapshot: &dyn Snapshot, name: &str) -> Result<Field> {
        self.field(snapshot, name)?.needs(FieldKind::Sparse, "a sparse vector")
    }

    /// The manifest of a space as the snapshot has it.
    pub(super) fn manifest_of(&self, snapshot: &dyn Snapshot, space: Space) -> Result<Manifest> {
        if space.id == self.id {
            return self.manifest(snapshot);
        }
        Ok(tables::manifest(snapshot, space.id)?)
    }

    /// Whether a space is still there: a field can be removed while it is folded.
    pub(super) fn has_space(&self, snapshot: &dyn Snapshot, space: Space) -> Result<bool> {
        let manifest = snapshot.get(Table::Collections, &key::manifest(space.id))?;
        Ok(space.id == self.id || manifest.is_some())
    }

    /// The view of a space at the snapshot's version.
    pub(super) fn view_of(&self, snapshot: &dyn Snapshot, space: Space) -> Result<Arc<View>> {
        let build = || View::build(self, space, snapshot);
        let attend = |view: &Arc<View>| self.inner.residents.attend(space.id, view);
        self.inner.views.get(space.id, snapshot.version(), build, attend)
    }
}
