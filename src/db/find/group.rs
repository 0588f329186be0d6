//! Groups: the best few of each value of a field.

use std::collections::HashMap;
use std::ops::Range;

use super::records::{Records, values};
use super::run::Candidate;
use crate::db::search::Hit;
use crate::error::Result;
use crate::record::Value;

/// The field and how many of each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupBy {
    pub(super) field: String,
    pub(super) size: usize,
}

/// The candidates of one value, in their order.
pub(super) struct Grouped {
    pub(super) value: Value,
    pub(super) members: Vec<Candidate>,
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
                    groups.push(Grouped { value, members: Vec::new() });
                }
                if let Some(group) = groups.get_mut(at).filter(|g| g.members.len() < self.size) {
                    group.members.push(candidate.clone());
                }
            }
        }
        Ok(groups)
    }
}
