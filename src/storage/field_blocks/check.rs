//! Whether the blocks of a collection hold what its records do, and nothing else: both are added
//! up, value by value, to sums that differ when they do.

use super::layout::groups_of;
use super::update::read;
use super::{BLOCKS, DIRECTORY, key_parts};
use crate::format::fingerprint;
use crate::record::{Metadata, Slot};
use crate::storage::{Snapshot, StorageError, Table, fields, keys as key};

/// Values of fields with their slots, in any order, as a number and a sum of fingerprints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    values: u64,
    sum: u128,
}

impl Digest {
    fn add(&mut self, name: &str, value: &[u8], slot: u32) {
        let bytes = [name.as_bytes(), &[0], value, &slot.to_le_bytes()].concat();
        self.values += 1;
        self.sum = self.sum.wrapping_add(fingerprint(&bytes));
    }

    /// Adds what the blocks should have of a record.
    pub(crate) fn add_record(
        &mut self,
        metadata: &Metadata,
        slot: Slot,
        is_indexed: impl Fn(&str, Slot) -> bool,
    ) {
        for (name, value) in metadata.iter().filter(|(name, _)| is_indexed(name, slot)) {
            fields::block_values(value).iter().for_each(|value| self.add(name, value, slot.0));
        }
    }
}

/// What the table has of a collection.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// What the blocks hold.
    pub(crate) blocks: Digest,
    /// Entries of single values, as files of before version 3 have them.
    pub(crate) entries: u64,
}

/// Reads all blocks of a collection.
///
/// # Errors
/// Damaged blocks; parts that belong to no block.
pub(crate) fn check(snapshot: &dyn Snapshot, collection: u32) -> Result<Checked, StorageError> {
    let prefix = key::collection(collection);
    let (mut checked, mut parts, mut expected) = (Checked::default(), 0, 0);
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let what = "the name of an indexed field";
        let (name, kind, part) = key_parts(at).ok_or(StorageError::Missing { what })?;
        if kind != BLOCKS {
            checked.entries += 1;
            continue;
        }
        parts += 1;
        if part.first() != Some(&DIRECTORY) {
            continue;
        }
        let start = part.get(1..).filter(|start| start.len() == 4).and_then(super::start_of);
        let start = start.filter(|start| start.is_multiple_of(64));
        let start = start.ok_or(StorageError::Missing { what: "the slots of a block" })?;
        let read = read(snapshot, at, sealed)?;
        expected += 1 + usize::from(!read.is_inline) + groups_of(read.block.values() as u32);
        for &(number, offset) in &read.block.pairs {
            let slot = start.wrapping_add(u32::from(offset));
            checked.blocks.add(name, read.block.value(number as usize), slot);
        }
    }
    if parts != expected {
        return Err(StorageError::Missing { what: "the block of a part of a field index" });
    }
    Ok(checked)
}
