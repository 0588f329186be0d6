//! How long texts are: the sum over all, and the length of each by slot in chunks of 4,096.

use std::collections::BTreeMap;

use super::keys;
use crate::format::{FormatError, read_u16, seal, unseal};
use crate::storage::{Snapshot, StorageError, Table, WriteTxn};

/// Slots of a chunk.
pub(super) const CHUNK: u32 = 4_096;
const STATS: &str = "statistics of texts";
const LENGTHS: &str = "lengths of texts";
const STATS_BYTES: usize = 16;

/// Sums over all records that have a term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) records: u64,
    /// Weighted words.
    pub(super) length: u64,
}

impl Stats {
    pub(super) fn read(snapshot: &dyn Snapshot, collection: u32) -> Result<Self, StorageError> {
        let at = keys::stats(collection);
        let Some(sealed) = snapshot.get(Table::Postings, &at)? else { return Ok(Self::default()) };
        let payload = unseal(STATS, Table::Postings as u8, &at, sealed)?;
        let found = payload.len();
        let (both, rest) = payload.as_chunks::<8>();
        match (both, rest) {
            ([records, length], []) => Ok(Self {
                records: u64::from_le_bytes(*records),
                length: u64::from_le_bytes(*length),
            }),
            _ => Err(FormatError::Length { what: STATS, expected: STATS_BYTES, found }.into()),
        }
    }

    pub(super) fn write(self, txn: &mut WriteTxn<'_>, collection: u32) -> Result<(), StorageError> {
        let at = keys::stats(collection);
        let mut payload = [0; STATS_BYTES];
        payload[..8].copy_from_slice(&self.records.to_le_bytes());
        payload[8..].copy_from_slice(&self.length.to_le_bytes());
        txn.put(Table::Postings, &at, &seal(Table::Postings as u8, &at, &payload))
    }

    /// Mean length; 1 if there is no text.
    pub(super) fn mean(self) -> f32 {
        if self.records == 0 { 1.0 } else { (self.length as f64 / self.records as f64) as f32 }
    }
}

/// A length as it is stored and scored by.
pub(super) fn stored(length: u64) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// The lengths of a chunk, in place; the last ones are absent where they are 0.
///
/// # Errors
/// Storage; damage.
pub(super) fn chunk(
    snapshot: &dyn Snapshot,
    collection: u32,
    chunk: u32,
) -> Result<&[[u8; 2]], StorageError> {
    let at = keys::lengths(collection, chunk);
    let Some(sealed) = snapshot.get(Table::Postings, &at)? else { return Ok(&[]) };
    Ok(decode(&at, sealed)?)
}

/// Checks a chunk.
pub(super) fn decode<'v>(at: &[u8], sealed: &'v [u8]) -> Result<&'v [[u8; 2]], FormatError> {
    let payload = unseal(LENGTHS, Table::Postings as u8, at, sealed)?;
    let (lengths, rest) = payload.as_chunks::<2>();
    if !rest.is_empty() || lengths.len() > CHUNK as usize {
        let (expected, found) = (2 * CHUNK as usize, payload.len());
        return Err(FormatError::Length { what: LENGTHS, expected, found });
    }
    Ok(lengths)
}

/// Lengths that are being changed, chunk by chunk as they are asked for.
pub(super) struct Lengths {
    collection: u32,
    chunks: BTreeMap<u32, Chunk>,
}

struct Chunk {
    lengths: Vec<u16>,
    changed: bool,
}

impl Lengths {
    pub(super) fn new(collection: u32) -> Self {
        Self { collection, chunks: BTreeMap::new() }
    }

    fn chunk(&mut self, snapshot: &dyn Snapshot, slot: u32) -> Result<&mut Chunk, StorageError> {
        let number = slot / CHUNK;
        match self.chunks.entry(number) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) => {
                let stored = chunk(snapshot, self.collection, number)?;
                let lengths = stored.iter().map(|length| read_u16(length, 0)).collect();
                Ok(new.insert(Chunk { lengths, changed: false }))
            }
        }
    }

    pub(super) fn get(&mut self, snapshot: &dyn Snapshot, slot: u32) -> Result<u16, StorageError> {
        let chunk = self.chunk(snapshot, slot)?;
        Ok(chunk.lengths.get((slot % CHUNK) as usize).copied().unwrap_or(0))
    }

    pub(super) fn set(
        &mut self,
        snapshot: &dyn Snapshot,
        slot: u32,
        length: u16,
    ) -> Result<(), StorageError> {
        let chunk = self.chunk(snapshot, slot)?;
        let at = (slot % CHUNK) as usize;
        if chunk.lengths.len() <= at {
            chunk.lengths.resize(at + 1, 0);
        }
        chunk.lengths[at] = length;
        chunk.changed = true;
        Ok(())
    }

    /// Writes what was changed.
    pub(super) fn write(mut self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        for (number, chunk) in self.chunks.iter_mut().filter(|(_, chunk)| chunk.changed) {
            let at = keys::lengths(self.collection, *number);
            let used = chunk.lengths.iter().rposition(|&length| length != 0).map_or(0, |at| at + 1);
            chunk.lengths.truncate(used);
            if used == 0 {
                txn.delete(Table::Postings, &at)?;
                continue;
            }
            let payload: Vec<u8> =
                chunk.lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
            txn.put(Table::Postings, &at, &seal(Table::Postings as u8, &at, &payload))?;
        }
        Ok(())
    }
}
