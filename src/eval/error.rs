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
    /// An evaluation set as a whole is wrong.
    #[error("{}: {source}", path.display())]
    Set {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SetProblem,
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

    pub(super) fn set(path: &Path, source: SetProblem) -> Self {
        Self::Set { path: path.to_path_buf(), source }
    }

    pub(super) fn vectors(path: &Path, source: VectorProblem) -> Self {
        Self::Vectors { path: path.to_path_buf(), source }
    }
}

/// What is wrong with a set of queries and judgments as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetProblem {
    /// The form of the set has judgments in a file of their own, and none was given.
    #[error("a set in {form} form has its judgments in another file: give that too")]
    NoJudgmentsFile {
        /// The form.
        form: &'static str,
    },
    /// The form of the set has the judgments with the queries, and a file of judgments was given.
    #[error(
        "a set in {form} form has its judgments with the queries: leave out {}",
        given.display()
    )]
    JudgmentsTwice {
        /// The form.
        form: &'static str,
        /// The file of judgments.
        given: PathBuf,
    },
    /// No query is judged.
    #[error("no judgment for any query")]
    NoJudgments,
    /// A query is judged that is not among the queries; it would count as 0 in every mean.
    #[error("query {query:?} is judged in {} but is not here", judgments.display())]
    UnknownQuery {
        /// The query id.
        query: String,
        /// The file of the judgments.
        judgments: PathBuf,
    },
    /// No query is in the language that was asked for.
    #[error("no query in the language {wanted:?}; there are {found:?}")]
    NoSuchLanguage {
        /// The language that was asked for.
        wanted: String,
        /// Those that the queries are in.
        found: Vec<String>,
    },
}

/// What is wrong with one line of a text file of an evaluation.
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
    /// A judgment without the id of its query or of its document.
    #[error("the id of a query or document is empty")]
    EmptyId,
    /// The first line of a file of queries is in no form that is read.
    #[error(
        "no known form of queries: expected `_id` and `text` (BEIR), `id`, `query` and `gold_ids` \
         (BRIGHT) or `query_id` and `query` (ViDoRe)"
    )]
    UnknownForm,
    /// A query that names no document as its gold.
    #[error("`gold_ids` is empty: nothing can be found for the query")]
    NoGold,
    /// A document that is to be found and is excluded from what is found.
    #[error("document `{document}` is in `gold_ids` and in `excluded_ids`")]
    ExcludedGold {
        /// The document id.
        document: String,
    },
    /// A line of a run without six columns.
    #[error("found {found} columns; a line of a run is `query Q0 document rank score tag`")]
    RunColumns {
        /// How many columns the line has.
        found: usize,
    },
    /// A number of a run that is none.
    #[error("`{found}` is not a finite number")]
    RunNumber {
        /// The text in its place.
        found: String,
    },
    /// A document that a run lists twice for a query.
    #[error("document `{document}` is listed twice for query `{query}`")]
    ListedTwice {
        /// The query id.
        query: String,
        /// The document id.
        document: String,
    },
    /// An escape in a run that stands for no character.
    #[error("`%` in `{found}` is not followed by two hexadecimal digits of UTF-8")]
    BadEscape {
        /// The id.
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
