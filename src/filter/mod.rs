//! Predicates over metadata, and their evaluation over the field index to a set of slots.
//! Knows tables and slots; not vectors, not collections.

mod cache_key;
mod evaluate;
mod json;
mod lexer;
mod parse;
mod predicate;
mod slots;
mod text;
mod unmet;

pub use cache_key::FilterKey;
pub(crate) use evaluate::{Selected, evaluate};
pub use slots::Slots;

use std::ops::{Bound, RangeBounds};

use crate::record::{RecordError, RecordId, Value};
use crate::storage::StorageError;

/// A predicate over the metadata of a record.
///
/// A field that is a list matches when one of its items does. Integers and floats compare as
/// numbers; otherwise values compare within their type only. Strings are ordered bytewise by
/// their first 192 bytes; longer ones that begin alike are in no particular order. A record without
/// the field matches no comparison, and every `not` of one.
///
/// A field with an index (all, unless
/// [`CollectionOptions::index_fields`](crate::CollectionOptions::index_fields) says otherwise)
/// costs a pass over the index of that field, whatever passes; for one without, the records that
/// the rest of the filter leaves open are read, and the report warns of it.
///
/// As text (`FromStr`, `Display`), keywords in small letters or capitals:
///
/// ```text
/// lang = "en"    year != 1900    price < 10.5    1990 <= year < 2010
/// lang in ["en", "de"]    lang not in ["fr"]    contains(tags, "map")
/// starts_with(path, "docs/")    exists(draft)    note is null    note is not null
/// added >= 2024-01-31    added < 2024-01-31T10:00:00Z
/// id = "a"    id != 7    id in ("a", 7)    id not in [8]    `id` = 7
/// not (a = 1 or b = 2) and c = 3    `a name with blanks` = true
/// ```
///
/// `id` alone is the id of the record; a metadata field of that name stands in backquotes. The same
/// as JSON is [`Filter::from_json`].
///
/// ```
/// use portolan::Filter;
///
/// let filter: Filter = "lang = \"en\" and 1900 <= year < 2000 and not exists(draft)".parse()?;
/// assert_eq!(filter.to_string(), "lang = \"en\" and 1900 <= year < 2000 and not exists(draft)");
/// let wrong = "lang = en".parse::<Filter>().unwrap_err();
/// assert!(wrong.to_string().starts_with("filter text at byte 7: expected a value"));
/// # Ok::<(), portolan::FilterError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// The field has this value.
    Eq(String, Value),
    /// The field has one of these values.
    In(String, Vec<Value>),
    /// The field lies between the bounds.
    Range {
        /// Field name.
        field: String,
        /// Lower bound and whether it is included.
        lower: Option<(Value, bool)>,
        /// Upper bound and whether it is included.
        upper: Option<(Value, bool)>,
    },
    /// The field has a value, be it null. An empty list has none.
    Exists(String),
    /// The field is a text that begins so.
    StartsWith(String, String),
    /// The record has one of these ids.
    Ids(Vec<RecordId>),
    /// All hold; true if empty.
    And(Vec<Filter>),
    /// One holds; false if empty.
    Or(Vec<Filter>),
    /// Does not hold.
    Not(Box<Filter>),
}

impl Filter {
    /// The field has this value.
    #[must_use]
    pub fn eq(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Eq(field.into(), value.into())
    }

    /// The field has another value, or is absent.
    #[must_use]
    pub fn ne(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::eq(field, value).negate()
    }

    /// The field has one of these values.
    #[must_use]
    pub fn any_of<V: Into<Value>>(
        field: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::In(field.into(), values.into_iter().map(Into::into).collect())
    }

    /// The field is greater.
    #[must_use]
    pub fn gt(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range { field: field.into(), lower: Some((value.into(), false)), upper: None }
    }

    /// The field is greater or equal.
    #[must_use]
    pub fn gte(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range { field: field.into(), lower: Some((value.into(), true)), upper: None }
    }

    /// The field is less.
    #[must_use]
    pub fn lt(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range { field: field.into(), lower: None, upper: Some((value.into(), false)) }
    }

    /// The field is less or equal.
    #[must_use]
    pub fn lte(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range { field: field.into(), lower: None, upper: Some((value.into(), true)) }
    }

