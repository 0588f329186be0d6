//! Whether the file is undamaged: every checksum, and that its tables agree with each other.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::view::View;
use super::{Collection, Database};
use crate::error::{Error, Result};
use crate::storage::field_blocks::{self, Digest};
use crate::storage::field_settings::{FieldSettings, Policy};
use crate::storage::keys as key;
use crate::storage::tables;
use crate::storage::{
    Checked, Snapshot, StorageError, Table, Verify, cache, extents, fields, prefix_end, slot_sets,
};

/// What [`Database::verify`] read; every checksum was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Records read and decoded.
    pub records: u64,
    /// Bytes of extents read.
    pub extent_bytes: u64,
    /// Unsealed vectors read.
    pub unsealed: u64,
}

impl Database {
    /// Verified, if it is to be. Opening has walked the structure then, unless it gave a handle
    /// that was open already, by other options.
    pub(super) fn verified(self, verify: Verify) -> Result<Self> {
        match (verify, self.inner.verify) {
            (Verify::Full, Verify::None) => drop(self.verify()?),
            (Verify::Full, _) => drop(self.verify_content()?),
            _ => {}
        }
        Ok(self)
    }

    /// Reads everything: walks the structure of the file, checks every checksum and that ids,
    /// records, vectors and counts agree. Others may write meanwhile.
    ///
    /// # Errors
    /// The first damage found ([`Error::is_corruption`]); [`Database::damage`] lists it all.
    pub fn verify(&self) -> Result<Verified> {
        self.inner.store().check_structure()?;
        self.verify_content()
    }

    fn verify_content(&self) -> Result<Verified> {
        let store = self.inner.store();
        let mut verified = Verified::default();
        let mut numbers = HashSet::new();
        for name in self.collections()? {
            let collection = self.collection(&name)?;
            if !numbers.insert(collection.id) {
                return Err(missing("a number of its own for a collection"));
            }
            let snapshot = Checked::new(store.snapshot()?, store.format());
            collection.verify(&snapshot, &mut verified)?;
        }
        // One snapshot for both questions: a collection may come or go meanwhile.
        let snapshot = Checked::new(store.snapshot()?, store.format());
        cache::check(&snapshot)?;
        verify_owners(&snapshot)?;
        Ok(verified)
    }
}

/// Tables whose keys begin with the number of a collection.
const OWNED: [Table; 7] = [
    Table::Ids,
    Table::Records,
    Table::Delta,
    Table::Tombstones,
    Table::Fields,
    Table::Postings,
    Table::Matrices,
];

/// Every entry belongs to a collection, but for extents: those that no manifest names are left by
/// a process that was killed, and go when the file is opened for writing. One seek for each
/// collection and table.
fn verify_owners(snapshot: &dyn Snapshot) -> Result<()> {
    let mut owners = HashSet::new();
    for entry in snapshot.range(Table::Collections, &[0], &[0])? {
        let (at, _) = entry?;
        let name = key::definition_name(at).ok_or_else(|| missing("the name of a collection"))?;
        let definition = tables::definition(snapshot, name)?;
        owners.extend(definition.map(|definition| definition.id));
    }
    for table in OWNED {
        let mut next = Some(Vec::new());
        while let Some(start) = next {
            let Some(entry) = snapshot.range(table, &[], &start)?.next() else { break };
            let (at, _) = entry?;
            let owner = key::collection_of(at).filter(|owner| owners.contains(owner));
            let owner = owner.ok_or_else(|| missing("the collection of an entry"))?;
            next = prefix_end(&key::collection(owner));
        }
    }
    Ok(())
}

fn missing(what: &'static str) -> Error {
    StorageError::Missing { what }.into()
}

