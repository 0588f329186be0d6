//! What is refused of a query before anything is read.

use super::Find;
use super::page::{Cursor, Place};
use crate::error::{Error, Result};
use crate::filter::FilterError;
use crate::fusion::Fusion;
use crate::record::check_field_name;

/// Records by which a cursor may deepen lists, at most. Text that comes back from strangers is not
/// to decide how much work there is.
const CURSOR_DEPTH_MAX: usize = 1 << 20;

impl Find {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason| Err(Error::Query { reason });
        if self.lists.is_empty() {
            if self.filter.is_none() && self.order_by.is_none() && self.facets.is_empty() {
                return refuse("it asks for nothing: add a list, a filter, an order or facets");
            }
            if self.min_score.is_some() || self.diversity.is_some() {
                return refuse("a least score and diversity need a list, which gives scores");
            }
        }
        for list in &self.lists {
            list.check()?;
        }
        if self.depth == Some(0) {
            return refuse("its depth is 0: give at least 1");
        }
        if self.min_score.is_some_and(f32::is_nan) {
            return refuse("its least score is no number");
        }
        if let Fusion::Rrf { k } = self.fusion
            && !(k.is_finite() && k >= 0.0)
        {
            return refuse("the k of its fusion is negative or no number: give 0 or more");
        }
        if let Some(mmr) = &self.diversity {
            mmr.check()?;
            if self.order_by.is_some() {
                return refuse("diversity and an order by a field exclude each other");
            }
        }
        if self.group_by.as_ref().is_some_and(|group_by| group_by.size == 0) {
            return refuse("its groups have room for no hit: give at least 1");
        }
        self.check_fields()
    }

    /// Refuses a cursor of another kind of query, one that counts hits of another version, or one
    /// that would deepen the lists without bound.
    pub(super) fn check_cursor(&self, after: &Cursor, version: u64) -> Result<()> {
        let refuse = |reason| Err(Error::Cursor { reason });
        let counts = self.diversity.is_some() || self.group_by.is_some();
        let is_own = match &after.place {
            Place::Count => counts,
            Place::Field { .. } => !counts && self.order_by.is_some(),
            Place::Score { .. } => !counts && self.order_by.is_none(),
        };
        if !is_own {
            return refuse("it is of a query in another order: begin without one");
        }
        if counts && after.version != version {
            return refuse(
                "the file has changed since, and pages of groups or of diverse hits do not go on \
                 then: begin without one",
            );
        }
        let deepens = !self.lists.is_empty() && self.depth.is_none();
        let depth = if self.is_plain() { after.seen } else { after.depth };
        if deepens && depth > CURSOR_DEPTH_MAX {
            return refuse(
                "it goes on below 1,048,576 hits: set the depth of the query, which counts then",
            );
        }
        Ok(())
    }

    /// A name that no record can have is a mistake.
    fn check_fields(&self) -> Result<()> {
        let grouped = self.group_by.iter().map(|group_by| &group_by.field);
        let ordered = self.order_by.iter().map(|order_by| &order_by.field);
        let counted = self.facets.iter().map(|facet| &facet.field);
        for field in grouped.chain(ordered).chain(counted) {
            check_field_name(field).map_err(|error| Error::Filter(FilterError::Field(error)))?;
        }
        Ok(())
    }
}
