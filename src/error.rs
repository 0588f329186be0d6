//! The public error: wraps one small error per layer and adds what the database itself refuses.

use thiserror::Error;

use crate::filter::FilterError;
use crate::format::ID_BYTES_MAX;
use crate::index::IndexError;
use crate::lexical::TextError;
use crate::record::{RecordError, RecordId, TemplateError};
use crate::storage::StorageError;
use crate::vectors::VectorError;

/// `Result` with the error type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Nothing was changed by the call unless the variant says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A vector does not fit the collection.
    #[error("vector{} is refused: {source}", of_record(.id.as_ref()))]
    Vector {
        /// The record it came with; none for a query.
        id: Option<RecordId>,
        /// What is wrong with it.
        source: VectorError,
    },
    /// A vector does not fit the named field that it is for.
    #[error("vector{} for field {field:?} is refused: {source}", of_record(.id.as_ref()))]
    NamedVector {
        /// The field.
        field: String,
        /// The record it came with; none for a query.
        id: Option<RecordId>,
        /// What is wrong with it.
        source: VectorError,
    },
    /// No such vector field.
    #[error(
        "collection {collection:?} has no vector field {field:?}: \
         add it with Collection::add_vector_field"
    )]
    VectorFieldNotFound {
        /// The collection.
        collection: String,
        /// The field.
        field: String,
    },
    /// The vector field exists.
    #[error("collection {collection:?} has a vector field {field:?} already: choose another name")]
    VectorFieldExists {
        /// The collection.
        collection: String,
        /// The field.
        field: String,
    },
    /// A vector field of another kind.
    #[error("vector field {field:?} has {expected}, and was given {found}")]
    VectorFieldKind {
        /// The field.
        field: String,
        /// What it has.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// The options of a vector field break the limits.
    #[error("vector field {field:?} cannot be made: {reason}")]
    VectorFieldOptions {
        /// The field.
        field: String,
        /// Which option, and what is allowed.
        reason: String,
    },
    /// A record breaks the limits of the format.
    #[error("record {id} is refused: {source}")]
    Record {
        /// The record.
        id: RecordId,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A filter cannot be evaluated.
    #[error(transparent)]
    Filter(FilterError),
    /// The words of a collection cannot be indexed or searched.
    #[error(transparent)]
    Text(TextError),
    /// A segment of the index is damaged, or cannot be built.
    #[error("the index of collection {collection:?} cannot be used: {source}")]
    Index {
        /// The collection.
        collection: String,
        /// What is wrong.
        source: IndexError,
    },
    /// No such collection.
    #[error("there is no collection {name:?}: create it first")]
    CollectionNotFound {
        /// The name.
        name: String,
    },
    /// The collection exists.
    #[error("collection {name:?} exists already: use Database::collection to open it")]
    CollectionExists {
        /// The name.
        name: String,
    },
    /// The collection exists, and is not what the options say.
    #[error(
        "collection {name:?} exists and is not what the options say ({}): open it with \
         Database::collection, which takes it as it is, or choose another name",
        listed(.differences)
    )]
    CollectionDiffers {
        /// The name.
        name: String,
        /// All that differs.
        differences: Vec<OptionDifference>,
    },
    /// A collection's options break the limits.
    #[error("collection {name:?} cannot be created: {reason}")]
    CollectionOptions {
        /// The name.
        name: String,
        /// Which option, and what is allowed.
        reason: String,
    },
    /// The vectors of the collection come from another model.
    #[error(
        "collection {collection:?} holds vectors of model {expected:?}, but this comes from \
         {found:?}: use the same model with the same roles or prefixes, or another collection"
    )]
    ModelMismatch {
        /// The collection.
        collection: String,
        /// The model of the collection.
        expected: String,
        /// The model of the query or batch.
        found: String,
    },
    /// The id of a model is empty or too long.
    #[error("the model id has {found} bytes: use 1 to {ID_BYTES_MAX} bytes")]
    ModelId {
        /// Bytes of the id.
        found: usize,
    },
    /// A collection has given out all its 2^32 slots.
    #[error("collection {collection:?} has used all its 4294967295 slots: copy it into a new one")]
    SlotsExhausted {
        /// The collection.
        collection: String,
    },
    /// The application cancelled the work. What was committed before stays.
    #[error("cancelled by the application")]
    Cancelled,
    /// A model (or the service behind it) failed.
    #[error("{stage} failed: {source}")]
    Model {
        /// `embed`, `rerank` or `chat`.
        stage: &'static str,
        /// The model's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether trying again later can help.
        retryable: bool,
    },
    /// The deadline passed before the answer was there.
    #[error("the deadline of {deadline_ms} ms passed in stage {stage}: allow more time")]
    DeadlineExceeded {
        /// The stage that was under way.
        stage: &'static str,
        /// The deadline, in milliseconds.
        deadline_ms: u64,
    },
    /// A recall target is no share.
    #[error("a recall target of {found} is refused: give a share above 0 and up to 1")]
    RecallTarget {
        /// The target.
        found: f32,
    },
    /// A record cannot be an example for others to be like.
    #[error("record {id} cannot be an example: {reason}")]
    Example {
        /// Its id.
        id: RecordId,
        /// Why not.
        reason: &'static str,
    },
    /// A cursor is none, or belongs to another query.
    #[error("this cursor cannot be continued from: {reason}")]
    Cursor {
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// A template cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The query lacks something it needs.
    #[error("query cannot run: {reason}")]
    Query {
        /// What to add.
        reason: &'static str,
    },
}

