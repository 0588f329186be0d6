//! What models said before: logits of passages and vectors of queries, in the table `meta` behind
//! the prefix `cache-`. Derived data: whoever reads may pass it over, and it can be removed at any
//! time. Bounded: what was stored or asked for longest ago goes first. Not the decision when to
//! read or write it (see `db`). Layout: `storage-format.md` section 3.1.
//!
//! In `meta` and not in a table of its own: LMDB makes and opens tables in transactions of their
//! own, which would have to wait for every process that has the file open.

#![cfg_attr(not(feature = "nim"), allow(dead_code, reason = "the pipeline reads and adds"))]

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Snapshot, StorageError, Table, WriteTxn};
use crate::format::{FormatError, seal, unseal};

/// Every key of the cache begins so.
pub(crate) const PREFIX: &[u8] = b"cache-";
const STATE_KEY: &[u8] = b"cache-state";
const ENTRY: &[u8] = b"cache-entry";
const ORDER: &[u8] = b"cache-order";

const WHAT: &str = "cache entry";
/// Bytes of a passage's digest and logit.
const ROW_BYTES: usize = 20;
/// Most passages that one query keeps logits of.
pub(crate) const PASSAGES_MAX: usize = 4_096;

/// What is remembered. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    /// Logits of passages, for one model and query.
    Logits = 1,
    /// The vector of a query.
    Vector = 2,
}

/// What was asked, of whom: compared whole, so that no two questions are ever confused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    kind: Kind,
    parts: Vec<u8>,
}

impl Subject {
    /// A query to a reranker.
    pub(crate) fn logits(model: &str, query: &str) -> Self {
        Self::new(Kind::Logits, &[model, query])
    }

    /// A query to an embedding model; `contract` tells all that decides on the vector.
    pub(crate) fn vector(contract: &[&str], query: &str) -> Self {
        Self::new(Kind::Vector, &[contract, &[query]].concat())
    }

    fn new(kind: Kind, parts: &[&str]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self { kind, parts: bytes }
    }

    fn key(&self, seed: u64) -> Vec<u8> {
        let digest = xxh3_128_with_seed(&self.parts, seed);
        [ENTRY, &[self.kind as u8], &digest.to_be_bytes()].concat()
    }
}

/// The digest of a passage. The seed is the file's secret: who writes passages cannot make two
/// that collide without having read the file.
pub(crate) fn digest(passage: &str, seed: u64) -> u128 {
    xxh3_128_with_seed(passage.as_bytes(), seed)
}

/// What a model said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// By digest of the passage.
    Logits(BTreeMap<u128, f32>),
    /// Components.
    Vector(Vec<f32>),
}

impl Said {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Logits(logits) => {
                let mut bytes = Vec::with_capacity(logits.len() * ROW_BYTES);
                for (digest, logit) in logits {
                    bytes.extend_from_slice(&digest.to_le_bytes());
                    bytes.extend_from_slice(&logit.to_le_bytes());
                }
                bytes
            }
            Self::Vector(vector) => vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, FormatError> {
        let length = |expected| FormatError::Length { what: WHAT, expected, found: bytes.len() };
        let numbers = |bits| FormatError::Field { what: WHAT, field: "number", value: bits };
        let finite = |bytes: &[u8; 4]| {
            let number = f32::from_le_bytes(*bytes);
            let finite = number.is_finite().then_some(number);
            finite.ok_or_else(|| numbers(u64::from(number.to_bits())))
        };
        match kind {
            Kind::Vector => {
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(length(numbers.len() * 4));
                }
                Ok(Self::Vector(numbers.iter().map(finite).collect::<Result<_, _>>()?))
            }
            Kind::Logits => {
                let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
                if !rest.is_empty() || rows.len() > PASSAGES_MAX {
                    return Err(length(rows.len().min(PASSAGES_MAX) * ROW_BYTES));
                }
                let mut logits = BTreeMap::new();
                for row in rows {
                    let (Some(digest), Some(logit)) = (row.first_chunk(), row.last_chunk()) else {
                        return Err(length(ROW_BYTES));
                    };
                    logits.insert(u128::from_le_bytes(*digest), finite(logit)?);
                }
                Ok(Self::Logits(logits))
            }
        }
    }

    /// Adds what was said before, unless it is too much.
    pub(crate) fn merge(&mut self, before: Self) {
        if let (Self::Logits(now), Self::Logits(before)) = (self, before)
            && now.len() + before.len() <= PASSAGES_MAX
        {
            for (digest, logit) in before {
                now.entry(digest).or_insert(logit);
            }
        }
    }
}

