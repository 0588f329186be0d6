//! Whether the postings of a collection are those of its records: each is counted on both sides,
//! by a sum of hashes that does not depend on their order.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::TextIndex;
use super::cursor::Postings;
use super::inverter::Inverter;
use super::keys;
use super::lengths::{CHUNK, Lengths, Stats, decode, stored};
use super::run::{Decoded, Posting};
use crate::record::{Record, Slot};
use crate::storage::{Snapshot, StorageError, Table};

/// Postings that are held in memory before they are summed up.
const HELD: usize = 100_000;

/// What the records of a collection say its postings are.
pub(crate) struct TextCheck {
    index: TextIndex,
    inverter: Inverter,
    found: Sums,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    stats: Stats,
    postings: u64,
    /// Of terms, slots and counts.
    of_postings: u64,
    /// Of slots and lengths.
    of_lengths: u64,
}

impl Sums {
    fn posting(&mut self, term: &[u8], posting: Posting) {
        let seed = u64::from(posting.slot) << 32 | u64::from(posting.count);
        self.of_postings = self.of_postings.wrapping_add(xxh3_64_with_seed(term, seed));
        self.postings += 1;
    }

    fn length(&mut self, slot: u32, length: u16) {
        let hash = xxh3_64_with_seed(&length.to_le_bytes(), u64::from(slot));
        self.of_lengths = self.of_lengths.wrapping_add(hash);
    }
}

/// Calls `each` with every posting under a number, whose text has a length that bounds of blocks
/// are checked by. Checks that each term counts its postings and that no run is without a term.
///
/// # Errors
/// Damage; what does not agree.
pub(super) fn each_stored(
    snapshot: &dyn Snapshot,
    number: u32,
    mut length: impl FnMut(u32) -> Result<u16, StorageError>,
    mut each: impl FnMut(&[u8], Posting),
) -> Result<(), StorageError> {
    let prefix = keys::all_terms(number);
    let (mut runs, mut decoded) = (0, Decoded::new());
    for entry in snapshot.range(Table::Postings, &prefix, &prefix)? {
        let (at, _) = entry?;
        let term = keys::term_of(at).ok_or_else(|| missing("a term"))?;
        let postings = Postings::of(snapshot, number, term)?;
        let postings = postings.ok_or_else(|| missing("the postings of a term"))?;
        let mut found = 0;
        for block in &postings.blocks {
            block.decode(&mut decoded)?;
            for posting in decoded.postings() {
                let length = length(posting.slot)?;
                if block.peak.is_none_or(|peak| !peak.covers(posting.count, length)) {
                    return Err(missing("the bound of a block of postings"));
                }
                each(term, posting);
                found += 1;
            }
        }
        if found != postings.texts {
            return Err(missing("a posting that its term counts"));
        }
        runs += postings.runs;
    }
    let prefix = keys::all_runs(number);
    let stored = snapshot.range(Table::Postings, &prefix, &prefix)?;
    if stored.map(|entry| entry.map(|_| 1)).sum::<Result<u64, _>>()? != runs {
        return Err(missing("the term of a run of postings"));
    }
    Ok(())
}

/// Refuses entries under a number that are none of `known` kinds.
pub(super) fn only_kinds(
    snapshot: &dyn Snapshot,
    number: u32,
    known: &[u8],
) -> Result<(), StorageError> {
    let prefix = number.to_be_bytes();
    let mut next = prefix.to_vec();
    while let Some(entry) = snapshot.range(Table::Postings, &prefix, &next)?.next() {
        let kind = entry?.0.get(prefix.len()).copied();
        let kind = kind.filter(|kind| known.contains(kind));
        let kind = kind.ok_or_else(|| missing("the kind of an entry of postings"))?;
        next = [&prefix[..], &[kind.saturating_add(1)]].concat();
    }
    Ok(())
}

fn missing(what: &'static str) -> StorageError {
    StorageError::Missing { what }
}

impl TextCheck {
    pub(crate) fn new(index: TextIndex) -> Self {
        let inverter = Inverter::new(&index);
        Self { index, inverter, found: Sums::default() }
    }

    /// Counts what a record should have.
    pub(crate) fn add(&mut self, slot: Slot, record: &Record) {
        self.inverter.add(slot.0, record);
        if self.inverter.len() >= HELD {
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        let inverter = std::mem::replace(&mut self.inverter, Inverter::new(&self.index));
        for of in &inverter.records {
            self.found.stats.records += 1;
            self.found.stats.length = self.found.stats.length.saturating_add(of.length);
            self.found.length(of.slot, stored(of.length));
        }
        for (term, postings) in inverter.by_term().iter() {
            postings.iter().for_each(|&posting| self.found.posting(term, posting));
        }
    }

    /// Compares with what is stored; returns the number of postings.
    ///
    /// # Errors
    /// Damage; that records and postings do not agree.
    pub(crate) fn finish(
        mut self,
        snapshot: &dyn Snapshot,
        collection: u32,
    ) -> Result<u64, StorageError> {
        self.sum_up();
        let mut held = Sums { stats: Stats::read(snapshot, collection)?, ..Sums::default() };
        let prefix = keys::all_lengths(collection);
        for entry in snapshot.range(Table::Postings, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let chunk = keys::number_of(at).filter(|chunk| *chunk <= u32::MAX / CHUNK);
            let chunk = chunk.ok_or_else(|| missing("the number of a chunk of lengths"))?;
            for (place, length) in (0..).zip(decode(at, sealed)?) {
                let length = u16::from_le_bytes(*length);
                if length > 0 {
                    held.length(chunk * CHUNK + place, length);
                }
            }
        }
        let mut lengths = Lengths::new(collection);
        let length = |slot| lengths.get(snapshot, slot);
        each_stored(snapshot, collection, length, |term, posting| held.posting(term, posting))?;
        only_kinds(snapshot, collection, &keys::KINDS)?;
        if held != self.found {
            return Err(missing("the posting of a word, or the word of a posting,"));
        }
        Ok(held.postings)
    }
}
