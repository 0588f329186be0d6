//! Which fields of a collection are indexed in blocks: its policy, and the fields that were
//! declared, each with how far its index is built (`storage-format.md` section 3.2).

use std::collections::BTreeMap;

use super::settings::{self, Setting};
use super::{Snapshot, StorageError, WriteTxn};
use crate::format::{FormatError, read_u32};
use crate::record::Slot;

const WHAT: &str = "setting of a field index";
/// The policy stands under no name, which no field has.
const POLICY: &str = "";
const ALL: u8 = 1;
const DECLARED: u8 = 2;
const COMPLETE: u8 = 0;
const BUILDING: u8 = 1;
const BUILDING_WITH_COMMITS: u8 = 2;

/// What is indexed without being declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Every field, by an entry for each value: collections of files of before version 3.
    Entries,
    /// Every field, in blocks.
    All,
    /// Nothing.
    Declared,
}

/// How far the index of a declared field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Complete,
    /// Slots below `next` are indexed.
    Building {
        next: u32,
        /// Whether each commit goes on with it.
        with_commits: bool,
    },
}

/// How the values of a field are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Blocks,
    Entries,
    /// In the records.
    Scan,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldSettings {
    pub(crate) policy: Policy,
    pub(crate) declared: BTreeMap<String, Progress>,
}

impl FieldSettings {
    /// What a snapshot has.
    ///
    /// # Errors
    /// Storage; damage.
    pub(crate) fn read(snapshot: &dyn Snapshot, collection: u32) -> Result<Self, StorageError> {
        let (mut policy, mut declared) = (Policy::Entries, BTreeMap::new());
        for (name, payload) in settings::all(snapshot, collection, Setting::Field)? {
            if name == POLICY {
                policy = decode_policy(payload)?;
            } else {
                declared.insert(name.to_owned(), decode_progress(payload)?);
            }
        }
        Ok(Self { policy, declared })
    }

    /// Whether the blocks of a field have the values of a slot.
    pub(crate) fn in_blocks(&self, name: &str, slot: Slot) -> bool {
        match self.declared.get(name) {
            _ if self.policy == Policy::All => true,
            Some(Progress::Complete) => true,
            Some(Progress::Building { next, .. }) => slot.0 < *next,
            None => false,
        }
    }

    /// How the values of a field are found.
    pub(crate) fn lookup(&self, name: &str) -> Lookup {
        match (self.policy, self.declared.get(name)) {
            (Policy::All, _) | (_, Some(Progress::Complete)) => Lookup::Blocks,
            (Policy::Entries, _) => Lookup::Entries,
            (Policy::Declared, _) => Lookup::Scan,
        }
    }
}

/// Stores the policy of a new collection.
///
/// # Errors
/// [`StorageError::Older`]; those of writing.
pub(crate) fn put_policy(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    policy: Policy,
) -> Result<(), StorageError> {
    let payload = match policy {
        Policy::Entries => return Ok(()),
        Policy::All => ALL,
        Policy::Declared => DECLARED,
    };
    settings::put(txn, collection, Setting::Field, POLICY, &[payload])
}

/// Stores how far a field is.
///
/// # Errors
/// [`StorageError::Older`]; those of writing.
pub(crate) fn put_progress(
    txn: &mut WriteTxn<'_>,
    collection: u32,
    name: &str,
    progress: Progress,
) -> Result<(), StorageError> {
    let (state, next) = match progress {
        Progress::Complete => (COMPLETE, 0),
        Progress::Building { next, with_commits: false } => (BUILDING, next),
        Progress::Building { next, with_commits: true } => (BUILDING_WITH_COMMITS, next),
    };
    let mut payload = vec![state];
    payload.extend_from_slice(&next.to_le_bytes());
    settings::put(txn, collection, Setting::Field, name, &payload)
}

fn decode_policy(payload: &[u8]) -> Result<Policy, FormatError> {
    match payload {
        [ALL] => Ok(Policy::All),
        [DECLARED] => Ok(Policy::Declared),
        [other] => Err(unknown("policy", *other)),
        _ => Err(FormatError::Length { what: WHAT, expected: 1, found: payload.len() }),
    }
}

fn decode_progress(payload: &[u8]) -> Result<Progress, FormatError> {
    let [state, next @ ..] = payload else {
        return Err(FormatError::Length { what: WHAT, expected: 5, found: 0 });
    };
    if next.len() != 4 {
        return Err(FormatError::Length { what: WHAT, expected: 5, found: payload.len() });
    }
    let next = read_u32(next, 0);
    match *state {
        COMPLETE => Ok(Progress::Complete),
        BUILDING => Ok(Progress::Building { next, with_commits: false }),
        BUILDING_WITH_COMMITS => Ok(Progress::Building { next, with_commits: true }),
        other => Err(unknown("state", other)),
    }
}

fn unknown(field: &'static str, value: u8) -> FormatError {
    FormatError::Field { what: WHAT, field, value: u64::from(value) }
}
