//! Whether named vector fields agree with the records of their collection, and whether everything
//! in the file belongs to something.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::space::Field;
use super::space_vectors::{read_matrix, read_sparse};
use super::verify::{missing, verify_slots};
use super::view::View;
use super::{Collection, Verified};
use crate::error::Result;
use crate::lexical::SparseCheck;
use crate::record::Slot;
use crate::storage::keys as key;
use crate::storage::tables::{self, Manifest};
use crate::storage::vector_fields::{self, FieldKind};
use crate::storage::{Snapshot, Table, extents, prefix_end};

impl Collection {
    /// Every vector of a field is that of a live record, in one place, and counted.
    pub(super) fn verify_field(
        &self,
        snapshot: &dyn Snapshot,
        field: &Field,
        records: &RoaringBitmap,
        verified: &mut Verified,
    ) -> Result<()> {
        let manifest = self.manifest_of(snapshot, field.space)?;
        for segment in &manifest.segments {
            verified.extent_bytes += extents::verify(snapshot, field.space.id, segment.id)?;
        }
        if field.kind == FieldKind::Sparse {
            return verify_sparse(snapshot, field, &manifest, records);
        }
        let view = self.view_of(snapshot, field.space)?;
        verified.unsealed += view.delta.len() as u64;
        if view.dead.len() != manifest.dead || view.delta.len() as u64 != manifest.delta {
            return Err(missing("a tombstone or unsealed vector that the manifest counts"));
        }
        let live = live_slots(&view);
        if live.len() != manifest.records || !live.is_subset(records) {
            return Err(missing("the record of a vector in a named field"));
        }
        verify_slots(&view, &live)?;
        for slot in live.iter().map(Slot) {
            view.vector(slot)?;
            if let Some(id) = view.int_id(slot)
                && tables::record(snapshot, self.id, slot)?.record.id != id
            {
                return Err(missing("the id of a sealed vector"));
            }
        }
        match field.codec {
            Some(_) => verify_matrices(snapshot, field, &live),
            None => Ok(()),
        }
    }
}

/// Slots that stand in a view and are not dead.
fn live_slots(view: &View) -> RoaringBitmap {
    let mut slots: RoaringBitmap = view.delta.iter().map(|(slot, _)| slot.0).collect();
    for segment in &view.segments {
        slots.extend((0..segment.len()).filter_map(|position| segment.slot(position)));
    }
    slots - &view.dead
}

/// Every matrix is whole, and belongs to a vector that stands for it.
fn verify_matrices(snapshot: &dyn Snapshot, field: &Field, live: &RoaringBitmap) -> Result<()> {
    let prefix = key::collection(field.space.id);
    let mut found = RoaringBitmap::new();
    for entry in snapshot.range(Table::Matrices, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let matrix = vector_fields::unseal_matrix(sealed, at)?;
        let matrix = read_matrix(matrix, field.space.encoding.dim())?;
        if Some(matrix.codec()) != field.codec {
            return Err(missing("a matrix of the codec of its field"));
        }
        found.extend(key::slot_of(at).map(|slot| slot.0));
    }
    if found != *live {
        return Err(missing("the matrix of a record"));
    }
    Ok(())
}

/// Every sparse vector is that of a record, and the postings are those of the vectors.
fn verify_sparse(
    snapshot: &dyn Snapshot,
    field: &Field,
    manifest: &Manifest,
    records: &RoaringBitmap,
) -> Result<()> {
    let prefix = key::collection(field.space.id);
    let (mut found, mut check) = (RoaringBitmap::new(), SparseCheck::default());
    for entry in snapshot.range(Table::Matrices, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let slot = key::slot_of(at).ok_or_else(|| missing("the slot of a sparse vector"))?;
        let pairs = read_sparse(vector_fields::unseal_matrix(sealed, at)?)?.pairs();
        check.add(slot, pairs);
        found.insert(slot.0);
    }
    if found.len() != manifest.records || !found.is_subset(records) {
        return Err(missing("the record of a vector in a named field"));
    }
    Ok(check.finish(snapshot, field.space.id)?)
}

/// Every entry belongs to a collection or to a vector field of one, but for extents: those that no
/// manifest names are left by a process that was killed, and go when the file is opened for
/// writing. One seek for each owner and table.
pub(super) fn verify_owners(snapshot: &dyn Snapshot) -> Result<()> {
    let (mut collections, mut fields) = (HashSet::new(), HashSet::new());
    // What has postings, and what has matrices or sparse vectors.
    let (mut posted, mut matrices) = (HashSet::new(), HashSet::new());
    for entry in snapshot.range(Table::Collections, &[0], &[0])? {
        let (at, _) = entry?;
        let name = key::definition_name(at).ok_or_else(|| missing("the name of a collection"))?;
        let definition = tables::definition(snapshot, name)?;
        collections.extend(definition.map(|definition| definition.id));
    }
    for &collection in &collections {
        let entries = vector_fields::all(snapshot, collection)?;
        posted.insert(collection);
        for (_, entry) in entries {
            let number = entry.definition.id;
            fields.insert(number);
            if entry.kind == FieldKind::Sparse {
                posted.insert(number);
            }
            if entry.kind != FieldKind::Dense {
                matrices.insert(number);
            }
        }
    }
    let all: HashSet<u32> = collections.union(&fields).copied().collect();
    for (table, owners) in [
        (Table::Ids, &collections),
        (Table::Records, &collections),
        (Table::Delta, &all),
        (Table::Tombstones, &all),
        (Table::Fields, &collections),
        (Table::Postings, &posted),
        (Table::Matrices, &matrices),
    ] {
        owned(snapshot, table, &[], owners)?;
    }
    owned(snapshot, Table::Collections, &[1], &all)?;
    owned(snapshot, Table::Collections, &[3], &collections)
}

