//! Reads what records have in named vector fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Collection;
use super::space::Field;
use super::view::View;
use crate::error::Result;
use crate::format::{FormatError, MATRIX_ROWS_MAX, SPARSE_PAIRS_MAX};
use crate::record::{FieldVector, Matrix, Slot};
use crate::storage::vector_fields::{self, FieldKind};
use crate::storage::{Snapshot, StorageError};
use crate::vectors::{MatrixRef, SparseRef, VectorError, sparse_weight};

/// The named vector fields of a collection at one version.
pub(super) struct NamedReader<'s> {
    snapshot: &'s dyn Snapshot,
    fields: Vec<Of>,
}

/// A field, with the view of those that have one vector a record.
struct Of {
    field: Field,
    view: Option<Arc<View>>,
}

impl Collection {
    pub(super) fn named_reader<'s>(&self, snapshot: &'s dyn Snapshot) -> Result<NamedReader<'s>> {
        let mut fields = Vec::new();
        for field in self.fields(snapshot)? {
            let view = match field.kind {
                FieldKind::Dense => Some(self.view_of(snapshot, field.space)?),
                FieldKind::Multi | FieldKind::Sparse => None,
            };
            fields.push(Of { field, view });
        }
        Ok(NamedReader { snapshot, fields })
    }
}

impl NamedReader<'_> {
    /// What a live slot has, by field, as stored.
    pub(super) fn vectors(&self, slot: Slot) -> Result<BTreeMap<String, FieldVector>> {
        let mut found = BTreeMap::new();
        for Of { field, view } in &self.fields {
            let vector = match view {
                Some(view) if view.has_vector(slot) => Some(FieldVector::Dense(view.vector(slot)?)),
                Some(_) => None,
                None => stored_vector(self.snapshot, field, slot)?,
            };
            if let Some(vector) = vector {
                found.insert(field.name.clone(), vector);
            }
        }
        Ok(found)
    }
}

/// The matrix or sparse vector of a slot, decoded.
pub(super) fn stored_vector(
    snapshot: &dyn Snapshot,
    field: &Field,
    slot: Slot,
) -> Result<Option<FieldVector>> {
    let dim = field.space.encoding.dim();
    let Some(bytes) = vector_fields::matrix(snapshot, field.space.id, slot)? else {
        return Ok(None);
    };
    if field.kind == FieldKind::Sparse {
        let pairs = read_sparse(bytes)?.pairs();
        let pairs = pairs.map(|(index, code)| (index, sparse_weight(code)));
        return Ok(Some(FieldVector::Sparse(pairs.collect())));
    }
    let values = read_matrix(bytes, dim)?.decode();
    let missing = StorageError::Missing { what: "the rows of a matrix" };
    Ok(Some(FieldVector::Multi(Matrix::new(dim, values).map_err(|_| missing)?)))
}

/// Takes a stored sparse vector apart.
pub(super) fn read_sparse(bytes: &[u8]) -> Result<SparseRef<'_>, StorageError> {
    SparseRef::read(bytes, SPARSE_PAIRS_MAX).map_err(damaged)
}

fn damaged(error: VectorError) -> StorageError {
    FormatError::Decode { what: "matrix or sparse vector", reason: error.to_string() }.into()
}

/// Takes a stored matrix apart.
pub(super) fn read_matrix(bytes: &[u8], dim: usize) -> Result<MatrixRef<'_>, StorageError> {
    MatrixRef::read(bytes, MATRIX_ROWS_MAX, dim).map_err(damaged)
}
