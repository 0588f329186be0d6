//! One query over any number of lists: vectors, examples and texts, filtered once, fused, shaped
//! and explained, on one version of the file. Knows no model and no network.

mod check;
mod deepen;
mod dense;
mod explain;
mod facets;
mod fetch;
mod group;
mod like;
mod list;
mod listing;
mod lists;
mod mmr;
mod multi;
mod order;
mod page;
mod records;
mod report;
mod run;
mod shape;
mod sparse;
mod text;

pub use dense::Dense;
pub use explain::Explanation;
pub use facets::{Facet, FacetCounts, FacetValue};
pub use group::Group;
pub use like::{Like, LikeStrategy};
pub use list::{ListReport, SegmentReport};
pub use mmr::Mmr;
pub use multi::Multi;
pub use order::Order;
pub use page::Cursor;
pub use report::{FindReport, FindStage, Findings};
pub use sparse::Sparse;
pub use text::Lexical;

use super::Collection;
use crate::filter::Filter;
use crate::fusion::Fusion;
use group::GroupBy;
use list::List;
use order::OrderBy;

/// Records that lists of a query give, unless said otherwise and if no more are wanted.
const DEPTH: usize = 100;

/// A query. Made by [`Collection::find`]; owns what it needs, so that it can be kept, cloned and
/// run on another thread.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::{Filter, Fusion};
///
/// let found = docs
///     .find()
///     .dense(&[0.9, 0.2, 0.0])
///     .text("harbor chart")
///     .like(["pilot#0"], ["storm#0"])
///     .fusion(Fusion::rrf())
///     .filter(Filter::eq("lang", "en"))
///     .group_by("document", 1)
///     .facets(["year"])
///     .limit(2)
///     .run()?;
/// for hit in &found.hits {
///     println!("{:.3} {}", hit.score, hit.text());
/// }
/// println!("{}", found.explain());
/// # Ok(()) }
/// ```
///
/// **Lists.** Each finds its best records: as many as its depth. With one list its scores are
/// those of the hits; several are fused, and the fused scores are. With no list, records that
/// match the filter come in the order of their insertion, or in that of [`Find::order_by`], with
/// a score of 0.
///
/// **Order.** Best score first; equal scores in order of insertion. The same query on the same
/// version of the file gives the same hits.
#[derive(Debug, Clone)]
#[must_use]
pub struct Find {
    collection: Collection,
    lists: Vec<List>,
    depth: Option<usize>,
    filter: Option<Filter>,
    fusion: Fusion,
    min_score: Option<f32>,
    diversity: Option<Mmr>,
    group_by: Option<GroupBy>,
    facets: Vec<Facet>,
    order_by: Option<OrderBy>,
    offset: usize,
    limit: usize,
    after: Option<Cursor>,
    with_vectors: bool,
    with_places: bool,
    highlights: bool,
    neighbors: usize,
}

impl Find {
    /// The collection that is asked.
    #[must_use]
    pub fn collection(&self) -> &Collection {
        &self.collection
    }
}

impl Collection {
    /// Begins a query: add lists, a filter, how the hits are to be shaped, and run it.
    pub fn find(&self) -> Find {
        Find {
            collection: self.clone(),
            lists: Vec::new(),
            depth: None,
            filter: None,
            fusion: Fusion::default(),
            min_score: None,
            diversity: None,
            group_by: None,
            facets: Vec::new(),
            order_by: None,
            offset: 0,
            limit: 10,
            after: None,
            with_vectors: false,
            with_places: false,
            highlights: false,
            neighbors: 0,
        }
    }
}
