//! What can go wrong while reading evaluation files. Eval layer; one error for the folder, with
//! the place (file, line) in the outer enum and the cause in an inner one.

use std::io;
use std::path::{Path, PathBuf};

/// An evaluation file that cannot be read, with the place and the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The file could not be opened, mapped, read or written.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// One line of a text file is wrong.
    #[error("{}:{line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        source: LineProblem,
    },
    /// A vector file is wrong, or was asked for something it does not hold.
    #[error("{}: {source}", path.display())]
    Vectors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: VectorProblem,
    },
}

impl EvalError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn line(path: &Path, line: u64, source: LineProblem) -> Self {
        Self::Line { path: path.to_path_buf(), line, source }
    }

    pub(super) fn vectors(path: &Path, source: VectorProblem) -> Self {
        Self::Vectors { path: path.to_path_buf(), source }
    }
}

/// What is wrong with one line of a BEIR or TREC file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// The line is not JSON.
    #[error("invalid JSON: {0}")]
    Json(serde_json::Error),
    /// The line is JSON, but not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// The line is not UTF-8.
    #[error("not UTF-8; convert the file")]
    NotUtf8,
    /// The line is longer than a reader keeps in memory.
    #[error("line longer than {limit} bytes")]
    TooLong {
        /// The most bytes one line may have.
        limit: u64,
    },
    /// A required field is absent.
    #[error("missing field `{field}`")]
    MissingField {
        /// The field.
        field: &'static str,
    },
    /// A field has the wrong JSON type.
    #[error("field `{field}` must be {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// An id that an earlier line already used.
    #[error("id `{id}` occurs twice")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// A judgment line has neither three nor four columns.
    #[error("found {found} columns; write query, document, score separated by tabs")]
    Columns {
        /// How many columns the line has.
        found: usize,
    },
    /// A relevance grade that is not an integer.
    #[error("score `{found}` is not a 32-bit integer")]
    BadScore {
        /// The text in the score column.
        found: String,
    },
    /// Two lines judge the same document for the same query differently.
    #[error("document `{document}` is judged twice for query `{query}`, with different grades")]
    ConflictingJudgment {
        /// The query id.
        query: String,
        /// The document id.
        document: String,
    },
}

/// What is wrong with a vector file, or with a request to one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorProblem {
    /// The file name does not end in a known extension.
    #[error("unknown vector format; use .npy, .fvecs, .bvecs or .ivecs")]
    UnknownFormat,
    /// The file ends before its header does.
    #[error("header is cut off: {found} bytes of at least {expected}")]
    TruncatedHeader {
        /// The fewest bytes a header of this kind needs.
        expected: u64,
        /// How many the file has.
        found: u64,
    },
    /// The header is not what the format says.
    #[error("malformed header: {reason}")]
    BadHeader {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// An element type other than little-endian f32 or f16.
    #[error("element type `{found}` is not read; save as `<f4` or `<f2`")]
    ElementType {
        /// The `descr` of the file.
        found: String,
    },
    /// An array in Fortran order.
    #[error("array is in Fortran order; save it in C order")]
    FortranOrder,
    /// An array that is not of shape (n, dim) with a positive dim.
    #[error("array of shape {found:?} is not (n, dim) with dim > 0")]
    Shape {
        /// The shape in the header.
        found: Vec<u64>,
    },
    /// The header promises more bytes than can be addressed.
    #[error("header describes an array larger than memory can address")]
    TooLarge,
    /// The file size is not what the header says.
    #[error("header describes {expected} bytes but the file has {found}")]
    Length {
        /// Bytes by the header (for `.?vecs`: the next whole number of rows).
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// A row states another dimension than the first row.
    #[error("row {row} has dimension {found}, the first has {expected}")]
    RowDimension {
        /// The row, counted from 0.
        row: usize,
        /// The dimension of the first row.
        expected: usize,
        /// What the row says.
        found: u32,
    },
    /// A row past the end was asked for.
    #[error("row {row} is out of range; the file has {len}")]
    RowOutOfRange {
        /// The row asked for.
        row: usize,
        /// How many rows there are.
        len: usize,
    },
    /// Float rows were asked of an integer file, or the reverse.
    #[error("rows hold {found} elements, not {wanted}")]
    WrongElement {
        /// What the file holds.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A buffer whose length is not the dimension.
    #[error("buffer holds {found} elements, a row has {expected}")]
    BufferLength {
        /// The dimension.
        expected: usize,
        /// The length of the buffer.
        found: usize,
    },
    /// Values to write that are not a whole number of rows.
    #[error("{values} values are not a whole number of rows of {dim}")]
    RaggedRows {
        /// How many values.
        values: usize,
        /// The dimension asked for.
        dim: usize,
    },
}
