//! What a batch does to the named vector fields of its collection: rows for the vectors that
//! records bring, and nothing left of those that go.

use super::Collection;
use super::slot_set::SlotSet;
use super::space::Field;
use super::space_vectors::read_sparse;
use crate::error::{Error, Result};
use crate::format::SPARSE_PAIRS_MAX;
#[cfg(feature = "nim")]
use crate::format::{SEAL_BYTES, SectionKind};
use crate::lexical::SparseChanges;
use crate::record::{FieldVector, RecordId, Slot};
use crate::storage::keys as key;
use crate::storage::tables::{self, Manifest};
use crate::storage::vector_fields::{self, FieldKind};
#[cfg(feature = "nim")]
use crate::storage::{Snapshot, StorageError, extents::SectionPlace};
use crate::storage::{Table, WriteTxn, extents};
#[cfg(feature = "nim")]
use crate::vectors::Originals;
use crate::vectors::{EncodedVector, Encoding, check_sparse, encode_matrix, encode_sparse};

/// What a record brings to one field, encoded.
#[derive(Debug, Clone)]
pub(super) struct FieldRows {
    pub(super) field: String,
    /// Number of the field when the rows were made: one of the same name may have come since.
    pub(super) number: u32,
    /// Absent in a field of sparse vectors.
    pub(super) rows: Option<EncodedVector>,
    /// The value of a matrix, or of a sparse vector.
    pub(super) matrix: Option<Vec<u8>>,
}

impl Field {
    /// Checks and encodes what a record has in this field. A vector that is `stored` was read
    /// from such a field.
    pub(super) fn encode(
        &self,
        id: &RecordId,
        vector: &FieldVector,
        stored: bool,
    ) -> Result<FieldRows> {
        let refused =
            |source| Error::NamedVector { field: self.name.clone(), id: Some(id.clone()), source };
        let encoding = &self.space.encoding;
        let (rows, matrix) = match (vector, self.kind, self.codec) {
            (FieldVector::Dense(vector), FieldKind::Dense, _) => {
                let encode = if stored { Encoding::encode_stored } else { Encoding::encode };
                (Some(encode(encoding, vector).map_err(refused)?), None)
            }
            (FieldVector::Multi(matrix), FieldKind::Multi, Some(codec)) => {
                let (dim, values) = (matrix.dimensions(), matrix.values());
                let encoded = encode_matrix(codec, encoding, dim, values);
                encoded.map(|(matrix, rows)| (Some(rows), Some(matrix))).map_err(refused)?
            }
            (FieldVector::Sparse(pairs), FieldKind::Sparse, _) => {
                let pairs = check_sparse(pairs, SPARSE_PAIRS_MAX).map_err(refused)?;
                (None, Some(encode_sparse(&pairs)))
            }
            (other, _, _) => {
                return Err(Error::VectorFieldKind {
                    field: self.name.clone(),
                    expected: self.kind(),
                    found: other.kind(),
                });
            }
        };
        Ok(FieldRows { field: self.name.clone(), number: self.space.id, rows, matrix })
    }
}

/// The fields of a collection in a write transaction.
pub(super) struct SpaceChanges {
    changes: Vec<SpaceChange>,
}

struct SpaceChange {
    field: Field,
    before: Manifest,
    manifest: Manifest,
    tombstones: SlotSet,
    /// Of a field of sparse vectors.
    postings: SparseChanges,
}

impl SpaceChanges {
    pub(super) fn load(collection: &Collection, txn: &WriteTxn<'_>) -> Result<Self> {
        let mut changes = Vec::new();
        for field in collection.fields(txn)? {
            let before = collection.manifest_of(txn, field.space)?;
            let (manifest, tombstones) = (before.clone(), SlotSet::tombstones());
            let postings = SparseChanges::new(field.space.id);
            changes.push(SpaceChange { field, before, manifest, tombstones, postings });
        }
        Ok(Self { changes })
    }

    /// Gives a new slot what its record brings.
    pub(super) fn insert(
        &mut self,
        collection: &Collection,
        slot: Slot,
        named: &[FieldRows],
        txn: &mut WriteTxn<'_>,
    ) -> Result<()> {
        for rows in named {
            let change = self.changes.iter_mut().find(|of| of.field.space.id == rows.number);
            let change = change.ok_or_else(|| collection.no_field(&rows.field))?;
            change.put(slot, rows.rows.as_ref(), rows.matrix.as_deref(), txn)?;
        }
        Ok(())
    }

