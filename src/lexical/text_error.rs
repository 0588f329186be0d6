//! Why a search by words, or the index that it reads, is refused.

use super::language::Language;
use crate::format::FormatError;
use crate::record::RecordError;
use crate::storage::StorageError;

/// Why the text of a collection cannot be indexed or searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The collection has no text index.
    #[error(
        "collection {collection:?} has no text index: create it with `CollectionOptions::text`, or \
         build one with `Collection::index_text`"
    )]
    NoIndex {
        /// The collection.
        collection: String,
    },
    /// Another version of this library made the index.
    #[error(
        "the text index was made by analysis {found}, which this version does not know: build it \
         anew with `Collection::index_text`"
    )]
    Analysis {
        /// Number of the analysis.
        found: u16,
    },
    /// What the index holds of a record is not what its text says.
    #[error(
        "the text index does not agree with the text of the record in slot {slot}: it was made by \
         other tables of Unicode or is damaged; build it anew with `Collection::index_text`"
    )]
    Disagrees {
        /// Our number of the record.
        slot: u32,
    },
    /// A factor of the score is out of range.
    #[error("k1 is 0 to 100 and b is 0 to 1, but they are {k1} and {b}")]
    Saturation {
        /// k1.
        k1: f32,
        /// b.
        b: f32,
    },
    /// There is no list of stop words for the language.
    #[error("there is no full list of stop words for language {language}: use short or none")]
    StopWords {
        /// The language.
        language: Language,
    },
    /// Too few or too many fields.
    #[error("a text index is of 1 to 64 fields, not {found}")]
    Fields {
        /// Number of fields.
        found: usize,
    },
    /// A field name breaks the limits.
    #[error(transparent)]
    Name(#[from] RecordError),
    /// The index could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<FormatError> for TextError {
    fn from(error: FormatError) -> Self {
        Self::Storage(error.into())
    }
}
