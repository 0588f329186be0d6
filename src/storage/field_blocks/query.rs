//! Which slots have a value in a range: the blocks of a field, one after the other.

use std::cmp::Ordering;

use roaring::RoaringBitmap;

use super::key_table::KeyTable;
use super::layout::{Directory, WHAT, groups_of, pair};
use super::{GROUP, SLICES, SPAN, WORDS, directories, group_key, part_key, slices, start_of};
use crate::format::unseal;
use crate::storage::{Entries, Snapshot, StorageError, Table};

/// Values from `start` on and below `end`, as keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl KeyRange {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// The slots that have a value in one of the ranges.
///
/// # Errors
/// Storage; damaged blocks.
pub(crate) fn matching(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    ranges: &[KeyRange],
) -> Result<RoaringBitmap, StorageError> {
    let prefix = directories(collection, name);
    let mut found = Found::default();
    let mut walk = SliceWalk::new(snapshot, &prefix);
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let start = start_of(at).ok_or(StorageError::Missing { what: "the slots of a block" })?;
        let payload = unseal(WHAT, Table::Fields as u8, at, sealed)?;
        let directory = Directory::read(payload)?;
        let search = Search { snapshot, at, directory: &directory };
        let mut numbers = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (low, high) = search.numbers(range)?;
            if low < high {
                numbers.push((low, high));
            }
        }
        if !numbers.is_empty() {
            let slots = match directory.inline {
                Some(slots) => slots,
                None => walk.slots(at)?,
            };
            directory.check_slots(slots)?;
            numbers.iter().for_each(|range| found.add(start, &directory, slots, *range));
        }
    }
    Ok(found.finish())
}

/// Whether some slot has a value in the range. Costs a look at the directories of blocks up to the
/// first that has one.
///
/// # Errors
/// Storage; damaged blocks.
pub(crate) fn has_value(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    range: &KeyRange,
) -> Result<bool, StorageError> {
    let prefix = directories(collection, name);
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let directory = Directory::read(unseal(WHAT, Table::Fields as u8, at, sealed)?)?;
        let (low, high) = Search { snapshot, at, directory: &directory }.numbers(range)?;
        if low < high {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A search of one block.
struct Search<'s> {
    snapshot: &'s dyn Snapshot,
    /// The key of the directory.
    at: &'s [u8],
    directory: &'s Directory<'s>,
}

impl<'s> Search<'s> {
    /// The numbers of the values in a range.
    fn numbers(&self, range: &KeyRange) -> Result<(u32, u32), StorageError> {
        let mut group = None;
        let low = self.below(&range.start, &mut group)?;
        let high = match &range.end {
            Some(end) => self.below(end, &mut group)?,
            None => self.directory.values,
        };
        Ok((low, high))
    }

    /// How many values are below a key. Remembers the group that it had to read.
    fn below(
        &self,
        key: &[u8],
        read: &mut Option<(usize, KeyTable<'s>)>,
    ) -> Result<u32, StorageError> {
        let Directory { values, ref table, .. } = *self.directory;
        let groups = groups_of(values);
        if groups == 0 {
            return Ok(table.below(table.count, key) as u32);
        }
        let first = table.below(groups, key);
        if first == 0 || table.is(first, key) && first < groups {
            return Ok((first * GROUP) as u32);
        }
        // The last value of all stands behind the first ones of the groups.
        if first == groups && table.below(table.count, key) == table.count {
            return Ok(values);
        }
        let number = first - 1;
        let group = match *read {
            Some((known, group)) if known == number => group,
            _ => {
                let group = read_group(self.snapshot, self.at, values, number)?;
                read.insert((number, group)).1
            }
        };
        Ok((number * GROUP + group.below(group.count, key)) as u32)
    }
}

/// Entries that are passed over before the next is looked up from the root of the tree.
const STEPS: usize = 4;

/// What tells the slots of the values, block after block: their entries are neighbors, so that a
/// step along them is cheaper than a look from the root of the tree for each.
struct SliceWalk<'s> {
    snapshot: &'s dyn Snapshot,
    /// Begin of all keys of such entries.
    prefix: Vec<u8>,
    entries: Option<Entries<'s>>,
}

impl<'s> SliceWalk<'s> {
    fn new(snapshot: &'s dyn Snapshot, directories: &[u8]) -> Self {
        let mut prefix = directories.to_vec();
        if let Some(part) = prefix.last_mut() {
            *part = SLICES;
        }
        Self { snapshot, prefix, entries: None }
    }

    /// Those of the block of a directory, which is behind all that were asked for.
    fn slots(&mut self, directory: &[u8]) -> Result<&'s [u8], StorageError> {
        let wanted = part_key(directory, SLICES);
        for _ in 0..STEPS {
            let Some(entries) = &mut self.entries else { break };
            let Some(entry) = entries.next() else { break };
            let (at, sealed) = entry?;
            match at.cmp(&wanted) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(unseal(WHAT, Table::Fields as u8, at, sealed)?),
                Ordering::Greater => break,
            }
        }
        let entries = self.snapshot.range(Table::Fields, &self.prefix, &wanted)?;
        let found = self.entries.insert(entries).next().transpose()?;
        match found.filter(|(at, _)| *at == wanted) {
            Some((at, sealed)) => Ok(unseal(WHAT, Table::Fields as u8, at, sealed)?),
            None => Err(StorageError::Missing { what: "the slots of a field index" }),
        }
    }
}

