//! What is refused of a query before anything is read.

use super::Find;
use crate::error::{Error, Result};
use crate::filter::FilterError;
use crate::fusion::Fusion;
use crate::record::check_field_name;

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