/// How much the cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// What the cache holds; rewritten by each change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// The next number in the order of the entries.
    next: u64,
    pub(crate) entries: u64,
    /// Keys and values of entries and of their order.
    pub(crate) bytes: u64,
    pub(crate) seed: u64,
}

impl State {
    fn decode(sealed: &[u8]) -> Result<Self, FormatError> {
        let what = "cache state";
        let payload = unseal(what, Table::Meta as u8, STATE_KEY, sealed)?;
        let (numbers, rest) = payload.as_chunks::<8>();
        match (numbers, rest) {
            ([next, entries, bytes, seed], []) => Ok(Self {
                next: u64::from_le_bytes(*next),
                entries: u64::from_le_bytes(*entries),
                bytes: u64::from_le_bytes(*bytes),
                seed: u64::from_le_bytes(*seed),
            }),
            _ => Err(FormatError::Length { what, expected: 32, found: payload.len() }),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.next, self.entries, self.bytes, self.seed];
        let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        seal(Table::Meta as u8, STATE_KEY, &payload)
    }
}

/// The state of the cache of a file; none if it has none.
pub(crate) fn state(snapshot: &dyn Snapshot) -> Result<Option<State>, StorageError> {
    let sealed = snapshot.get(Table::Meta, STATE_KEY)?;
    Ok(sealed.map(State::decode).transpose()?)
}

/// An entry as it is stored.
struct Entry<'v> {
    sequence: u64,
    subject: &'v [u8],
    said: &'v [u8],
}

fn encode_entry(key: &[u8], sequence: u64, subject: &Subject, said: &Said) -> Vec<u8> {
    let mut payload = sequence.to_le_bytes().to_vec();
    payload.extend_from_slice(&(subject.parts.len() as u32).to_le_bytes());
    payload.extend_from_slice(&subject.parts);
    payload.extend_from_slice(&said.encode());
    seal(Table::Meta as u8, key, &payload)
}

fn decode_entry<'v>(key: &[u8], sealed: &'v [u8]) -> Result<Entry<'v>, FormatError> {
    let payload = unseal(WHAT, Table::Meta as u8, key, sealed)?;
    let short = || FormatError::Length { what: WHAT, expected: 12, found: payload.len() };
    let (sequence, rest) = payload.split_first_chunk::<8>().ok_or_else(short)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (subject, said) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok(Entry { sequence: u64::from_le_bytes(*sequence), subject, said })
}

fn order_key(sequence: u64) -> Vec<u8> {
    [ORDER, &sequence.to_be_bytes()].concat()
}

/// The number in an [`order_key`].
fn sequence_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(ORDER)?.try_into().ok()?))
}

/// The kind in the key of an entry.
fn kind_of(key: &[u8]) -> Option<Kind> {
    match key.get(ENTRY.len())? {
        1 => Some(Kind::Logits),
        2 => Some(Kind::Vector),
        _ => None,
    }
}

/// What was said about a subject, and whether that is so long ago that it is to be put in front
/// again, lest it goes soon.
pub(crate) fn find(
    snapshot: &dyn Snapshot,
    state: &State,
    subject: &Subject,
) -> Result<Option<(Said, bool)>, StorageError> {
    let key = subject.key(state.seed);
    let Some(sealed) = snapshot.get(Table::Meta, &key)? else { return Ok(None) };
    let entry = decode_entry(&key, sealed)?;
    if entry.subject != subject.parts {
        return Ok(None);
    }
    let said = Said::decode(subject.kind, entry.said)?;
    let oldest = oldest(snapshot)?.map_or(0, |(sequence, _)| sequence);
    let is_old =
        entry.sequence - oldest.min(entry.sequence) < state.next.saturating_sub(oldest) / 2;
    Ok(Some((said, is_old)))
}

/// The first in the order: its number, and the key of its entry.
fn oldest(snapshot: &dyn Snapshot) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
    let Some(first) = snapshot.range(Table::Meta, ORDER, ORDER)?.next() else { return Ok(None) };
    let (at, sealed) = first?;
    let entry = unseal("cache order", Table::Meta as u8, at, sealed)?;
    let damaged = || StorageError::Missing { what: "a number in the order of the cache" };
    // What it names is deleted: a stranger's file may name what is no entry.
    let is_key = entry.len() == ENTRY.len() + 17 && entry.starts_with(ENTRY);
    if !is_key || kind_of(entry).is_none() {
        return Err(damaged());
    }
    Ok(Some((sequence_of(at).ok_or_else(damaged)?, entry.to_vec())))
}

