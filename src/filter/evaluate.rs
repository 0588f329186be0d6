//! A filter to the slots that match: through the field index where a field has one, otherwise by
//! reading records. What the index knows narrows the records down to those that it leaves open.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::predicate::{Predicate, ranges};
use super::unmet::Unmet;
use super::{Filter, FilterError, Slots};
use crate::record::Slot;
use crate::storage::field_blocks::{self, KeyRange};
use crate::storage::field_settings::{FieldSettings, Lookup};
use crate::storage::{Snapshot, StorageError, Table, fields, keys as key, tables};

/// What a filter lets pass.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) slots: Slots,
    /// Fields without an index, for which records were read.
    pub(crate) scanned: BTreeSet<String>,
    /// Records that were read.
    pub(crate) records_read: u64,
    /// Comparisons that nothing can meet.
    pub(crate) unmet: Vec<Unmet>,
}

/// The slots of a collection that match. Slots of deleted records may be among them where the
/// filter says "not".
///
/// # Errors
/// [`FilterError`].
pub(crate) fn evaluate(
    filter: &Filter,
    snapshot: &dyn Snapshot,
    collection: u32,
) -> Result<Selected, FilterError> {
    let predicate = Predicate::of(filter)?;
    let settings = FieldSettings::read(snapshot, collection)?;
    let (scanned, unmet) = (BTreeSet::new(), Vec::new());
    let mut evaluation = Evaluation { snapshot, collection, settings, scanned, unmet };
    let Known { sure, open } = evaluation.known(&predicate)?;
    let Evaluation { scanned, unmet, .. } = evaluation;
    let Some(open) = open else {
        return Ok(Selected { slots: sure, scanned: BTreeSet::new(), records_read: 0, unmet });
    };
    let mut scan = Scan { snapshot, collection, predicate: &predicate, read: 0 };
    let found = scan.run(&open)?;
    let slots = sure.union(Slots::Only(found));
    Ok(Selected { slots, scanned, records_read: scan.read, unmet })
}

/// What can be said of a predicate without reading records.
struct Known {
    /// Slots that match.
    sure: Slots,
    /// Slots of which only the records can tell, if there are any: none of them is sure.
    open: Option<Slots>,
}

impl Known {
    fn sure(sure: Slots) -> Self {
        Self { sure, open: None }
    }

    /// Slots that match or may.
    fn possible(&self) -> Slots {
        match &self.open {
            Some(open) => self.sure.clone().union(open.clone()),
            None => self.sure.clone(),
        }
    }

    fn between(sure: Slots, possible: Slots) -> Self {
        let open = possible.intersect(sure.clone().complement());
        let is_settled = open == Slots::none();
        Self { sure, open: (!is_settled).then_some(open) }
    }

    fn negated(self) -> Self {
        match self.open {
            None => Self::sure(self.sure.complement()),
            Some(_) => {
                let possible = self.possible();
                Self { sure: possible.complement(), open: self.open }
            }
        }
    }

    fn and(self, other: Self) -> Self {
        if self.open.is_none() && other.open.is_none() {
            return Self::sure(self.sure.intersect(other.sure));
        }
        let possible = self.possible().intersect(other.possible());
        Self::between(self.sure.intersect(other.sure), possible)
    }

    fn or(self, other: Self) -> Self {
        if self.open.is_none() && other.open.is_none() {
            return Self::sure(self.sure.union(other.sure));
        }
        let possible = self.possible().union(other.possible());
        Self::between(self.sure.union(other.sure), possible)
    }
}

struct Evaluation<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
    settings: FieldSettings,
    scanned: BTreeSet<String>,
    unmet: Vec<Unmet>,
}