    /// The field has a value between the bounds. Of a list one item must be within both, where
    /// `Filter::gte(..).and(Filter::lt(..))` is content with one item for each.
    ///
    /// ```
    /// use portolan::Filter;
    ///
    /// assert_eq!(Filter::range("year", 1990..2010).to_string(), "1990 <= year < 2010");
    /// assert_eq!(Filter::range("price", 1.5..=9.0).to_string(), "1.5 <= price <= 9.0");
    /// assert_eq!(Filter::range("name", "a".."n").to_string(), "\"a\" <= name < \"n\"");
    /// assert_eq!(Filter::range("year", 1990..), Filter::gte("year", 1990));
    /// ```
    #[must_use]
    pub fn range<V: Into<Value> + Clone>(
        field: impl Into<String>,
        bounds: impl RangeBounds<V>,
    ) -> Self {
        let bound = |bound: Bound<&V>| match bound {
            Bound::Included(value) => Some((value.clone().into(), true)),
            Bound::Excluded(value) => Some((value.clone().into(), false)),
            Bound::Unbounded => None,
        };
        let (lower, upper) = (bound(bounds.start_bound()), bound(bounds.end_bound()));
        match (lower, upper) {
            (None, None) => Self::exists(field),
            (lower, upper) => Self::Range { field: field.into(), lower, upper },
        }
    }

    /// The field has a value, be it null. A field that is an empty list has none and does not
    /// match.
    #[must_use]
    pub fn exists(field: impl Into<String>) -> Self {
        Self::Exists(field.into())
    }

    /// The field is present, without a value.
    #[must_use]
    pub fn is_null(field: impl Into<String>) -> Self {
        Self::eq(field, Value::Null)
    }

    /// The field is a list with this item. The same as [`Filter::eq`], which compares with the
    /// items of a list.
    #[must_use]
    pub fn contains(field: impl Into<String>, item: impl Into<Value>) -> Self {
        Self::eq(field, item)
    }

    /// The field is a text that begins so, byte for byte, or a list with such a text.
    #[must_use]
    pub fn starts_with(field: impl Into<String>, begin: impl Into<String>) -> Self {
        Self::StartsWith(field.into(), begin.into())
    }

    /// The record has one of these ids.
    #[must_use]
    pub fn ids<I: Into<RecordId>>(ids: impl IntoIterator<Item = I>) -> Self {
        Self::Ids(ids.into_iter().map(Into::into).collect())
    }

    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::And(mut all) => {
                all.push(other);
                Self::And(all)
            }
            single => Self::And(vec![single, other]),
        }
    }

    /// One of both holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Or(mut any) => {
                any.push(other);
                Self::Or(any)
            }
            single => Self::Or(vec![single, other]),
        }
    }

    /// Does not hold.
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl std::ops::Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        self.negate()
    }
}

/// Deeper filters are refused, so that evaluation cannot exhaust the stack.
const DEPTH_MAX: usize = 64;

/// Why a filter cannot be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A field name breaks the limits.
    #[error(transparent)]
    Field(#[from] RecordError),
    /// A list cannot be compared with.
    #[error("filter on {field:?} compares with a list: use any_of, in text \"in\"")]
    List {
        /// Field name.
        field: String,
    },
    /// Infinity and NaN are in no record.
    #[error(
        "filter on {field:?} compares with a float that is infinite or no number: leave that \
         bound out"
    )]
    NotFinite {
        /// Field name.
        field: String,
    },
    /// The bounds of a range are of different types.
    #[error("filter on {field:?} has bounds of two types: use one type")]
    Bounds {
        /// Field name.
        field: String,
    },
    /// The text of a filter is not one.
    #[error("filter text at byte {at}: expected {expected}, found {found}")]
    Syntax {
        /// Byte of the text.
        at: usize,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The text of a filter reads well, but what stands there is refused.
    #[error("filter text at byte {at}: {error}")]
    Refused {
        /// Byte of the text.
        at: usize,
        /// Why.
        error: Box<FilterError>,
    },
    /// The JSON of a filter is not one.
    #[error("filter as JSON at {at:?}: expected {expected}, found {found}")]
    Json {
        /// JSON pointer (RFC 6901), empty for the whole.
        at: String,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The JSON of a filter reads well, but what stands there is refused.
    #[error("filter as JSON at {at:?}: {error}")]
    JsonRefused {
        /// JSON pointer (RFC 6901), empty for the whole.
        at: String,
        /// Why.
        error: Box<FilterError>,
    },
    /// Nested too deeply.
    #[error("filter is nested more than 64 deep: flatten it")]
    TooDeep,
    /// The index could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl FilterError {
    /// The byte of the text that it points at, for filters that were given as text.
    #[must_use]
    pub fn place(&self) -> Option<usize> {
        match self {
            Self::Syntax { at, .. } | Self::Refused { at, .. } => Some(*at),
            _ => None,
        }
    }
}
