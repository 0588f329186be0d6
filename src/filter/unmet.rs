//! Comparisons that nothing can meet: of a field that no record has, or with a value of a type that
//! the field never has. The index tells; mostly such a filter is misspelt.

use std::fmt;

use crate::storage::field_blocks::{self, KeyRange};
use crate::storage::fields::{self, Kind};
use crate::storage::{Snapshot, StorageError};

/// A field with an index, and what a filter looks for in it in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmet {
    field: String,
    /// What it is compared with.
    asked: Vec<Kind>,
    /// What it has; nothing if no record has the field.
    has: Vec<Kind>,
}

impl Unmet {
    /// Why a comparison that no slot meets cannot be met; none if another value could meet it, or
    /// if it asks for no type. Costs a look at the index up to the first value of each type.
    ///
    /// # Errors
    /// Storage; damaged blocks.
    pub(super) fn of(
        snapshot: &dyn Snapshot,
        collection: u32,
        field: &str,
        ranges: &[KeyRange],
    ) -> Result<Option<Self>, StorageError> {
        let kinds = || fields::KINDS.into_iter();
        // What is greater than the last of its type begins with the next type, and ends there.
        let is_in = |kind: &Kind, range: &KeyRange| {
            kind.range().contains(&range.start) && range.contains(&range.start)
        };
        let asked: Vec<Kind> =
            kinds().filter(|kind| ranges.iter().any(|range| is_in(kind, range))).collect();
        // Nulls, and whether there is any value, are asked of fields that may well have none; the
        // ranges of both begin with null.
        if asked.is_empty() || asked.contains(&Kind::Null) {
            return Ok(None);
        }
        let mut has = Vec::new();
        for kind in kinds() {
            if field_blocks::has_value(snapshot, collection, field, &kind.range())? {
                has.push(kind);
            }
        }
        let is_possible = asked.iter().any(|kind| has.contains(kind));
        Ok((!is_possible).then(|| Self { field: field.to_owned(), asked, has }))
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, asked, has } = self;
        if has.is_empty() {
            return write!(f, "no record has the field {field:?} of the filter: check its name");
        }
        let names =
            |kinds: &[Kind]| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
        write!(
            f,
            "the filter compares the field {field:?} with {}, and it has only {}: values match \
             within their type alone",
            names(asked),
            names(has)
        )
    }
}
