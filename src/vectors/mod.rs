//! What a vector is at rest: metrics, checks, encodings (int8 codes, f16/f32 originals), arrays
//! of fixed-size rows over extents, matrices, and queries prepared to be scored against them.
//!
//! Knows positions and bytes; knows no ids, text, graph or file. Imports `kernels` only.
//!
//! Score convention everywhere: higher is better. Cosine similarity, dot product, or *negative*
//! squared Euclidean distance.

mod check;
pub mod code;
mod encoding;
mod error;
mod linear;
mod matrix;
mod maxsim;
mod metric;
pub mod nav;
mod originals;
mod projection;
mod query;
mod rows;
mod sparse;
mod whole_rows;

pub use check::MAX_DIM;
pub use encoding::{EncodedVector, Encoding};
pub use error::VectorError;
pub use linear::Random;
pub use matrix::{MatrixCodec, MatrixRef, encode_matrix};
pub use maxsim::{MaxSimQuery, MaxSimScratch};
pub use metric::Metric;
pub use originals::Originals;
pub use projection::{Projection, Training};
pub use query::PreparedQuery;
pub use rows::Rows;
pub use sparse::{SparseRef, check_sparse, encode_sparse, sparse_weight};

pub(crate) use crate::kernels::ranked::finite;
