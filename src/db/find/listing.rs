//! A query without lists: what matches, in order of insertion or of a field, or by the values of
//! one; by the field index where that tells it, and with a warning where all of it is read.

use std::borrow::Cow;

use super::group::Grouped;
use super::page::{Cursor, Place};
use super::run::Run;
use crate::error::Result;
use crate::storage::field_settings::{FieldSettings, Lookup};

impl Run<'_> {
    fn lookup(&self, field: &str) -> Result<Lookup> {
        let settings = FieldSettings::read(self.given.snapshot, self.given.collection.id)?;
        Ok(settings.lookup(field))
    }

    /// Warns that everything that matches is read for the want of an index, or of one of today.
    pub(super) fn warn_of_reads(&mut self, lookup: Lookup, field: &str, what: &str) {
        self.warnings.push(match lookup {
            Lookup::Entries => format!(
                "the field {field:?} has an index of an older format, which does not tell its \
                 {what}: each record that matches is read; if the file is of format 1 or 2, call \
                 `Database::compact` on it (or `portolan compact`), which brings it to format 3; \
                 then declare it with Collection::declare_field"
            ),
            Lookup::Blocks | Lookup::Scan => format!(
                "the field {field:?} has no index: its {what} read each record that matches; \
                 declare it with Collection::declare_field"
            ),
        });
    }

    /// The groups of a query without lists, by the index of their field; none if the query has
    /// lists or no groups, or if the index does not tell them.
    pub(super) fn listed_groups(&mut self) -> Result<Option<Vec<Grouped>>> {
        let find = self.find;
        let Some(group_by) = find.group_by.as_ref().filter(|_| find.lists.is_empty()) else {
            return Ok(None);
        };
        if find.limit == 0 {
            // Nothing is to be shown: facets count what matches by themselves.
            return Ok(Some(Vec::new()));
        }
        let field = &group_by.field;
        let lookup = self.lookup(field)?;
        if lookup != Lookup::Blocks {
            self.warn_of_reads(lookup, field, "grouping");
            return Ok(None);
        }
        if let Some(order_by) = &find.order_by {
            self.warnings.push(format!(
                "groups by {field:?} in order of {:?} read each record that matches: leave the \
                 order out, or add a list",
                order_by.field
            ));
            return Ok(None);
        }
        let groups = group_by.listed(self.given)?;
        let note = format!("groups, by the index of {field}");
        self.stage("listing", groups.len() as u64, note.into());
        Ok(Some(groups))
    }

    /// Slots of records that match, no more than are needed, and how they were found.
    pub(super) fn listed(&mut self) -> Result<(Vec<u32>, Cow<'static, str>)> {
        let find = self.find;
        // The one after the last that is shown tells whether there is another page.
        let behind = find.offset.saturating_add(find.limit).saturating_add(1);
        let (first, most) = match (&find.order_by, &find.after) {
            _ if find.group_by.is_some() => (0, usize::MAX),
            (Some(order_by), after) => {
                let field = &order_by.field;
                let place = after.as_ref().map(|after| &after.place);
                let lookup = self.lookup(field)?;
                if lookup == Lookup::Blocks {
                    let mut slots = order_by.listed(self.given, place, behind)?;
                    // What the offset leaves out is in order already: none of it is read.
                    self.skipped = find.offset.min(slots.len());
                    slots.drain(..self.skipped);
                    let note = format!("records, the first by the index of {field}");
                    return Ok((slots, note.into()));
                }
                self.warn_of_reads(lookup, field, "order");
                (0, usize::MAX)
            }
            (None, Some(Cursor { place: Place::Score { slot, .. }, .. })) => {
                // The last that was shown, too.
                (*slot, behind.saturating_add(1))
            }
            (None, _) => (0, find.wanted().saturating_add(1)),
        };
        Ok((self.given.slots(first, |_| true, most)?, Cow::Borrowed("records listed")))
    }
}
