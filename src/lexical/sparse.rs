//! Sparse vectors over the postings of terms: the term is an index, the count a weight in the 16
//! bits that a posting's peak can tell. The score is the dot product.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::best::Best;
use super::check::{each_stored, only_kinds};
use super::cursor::{Cursor, Postings};
use super::editor::Editor;
use super::keys;
use super::lengths::{CHUNK, Lengths};
use super::mask::{Passing, passing};
use super::run::{Peak, Posting};
use super::search::{Scored, Searched};
use super::text_error::TextError;
use crate::filter::Slots;
use crate::format::FormatError;
use crate::record::Slot;
use crate::storage::{Snapshot, StorageError, WriteTxn};

fn disagrees(error: TextError) -> StorageError {
    match error {
        TextError::Storage(error) => error,
        _ => StorageError::Missing { what: "the postings of a sparse vector" },
    }
}

/// What a batch does to the postings of a field of sparse vectors.
pub(crate) struct SparseChanges {
    number: u32,
    gone: Vec<(u32, Posting)>,
    new: Vec<(u32, Posting)>,
}

impl SparseChanges {
    /// No changes yet, of the field of that number.
    pub(crate) fn new(number: u32) -> Self {
        Self { number, gone: Vec::new(), new: Vec::new() }
    }

    /// A vector under a new slot, higher than all before.
    pub(crate) fn add(&mut self, slot: Slot, pairs: impl Iterator<Item = (u32, u16)>) {
        self.new.extend(postings(slot, pairs));
    }

    /// The vector of a slot goes.
    pub(crate) fn remove(&mut self, slot: Slot, pairs: impl Iterator<Item = (u32, u16)>) {
        self.gone.extend(postings(slot, pairs));
    }

    /// Writes the changes, each list once.
    ///
    /// # Errors
    /// The postings do not hold what is to be removed; storage; damage.
    pub(crate) fn write(mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        // What the same batch added and removed was never there.
        let new: HashSet<u32> = self.new.iter().map(|(_, posting)| posting.slot).collect();
        let undone: HashSet<u32> = (self.gone.iter())
            .map(|(_, posting)| posting.slot)
            .filter(|slot| new.contains(slot))
            .collect();
        for list in [&mut self.gone, &mut self.new] {
            list.retain(|(_, posting)| !undone.contains(&posting.slot));
            list.sort_unstable_by_key(|(term, posting)| (*term, posting.slot));
        }
        let mut editor = Editor::new(self.number, Lengths::new(self.number));
        let (mut gone, mut new) = (self.gone.as_slice(), self.new.as_slice());
        while let Some(term) = lowest(gone, new) {
            let (of_gone, more_gone) = split(gone, term);
            let (of_new, more_new) = split(new, term);
            let taken: Vec<Posting> = of_gone.iter().map(|(_, posting)| *posting).collect();
            let added = of_new.iter().map(|(_, posting)| *posting);
            editor.change(txn, &term.to_be_bytes(), &taken, added).map_err(disagrees)?;
            (gone, new) = (more_gone, more_new);
        }
        Ok(())
    }
}

fn postings(
    slot: Slot,
    pairs: impl Iterator<Item = (u32, u16)>,
) -> impl Iterator<Item = (u32, Posting)> {
    pairs.map(move |(term, code)| (term, Posting { slot: slot.0, count: u32::from(code) }))
}

fn lowest(gone: &[(u32, Posting)], new: &[(u32, Posting)]) -> Option<u32> {
    let first = |list: &[(u32, Posting)]| list.first().map(|(term, _)| *term);
    first(gone).into_iter().chain(first(new)).min()
}

/// Postings with their terms, in order of both.
type Terms<'l> = &'l [(u32, Posting)];

/// The postings of a term, which no other is before, and the rest.
fn split(list: Terms<'_>, term: u32) -> (Terms<'_>, Terms<'_>) {
    list.split_at(list.partition_point(|(of, _)| *of <= term))
}

/// The weight of a code: the upper half of an f32.
fn weight(count: u32) -> f64 {
    // A count that is no code of ours counts as the largest there is.
    f64::from(f32::from_bits(count.min(0x7F7F) << 16))
}

/// Sums of 4,096 slots.
struct Window {
    sums: Vec<f64>,
    touched: Vec<u32>,
}

impl Window {
    /// Adds what the postings of an index from `first` to `last` give.
    fn add(
        &mut self,
        cursor: &mut Cursor<'_, f64>,
        (first, last): (u32, u32),
    ) -> Result<(), FormatError> {
        let factor = f64::from(cursor.weight);
        // Below any bound: no block is left out.
        let skip = -1.0;
        cursor.each_to(first, last, skip, |slots, counts| {
            for (slot, count) in slots.iter().zip(counts) {
                let at = slot - first;
                let Some(sum) = self.sums.get_mut(at as usize) else { continue };
                if *sum == 0.0 {
                    self.touched.push(at);
                }
                *sum += factor * weight(*count);
            }
        })
    }
}