    /// Removes what a slot has, whose record goes.
    pub(super) fn remove(&mut self, slot: Slot, txn: &mut WriteTxn<'_>) -> Result<()> {
        self.changes.iter_mut().try_for_each(|change| change.remove(slot, txn))
    }

    /// What a slot has, to be given to another with [`SpaceChanges::insert`].
    #[cfg(feature = "nim")]
    pub(super) fn rows_of(&self, slot: Slot, txn: &WriteTxn<'_>) -> Result<Vec<FieldRows>> {
        let rows = self.changes.iter().map(|change| change.rows_of(slot, txn));
        Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Writes what changed, and gives the number and the manifest of each field.
    pub(super) fn write(
        self,
        next_slot: u32,
        txn: &mut WriteTxn<'_>,
    ) -> Result<Vec<(u32, Manifest)>> {
        let mut manifests = Vec::with_capacity(self.changes.len());
        for change in self.changes {
            let SpaceChange { field, before, mut manifest, tombstones, postings } = change;
            let number = field.space.id;
            tombstones.write(number, txn)?;
            postings.write(txn)?;
            if manifest != before {
                manifest.next_slot = next_slot;
                let sealed = tables::encode_manifest(number, &manifest)?;
                txn.put(Table::Collections, &key::manifest(number), &sealed)?;
            }
            manifests.push((number, manifest));
        }
        Ok(manifests)
    }
}

impl SpaceChange {
    fn put(
        &mut self,
        slot: Slot,
        rows: Option<&EncodedVector>,
        matrix: Option<&[u8]>,
        txn: &mut WriteTxn<'_>,
    ) -> Result<()> {
        let at = key::slot(self.field.space.id, slot);
        if let Some(rows) = rows {
            let raw = rows.raw.as_deref().unwrap_or_default();
            txn.put(Table::Delta, &at, &tables::encode_delta(&rows.code, raw, &at))?;
            self.manifest.delta += 1;
        }
        if let Some(matrix) = matrix {
            txn.put(Table::Matrices, &at, &vector_fields::seal_matrix(matrix, &at))?;
            if self.field.kind == FieldKind::Sparse {
                self.postings.add(slot, read_sparse(matrix)?.pairs());
            }
        }
        self.manifest.records += 1;
        Ok(())
    }

    fn remove(&mut self, slot: Slot, txn: &mut WriteTxn<'_>) -> Result<()> {
        let number = self.field.space.id;
        let at = key::slot(number, slot);
        if self.field.kind == FieldKind::Sparse {
            let Some(stored) = vector_fields::matrix(txn, number, slot)? else { return Ok(()) };
            self.postings.remove(slot, read_sparse(stored)?.pairs());
            txn.delete(Table::Matrices, &at)?;
            self.manifest.records = self.manifest.records.saturating_sub(1);
            return Ok(());
        }
        // A record of a field of matrices has one or nothing: no segment need be asked.
        if self.field.codec.is_some() && !txn.delete(Table::Matrices, &at)? {
            return Ok(());
        }
        if txn.delete(Table::Delta, &at)? {
            self.manifest.delta = self.manifest.delta.saturating_sub(1);
        } else if self.sealed(slot, txn)?.is_some() {
            self.tombstones.insert(number, slot, txn)?;
            self.manifest.dead += 1;
        } else {
            return Ok(());
        }
        self.manifest.records = self.manifest.records.saturating_sub(1);
        Ok(())
    }

    /// Segment, by its place in the manifest, and position of a slot.
    fn sealed(&self, slot: Slot, txn: &WriteTxn<'_>) -> Result<Option<(usize, u32)>> {
        for (place, segment) in self.manifest.segments.iter().enumerate() {
            if let Some(at) = extents::position(txn, self.field.space.id, segment, slot)? {
                return Ok(Some((place, at)));
            }
        }
        Ok(None)
    }
}

#[cfg(feature = "nim")]
impl SpaceChange {
    fn rows_of(&self, slot: Slot, txn: &WriteTxn<'_>) -> Result<Option<FieldRows>> {
        let (number, field) = (self.field.space.id, self.field.name.clone());
        let matrix = vector_fields::matrix(txn, number, slot)?.map(<[u8]>::to_vec);
        let rows = match self.field.kind {
            FieldKind::Sparse => None,
            _ => self.encoded(slot, txn)?,
        };
        let is_there = rows.is_some() || matrix.is_some();
        Ok(is_there.then_some(FieldRows { field, number, rows, matrix }))
    }

