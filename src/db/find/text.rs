//! Lists by words, and where those words stand in the hits.

use super::list::{Common, Given, List, ListReport, Ranking, common_setters};
use crate::db::search::{FieldHighlight, Highlights};
use crate::error::Result;
use crate::index::Neighbor;
use crate::lexical::{self, Marker, TextQuery};
use crate::record::{Record, Value};

/// A list of the records with the best words, for [`Find::text_with`](crate::Find::text_with).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::{Lexical, TextQuery};
///
/// let words = Lexical::new(TextQuery::new("harbor").not("chart")).weight(2.0).depth(20);
/// let found = docs.find().text_with(words).run()?;
/// assert_eq!(found.hits[0].text(), "depths of the harbor mouth");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Lexical {
    query: TextQuery,
    pub(super) common: Common,
}

impl Lexical {
    /// Records with these words.
    pub fn new(query: impl Into<TextQuery>) -> Self {
        Self { query: query.into(), common: Common::default() }
    }

    common_setters!();

    pub(super) fn run(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let Given { collection, snapshot, matching, .. } = given;
        let index = collection.needed_text_index(snapshot)?;
        let passes = &matching.slots;
        let searched =
            lexical::search(snapshot, collection.id, &index, &self.query, depth, passes)?;
        let best = searched.best.into_iter();
        let found = best.map(|best| Neighbor { slot: best.slot.0, score: best.score }).collect();
        let about = format!("BM25 of {} terms", searched.terms);
        let scored = searched.scored;
        let report = ListReport { kind: "text", about, scored, ..Default::default() };
        Ok(Ranking { found, report, warning: searched.vain })
    }
}

/// Finds the words of a query's lists in records.
pub(super) struct Highlighter {
    markers: Vec<Marker>,
    /// Metadata fields with words.
    fields: Vec<String>,
}

impl Highlighter {
    /// None where no list is of words.
    pub(super) fn new(given: Given<'_>, lists: &[List]) -> Result<Option<Self>> {
        let queries = lists.iter().filter_map(|list| match list {
            List::Text(text) => Some(&text.query),
            _ => None,
        });
        let mut queries = queries.peekable();
        if queries.peek().is_none() {
            return Ok(None);
        }
        let index = given.collection.needed_text_index(given.snapshot)?;
        let markers = queries.map(|query| Marker::new(&index, query)).collect();
        Ok(Some(Self { markers, fields: index.metadata_fields().map(str::to_owned).collect() }))
    }

    pub(super) fn of(&self, record: &Record) -> Highlights {
        let title = record.title.as_deref().map(|title| self.ranges(title)).unwrap_or_default();
        let mut fields = Vec::new();
        for field in &self.fields {
            let items = match record.metadata.get(field) {
                Some(Value::List(items)) => items.as_slice(),
                Some(single) => std::slice::from_ref(single),
                None => &[],
            };
            for (item, value) in items.iter().enumerate() {
                let Value::Text(text) = value else { continue };
                let ranges = self.ranges(text);
                if !ranges.is_empty() {
                    fields.push(FieldHighlight { field: field.clone(), item, ranges });
                }
            }
        }
        Highlights { title, text: self.ranges(&record.text), fields }
    }

    fn ranges(&self, text: &str) -> Vec<std::ops::Range<usize>> {
        let mut found: Vec<_> =
            self.markers.iter().flat_map(|marker| marker.ranges(text)).collect();
        if self.markers.len() > 1 {
            found.sort_by_key(|range| (range.start, range.end));
            found.dedup_by(|next, last| {
                let touches = next.start < last.end;
                if touches {
                    last.end = last.end.max(next.end);
                }
                touches
            });
        }
        found
    }
}
