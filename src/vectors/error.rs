//! The one error of the `vectors` layer.

use thiserror::Error;

/// Why a vector, a row or an array of rows was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VectorError {
    /// The vector does not have the number of dimensions of its field.
    #[error("vector has {found} dimensions, expected {expected}; use the model of this field")]
    WrongDimensions {
        /// Dimensions of the field.
        expected: usize,
        /// Dimensions of the vector.
        found: usize,
    },
    /// The number of dimensions itself is not supported.
    #[error("{found} dimensions are not supported; use 1 to {max}")]
    UnsupportedDimensions {
        /// Dimensions asked for.
        found: usize,
        /// Largest supported number.
        max: usize,
    },
    /// Codes cannot be made of so many leading dimensions.
    #[error("codes of {found} leading dimensions are not supported; use 1 to {dim}")]
    UnsupportedLeading {
        /// Dimensions asked for.
        found: usize,
        /// Dimensions of the vectors.
        dim: usize,
    },
    /// Codes of leading dimensions alone would leave nothing that knows the others.
    #[error(
        "codes of {found} of {dim} dimensions need originals to order the hits by; \
         keep originals, or store vectors of {found} dimensions"
    )]
    LeadingWithoutOriginals {
        /// Dimensions asked for.
        found: usize,
        /// Dimensions of the vectors.
        dim: usize,
    },
    /// All values that the code would be made of are zero (or too small for the original to
    /// keep), which has no direction and so no cosine.
    #[error(
        "the first {leading} values of the vector are all zeros, which cosine cannot compare; \
         leave it out, use dot or l2, or a collection whose codes have more dimensions"
    )]
    ZeroLeading {
        /// Dimensions that codes are made of.
        leading: usize,
    },
    /// A value is NaN or infinite.
    #[error("vector value {position} is not finite; check what produced the vector")]
    NotFinite {
        /// Index of the first such value.
        position: usize,
    },
    /// All values are zero, which has no direction and so no cosine.
    #[error("vector is all zeros, which cosine cannot compare; leave it out or use dot or l2")]
    ZeroVector,
    /// The Euclidean norm is so large that scores would overflow.
    #[error("vector norm exceeds 1e18, scores would overflow; scale the vectors down")]
    NormTooLarge,
    /// A value does not fit a half-precision original.
    #[error(
        "vector value {position} exceeds 65504, the f16 range; \
         choose Originals::F32 or scale the vectors down"
    )]
    OutOfF16Range {
        /// Index of the first such value.
        position: usize,
    },
    /// A metric name or number is not known.
    #[error("unknown metric {found:?}; use cosine, dot or l2")]
    UnknownMetric {
        /// What was given.
        found: String,
    },
    /// An encoded row is shorter than its encoding needs.
    #[error("row has {found} bytes, expected at least {expected}")]
    ShortRow {
        /// Bytes the encoding needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The shape of an array of rows is impossible: zero, or more than memory can address.
    #[error("rows of {stride} bytes, {per_extent} per extent, cannot form an array")]
    BadShape {
        /// Bytes per row.
        stride: usize,
        /// Rows per extent.
        per_extent: usize,
    },
    /// The number of extents does not match the number of rows.
    #[error("array has {found} extents, expected {expected}")]
    WrongExtentCount {
        /// Extents that the rows need.
        expected: usize,
        /// Extents given.
        found: usize,
    },
    /// An extent is too short for the rows it must hold.
    #[error("extent {extent} has {found} bytes, expected at least {expected}")]
    ShortExtent {
        /// Index of the extent.
        extent: usize,
        /// Bytes that its rows need.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The bytes of a stored matrix are not what was written.
    #[error("stored matrix is damaged: {reason}")]
    BadMatrix {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A sparse vector has no pair of index and weight above zero, or too many.
    #[error("a sparse vector has 1 to {most} weights above zero, not {found}")]
    SparsePairs {
        /// Pairs given.
        found: usize,
        /// The most there can be.
        most: usize,
    },
    /// A weight of a sparse vector is negative, too large, or no number.
    #[error("the weight of index {index} is negative, above 1e18 or no number: check the model")]
    SparseWeight {
        /// The index.
        index: u32,
    },
    /// A sparse vector has an index twice.
    #[error("index {index} is in the sparse vector twice: add its weights up")]
    SparseTwice {
        /// The index.
        index: u32,
    },
}
