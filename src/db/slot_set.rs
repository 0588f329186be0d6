//! Sets of slots in a write transaction: tombstones, and the marks of records whose vector is
//! pending. Chunks are read when they are first needed and written once, at the end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use roaring::RoaringBitmap;

use crate::error::Result;
use crate::record::Slot;
use crate::storage::keys as key;
use crate::storage::{Snapshot, Table, WriteTxn, slot_sets};

/// Which set.
#[derive(Debug, Clone, Copy)]
enum Of {
    Tombstones,
    Pending,
}

/// The chunks of a set that a transaction changes.
pub(super) struct SlotSet {
    of: Of,
    /// With whether it was changed.
    chunks: BTreeMap<u16, (RoaringBitmap, bool)>,
}

impl SlotSet {
    /// Slots whose row still stands in a segment though the record is gone.
    pub(super) fn tombstones() -> Self {
        Self { of: Of::Tombstones, chunks: BTreeMap::new() }
    }

    /// Slots of records whose vector is to come.
    pub(super) fn pending() -> Self {
        Self { of: Of::Pending, chunks: BTreeMap::new() }
    }

    /// Adds a slot.
    pub(super) fn insert(&mut self, collection: u32, slot: Slot, txn: &dyn Snapshot) -> Result<()> {
        let (slots, changed) = self.chunk(collection, slot, txn)?;
        *changed |= slots.insert(slot.0 & 0xffff);
        Ok(())
    }

    /// Removes a slot.
    pub(super) fn remove(&mut self, collection: u32, slot: Slot, txn: &dyn Snapshot) -> Result<()> {
        let (slots, changed) = self.chunk(collection, slot, txn)?;
        *changed |= slots.remove(slot.0 & 0xffff);
        Ok(())
    }

    fn chunk(
        &mut self,
        collection: u32,
        slot: Slot,
        txn: &dyn Snapshot,
    ) -> Result<&mut (RoaringBitmap, bool)> {
        let chunk = (slot.0 >> 16) as u16;
        match self.chunks.entry(chunk) {
            Entry::Occupied(read) => Ok(read.into_mut()),
            Entry::Vacant(unread) => {
                let (table, at) = place(self.of, collection, chunk);
                let slots = match (txn.get(table, &at)?, self.of) {
                    (Some(sealed), Of::Tombstones) => slot_sets::decode_tombstones(sealed, &at)?,
                    (Some(sealed), Of::Pending) => slot_sets::decode_pending(sealed, &at)?,
                    (None, _) => RoaringBitmap::new(),
                };
                Ok(unread.insert((slots, false)))
            }
        }
    }

    /// Writes the changed chunks.
    pub(super) fn write(self, collection: u32, txn: &mut WriteTxn<'_>) -> Result<()> {
        for (chunk, (slots, _)) in self.chunks.into_iter().filter(|(_, (_, changed))| *changed) {
            let (table, at) = place(self.of, collection, chunk);
            if slots.is_empty() {
                txn.delete(table, &at)?;
                continue;
            }
            let sealed = match self.of {
                Of::Tombstones => slot_sets::encode_tombstones(&slots, &at)?,
                Of::Pending => slot_sets::encode_pending(&slots, &at)?,
            };
            txn.put(table, &at, &sealed)?;
        }
        Ok(())
    }
}

fn place(of: Of, collection: u32, chunk: u16) -> (Table, Vec<u8>) {
    match of {
        Of::Tombstones => (Table::Tombstones, key::tombstones(collection, chunk).to_vec()),
        Of::Pending => (Table::Collections, key::pending(collection, chunk).to_vec()),
    }
}
