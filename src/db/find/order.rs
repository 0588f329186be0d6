//! Order by a field instead of by score.

use super::page::by_field;
use super::records::{Records, values};
use super::run::Candidate;
use crate::error::Result;

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
