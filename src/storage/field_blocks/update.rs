//! Blocks in a write transaction: what a batch adds to and takes from each field is collected, and
//! each block that it touches is read and written once.

use std::collections::BTreeMap;

use super::key_table::KeyTable;
use super::layout::{Block, Directory, Parts, WHAT, groups_of};
use super::query::{read_group, read_slots, spans};
use super::{SLICES, VALUES_MAX, directories, group_key, part_key, start_of};
use crate::format::{seal, unseal};
use crate::record::{Metadata, Slot, Value};
use crate::storage::{Snapshot, StorageError, Table, WriteTxn, fields};

/// Changes of the blocks of a collection.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    fields: BTreeMap<String, OfField>,
}

#[derive(Debug, Default)]
struct OfField {
    removed: Vec<u32>,
    /// Values with their slots, by slot: a slot is never below one that is in the index.
    added: Vec<(u32, Vec<u8>)>,
}

impl Changes {
    /// Adds the values of a record, whose slot is above all that were added.
    pub(crate) fn insert(
        &mut self,
        metadata: &Metadata,
        slot: Slot,
        is_indexed: impl Fn(&str, Slot) -> bool,
    ) {
        for (name, value) in metadata.iter().filter(|(name, _)| is_indexed(name, slot)) {
            let added = fields::block_values(value).into_iter().map(|value| (slot.0, value));
            self.of(name).added.extend(added);
        }
    }

    /// Takes the values of a record out.
    pub(crate) fn remove(
        &mut self,
        metadata: &Metadata,
        slot: Slot,
        is_indexed: impl Fn(&str, Slot) -> bool,
    ) {
        for (name, value) in metadata.iter().filter(|(name, _)| is_indexed(name, slot)) {
            // A list of nothing has no value that the index could have.
            if matches!(value, Value::List(items) if items.is_empty()) {
                continue;
            }
            let of = self.of(name);
            let from = of.added.partition_point(|(added, _)| *added < slot.0);
            let to = of.added.partition_point(|(added, _)| *added <= slot.0);
            if from < to {
                of.added.drain(from..to);
            } else {
                of.removed.push(slot.0);
            }
        }
    }

    fn of(&mut self, name: &str) -> &mut OfField {
        if !self.fields.contains_key(name) {
            self.fields.insert(name.to_owned(), OfField::default());
        }
        self.fields.entry(name.to_owned()).or_default()
    }

    /// Writes the blocks.
    ///
    /// # Errors
    /// Storage; damaged blocks.
    pub(crate) fn write(self, collection: u32, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        for (name, changes) in self.fields {
            Writing { txn, prefix: directories(collection, &name) }.write(changes)?;
        }
        Ok(())
    }
}

struct Writing<'a, 't> {
    txn: &'a mut WriteTxn<'t>,
    prefix: Vec<u8>,
}

impl Writing<'_, '_> {
    fn write(&mut self, OfField { mut removed, added }: OfField) -> Result<(), StorageError> {
        removed.sort_unstable();
        let last = self.block_at(u32::MAX)?;
        let mut removed = removed.as_slice();
        let mut added = added.as_slice();
        // Blocks before the last only lose.
        while let Some(&slot) = removed.first().filter(|slot| last.is_none_or(|at| **slot < at)) {
            let start = self.block_at(slot)?.filter(|start| spans(*start, slot)).ok_or(missing())?;
            let mut offsets = Vec::new();
            while let Some((&slot, rest)) = removed.split_first() {
                let is_next = last.is_some_and(|last| slot >= last) || !spans(start, slot);
                if is_next || self.block_at(slot)? != Some(start) {
                    break;
                }
                offsets.push((slot - start) as u16);
                removed = rest;
            }
            let block = self.read(start)?;
            self.put(start, &block, &block.changed(&offsets, &[]))?;
        }
        let Some(last) = last else { return self.append(added) };
        if removed.iter().any(|slot| !spans(last, *slot)) {
            return Err(missing());
        }
        let offsets: Vec<u16> = removed.iter().map(|slot| (slot - last) as u16).collect();
        let before = self.read(last)?;
        let kept = before.changed(&offsets, &[]);
        let taken = take(last, &kept, &mut added);
        if !offsets.is_empty() || !taken.is_empty() {
            self.put(last, &before, &kept.changed(&[], &taken))?;
        }
        self.append(added)
    }

