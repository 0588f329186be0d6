//! Groups: the best few of each value of a field.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::list::Given;
use super::records::{Records, values};
use super::run::Candidate;
use crate::db::search::Hit;
use crate::error::Result;
use crate::record::Value;
use crate::storage::{StorageError, field_blocks, fields};

/// The field and how many of each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupBy {
    pub(super) field: String,
    pub(super) size: usize,
}

/// The candidates of one value, in their order.
pub(super) struct Grouped {
    value: Named,
    pub(super) members: Vec<Candidate>,
}

/// A value, or what tells it from other values of the records that have it.
enum Named {
    Value(Value),
    Block(Vec<u8>),
}

/// Where the hits of a group are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupRange {
    pub(super) value: Value,
    pub(super) hits: Range<usize>,
}

/// The hits of one value of the field that was grouped by; see
/// [`Findings::groups`](crate::Findings::groups).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Group<'f> {
    /// The value.
    pub value: &'f Value,
    /// Its hits, best first.
    pub hits: &'f [Hit],
}

impl GroupBy {
    /// Groups in the order of their first candidates. A record with a list is in the group of each
    /// item; one without the field in none.
    pub(super) fn group(
        &self,
        candidates: &[Candidate],
        records: &mut Records<'_>,
    ) -> Result<Vec<Grouped>> {
        let mut groups: Vec<Grouped> = Vec::new();
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        for candidate in candidates {
            let found = records.with(candidate.slot, |record| values(record, &self.field))?;
            for (key, value) in found {
                let at = *places.entry(key).or_insert(groups.len());
                if at == groups.len() {
                    groups.push(Grouped { value: Named::Value(value), members: Vec::new() });
                }
                if let Some(group) = groups.get_mut(at).filter(|g| g.members.len() < self.size) {
                    group.members.push(candidate.clone());
                }
            }
        }
        Ok(groups)
    }

    /// Whether the candidates have so many groups: reads them until it knows.
    pub(super) fn has(
        &self,
        wanted: usize,
        candidates: &[Candidate],
        records: &mut Records<'_>,
    ) -> Result<bool> {
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for candidate in candidates {
            if seen.len() >= wanted {
                break;
            }
            let found = records.with(candidate.slot, |record| values(record, &self.field))?;
            seen.extend(found.into_iter().map(|(key, _)| key));
        }
        Ok(seen.len() >= wanted)
    }

    /// The groups of all that match, in order of insertion, by the index of the field, which has
    /// blocks: no record is read.
    pub(super) fn listed(&self, given: Given<'_>) -> Result<Vec<Grouped>> {
        let passes = |slot| given.matching.slots.contains(slot);
        let (of, most) = (given.collection.id, self.size);
        let found = field_blocks::first_of_each(given.snapshot, of, &self.field, most, passes)?;
        let mut found: Vec<(Vec<u8>, Vec<u32>)> = found.into_iter().collect();
        // Stable: the values of one record in their order.
        found.sort_by_key(|(_, slots)| slots.first().copied());
        let grouped = |(value, slots): (Vec<u8>, Vec<u32>)| {
            let of = |slot| Candidate { slot, score: 0.0, key: None };
            Grouped { value: Named::Block(value), members: slots.into_iter().map(of).collect() }
        };
        Ok(found.into_iter().map(grouped).collect())
    }

    /// The value of a group, of the record of its first member where the index gave its key.
    pub(super) fn value(&self, group: &Grouped, records: &mut Records<'_>) -> Result<Value> {
        let missing = || StorageError::Missing { what: "a record with a value of a field index" };
        let key = match &group.value {
            Named::Value(value) => return Ok(value.clone()),
            Named::Block(key) => key,
        };
        let first = group.members.first().ok_or_else(missing)?;
        let found = records.with(first.slot, |record| values(record, &self.field))?;
        let is_it = |value: &Value| fields::block_value(value).as_ref() == Some(key);
        let found = found.into_iter().map(|(_, value)| value).find(is_it);
        Ok(found.ok_or_else(missing)?)
    }
}
