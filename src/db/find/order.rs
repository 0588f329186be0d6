//! Order by a field instead of by score.

use super::list::Given;
use super::page::by_field;
use super::records::{Records, values};
use super::run::Candidate;
use crate::error::Result;
use crate::storage::field_blocks;
use crate::storage::field_settings::{FieldSettings, Lookup};

/// Direction of [`Find::order_by`](crate::Find::order_by).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Smallest first; of a list, its smallest item counts.
    #[default]
    Ascending,
    /// Largest first; of a list, its largest item counts.
    Descending,
}

/// The field and the direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderBy {
    pub(super) field: String,
    pub(super) order: Order,
}

impl OrderBy {
    pub(super) fn is_descending(&self) -> bool {
        self.order == Order::Descending
    }

    /// Slots that hold the first `wanted` of those that match, where the index tells them; of those
    /// without the field, which come last, as many as are needed.
    pub(super) fn first(&self, given: Given<'_>, wanted: usize) -> Result<Option<Vec<u32>>> {
        let Given { collection, snapshot, matching, .. } = given;
        let settings = FieldSettings::read(snapshot, collection.id)?;
        if settings.lookup(&self.field) != Lookup::Blocks {
            return Ok(None);
        }
        let passes = |slot| matching.slots.contains(slot);
        let (of, down) = (collection.id, self.is_descending());
        let found = field_blocks::first(snapshot, of, &self.field, down, wanted, passes)?;
        let missing = wanted.saturating_sub(found.slots.len());
        let mut slots = found.slots;
        if missing > 0 {
            slots.extend(given.slots(0, |slot| !found.with_value.contains(slot), missing)?);
        }
        Ok(Some(slots))
    }

    /// Gives each candidate its key and puts them in order. Records without the field come last.
    pub(super) fn sort(
        &self,
        candidates: &mut [Candidate],
        records: &mut Records<'_>,
    ) -> Result<()> {
        for candidate in candidates.iter_mut() {
            let mut keys = records.with(candidate.slot, |record| values(record, &self.field))?;
            let key = if self.is_descending() { keys.pop() } else { keys.into_iter().next() };
            candidate.key = key.map(|(key, _)| key);
        }
        candidates.sort_by(|a, b| {
            let of = |c: &Candidate| (c.score, c.slot);
            let ((a_score, a_slot), (b_score, b_slot)) = (of(a), of(b));
            by_field(
                (a.key.as_deref(), a_score, a_slot),
                (b.key.as_deref(), b_score, b_slot),
                self.is_descending(),
            )
        });
        Ok(())
    }
}
