//! A query that is asked again and again with other texts: what it is set to, as data, the time
//! that is left to it, and what it must not find besides.

use std::time::Duration;

use serde_json::{Value, json};

use super::Query;
use crate::error::{Error, Result};
use crate::filter::Filter;

impl Query<'_> {
    /// Everything that decides on the order of its hits, but text and limit; and whether that is
    /// all of it: closures cannot be told apart.
    pub(in crate::pipeline) fn describe(&self) -> (Value, bool) {
        let embedders = self.embedders.iter();
        let embedders = embedders.map(|one| (one.contract().model, one.cache_key().into_owned()));
        let told = json!({
            "mode": self.mode.map(|mode| format!("{mode:?}")),
            "embedders": embedders.collect::<Vec<_>>(),
            "stages": self.stages.iter().map(|stage| stage.describe()).collect::<Vec<_>>(),
            "candidates": self.candidates,
            "ef": self.ef,
            "recall": self.recall,
            "filter": self.filter.as_ref().map(|filter| format!("{filter:?}")),
            "fusion": self.fusion.to_string(),
            "merge": format!("{:?}", self.merge),
            "on_embed_failure": format!("{:?}", self.on_embed_failure),
            "on_rerank_failure": format!("{:?}", self.on_rerank_failure),
            "deadline_ms": self.deadline.map(|time| time.as_millis() as u64),
        });
        let is_all = self.shapes.is_empty() && self.stages.iter().all(|stage| stage.is_told());
        (told, is_all)
    }

    /// Refuses a query that has its vector or words already, which belong to one text alone.
    pub(in crate::pipeline) fn check_repeatable(&self) -> Result<()> {
        let reason = if self.vector.is_some() {
            "a query that is asked with other texts cannot have a vector of its own: give it an \
             embedder"
        } else if self.words.is_some() {
            "a query that is asked with other texts cannot have words of its own: leave them out"
        } else {
            return Ok(());
        };
        Err(Error::Query { reason })
    }

    /// Ends after that time at the latest.
    pub(in crate::pipeline) fn within(mut self, left: Option<Duration>) -> Self {
        self.deadline = match (self.deadline, left) {
            (Some(own), Some(left)) => Some(own.min(left)),
            (own, left) => own.or(left),
        };
        self
    }

    /// Finds only records that match this filter as well as its own, which a closure may have put
    /// in the place of another.
    pub(in crate::pipeline) fn also(self, filter: Filter) -> Self {
        self.find(move |find| find.also(filter.clone()))
    }
}
