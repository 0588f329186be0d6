//! How many slots have each value of a field: block by block, without a look at a record.

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
    let prefix = directories(collection, name);
    let mut counts: BTreeMap<Vec<u8>, (u64, u32)> = BTreeMap::new();
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let start = start_of(at).ok_or(StorageError::Missing { what: "the slots of a block" })?;
        let block = read(snapshot, at, sealed)?.block;
        // Pairs are in order of value, then of slot.
        for of_value in block.pairs.chunk_by(|a, b| a.0 == b.0) {
            let slots = of_value.iter().map(|(_, offset)| start.wrapping_add(u32::from(*offset)));
            let (mut passing, mut first) = (0, None);
            for slot in slots.filter(|slot| passes(*slot)) {
                first.get_or_insert(slot);
                passing += 1;
            }
            let (Some(first), Some((number, _))) = (first, of_value.first()) else { continue };
            let value = block.value(*number as usize);
            match counts.get_mut(value) {
                Some((count, _)) => *count += passing,
                None => drop(counts.insert(value.to_vec(), (passing, first))),
            }
        }
    }
    Ok(counts)
}
