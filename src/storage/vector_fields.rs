//! Named vector fields: their definitions, which are settings of a collection, and the matrices of
//! those that have many vectors a record (`storage-format.md` sections 3.10 and 5.6).

use super::keys as key;
use super::settings::{self, Setting};
use super::tables::{self, Definition};
use super::{Snapshot, StorageError, Table, WriteTxn};
use crate::format::{FormatError, seal, unseal};
use crate::record::Slot;

/// What a vector field has of each record. The numbers are in the file: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FieldKind {
    /// One vector.
    Dense = 1,
    /// A matrix.
    Multi = 2,
    /// Indices and weights.
    Sparse = 3,
}

impl FieldKind {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dense => "one vector a record",
            Self::Multi => "a matrix a record",
            Self::Sparse => "a sparse vector a record",
        }
    }
}

/// The definition of a vector field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorFieldEntry {
    pub(crate) kind: FieldKind,
    /// Codec of matrices; 0 where there are none.
    pub(crate) codec: u8,
    /// Its number, shape and graph; of a sparse one only the number has a meaning.
    pub(crate) definition: Definition,
}

const FIELD: &str = "vector field";
const MATRIX: &str = "matrix";

/// The payload of a vector field's setting: kind, codec, definition.
pub(crate) fn encode(entry: &VectorFieldEntry) -> Result<Vec<u8>, FormatError> {
    let mut payload = vec![entry.kind as u8, entry.codec];
    payload.extend(tables::definition_payload(&entry.definition)?);
    Ok(payload)
}

/// The inverse of [`encode`].
pub(crate) fn decode(payload: &[u8]) -> Result<VectorFieldEntry, FormatError> {
    let [kind, codec, definition @ ..] = payload else {
        return Err(FormatError::Length { what: FIELD, expected: 2, found: payload.len() });
    };
    let refused = |field, value| FormatError::Field { what: FIELD, field, value };
    let kind = match *kind {
        1 => FieldKind::Dense,
        2 => FieldKind::Multi,
        3 => FieldKind::Sparse,
        other => return Err(refused("kind", u64::from(other))),
    };
    if (kind != FieldKind::Multi) != (*codec == 0) {
        return Err(refused("codec", u64::from(*codec)));
    }
    Ok(VectorFieldEntry { kind, codec: *codec, definition: tables::decode_definition(definition)? })
}

/// Stores the definition of a vector field.
///
/// # Errors
/// [`StorageError::Older`]; those of writing.
pub(crate) fn put(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    name: &str,
    entry: &VectorFieldEntry,
) -> Result<(), StorageError> {
    settings::put(txn, collection, Setting::Vector, name, &encode(entry)?)
}

/// The vector fields of a collection, by name.
///
/// # Errors
/// Damage; those of reading.
pub(crate) fn all(
    snapshot: &dyn Snapshot,
    collection: u32,
) -> Result<Vec<(String, VectorFieldEntry)>, StorageError> {
    let found = settings::all(snapshot, collection, Setting::Vector)?;
    let decoded = found.into_iter().map(|(name, payload)| Ok((name.to_owned(), decode(payload)?)));
    decoded.collect()
}

/// One vector field of a collection.
///
/// # Errors
/// Damage; those of reading.
pub(crate) fn get(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
) -> Result<Option<VectorFieldEntry>, StorageError> {
    let payload = settings::get(snapshot, collection, Setting::Vector, name)?;
    Ok(payload.map(decode).transpose()?)
}

/// Removes all that is stored under the number of a vector field.
///
/// # Errors
/// Those of writing.
pub(crate) fn remove_content(txn: &mut WriteTxn<'_>, number: u32) -> Result<(), StorageError> {
    txn.delete(Table::Collections, &key::manifest(number))?;
    for table in Table::ALL {
        if !matches!(table, Table::Meta | Table::Collections) {
            txn.delete_prefix(table, &key::collection(number))?;
        }
    }
    Ok(())
}

/// A matrix's value in `matrices`.
pub(crate) fn seal_matrix(matrix: &[u8], key: &[u8]) -> Vec<u8> {
    seal(Table::Matrices as u8, key, matrix)
}

/// The inverse of [`seal_matrix`].
pub(crate) fn unseal_matrix<'v>(sealed: &'v [u8], key: &[u8]) -> Result<&'v [u8], FormatError> {
    unseal(MATRIX, Table::Matrices as u8, key, sealed)
}

/// The matrix of a slot, unsealed; none if the record has none.
///
/// # Errors
/// Damage; those of reading.
pub(crate) fn matrix(
    snapshot: &dyn Snapshot,
    number: u32,
    slot: Slot,
) -> Result<Option<&[u8]>, StorageError> {
    let at = key::slot(number, slot);
    let Some(sealed) = snapshot.get(Table::Matrices, &at)? else { return Ok(None) };
    Ok(Some(unseal_matrix(sealed, &at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: FieldKind, codec: u8) -> VectorFieldEntry {
        let definition = Definition {
            id: 7,
            dimensions: 512,
            metric: 1,
            originals: 1,
            graph_m: 16,
            graph_ef_construction: 200,
            seed: 5,
            leading: None,
        };
        VectorFieldEntry { kind, codec, definition }
    }

    #[test]
    fn a_vector_field_has_the_bytes_that_the_format_says() {
        let dense = encode(&entry(FieldKind::Dense, 0)).unwrap();
        assert_eq!(dense, [1, 0, 7, 251, 0, 2, 1, 1, 16, 200, 5]);
        let multi = encode(&entry(FieldKind::Multi, 3)).unwrap();
        assert_eq!(multi[..3], [2, 3, 7]);
        for (bytes, wanted) in [(dense, (FieldKind::Dense, 0)), (multi, (FieldKind::Multi, 3))] {
            assert_eq!(decode(&bytes), Ok(entry(wanted.0, wanted.1)));
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "{end}");
            }
            assert!(decode(&[bytes, vec![0]].concat()).is_err());
        }
    }

    #[test]
    fn kinds_and_codecs_that_are_not_known_are_refused() {
        let dense = encode(&entry(FieldKind::Dense, 0)).unwrap();
        assert!(decode(&[&[3, 0], &dense[2..]].concat()).is_ok());
        for (at, value, field) in [(0, 0, "kind"), (0, 9, "kind"), (1, 1, "codec"), (0, 2, "codec")]
        {
            let mut damaged = dense.clone();
            damaged[at] = value;
            let found = decode(&damaged);
            assert!(
                matches!(found, Err(FormatError::Field { field: f, .. }) if f == field),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_matrix_is_bound_to_its_slot() {
        let (at, other) = (key::slot(3, Slot(1)), key::slot(3, Slot(2)));
        let sealed = seal_matrix(&[1, 2, 3], &at);
        assert_eq!(unseal_matrix(&sealed, &at), Ok(&[1, 2, 3][..]));
        assert!(unseal_matrix(&sealed, &other).is_err());
        assert!(unseal_matrix(&sealed[..5], &at).is_err());
    }
}