/// Something to store: about what, what was said, and whether it adds to what is stored.
pub(crate) struct Change {
    pub(crate) said: Said,
    pub(crate) merge: bool,
}

/// Stores changes and puts what was asked for in front, then lets the oldest entries go until
/// the bounds are kept. False, and nothing is done, if the file has another seed.
pub(crate) fn store<'c>(
    txn: &mut WriteTxn<'_>,
    seed: u64,
    bounds: Bounds,
    changes: impl Iterator<Item = (&'c Subject, &'c Change)>,
    touched: impl Iterator<Item = &'c Subject>,
) -> Result<bool, StorageError> {
    let none = State { next: 0, entries: 0, bytes: 0, seed };
    let state = state(txn)?.unwrap_or(none);
    if state.seed != seed {
        return Ok(false);
    }
    let mut stored = Stored { txn, state };
    for (subject, change) in changes {
        stored.put(subject, Some(change))?;
    }
    for subject in touched {
        stored.put(subject, None)?;
    }
    while stored.state.bytes > bounds.bytes || stored.state.entries > bounds.entries {
        if !stored.drop_oldest()? {
            break;
        }
    }
    let state = stored.state.encode();
    txn.put(Table::Meta, STATE_KEY, &state)?;
    Ok(true)
}

/// The cache in a write transaction.
struct Stored<'a, 't> {
    txn: &'a mut WriteTxn<'t>,
    state: State,
}

impl Stored<'_, '_> {
    /// Stores a change of a subject, or only puts its entry in front.
    fn put(&mut self, subject: &Subject, change: Option<&Change>) -> Result<(), StorageError> {
        let key = subject.key(self.state.seed);
        let before = self.take(&key, subject)?;
        let said = match (change, before) {
            (Some(change), Some(before)) if change.merge => {
                let mut said = change.said.clone();
                said.merge(before);
                said
            }
            (Some(change), _) => change.said.clone(),
            (None, Some(before)) => before,
            (None, None) => return Ok(()),
        };
        let value = encode_entry(&key, self.state.next, subject, &said);
        let order = order_key(self.state.next);
        let ordered = seal(Table::Meta as u8, &order, &key);
        let size = bytes(&key, &value) + bytes(&order, &ordered);
        self.state.bytes = self.state.bytes.saturating_add(size);
        self.state.entries = self.state.entries.saturating_add(1);
        let full = StorageError::Missing { what: "a number for the next cache entry" };
        self.state.next = self.state.next.checked_add(1).ok_or(full)?;
        self.txn.put(Table::Meta, &key, &value)?;
        self.txn.put(Table::Meta, &order, &ordered)
    }

    /// Removes an entry and gives what was said, if it is of that subject.
    fn take(&mut self, key: &[u8], subject: &Subject) -> Result<Option<Said>, StorageError> {
        let Some(sealed) = self.txn.get(Table::Meta, key)? else { return Ok(None) };
        let entry = decode_entry(key, sealed)?;
        let said = match entry.subject == subject.parts {
            true => Some(Said::decode(subject.kind, entry.said)?),
            false => None,
        };
        let (sequence, size) = (entry.sequence, bytes(key, sealed));
        self.remove(key, size, sequence)?;
        Ok(said)
    }

    fn remove(&mut self, key: &[u8], size: u64, sequence: u64) -> Result<(), StorageError> {
        let order = order_key(sequence);
        let ordered = self.txn.get(Table::Meta, &order)?.map_or(0, |value| bytes(&order, value));
        self.txn.delete(Table::Meta, key)?;
        self.txn.delete(Table::Meta, &order)?;
        self.state.bytes = self.state.bytes.saturating_sub(size + ordered);
        self.state.entries = self.state.entries.saturating_sub(1);
        Ok(())
    }

    /// Whether there was one.
    fn drop_oldest(&mut self) -> Result<bool, StorageError> {
        let Some((sequence, key)) = oldest(self.txn)? else { return Ok(false) };
        let size = self.txn.get(Table::Meta, &key)?.map_or(0, |value| bytes(&key, value));
        self.remove(&key, size, sequence)?;
        Ok(true)
    }
}