    /// Makes new blocks.
    fn append(&mut self, mut added: &[(u32, Vec<u8>)]) -> Result<(), StorageError> {
        while let Some((slot, _)) = added.first() {
            let (start, empty) = (slot & !63, Block::default());
            let taken = take(start, &empty, &mut added);
            self.put(start, &empty, &empty.changed(&[], &taken))?;
        }
        Ok(())
    }

    fn directory_key(&self, start: u32) -> Vec<u8> {
        let mut key = self.prefix.clone();
        key.extend_from_slice(&start.to_be_bytes());
        key
    }

    /// The first slot of the last block that begins at a slot or before.
    fn block_at(&self, slot: u32) -> Result<Option<u32>, StorageError> {
        let mut behind = self.directory_key(slot);
        behind.push(0);
        let entry = self.txn.before(Table::Fields, &behind)?;
        let own = entry.filter(|(key, _)| key.starts_with(&self.prefix));
        Ok(own.and_then(|(key, _)| start_of(key)))
    }

    fn read(&self, start: u32) -> Result<Block, StorageError> {
        let at = self.directory_key(start);
        let sealed = self.txn.get(Table::Fields, &at)?.ok_or(missing())?;
        Ok(read(self.txn, &at, sealed)?.block)
    }

    /// Writes the parts of a block that differ, and removes those that it has no longer.
    fn put(&mut self, start: u32, before: &Block, block: &Block) -> Result<(), StorageError> {
        let at = self.directory_key(start);
        let groups = groups_of(before.values() as u32);
        if block.pairs.is_empty() {
            self.txn.delete(Table::Fields, &at)?;
            self.txn.delete(Table::Fields, &part_key(&at, SLICES))?;
            return self.delete_groups(&at, 0..groups);
        }
        let Parts { directory, slots, groups: values } = block.encode();
        self.txn.put(Table::Fields, &at, &seal(Table::Fields as u8, &at, &directory))?;
        let slots_at = part_key(&at, SLICES);
        match slots {
            Some(slots) => {
                let sealed = seal(Table::Fields as u8, &slots_at, &slots);
                self.txn.put(Table::Fields, &slots_at, &sealed)?;
            }
            None => drop(self.txn.delete(Table::Fields, &slots_at)?),
        }
        for (group, values) in values.iter().enumerate() {
            let key = group_key(&at, group);
            let sealed = seal(Table::Fields as u8, &key, values);
            if self.txn.get(Table::Fields, &key)? != Some(sealed.as_slice()) {
                self.txn.put(Table::Fields, &key, &sealed)?;
            }
        }
        self.delete_groups(&at, values.len()..groups)
    }

    fn delete_groups(
        &mut self,
        directory: &[u8],
        groups: std::ops::Range<usize>,
    ) -> Result<(), StorageError> {
        for group in groups {
            self.txn.delete(Table::Fields, &group_key(directory, group))?;
        }
        Ok(())
    }
}

/// Takes the values, in their order, that a block still has room for.
fn take<'v>(start: u32, block: &Block, added: &mut &'v [(u32, Vec<u8>)]) -> Vec<(&'v [u8], u16)> {
    let mut taken = Vec::new();
    let mut last = block.last().map_or(start, |offset| start.saturating_add(u32::from(offset)));
    while let Some(((slot, value), rest)) = added.split_first() {
        let is_full = block.pairs.len() + taken.len() >= VALUES_MAX;
        if !spans(start, *slot) || is_full && slot / 64 > last / 64 {
            break;
        }
        last = *slot;
        taken.push((value.as_slice(), (slot - start) as u16));
        *added = rest;
    }
    taken.sort_unstable();
    taken
}

fn missing() -> StorageError {
    StorageError::Missing { what: "the field index of a record" }
}

/// A block, and whether its directory has its slots.
pub(super) struct Read {
    pub(super) block: Block,
    pub(super) is_inline: bool,
}

/// Reads a block whole.
pub(super) fn read(
    snapshot: &dyn Snapshot,
    at: &[u8],
    sealed: &[u8],
) -> Result<Read, StorageError> {
    let directory = Directory::read(unseal(WHAT, Table::Fields as u8, at, sealed)?)?;
    let is_inline = directory.inline.is_some();
    let slots = match directory.inline {
        Some(slots) => slots,
        None => read_slots(snapshot, at)?,
    };
    directory.check_slots(slots)?;
    let groups = (0..groups_of(directory.values))
        .map(|group| read_group(snapshot, at, directory.values, group))
        .collect::<Result<Vec<KeyTable<'_>>, _>>()?;
    Ok(Read { block: Block::decode(&directory, slots, &groups)?, is_inline })
}