/// Every key of a table that begins with `tag` has one of the owners behind it.
fn owned(snapshot: &dyn Snapshot, table: Table, tag: &[u8], owners: &HashSet<u32>) -> Result<()> {
    let mut next = Some(tag.to_vec());
    while let Some(start) = next {
        let Some(entry) = snapshot.range(table, tag, &start)?.next() else { break };
        let (at, _) = entry?;
        let number = at.get(tag.len()..).and_then(key::collection_of);
        let owner = number.filter(|owner| owners.contains(owner));
        let owner = owner.ok_or_else(|| missing("the collection of an entry"))?;
        next = prefix_end(&[tag, &key::collection(owner)].concat());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{CollectionOptions, Database, VectorField};
    use crate::format::seal;
    use crate::lexical::TextIndex;
    use crate::record::Record;
    use crate::vectors::Metric;

    /// Puts an entry under the number of a field, or of the collection, and verifies.
    fn with(table: Table, field: Option<&str>, rest: &[u8], payload: &[u8]) -> Result<Verified> {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(dir.path().join("owners.portolan")).unwrap();
        let options = CollectionOptions::new(2, Metric::Dot).text(TextIndex::default());
        let options = options.vector_field("dense", VectorField::new(2, Metric::Dot));
        let options = options.vector_field("multi", VectorField::multi(2));
        let options = options.vector_field("sparse", VectorField::sparse());
        let docs = db.create_collection("docs", options).unwrap();
        let mut batch = docs.batch();
        for id in 0..3_i64 {
            let record = Record::new(id).text("sea").named_vector("sparse", [(7, 1.0)]);
            batch.upsert(record.named_vector("dense", vec![1.0, 0.0])).unwrap();
        }
        batch.commit().unwrap();
        db.verify().unwrap();
        let number = match field {
            None => docs.id,
            Some(name) => {
                let snapshot = db.inner.snapshot().unwrap();
                let fields = docs.fields(snapshot.as_ref()).unwrap();
                fields.iter().find(|field| &*field.name == name).unwrap().space.id
            }
        };
        let at = [&number.to_be_bytes()[..], rest].concat();
        let put = |txn: &mut crate::storage::WriteTxn<'_>| {
            txn.put(table, &at, &seal(table as u8, &at, payload))
        };
        db.inner.lmdb().unwrap().write(db.inner.writer, put).unwrap();
        db.verify()
    }

    #[test]
    fn postings_and_matrices_belong_to_what_can_have_them() {
        for (table, field) in
            [(Table::Postings, "dense"), (Table::Postings, "multi"), (Table::Matrices, "dense")]
        {
            let refused = with(table, Some(field), &[0, 0, 0, 0], &[]).unwrap_err();
            assert!(refused.to_string().contains("the collection of an entry"), "{refused}");
        }
    }

    #[test]
    fn entries_of_postings_of_unknown_kinds_are_refused() {
        for (field, kind) in [(None, 4), (None, 255), (Some("sparse"), 0), (Some("sparse"), 9)] {
            let refused = with(Table::Postings, field, &[kind], &[]).unwrap_err();
            assert!(refused.to_string().contains("the kind of an entry"), "{refused}");
        }
    }

    #[test]
    fn lists_of_sparse_vectors_are_counted_and_own_their_runs() {
        let index = 7_u32.to_be_bytes();
        let term = [&[2], &index[..]].concat();
        // A long list that counts nine, of one run with one block of the three that there are.
        let peak = [0x80, 0x3F, 0, 0, 255, 255];
        let run = |last: u8| [&[0, 0, 0, 0, 0, 3, last, 0, 0, 0][..], &peak].concat();
        let postings = [0_u8, 0x80, 0x7F, 1, 0x80, 0x7F, 1, 0x80, 0x7F];
        let list = |texts: u8| [&[0, texts, 0, 0, 0][..], &run(2), &postings].concat();
        with(Table::Postings, Some("sparse"), &term, &list(3)).unwrap();
        let refused = with(Table::Postings, Some("sparse"), &term, &list(9)).unwrap_err();
        assert!(refused.to_string().contains("that its term counts"), "{refused}");
        let orphan = [&[3, 4], &8_u32.to_be_bytes()[..], &[0, 0, 0, 0]].concat();
        let bytes = [&run(2)[..], &postings].concat();
        let refused = with(Table::Postings, Some("sparse"), &orphan, &bytes).unwrap_err();
        assert!(refused.to_string().contains("the term of a run"), "{refused}");
    }
}
