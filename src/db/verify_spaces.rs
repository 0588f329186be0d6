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
    for entry in snapshot.range(Table::Collections, &[0], &[0])? {
        let (at, _) = entry?;
        let name = key::definition_name(at).ok_or_else(|| missing("the name of a collection"))?;
        let definition = tables::definition(snapshot, name)?;
        collections.extend(definition.map(|definition| definition.id));
    }
    for &collection in &collections {
        let entries = vector_fields::all(snapshot, collection)?;
        fields.extend(entries.into_iter().map(|(_, entry)| entry.definition.id));
    }
    let all: HashSet<u32> = collections.union(&fields).copied().collect();
    for (table, owners) in [
        (Table::Ids, &collections),
        (Table::Records, &collections),
        (Table::Delta, &all),
        (Table::Tombstones, &all),
        (Table::Fields, &collections),
        (Table::Postings, &all),
        (Table::Matrices, &fields),
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
