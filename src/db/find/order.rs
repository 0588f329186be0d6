//! Order by a field instead of by score.

use super::list::Given;
use super::page::{Place, by_field};
use super::records::{Records, values};
use super::run::Candidate;
use crate::error::Result;
use crate::storage::field_blocks::{self, Part};
use crate::storage::fields;

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

    /// The first `wanted` slots, in order, of those that match and come after a place, by the index
    /// of the field, whatever the version that the place is of; of those without the field, which
    /// come last, as many as are needed.
    pub(super) fn listed(
        &self,
        given: Given<'_>,
        after: Option<&Place>,
        wanted: usize,
    ) -> Result<Vec<u32>> {
        let Given { collection, snapshot, matching, .. } = given;
        let (of, field) = (collection.id, &self.field);
        let after = match after {
            Some(Place::Field { key: None, slot, .. }) => {
                let has = field_blocks::matching(snapshot, of, field, &[fields::any_value()])?;
                let lacks = |slot| !has.contains(slot);
                return given.slots(slot.saturating_add(1), lacks, wanted);
            }
            Some(Place::Field { key: Some(key), slot, .. }) => {
                Some((fields::block_of_entry(key), *slot))
            }
            Some(Place::Score { .. } | Place::Count) | None => None,
        };
        let passes = |slot| matching.slots.contains(slot);
        let part = Part { descending: self.is_descending(), after, wanted };
        let found = field_blocks::first(snapshot, of, field, part, passes)?;
        let missing = wanted.saturating_sub(found.slots.len());
        let mut slots = found.slots;
        if missing > 0 {
            slots.extend(given.slots(0, |slot| !found.with_value.contains(slot), missing)?);
        }
        Ok(slots)
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