    fn encoded(&self, slot: Slot, txn: &WriteTxn<'_>) -> Result<Option<EncodedVector>> {
        let (number, encoding) = (self.field.space.id, self.field.space.encoding);
        let at = key::slot(number, slot);
        let (code_bytes, raw_bytes) = (encoding.code_stride(), encoding.raw_stride());
        let (code, raw) = match txn.get(Table::Delta, &at)? {
            Some(sealed) => {
                tables::check_delta(sealed, &at, code_bytes + raw_bytes)?;
                let rows = sealed.get(SEAL_BYTES..).unwrap_or_default();
                (rows.get(..code_bytes), rows.get(code_bytes..))
            }
            None => match self.sealed(slot, txn)? {
                Some((place, position)) => {
                    let row = |kind, stride| self.row(place, position, (kind, stride), txn);
                    (row(SectionKind::Codes, code_bytes)?, row(SectionKind::Raw, raw_bytes)?)
                }
                None => return Ok(None),
            },
        };
        let missing = StorageError::Missing { what: "the vector of a record" };
        let code = code.ok_or(missing)?.to_vec();
        let keeps = encoding.originals() != Originals::None;
        let missing = StorageError::Missing { what: "the original of a vector" };
        let raw = if keeps { Some(raw.ok_or(missing)?.to_vec()) } else { None };
        Ok(Some(EncodedVector { code, raw }))
    }

    fn row<'t>(
        &self,
        place: usize,
        position: u32,
        (kind, stride): (SectionKind, usize),
        txn: &'t WriteTxn<'_>,
    ) -> Result<Option<&'t [u8]>> {
        let collection = self.field.space.id;
        let segment = self.manifest.segments.get(place).map_or(u32::MAX, |entry| entry.id);
        Ok(SectionPlace { collection, segment, kind, stride }.row(txn, position)?)
    }
}

#[cfg(all(test, feature = "nim"))]
mod tests {
    use crate::db::{CollectionOptions, Database, VectorField};
    use crate::record::{Matrix, Record, Slot};
    use crate::vectors::{Metric, Originals};

    #[test]
    fn a_pending_record_keeps_its_named_vectors_when_its_own_comes() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(dir.path().join("p.portolan")).unwrap();
        let options = CollectionOptions::new(2, Metric::Dot)
            .vector_field("raw", VectorField::new(3, Metric::Cosine))
            .vector_field("code", VectorField::new(3, Metric::L2).originals(Originals::None))
            .vector_field("tokens", VectorField::multi(2))
            .vector_field("words", VectorField::sparse());
        let docs = db.create_collection("docs", options).unwrap();
        let tokens = Matrix::new(2, [1.0, 0.5, 0.25, 1.0]).unwrap();
        let record = |id: i64| {
            let record = Record::new(id).text("t").named_vector("raw", [0.0, 3.0, 4.0]);
            let record = record.named_vector("words", [(9, 1.5), (1 << 31, 0.5)]);
            record.named_vector("code", [1.0, 2.0, 2.0]).named_vector("tokens", tokens.clone())
        };
        let mut batch = docs.batch();
        (0..3).for_each(|id| batch.upsert_pending(record(id)).unwrap());
        batch.commit().unwrap();
        let before = docs.get(1_i64).unwrap().unwrap();
        // The first from the delta, the others from segments.
        for (at, id) in (0_u32..).zip(0..3_i64) {
            let mut batch = docs.batch();
            batch.complete(id.into(), Slot(at), &[1.0, 0.0]).unwrap();
            assert_eq!(batch.commit().unwrap().upserted, 1);
            docs.maintain().run().unwrap();
            let after = docs.get(id).unwrap().unwrap();
            assert_eq!(after.vector, Some(vec![1.0, 0.0]));
            assert_eq!(after.named_vectors, before.named_vectors);
            db.verify().unwrap();
        }
        assert_eq!(docs.info().unwrap().vector_fields[0].vectors, 3);
        assert_eq!(docs.search_sparse("words", &[(9, 2.0)]).run().unwrap()[2].score, 3.0);
    }
}