/// Something that a collection has and that options want otherwise. Part of
/// [`Error::CollectionDiffers`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionDifference {
    /// What differs, such as `dimensions`, or `metric of vector field "image"`.
    pub option: String,
    /// What the collection has.
    pub has: String,
    /// What the options say.
    pub asked: String,
}

impl std::fmt::Display for OptionDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: it has {}, the options say {}", self.option, self.has, self.asked)
    }
}

fn listed(differences: &[OptionDifference]) -> String {
    let each: Vec<String> = differences.iter().map(ToString::to_string).collect();
    each.join("; ")
}

fn of_record(id: Option<&RecordId>) -> String {
    id.map_or_else(String::new, |id| format!(" of record {id}"))
}

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::Storage(error) => Self::Storage(error),
            other => Self::Filter(other),
        }
    }
}

impl From<TextError> for Error {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Storage(error) => Self::Storage(error),
            other => Self::Text(other),
        }
    }
}

impl From<crate::format::FormatError> for Error {
    fn from(error: crate::format::FormatError) -> Self {
        Self::Storage(error.into())
    }
}

impl Error {
    /// Whether the file, or a collection in it, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::CollectionNotFound { .. }
                | Self::VectorFieldNotFound { .. }
                | Self::Storage(StorageError::NotFound { .. })
        )
    }

    /// Whether the file is damaged, or not a portolan file.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_corruption(),
            Self::Index { .. } | Self::Text(TextError::Disagrees { .. }) => true,
            _ => false,
        }
    }

    /// Whether the caller's input was refused: the same call fails again.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(
            self,
            Self::Vector { .. }
                | Self::NamedVector { .. }
                | Self::VectorFieldKind { .. }
                | Self::VectorFieldOptions { .. }
                | Self::Record { .. }
                | Self::Filter(_)
                | Self::Text(
                    TextError::NoIndex { .. }
                        | TextError::Saturation { .. }
                        | TextError::Fields { .. }
                        | TextError::Name(_)
                )
                | Self::CollectionOptions { .. }
                | Self::CollectionDiffers { .. }
                | Self::ModelMismatch { .. }
                | Self::ModelId { .. }
                | Self::RecallTarget { .. }
                | Self::Example { .. }
                | Self::Cursor { .. }
                | Self::Template(_)
                | Self::Query { .. }
        )
    }

    /// Whether the same call can succeed later: another writer, a full disk, a busy service.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage(error) => matches!(
                error,
                StorageError::WriterBusy
                    | StorageError::InUse { .. }
                    | StorageError::DiskFull { .. }
                    | StorageError::TooManyReaders
            ),
            Self::Model { retryable, .. } => *retryable,
            Self::DeadlineExceeded { .. } => true,
            _ => false,
        }
    }
}
