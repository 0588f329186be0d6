//! What a query gives back: hits, groups, facets, and what was done.

use std::borrow::Cow;
use std::time::Duration;

use super::explain::Explanation;
use super::facets::FacetCounts;
use super::group::{Group, GroupRange};
use super::list::ListReport;
use super::page::Cursor;
use crate::db::search::Hit;
use crate::filter::Filter;
use crate::fusion::Fusion;

/// What a [`Find`](crate::Find) found.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Findings {
    /// The hits of this page: best first, or in the order that was asked for; group after group
    /// where they are grouped.
    pub hits: Vec<Hit>,
    /// The counts of [`Find::facets`](crate::Find::facets), in the order they were asked for.
    pub facets: Vec<FacetCounts>,
    /// Where the next page begins, for [`Find::after`](crate::Find::after). None where there is
    /// no more; the last page of a single list may have one, to an empty page.
    pub next: Option<Cursor>,
    /// What was done.
    pub report: FindReport,
    pub(super) groups: Vec<GroupRange>,
}

impl Findings {
    /// The hits by the values of [`Find::group_by`](crate::Find::group_by); none if they are not
    /// grouped.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.groups.iter().map(|GroupRange { value, hits }| Group {
            value,
            hits: self.hits.get(hits.clone()).unwrap_or_default(),
        })
    }

    /// The plan and what became of it, in words (`Display`) or as JSON.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// let found = docs.find().dense(&[1.0, 0.0, 0.0]).like(["stars#0"], ["storm#0"]).run()?;
    /// let words = found.explain().to_string();
    /// assert!(words.contains("dense") && words.contains("reciprocal rank fusion with k = 60"));
    /// assert_eq!(found.explain().to_json()["lists"][1]["kind"], "like");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn explain(&self) -> Explanation<'_> {
        Explanation::new(&self.report)
    }
}

impl std::ops::Deref for Findings {
    type Target = [Hit];

    fn deref(&self) -> &[Hit] {
        &self.hits
    }
}

impl IntoIterator for Findings {
    type Item = Hit;
    type IntoIter = std::vec::IntoIter<Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.into_iter()
    }
}

impl<'f> IntoIterator for &'f Findings {
    type Item = &'f Hit;
    type IntoIter = std::slice::Iter<'f, Hit>;

    fn into_iter(self) -> Self::IntoIter {
        self.hits.iter()
    }
}

/// What a query did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct FindReport {
    /// Wall time.
    pub took: Duration,
    /// The filter.
    pub filter: Option<Filter>,
    /// Records that match the filter, or all, with a vector or without.
    pub records: u64,
    /// Those of them that have a default vector.
    pub passing: u64,
    /// Fields of the filter that have no index.
    pub scanned: Vec<String>,
    /// Records that were read to evaluate the filter; when it was, should the answer still be kept
    /// from an earlier query on this version of the file.
    pub records_read: u64,
    /// What made the query slower than it need be, and what to do about it: fields without an
    /// index, of the filter, of facets, and without lists of an order or of groups, and lists that
    /// groups made deep. And groups that end before the limit does; and what finds
    /// nothing: comparisons that no record can meet, as of a field that none has, and words that
    /// are none to look for.
    pub warnings: Vec<String>,
    /// Each list, in the order they were added.
    pub lists: Vec<ListReport>,
    /// How they became one, where there were several.
    pub fusion: Option<Fusion>,
    /// Records that one list at least found.
    pub candidates: usize,
    /// What was done after the other, with the time it took.
    pub stages: Vec<FindStage>,
    /// Whether the file has changed since the page before: hits can be missing between both
    /// pages, and, of fused lists and of words, be on both.
    pub stale_cursor: bool,
}

/// A stage of a query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FindStage {
    /// `filter`, `lists`, `listing`, `fusion`, `threshold`, `facets`, `order`, `diversity`,
    /// `groups` or `records`.
    pub stage: &'static str,
    /// Wall time.
    pub took: Duration,
    /// How many came out of it, of what the note says.
    pub kept: u64,
    /// What it did, in words.
    pub note: Cow<'static, str>,
}
