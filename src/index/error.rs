//! The one error of the `index` layer.

use thiserror::Error;

use crate::format::SectionKind;
use crate::vectors::{Metric, VectorError};

/// Why a segment could not be built or opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A vector or an array of rows was refused.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// A graph parameter is out of its range.
    #[error("graph parameter {name} is {found}, use {min} to {max}")]
    GraphParameter {
        /// Name of the parameter.
        name: &'static str,
        /// Value given.
        found: u32,
        /// Smallest allowed value.
        min: u32,
        /// Largest allowed value.
        max: u32,
    },
    /// Slots must be pushed in strictly ascending order.
    #[error("slot {found} does not come after slot {last}; push rows in ascending slot order")]
    SlotOrder {
        /// The slot pushed before.
        last: u32,
        /// The slot that came too late.
        found: u32,
    },
    /// A segment cannot hold more rows.
    #[error("a segment holds at most {max} rows; start another")]
    TooManyRows {
        /// Largest number of rows.
        max: u32,
    },
    /// A row or a section does not have the stride its encoding prescribes.
    #[error("{kind} rows have {found} bytes, expected {expected}")]
    WrongStride {
        /// The section.
        kind: SectionKind,
        /// Bytes per row that the encoding prescribes.
        expected: usize,
        /// Bytes per row found.
        found: usize,
    },
    /// Two sections of one segment disagree about the number of rows.
    #[error("{kind} section has {found} rows, expected {expected}")]
    WrongLength {
        /// The section.
        kind: SectionKind,
        /// Rows that the other parts prescribe.
        expected: u64,
        /// Rows found.
        found: u64,
    },
    /// A section that the encoding prescribes is absent.
    #[error("{kind} section is missing")]
    MissingSection {
        /// The section.
        kind: SectionKind,
    },
    /// The graph header contradicts itself or the rows.
    #[error("graph entry {entry} or its level counts do not fit {rows} rows")]
    BadGraphHeader {
        /// The entry position of the header.
        entry: u32,
        /// Rows of the segment.
        rows: u32,
    },
    /// A query was prepared for vectors of another kind.
    #[error(
        "query is for {} of {} dimensions, the segment holds {} of {}",
        found.0, found.1, expected.0, expected.1
    )]
    OtherEncoding {
        /// Metric and dimensions of the segment.
        expected: (Metric, usize),
        /// Metric and dimensions of the query.
        found: (Metric, usize),
    },
    /// The progress callback asked to stop.
    #[error("building the graph was cancelled")]
    Cancelled,
}