/// What tells the slots of the values, where it has an entry of its own.
pub(super) fn read_slots<'s>(
    snapshot: &'s dyn Snapshot,
    directory: &[u8],
) -> Result<&'s [u8], StorageError> {
    let at = part_key(directory, SLICES);
    let sealed = snapshot.get(Table::Fields, &at)?;
    let sealed = sealed.ok_or(StorageError::Missing { what: "the slots of a field index" })?;
    Ok(unseal(WHAT, Table::Fields as u8, &at, sealed)?)
}

/// A group of values.
pub(super) fn read_group<'s>(
    snapshot: &'s dyn Snapshot,
    directory: &[u8],
    values: u32,
    group: usize,
) -> Result<KeyTable<'s>, StorageError> {
    let at = group_key(directory, group);
    let sealed = snapshot.get(Table::Fields, &at)?;
    let sealed = sealed.ok_or(StorageError::Missing { what: "values of a field index" })?;
    let table = KeyTable::read(unseal(WHAT, Table::Fields as u8, &at, sealed)?)?;
    let expected = (values as usize).saturating_sub(group * GROUP).min(GROUP);
    if table.count != expected {
        let found = table.count;
        return Err(crate::format::FormatError::Length { what: WHAT, expected, found }.into());
    }
    Ok(table)
}

/// Words of a container of a bitmap.
const CHUNK: usize = 1024;

/// What was found, as bits of the chunk of 65,536 slots that the blocks are in, and as a bitmap
/// of the chunks before.
pub(super) struct Found {
    done: RoaringBitmap,
    chunk: u32,
    words: Vec<u64>,
}

impl Default for Found {
    fn default() -> Self {
        // A block may reach into the next chunk.
        Self { done: RoaringBitmap::new(), chunk: 0, words: vec![0; CHUNK + WORDS] }
    }
}

impl Found {
    /// Adds the slots of a block whose value has a number from `low` on and below `high`.
    pub(super) fn add(
        &mut self,
        start: u32,
        directory: &Directory<'_>,
        slots: &[u8],
        (low, high): (u32, u32),
    ) {
        while self.chunk < start >> 16 {
            self.next_chunk(start >> 16);
        }
        let first = (start as usize & 0xffff) / 64;
        let Some(words) = self.words.get_mut(first..first + WORDS) else { return };
        let (layers, pairs) = directory.split(slots);
        for layer in layers {
            let found = slices::between(layer, low, high, directory.values);
            words.iter_mut().zip(&found).for_each(|(word, found)| *word |= found);
        }
        let from = pairs.partition_point(|bytes| pair(bytes).0 < low);
        for bytes in pairs.get(from..).unwrap_or_default() {
            let (number, offset) = pair(bytes);
            if number >= high {
                break;
            }
            if let Some(word) = words.get_mut(usize::from(offset / 64)) {
                *word |= 1 << (offset % 64);
            }
        }
    }

    /// Goes on with the next chunk, or with `wanted` if nothing reaches into the next.
    fn next_chunk(&mut self, wanted: u32) {
        let (full, rest) = self.words.split_at(CHUNK);
        let is_found = |words: &[u64]| words.iter().any(|word| *word != 0);
        if is_found(full) {
            let mut bytes = vec![0_u8; CHUNK * size_of::<u64>()];
            for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(full) {
                *bytes = word.to_le_bytes();
            }
            self.done |= RoaringBitmap::from_lsb0_bytes(self.chunk << 16, &bytes);
        }
        self.chunk = if is_found(rest) { self.chunk + 1 } else { wanted };
        self.words.copy_within(CHUNK.., 0);
        if let Some(free) = self.words.get_mut(WORDS..) {
            free.fill(0);
        }
    }

    pub(super) fn finish(mut self) -> RoaringBitmap {
        let is_found = |words: &[u64]| words.iter().any(|word| *word != 0);
        while is_found(&self.words) {
            // Nothing is beyond the last chunk.
            if self.chunk == u32::from(u16::MAX) {
                self.words.truncate(CHUNK);
                self.words.resize(CHUNK + WORDS, 0);
            }
            self.next_chunk(self.chunk.saturating_add(1));
        }
        self.done
    }
}

/// Whether a block that begins there can have the slot.
pub(super) fn spans(start: u32, slot: u32) -> bool {
    slot.checked_sub(start).is_some_and(|offset| offset < SPAN)
}