fn bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Removes the whole cache. What was taken to be written before has another seed than `seed` and
/// is refused from then on.
pub(crate) fn clear(txn: &mut WriteTxn<'_>, seed: u64) -> Result<(), StorageError> {
    txn.delete_prefix(Table::Meta, PREFIX)?;
    let none = State { next: 0, entries: 0, bytes: 0, seed };
    txn.put(Table::Meta, STATE_KEY, &none.encode())
}

/// Checks that entries, order and state agree, and that every entry can be read.
///
/// # Errors
/// The first disagreement.
pub(crate) fn check(snapshot: &dyn Snapshot) -> Result<(), StorageError> {
    let missing = |what| StorageError::Missing { what };
    let (mut entries, mut order, mut size) = (0, 0, 0);
    for entry in snapshot.range(Table::Meta, PREFIX, PREFIX)? {
        let (key, sealed) = entry?;
        if key == STATE_KEY {
            continue;
        }
        size += bytes(key, sealed);
        if let Some(sequence) = sequence_of(key) {
            order += 1;
            let of = unseal("cache order", Table::Meta as u8, key, sealed)?;
            let value = snapshot.get(Table::Meta, of)?;
            let value = value.ok_or(missing("an entry in the order of the cache"))?;
            if decode_entry(of, value)?.sequence != sequence {
                return Err(missing("the place of a cache entry"));
            }
        } else {
            entries += 1;
            let kind = kind_of(key).ok_or(missing("the kind of a cache entry"))?;
            Said::decode(kind, decode_entry(key, sealed)?.said)?;
        }
    }
    match state(snapshot)? {
        Some(state) if state.entries == entries && state.bytes == size && entries == order => {
            Ok(())
        }
        None if size == 0 => Ok(()),
        _ => Err(missing("an entry that the cache counts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_back_and_anything_else_is_refused() {
        let logits = Said::Logits([(1, 0.5), (u128::MAX, -3.0)].into());
        let vector = Said::Vector(vec![1.0, -0.25]);
        for (kind, said) in [(Kind::Logits, logits), (Kind::Vector, vector)] {
            let bytes = said.encode();
            assert_eq!(Said::decode(kind, &bytes), Ok(said));
            for cut in 1..bytes.len() {
                let found = Said::decode(kind, &bytes[..cut]);
                let row = if kind == Kind::Logits { ROW_BYTES } else { 4 };
                assert_eq!(found.is_ok(), cut % row == 0, "{cut}");
            }
            let mut spoiled = bytes;
            let end = spoiled.len() - 4;
            spoiled[end..].copy_from_slice(&f32::NAN.to_le_bytes());
            let refused = Said::decode(kind, &spoiled);
            assert!(matches!(refused, Err(FormatError::Field { .. })), "{refused:?}");
        }
        let many = vec![0; (PASSAGES_MAX + 1) * ROW_BYTES];
        assert!(Said::decode(Kind::Logits, &many).is_err());
    }

    #[test]
    fn an_entry_of_any_length_is_read_or_refused() {
        let subject = Subject::logits("m", "q");
        let key = subject.key(7);
        let whole = encode_entry(&key, 9, &subject, &Said::Vector(vec![1.0]));
        let entry = decode_entry(&key, &whole).map(|entry| (entry.sequence, entry.said.len()));
        assert_eq!(entry, Ok((9, 4)));
        for cut in 0..whole.len() - 8 {
            let payload = &whole[8..8 + cut];
            let sealed = seal(Table::Meta as u8, &key, payload);
            // Behind sequence, length and the ten bytes of the subject anything may follow.
            assert_eq!(decode_entry(&key, &sealed).is_ok(), cut >= 8 + 4 + 10, "{cut}");
        }
        let mut long = whole[8..].to_vec();
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode_entry(&key, &seal(Table::Meta as u8, &key, &long)).is_err());
    }

    #[test]
    fn subjects_that_run_together_are_two() {
        let key = |model, query| Subject::logits(model, query).key(1);
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(Subject::logits("a", "b").key(1), Subject::vector(&["a"], "b").key(1));
        assert_ne!(key("a", "b"), Subject::logits("a", "b").key(2));
        assert_eq!(kind_of(&key("a", "b")), Some(Kind::Logits));
        assert_eq!(sequence_of(&order_key(77)), Some(77));
    }
}