impl Collection {
    fn verify(&self, snapshot: &dyn Snapshot, verified: &mut Verified) -> Result<()> {
        let manifest = self.manifest(snapshot)?;
        for segment in &manifest.segments {
            verified.extent_bytes += extents::verify(snapshot, self.id, segment.id)?;
        }
        let view = self.view(snapshot)?;
        verified.unsealed += view.delta.len() as u64;
        let (records, vectors) = self.verify_records(snapshot, &view)?;
        let stored = self.entries(snapshot, Table::Records)?;
        if records != manifest.records || stored != records {
            return Err(missing("a record that the manifest counts"));
        }
        if view.dead.len() != manifest.dead || view.delta.len() as u64 != manifest.delta {
            return Err(missing("a tombstone or unsealed vector that the manifest counts"));
        }
        verify_slots(&view, &vectors)?;
        verified.records += records;
        Ok(())
    }

    /// Every id leads to its record, its vector and its field entries. Returns the number of
    /// records and the slots of those with a vector.
    fn verify_records(&self, snapshot: &dyn Snapshot, view: &View) -> Result<(u64, RoaringBitmap)> {
        let prefix = key::collection(self.id);
        let (mut records, mut indexed) = (0, 0);
        let mut vectors = RoaringBitmap::new();
        let mut pending = slot_sets::pending(snapshot, self.id)?;
        let settings = FieldSettings::read(snapshot, self.id)?;
        let mut blocks = Digest::default();
        for entry in snapshot.range(Table::Ids, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let slot = tables::decode_slot(sealed, at)?;
            let stored = tables::record(snapshot, self.id, slot)?;
            if key::id_of(at).as_ref() != Some(&stored.record.id) {
                return Err(missing("the record of an id"));
            }
            if view.int_id(slot).is_some_and(|id| id != stored.record.id) {
                return Err(missing("the id of a sealed vector"));
            }
            if stored.has_vector {
                view.vector(slot)?;
                vectors.insert(slot.0);
            } else {
                pending.remove(slot.0);
            }
            let metadata = &stored.record.metadata;
            blocks.add_record(metadata, slot, |name, slot| settings.in_blocks(name, slot));
            let has_entries = settings.policy == Policy::Entries;
            let entries = has_entries.then(|| fields::of_record(self.id, metadata, slot));
            for field in entries.into_iter().flatten() {
                if snapshot.get(Table::Fields, &field)?.is_none() {
                    return Err(missing("a field entry of a record"));
                }
                indexed += 1;
            }
            records += 1;
        }
        if !pending.is_empty() {
            return Err(missing("the record of a vector that is to come"));
        }
        let found = field_blocks::check(snapshot, self.id)?;
        if found.entries != indexed {
            return Err(missing("the record of a field entry"));
        }
        if found.blocks != blocks {
            return Err(missing("the agreement of field index and records"));
        }
        Ok((records, vectors))
    }

    fn entries(&self, snapshot: &dyn Snapshot, table: Table) -> Result<u64> {
        let prefix = key::collection(self.id);
        let mut count = 0;
        for entry in snapshot.range(table, &prefix, &prefix)? {
            entry?;
            count += 1;
        }
        Ok(count)
    }
}

/// Each slot stands once: unsealed, or in one segment in ascending order; and each sealed slot is
/// either live or dead.
fn verify_slots(view: &View, live: &RoaringBitmap) -> Result<()> {
    let mut sealed = RoaringBitmap::new();
    for segment in &view.segments {
        let mut last = None;
        for position in 0..segment.len() {
            let slot = segment.slot(position).ok_or_else(|| missing("a slot of a segment"))?;
            if last.is_some_and(|last| slot <= last) || !sealed.insert(slot) {
                return Err(missing("the order of the slots"));
            }
            last = Some(slot);
        }
    }
    let unsealed: RoaringBitmap = view.delta.iter().map(|(slot, _)| slot.0).collect();
    if !unsealed.is_disjoint(&sealed) || !live.is_disjoint(&view.dead) {
        return Err(missing("the one place of a vector"));
    }
    if unsealed | sealed != live | &view.dead {
        return Err(missing("the record or the tombstone of a vector"));
    }
    Ok(())
}
