//! Nearest-neighbor search over one immutable segment: a graph built and walked on navigation
//! codes, exact scans, filters as bitmaps of slots, and the final order from the originals.
//!
//! [`Segment`] is the type the layer above uses; [`SegmentBuilder`] makes one. Knows positions,
//! slots (u32) and bytes; knows no ids, text or file. Imports `vectors` and `kernels`.
//!
//! A *slot* is the number a vector keeps for life in its collection. A *position* is its row in
//! one segment; slots ascend with positions.

mod allow;
mod bitmap_words;
mod build;
mod builder;
mod calibrate;
mod candidates;
mod connect;
mod copied;
mod curve;
mod entries;
mod error;
mod exact;
mod filtered;
mod graph;
mod grow;
mod layer;
mod nav;
mod neighbors;
mod params;
mod partition;
mod passing;
mod plan;
mod pool;
mod reach;
mod refine;
mod residency;
mod scan;
mod scratch;
mod segment;
mod select;
mod selected;
mod slots;
mod space;
mod truth;
mod upper;
mod walk;

#[cfg(test)]
mod tests;

pub use allow::Allow;
pub use builder::{BUILD_MEMORY, SegmentBuilder, SegmentConfig, SegmentImage};
pub use error::IndexError;
pub use exact::TopK;
pub use graph::GraphCopy;
pub use grow::GONE;
pub use nav::Basis;
pub use params::{Effort, GraphHeader, GraphParams, Progress, SearchParams};
pub use passing::Passing;
pub use plan::SearchPath;
pub use residency::Resident;
pub use segment::{GraphParts, NavParts, Neighbor, Segment, SegmentParts, best_of};
