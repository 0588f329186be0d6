//! The first slots in order of a field, without a look at a record.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::update::read;
use super::{directories, start_of};
use crate::storage::{Snapshot, StorageError, Table};

/// The first slots of those that pass, and all that have a value.
pub(crate) struct First {
    /// In no order; fewer than were wanted if no more have a value.
    pub(crate) slots: Vec<u32>,
    /// Slots that pass and have a value.
    pub(crate) with_value: RoaringBitmap,
}

/// A slot by its value, such that the greatest is the last in order.
#[derive(PartialEq, Eq)]
struct Last {
    value: Vec<u8>,
    slot: u32,
    descending: bool,
}

/// How two come after another: by value, of equal values by slot.
fn order((a, a_slot): (&[u8], u32), (b, b_slot): (&[u8], u32), descending: bool) -> Ordering {
    let by_value = if descending { b.cmp(a) } else { a.cmp(b) };
    by_value.then(a_slot.cmp(&b_slot))
}

impl Ord for Last {
    fn cmp(&self, other: &Self) -> Ordering {
        order((&self.value, self.slot), (&other.value, other.slot), self.descending)
    }
}

impl PartialOrd for Last {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first `wanted` slots of those that pass, by their least value or, descending, by their
/// greatest; of equal ones the lower slots. Costs the blocks of the field, whose values are
/// compared until one is behind all that are wanted.
///
/// # Errors
/// Storage; damaged blocks.
pub(crate) fn first(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    descending: bool,
    wanted: usize,
    passes: impl Fn(u32) -> bool,
) -> Result<First, StorageError> {
    let prefix = directories(collection, name);
    let mut heap: BinaryHeap<Last> = BinaryHeap::new();
    let mut with_value = RoaringBitmap::new();
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let start = start_of(at).ok_or(StorageError::Missing { what: "the slots of a block" })?;
        let block = read(snapshot, at, sealed)?.block;
        let slot_of = |offset: u16| start.wrapping_add(u32::from(offset));
        let own: RoaringBitmap =
            block.pairs.iter().map(|(_, offset)| slot_of(*offset)).filter(|s| passes(*s)).collect();
        // Slots of this block whose deciding value is still to come.
        let mut open = own.clone();
        with_value |= own;
        let mut offer = |(number, offset): (u32, u16)| {
            let slot = slot_of(offset);
            if !open.remove(slot) {
                return true;
            }
            let value = block.value(number as usize);
            if heap.len() >= wanted {
                let is_before = |last: &Last| {
                    order((value, slot), (&last.value, last.slot), descending).is_lt()
                };
                if !heap.peek().is_some_and(is_before) {
                    // Of equal values a lower slot may follow.
                    return heap.peek().is_some_and(|last| last.value == value);
                }
                heap.pop();
            }
            heap.push(Last { value: value.to_vec(), slot, descending });
            true
        };
        // Pairs are in order of value, then of slot.
        if descending {
            let _ = block.pairs.iter().rev().all(|pair| offer(*pair));
        } else {
            let _ = block.pairs.iter().all(|pair| offer(*pair));
        }
    }
    Ok(First { slots: heap.into_iter().map(|last| last.slot).collect(), with_value })
}
