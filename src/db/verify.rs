//! Whether the file is undamaged: every checksum, and that its tables agree with each other.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::verify_spaces::verify_owners;
use super::view::View;
use super::{Collection, Database, text};
use crate::error::{Error, Result};
use crate::lexical::TextCheck;
use crate::storage::field_blocks::{self, Digest};
use crate::storage::field_settings::{FieldSettings, Policy};
use crate::storage::keys as key;
use crate::storage::tables;
use crate::storage::{
    Checked, Snapshot, StorageError, Table, Verify, cache, extents, fields, slot_sets,
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
            let snapshot = Checked::new(store.snapshot()?, store.format());
            for space in collection.spaces(&snapshot)? {
                if !numbers.insert(space.id) {
                    return Err(missing("a number of its own for a collection"));
                }
            }
            collection.verify(&snapshot, &mut verified)?;
        }
        // One snapshot for both questions: a collection may come or go meanwhile.
        let snapshot = Checked::new(store.snapshot()?, store.format());
        cache::check(&snapshot)?;
        verify_owners(&snapshot)?;
        Ok(verified)
    }
}

pub(super) fn missing(what: &'static str) -> Error {
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
        let (slots, vectors) = self.verify_records(snapshot, &view)?;
        let records = slots.len();
        let stored = self.entries(snapshot, Table::Records)?;
        if records != manifest.records || stored != records {
            return Err(missing("a record that the manifest counts"));
        }
        if view.dead.len() != manifest.dead || view.delta.len() as u64 != manifest.delta {
            return Err(missing("a tombstone or unsealed vector that the manifest counts"));
        }
        verify_slots(&view, &vectors)?;
        for field in self.fields(snapshot)? {
            self.verify_field(snapshot, &field, &slots, verified)?;
        }
        verified.records += records;
        Ok(())
    }

    /// Every id leads to a record of its own, its vector and its field entries. Returns the slots
    /// of all records and of those with a vector.
    fn verify_records(
        &self,
        snapshot: &dyn Snapshot,
        view: &View,
    ) -> Result<(RoaringBitmap, RoaringBitmap)> {
        let prefix = key::collection(self.id);
        let mut indexed = 0;
        let (mut slots, mut vectors) = (RoaringBitmap::new(), RoaringBitmap::new());
        let mut pending = slot_sets::pending(snapshot, self.id)?;
        let mut text = text::text_index(snapshot, self.id)?.map(TextCheck::new);
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
            if let Some(text) = &mut text {
                text.add(slot, &stored.record);
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
            slots.insert(slot.0);
        }
        if !pending.is_empty() {
            return Err(missing("the record of a vector that is to come"));
        }
        let found = field_blocks::check(snapshot, self.id)?;
        if found.entries != indexed {
            return Err(missing("the record of a field entry"));
        }
        if let Some(text) = text {
            text.finish(snapshot, self.id)?;
        }
        if found.blocks != blocks {
            return Err(missing("the agreement of field index and records"));
        }
        Ok((slots, vectors))
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
pub(super) fn verify_slots(view: &View, live: &RoaringBitmap) -> Result<()> {
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
