//! One query over many lists against a naive computation over all records: fusion, thresholds,
//! orders, groups, facets, diversity, examples and pages, on random collections with deleted and
//! replaced records, and what is refused.

#[path = "find/around.rs"]
mod around;
#[path = "common/mod.rs"]
mod common;
#[path = "find/fusing.rs"]
mod fusing;
#[path = "find/listing.rs"]
mod listing;
#[path = "find/older.rs"]
mod older;
#[path = "find/ordering.rs"]
mod ordering;
#[path = "find/paging.rs"]
mod paging;
#[path = "find/refusals.rs"]
mod refusals;
#[path = "find/shaping.rs"]
mod shaping;
#[path = "find/skewed.rs"]
mod skewed;
#[path = "find/world.rs"]
mod world;
