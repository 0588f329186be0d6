//! How many slots have each value of a field, and which come first: block by block, without a look
//! at a record.

use std::collections::BTreeMap;

use super::update::read;
use super::{directories, start_of};
use crate::storage::{Snapshot, StorageError, Table};

/// Each value as blocks have it, with how many of the slots that pass have it and the first of
/// them. Costs the blocks of the field and a step for each of its values in them.
///
/// # Errors
/// Storage; damaged blocks.
pub(crate) fn count(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    passes: impl Fn(u32) -> bool,
) -> Result<BTreeMap<Vec<u8>, (u64, u32)>, StorageError> {
    let mut counts: BTreeMap<Vec<u8>, (u64, u32)> = BTreeMap::new();
    each_value(snapshot, collection, name, |value, slots| {
        let (mut passing, mut first) = (0, None);
        for slot in slots.filter(|slot| passes(*slot)) {
            first.get_or_insert(slot);
            passing += 1;
        }
        match (first, counts.get_mut(value)) {
            (Some(_), Some((count, _))) => *count += passing,
            (Some(first), None) => drop(counts.insert(value.to_vec(), (passing, first))),
            (None, _) => {}
        }
    })?;
    Ok(counts)
}

/// Each value as blocks have it, with the first `most` of the slots that pass and have it,
/// ascending. Costs as much as [`count`].
///
/// # Errors
/// Storage; damaged blocks.
pub(crate) fn first_of_each(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    most: usize,
    passes: impl Fn(u32) -> bool,
) -> Result<BTreeMap<Vec<u8>, Vec<u32>>, StorageError> {
    let mut found: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    each_value(snapshot, collection, name, |value, slots| {
        let mut slots = slots.filter(|slot| passes(*slot)).peekable();
        match found.get_mut(value) {
            Some(known) => known.extend(slots.take(most.saturating_sub(known.len()))),
            None if slots.peek().is_some() => {
                drop(found.insert(value.to_vec(), slots.take(most).collect()));
            }
            None => {}
        }
    })?;
    Ok(found)
}

/// Slots of one value in a block, ascending.
type Slots<'b> = Box<dyn Iterator<Item = u32> + 'b>;

/// Looks at the values of each block with their slots; blocks ascend by their slots.
fn each_value(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    mut look: impl FnMut(&[u8], Slots<'_>),
) -> Result<(), StorageError> {
    let prefix = directories(collection, name);
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let start = start_of(at).ok_or(StorageError::Missing { what: "the slots of a block" })?;
        let block = read(snapshot, at, sealed)?.block;
        // Pairs are in order of value, then of slot.
        for of_value in block.pairs.chunk_by(|a, b| a.0 == b.0) {
            let Some((number, _)) = of_value.first() else { continue };
            let slots = of_value.iter().map(|(_, offset)| start.wrapping_add(u32::from(*offset)));
            look(block.value(*number as usize), Box::new(slots));
        }
    }
    Ok(())
}