impl Evaluation<'_> {
    fn known(&mut self, predicate: &Predicate<'_>) -> Result<Known, FilterError> {
        match predicate {
            Predicate::Compares { field, filter, ranges } => self.compared(field, filter, ranges),
            Predicate::Begins { field, begin, ranges } => {
                let found = match self.settings.lookup(field) {
                    Lookup::Blocks => self.in_blocks(field, ranges)?,
                    // The text comes first in both kinds of keys.
                    Lookup::Entries => self.in_entries(field, ranges)?,
                    Lookup::Scan => return Ok(self.unknown(field)),
                };
                Ok(match fields::tells_begin(begin) {
                    true => Known::sure(Slots::Only(found)),
                    false => Known::between(Slots::none(), Slots::Only(found)),
                })
            }
            Predicate::Ids { ids, .. } => {
                let mut found = RoaringBitmap::new();
                for id in *ids {
                    let slot = tables::slot(self.snapshot, self.collection, id)?;
                    found.extend(slot.map(|slot| slot.0));
                }
                Ok(Known::sure(Slots::Only(found)))
            }
            Predicate::All(all) => {
                let mut known = Known::sure(Slots::all());
                for inner in all {
                    // Nothing is left to narrow down.
                    if known.open.is_none() && known.sure == Slots::none() {
                        break;
                    }
                    known = known.and(self.known(inner)?);
                }
                Ok(known)
            }
            Predicate::Any(any) => {
                let mut known = Known::sure(Slots::none());
                for inner in any {
                    known = known.or(self.known(inner)?);
                }
                Ok(known)
            }
            Predicate::Not(inner) => Ok(self.known(inner)?.negated()),
        }
    }

    fn compared(
        &mut self,
        field: &str,
        filter: &Filter,
        of_blocks: &[KeyRange],
    ) -> Result<Known, FilterError> {
        let found = match self.settings.lookup(field) {
            Lookup::Blocks => self.in_blocks(field, of_blocks)?,
            Lookup::Entries => self.in_entries(field, &ranges(filter, fields::entry_value)?)?,
            Lookup::Scan => return Ok(self.unknown(field)),
        };
        Ok(Known::sure(Slots::Only(found)))
    }

    fn unknown(&mut self, field: &str) -> Known {
        self.scanned.insert(field.to_owned());
        Known { sure: Slots::none(), open: Some(Slots::all()) }
    }

    fn in_blocks(
        &mut self,
        field: &str,
        ranges: &[KeyRange],
    ) -> Result<RoaringBitmap, StorageError> {
        let found = field_blocks::matching(self.snapshot, self.collection, field, ranges)?;
        if found.is_empty() {
            let unmet = Unmet::of(self.snapshot, self.collection, field, ranges)?;
            self.unmet.extend(unmet.filter(|unmet| !self.unmet.contains(unmet)));
        }
        Ok(found)
    }

    /// By the entries of files of before version 3: one for each value of each record.
    fn in_entries(&self, field: &str, ranges: &[KeyRange]) -> Result<RoaringBitmap, StorageError> {
        let prefix = fields::field(self.collection, field);
        let mut found = RoaringBitmap::new();
        for range in ranges {
            let start = [prefix.as_slice(), &range.start].concat();
            for entry in self.snapshot.range(Table::Fields, &prefix, &start)? {
                let (at, _) = entry?;
                let rest = at.get(prefix.len()..).unwrap_or_default();
                if range.end.as_deref().is_some_and(|end| rest >= end) {
                    break;
                }
                if let Some(slot) = key::slot_of(at) {
                    found.insert(slot.0);
                }
            }
        }
        Ok(found)
    }
}

/// Reads records.
struct Scan<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
    predicate: &'s Predicate<'s>,
    read: u64,
}

impl Scan<'_> {
    /// Those of the open slots whose record matches.
    fn run(&mut self, open: &Slots) -> Result<RoaringBitmap, StorageError> {
        let mut found = RoaringBitmap::new();
        if let Slots::Only(slots) = open {
            for slot in slots {
                let at = key::slot(self.collection, Slot(slot));
                // Slots of deleted records may be open.
                let Some(sealed) = self.snapshot.get(Table::Records, &at)? else { continue };
                if self.matches(&at, sealed)? {
                    found.insert(slot);
                }
            }
            return Ok(found);
        }
        let prefix = key::collection(self.collection);
        for entry in self.snapshot.range(Table::Records, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let slot = key::slot_of(at).ok_or(StorageError::Missing { what: "a slot" })?;
            if open.contains(slot.0) && self.matches(at, sealed)? {
                found.insert(slot.0);
            }
        }
        Ok(found)
    }

    fn matches(&mut self, at: &[u8], sealed: &[u8]) -> Result<bool, StorageError> {
        self.read += 1;
        let stored = tables::decode_record(sealed, at)?;
        Ok(self.predicate.matches(&stored.record))
    }
}
