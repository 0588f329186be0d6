//! The first slots in order of a field, without a look at a record.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::layout::{Block, Directory, WHAT, groups_of};
use super::update::read;
use super::{SPAN, WORDS, directories, start_of};
use crate::format::unseal;
use crate::storage::{Snapshot, StorageError, Table};

/// The first slots of those that pass, and those that have a value.
pub(crate) struct First {
    /// In order; fewer than were wanted if no more have a value.
    pub(crate) slots: Vec<u32>,
    /// Slots that pass and have a value: all, if there are fewer of them than were wanted.
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

/// Which part of an order is wanted.
pub(crate) struct Part {
    pub(crate) descending: bool,
    /// What is before or at this value, as blocks have it, and slot is not wanted.
    pub(crate) after: Option<(Vec<u8>, u32)>,
    /// So many.
    pub(crate) wanted: usize,
}

/// The first slots of those that pass, by their least value or, descending, by their greatest; of
/// equal ones the lower slots. Costs a look at each block of the field; one whose
/// best value is behind all that are wanted is not decoded.
///
/// # Errors
/// Storage; damaged blocks.
pub(crate) fn first(
    snapshot: &dyn Snapshot,
    collection: u32,
    name: &str,
    part: Part,
    passes: impl Fn(u32) -> bool,
) -> Result<First, StorageError> {
    let prefix = directories(collection, name);
    let descending = part.descending;
    let mut picked = Picked { part, heap: BinaryHeap::new(), with_value: RoaringBitmap::new() };
    let mut value = Vec::new();
    for entry in snapshot.range(Table::Fields, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let start = start_of(at).ok_or(StorageError::Missing { what: "the slots of a block" })?;
        if let Some(last) = picked.last() {
            let directory = Directory::read(unseal(WHAT, Table::Fields as u8, at, sealed)?)?;
            value.clear();
            copy_best(&directory, descending, &mut value);
            // Slots ascend from block to block: an equal value comes too late.
            if order((&value, start), (&last.value, last.slot), descending).is_gt() {
                continue;
            }
        }
        picked.take(&read(snapshot, at, sealed)?.block, start, &passes);
    }
    let slots = picked.heap.into_sorted_vec().into_iter().map(|last| last.slot).collect();
    Ok(First { slots, with_value: picked.with_value })
}

/// The least value of a block or, descending, its greatest.
fn copy_best(directory: &Directory<'_>, descending: bool, to: &mut Vec<u8>) {
    // Of several groups the table has the first value of each, and then the last of all.
    let entries = match groups_of(directory.values) {
        0 => directory.values as usize,
        groups => groups + 1,
    };
    directory.table.copy(if descending { entries.saturating_sub(1) } else { 0 }, to);
}

/// What was picked so far.
struct Picked {
    part: Part,
    heap: BinaryHeap<Last>,
    with_value: RoaringBitmap,
}

impl Picked {
    /// The last of those that are wanted, if there are so many.
    fn last(&self) -> Option<&Last> {
        self.heap.peek().filter(|_| self.heap.len() >= self.part.wanted)
    }

    /// Takes what is wanted of a block.
    fn take(&mut self, block: &Block, start: u32, passes: &impl Fn(u32) -> bool) {
        // Offsets whose deciding value is still to come.
        let mut open = [0_u64; WORDS];
        for &(_, offset) in &block.pairs {
            if u32::from(offset) < SPAN && passes(start.wrapping_add(u32::from(offset))) {
                open[usize::from(offset / 64)] |= 1 << (offset % 64);
            }
        }
        if self.heap.len() < self.part.wanted {
            let offsets = (0..SPAN).filter(|at| open[*at as usize / 64] >> (at % 64) & 1 == 1);
            // Ascending, as blocks are.
            self.with_value.extend(offsets.map(|at| start.wrapping_add(at)));
        }
        let descending = self.part.descending;
        // Pairs are in order of value, then of slot.
        let mut offer = |&(number, offset): &(u32, u16)| {
            let word = open.get_mut(usize::from(offset / 64));
            let bit = 1_u64 << (offset % 64);
            match word {
                Some(word) if *word & bit != 0 => *word &= !bit,
                _ => return true,
            }
            let slot = start.wrapping_add(u32::from(offset));
            self.offer(block.value(number as usize), slot)
        };
        let _ = match descending {
            true => block.pairs.iter().rev().all(&mut offer),
            false => block.pairs.iter().all(&mut offer),
        };
    }

    /// Takes a slot if it is before the last that is wanted; whether later values can be.
    fn offer(&mut self, value: &[u8], slot: u32) -> bool {
        let descending = self.part.descending;
        if let Some((before, at)) = &self.part.after
            && order((value, slot), (before, *at), descending).is_le()
        {
            return true;
        }
        if let Some(last) = self.last() {
            if !order((value, slot), (&last.value, last.slot), descending).is_lt() {
                // Of equal values a lower slot may follow.
                return last.value == value;
            }
            self.heap.pop();
        }
        self.heap.push(Last { value: value.to_vec(), slot, descending });
        true
    }
}
