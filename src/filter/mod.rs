//! Predicates over metadata, and their evaluation over the field index to a set of slots.
//! Knows tables and slots; not vectors, not collections.

mod cache_key;
mod lexer;
mod parse;
mod slots;
mod text;

use roaring::RoaringBitmap;

pub use cache_key::FilterKey;
pub use slots::Slots;

use crate::record::{RecordError, Value, check_field_name};
use crate::storage::{Snapshot, StorageError, Table, fields, keys as key, prefix_end};

/// A predicate over the metadata of a record.
///
/// A field that is a list matches when one of its items does. Integers and floats compare as
/// numbers; otherwise values compare within their type only. Strings are ordered bytewise by
/// their first 192 bytes; longer ones that begin alike are in no particular order. A record without
/// the field matches no comparison, and every `not` of one.
///
/// As text (`FromStr`, `Display`):
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
    /// The field is present, be it null.
    Exists(String),
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

    /// The field is present.
    #[must_use]
    pub fn exists(field: impl Into<String>) -> Self {
        Self::Exists(field.into())
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
    #[error("filter on {field:?} compares with a list: use any_of")]
    List {
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
    /// Nested too deeply.
    #[error("filter is nested more than 64 deep: flatten it")]
    TooDeep,
    /// The index could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The slots of a collection that match: a range scan of the field index per comparison.
///
/// # Errors
/// [`FilterError`].
pub(crate) fn evaluate(
    filter: &Filter,
    snapshot: &dyn Snapshot,
    collection: u32,
) -> Result<Slots, FilterError> {
    Evaluation { snapshot, collection }.slots(filter, 0)
}

struct Evaluation<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
}

impl Evaluation<'_> {
    fn slots(&self, filter: &Filter, depth: usize) -> Result<Slots, FilterError> {
        if depth > DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        let inner = |filter| self.slots(filter, depth + 1);
        match filter {
            Filter::Eq(field, value) => Ok(Slots::Only(self.equal(field, value)?)),
            Filter::In(field, values) => {
                let mut found = RoaringBitmap::new();
                for value in values {
                    found |= self.equal(field, value)?;
                }
                Ok(Slots::Only(found))
            }
            Filter::Range { field, lower, upper } => {
                Ok(Slots::Only(self.between(field, lower.as_ref(), upper.as_ref())?))
            }
            Filter::Exists(field) => {
                check_field_name(field)?;
                let prefix = fields::field(self.collection, field);
                Ok(Slots::Only(self.scan(&prefix, &prefix, None)?))
            }
            Filter::And(all) => all
                .iter()
                .try_fold(Slots::all(), |slots, filter| Ok(slots.intersect(inner(filter)?))),
            Filter::Or(any) => {
                any.iter().try_fold(Slots::none(), |slots, filter| Ok(slots.union(inner(filter)?)))
            }
            Filter::Not(filter) => Ok(inner(filter)?.complement()),
        }
    }

    fn equal(&self, field: &str, value: &Value) -> Result<RoaringBitmap, FilterError> {
        check_field_name(field)?;
        let prefix = fields::value(self.collection, field, value)
            .ok_or_else(|| FilterError::List { field: field.to_owned() })?;
        self.scan(&prefix, &prefix, None)
    }

    fn between(
        &self,
        field: &str,
        lower: Option<&(Value, bool)>,
        upper: Option<&(Value, bool)>,
    ) -> Result<RoaringBitmap, FilterError> {
        check_field_name(field)?;
        let list = || FilterError::List { field: field.to_owned() };
        let Some((of_class, _)) = lower.or(upper) else {
            let prefix = fields::field(self.collection, field);
            return self.scan(&prefix, &prefix, None);
        };
        let class = fields::class(self.collection, field, of_class).ok_or_else(list)?;
        let bound = |value| {
            let key = fields::value(self.collection, field, value).ok_or_else(list)?;
            if !key.starts_with(&class) {
                return Err(FilterError::Bounds { field: field.to_owned() });
            }
            Ok(key)
        };
        let start = match lower {
            Some((value, true)) => bound(value)?,
            Some((value, false)) => match prefix_end(&bound(value)?) {
                Some(after) => after,
                None => return Ok(RoaringBitmap::new()),
            },
            None => class.clone(),
        };
        let end = match upper {
            Some((value, true)) => prefix_end(&bound(value)?),
            Some((value, false)) => Some(bound(value)?),
            None => None,
        };
        self.scan(&class, &start, end.as_deref())
    }

    fn scan(
        &self,
        prefix: &[u8],
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<RoaringBitmap, FilterError> {
        let mut found = RoaringBitmap::new();
        for entry in self.snapshot.range(Table::Fields, prefix, start)? {
            let (key, _) = entry?;
            if end.is_some_and(|end| key >= end) {
                break;
            }
            if let Some(slot) = key::slot_of(key) {
                found.insert(slot.0);
            }
        }
        Ok(found)
    }
}