/// The best `limit` of those that pass by the dot product with a query of distinct indices and
/// weights above 0: of equal ones the lower slot first. Windows that cannot hold any of the best
/// are left out.
///
/// # Errors
/// Storage; damage.
pub(crate) fn search_sparse(
    snapshot: &dyn Snapshot,
    number: u32,
    query: &[(u32, f32)],
    limit: usize,
    passes: &Slots,
) -> Result<Searched, StorageError> {
    let mut cursors = Vec::with_capacity(query.len());
    for (term, factor) in query {
        let Some(found) = Postings::of(snapshot, number, &term.to_be_bytes())? else { continue };
        let most = |peak: Option<Peak>| {
            let weight = peak.map_or(f64::INFINITY, |peak| weight(u32::from(peak.count)));
            f64::from(*factor) * weight
        };
        cursors.push(Cursor::new(found, *factor, most));
    }
    let mut searched = Searched { terms: cursors.len(), ..Searched::default() };
    if limit == 0 {
        return Ok(searched);
    }
    let mut window = Window { sums: vec![0.0; CHUNK as usize], touched: Vec::new() };
    let mut best = Best::new(limit);
    let mut after = 0;
    while let Some(next) = cursors.iter().filter_map(Cursor::next_slot).min() {
        // A block may have begun in the window before.
        let first = next.max(after) / CHUNK * CHUNK;
        let last = first + (CHUNK - 1);
        let most: f64 = cursors.iter().map(|cursor| cursor.bound_to(last)).sum();
        let least = best.threshold();
        // Sums are rounded to f32, so a bound that is barely too low is not.
        let is_enough = least.is_none_or(|least| most as f32 >= f32::from_bits(least));
        let pass = if is_enough { passing(passes, (first, last)) } else { Passing::None };
        if !matches!(pass, Passing::None) {
            for cursor in &mut cursors {
                window.add(cursor, (first, last))?;
            }
            window.touched.sort_unstable();
            for at in window.touched.drain(..) {
                let sum = window.sums.get_mut(at as usize).map_or(0.0, std::mem::take);
                let (bits, slot) = ((sum as f32).min(f32::MAX).to_bits(), first + at);
                searched.scored += 1;
                let is_better = best.threshold().is_none_or(|worst| bits > worst);
                if is_better && passes.contains(slot) {
                    best.push(bits, slot);
                }
            }
        }
        let Some(from) = last.checked_add(1) else { break };
        cursors.iter_mut().for_each(|cursor| cursor.seek(from));
        after = from;
    }
    let scored = |(bits, slot)| Scored { slot: Slot(slot), score: f32::from_bits(bits) };
    searched.best = best.into_sorted().map(scored).collect();
    Ok(searched)
}

/// Whether the postings of a field are those of its vectors: both are summed up by hashes.
#[derive(Default)]
pub(crate) struct SparseCheck {
    postings: u64,
    hashes: u64,
}

impl SparseCheck {
    /// Counts what a vector should have.
    pub(crate) fn add(&mut self, slot: Slot, pairs: impl Iterator<Item = (u32, u16)>) {
        postings(slot, pairs)
            .for_each(|(term, posting)| self.posting(&term.to_be_bytes(), posting));
    }

    fn posting(&mut self, term: &[u8], posting: Posting) {
        let seed = u64::from(posting.slot) << 32 | u64::from(posting.count);
        self.hashes = self.hashes.wrapping_add(xxh3_64_with_seed(term, seed));
        self.postings += 1;
    }

    /// Compares that with all postings under the number of the field, which are all read.
    ///
    /// # Errors
    /// [`StorageError::Missing`]; storage; damage.
    pub(crate) fn finish(self, snapshot: &dyn Snapshot, number: u32) -> Result<(), StorageError> {
        let mut stored = Self::default();
        let mut is_index = true;
        // Weights have no lengths: no bound is too low for the longest.
        each_stored(
            snapshot,
            number,
            |_| Ok(u16::MAX),
            |term, posting| {
                is_index &= term.len() == 4;
                stored.posting(term, posting);
            },
        )?;
        if !is_index {
            return Err(StorageError::Missing { what: "an index of sparse vectors" });
        }
        only_kinds(snapshot, number, &keys::SPARSE_KINDS)?;
        if (self.postings, self.hashes) != (stored.postings, stored.hashes) {
            return Err(StorageError::Missing { what: "the postings of a sparse vector" });
        }
        Ok(())
    }
}
