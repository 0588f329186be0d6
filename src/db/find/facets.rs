//! Facets: how many records have which value of a field.

use std::collections::BTreeMap;

use super::list::Given;
use super::records::{Records, values};
use super::run::Candidate;
use crate::error::Result;
use crate::record::Value;
use crate::storage::field_settings::Lookup;
use crate::storage::{Table, field_blocks, fields, keys as key, tables};

/// Values that are counted by name, unless said otherwise.
const VALUES: usize = 10;

/// A field whose values are counted; for [`Find::facets`](crate::Find::facets).
///
/// Over all records that match the filter, with a vector or without, whatever the lists found: a
/// walk over the field's index, some milliseconds per 100,000 records, or over the records
/// themselves if the field has none. Or over what was found alone.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::Facet;
///
/// let query = docs.find().dense(&[1.0, 0.0, 0.0]).limit(2).depth(3);
/// let found = query.facets([Facet::new("lang"), Facet::new("lang").of_found()]).run()?;
/// let counts = |at: usize| found.facets[at].values.iter().map(|value| value.count);
/// assert_eq!(counts(0).collect::<Vec<_>>(), [4, 2]);
/// assert_eq!(counts(1).collect::<Vec<_>>(), [3]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Facet {
    pub(super) field: String,
    pub(super) limit: usize,
    pub(super) of_found: bool,
}

impl Facet {
    /// Counts the values of a field over all records that match the filter.
    pub fn new(field: impl Into<String>) -> Self {
        Self { field: field.into(), limit: VALUES, of_found: false }
    }

    /// Counts over the candidates alone: what the lists found, fused and above the least score.
    /// Without lists that is all that matches.
    pub fn of_found(mut self) -> Self {
        self.of_found = true;
        self
    }

    /// Names at most so many values, those of most records. Default: 10.
    pub fn limit(mut self, values: usize) -> Self {
        self.limit = values;
        self
    }
}

impl From<&str> for Facet {
    fn from(field: &str) -> Self {
        Self::new(field)
    }
}

impl From<String> for Facet {
    fn from(field: String) -> Self {
        Self::new(field)
    }
}

/// How many records have which value of a field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FacetCounts {
    /// The field.
    pub field: String,
    /// The values of most records; equal counts in order of value. A record with a list counts
    /// once for each of its items, and not at all without the field.
    pub values: Vec<FacetValue>,
    /// How many values there are, named or not.
    pub distinct: usize,
}

/// A value and its records.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FacetValue {
    /// The value. Integers and floats of one number are one value.
    pub value: Value,
    /// Records that have it.
    pub count: u64,
}

/// Records of one value, and the first of them.
struct Counted {
    key: Vec<u8>,
    count: u64,
    slot: u32,
}

fn listed(counts: BTreeMap<Vec<u8>, (u64, u32)>) -> Vec<Counted> {
    counts.into_iter().map(|(key, (count, slot))| Counted { key, count, slot }).collect()
}

impl Facet {
    /// Counts over candidates, or over all that matches.
    pub(super) fn count(
        &self,
        given: Given<'_>,
        lookup: Lookup,
        candidates: Option<&[Candidate]>,
        records: &mut Records<'_>,
    ) -> Result<FacetCounts> {
        let key_of = match (lookup, candidates) {
            (Lookup::Blocks, None) => fields::block_value,
            _ => fields::entry_value,
        };
        let mut counted = match (lookup, candidates) {
            (_, Some(candidates)) => self.over_candidates(candidates, records)?,
            (Lookup::Blocks, None) => self.over_blocks(given)?,
            (Lookup::Entries, None) => self.over_entries(given)?,
            (Lookup::Scan, None) => self.over_records(given)?,
        };
        let distinct = counted.len();
        counted.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        counted.truncate(self.limit);
        let mut named = Vec::with_capacity(counted.len());
        for Counted { key, count, slot } in counted {
            // Keys do not hold long texts whole.
            let found = records.with(slot, |record| {
                let values = values(record, &self.field).into_iter().map(|(_, value)| value);
                values.into_iter().find(|value| key_of(value).as_ref() == Some(&key))
            })?;
            named.extend(found.map(|value| FacetValue { value, count }));
        }
        Ok(FacetCounts { field: self.field.clone(), values: named, distinct })
    }

    fn over_candidates(
        &self,
        candidates: &[Candidate],
        records: &mut Records<'_>,
    ) -> Result<Vec<Counted>> {
        let mut counts: BTreeMap<Vec<u8>, (u64, u32)> = BTreeMap::new();
        for candidate in candidates {
            let found = records.with(candidate.slot, |record| values(record, &self.field))?;
            for (key, _) in found {
                counts.entry(key).or_insert((0, candidate.slot)).0 += 1;
            }
        }
        Ok(listed(counts))
    }

    fn over_blocks(&self, given: Given<'_>) -> Result<Vec<Counted>> {
        let passes = |slot| given.matching.slots.contains(slot);
        let of = given.collection.id;
        Ok(listed(field_blocks::count(given.snapshot, of, &self.field, passes)?))
    }

    /// The field has no index.
    fn over_records(&self, given: Given<'_>) -> Result<Vec<Counted>> {
        let prefix = key::collection(given.collection.id);
        let mut counts: BTreeMap<Vec<u8>, (u64, u32)> = BTreeMap::new();
        for entry in given.snapshot.range(Table::Records, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let Some(slot) = key::slot_of(at) else { continue };
            if given.matching.slots.contains(slot.0) {
                let record = tables::decode_record(sealed, at)?.record;
                for (key, _) in values(&record, &self.field) {
                    counts.entry(key).or_insert((0, slot.0)).0 += 1;
                }
            }
        }
        Ok(listed(counts))
    }

    /// By the entries of files of before version 3, in order of value, then of slot.
    fn over_entries(&self, given: Given<'_>) -> Result<Vec<Counted>> {
        let prefix = fields::field(given.collection.id, &self.field);
        let mut counted: Vec<Counted> = Vec::new();
        for entry in given.snapshot.range(Table::Fields, &prefix, &prefix)? {
            let (at, _) = entry?;
            // A field that is being indexed anew has blocks among its entries.
            if field_blocks::is_block(at) {
                continue;
            }
            let Some(slot) = key::slot_of(at) else { continue };
            if !given.matching.slots.contains(slot.0) {
                continue;
            }
            let value = at.get(prefix.len()..at.len() - size_of::<u32>()).unwrap_or_default();
            match counted.last_mut().filter(|last| last.key == value) {
                Some(last) => last.count += 1,
                None => counted.push(Counted { key: value.to_vec(), count: 1, slot: slot.0 }),
            }
        }
        Ok(counted)
    }
}
