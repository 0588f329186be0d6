//! A filter as it is evaluated: checked once, its comparisons as ranges of keys. Tells of a record
//! whether it matches, by the very keys that the field index has.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::{DEPTH_MAX, Filter, FilterError};
use crate::record::{Record, RecordId, Value, check_field_name};
use crate::storage::field_blocks::KeyRange;
use crate::storage::{fields, prefix_end};

/// See the module.
#[derive(Debug)]
pub(super) enum Predicate<'f> {
    /// A value of the field is in one of the ranges.
    Compares {
        field: &'f str,
        /// What it was made of.
        filter: &'f Filter,
        ranges: Vec<KeyRange>,
    },
    /// A text of the field begins so, which is in the range that such texts are in.
    Begins {
        field: &'f str,
        begin: &'f str,
        ranges: Vec<KeyRange>,
    },
    Ids {
        ids: &'f [RecordId],
        /// The same, to be looked up; made when the first record is read.
        set: OnceCell<HashSet<&'f RecordId>>,
    },
    All(Vec<Predicate<'f>>),
    Any(Vec<Predicate<'f>>),
    Not(Box<Predicate<'f>>),
}

/// A value as a key; none for a list.
type Encode = fn(&Value) -> Option<Vec<u8>>;

impl<'f> Predicate<'f> {
    /// Checks a filter.
    ///
    /// # Errors
    /// [`FilterError`].
    pub(super) fn of(filter: &'f Filter) -> Result<Self, FilterError> {
        Self::nested(filter, 0)
    }

    fn nested(filter: &'f Filter, depth: usize) -> Result<Self, FilterError> {
        if depth > DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        let many = |filters: &'f [Filter]| {
            let inner = filters.iter().map(|inner| Self::nested(inner, depth + 1));
            inner.collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Filter::And(all) => Self::All(many(all)?),
            Filter::Or(any) => Self::Any(many(any)?),
            Filter::Not(inner) => Self::Not(Box::new(Self::nested(inner, depth + 1)?)),
            Filter::Ids(ids) => Self::Ids { ids, set: OnceCell::new() },
            Filter::StartsWith(field, begin) => {
                check_field_name(field)?;
                let start = fields::text_begin(begin);
                let ranges = vec![KeyRange { end: prefix_end(&start), start }];
                Self::Begins { field, begin, ranges }
            }
            Filter::Eq(field, _)
            | Filter::In(field, _)
            | Filter::Exists(field)
            | Filter::Range { field, .. } => {
                check_field_name(field)?;
                let ranges = ranges(filter, fields::block_value)?;
                Self::Compares { field, filter, ranges }
            }
        })
    }

    /// Whether a record matches.
    pub(super) fn matches(&self, record: &Record) -> bool {
        match self {
            Self::Compares { field, ranges, .. } => record.metadata.get(*field).is_some_and(|of| {
                let is_in = |value: &Value| {
                    let key = fields::block_value(value);
                    key.is_some_and(|key| is_in_one(ranges, &key))
                };
                items(of).iter().any(is_in)
            }),
            Self::Begins { field, begin, .. } => record.metadata.get(*field).is_some_and(|of| {
                let begins = |value: &Value| match value {
                    Value::Text(text) => text.starts_with(begin),
                    _ => false,
                };
                items(of).iter().any(begins)
            }),
            Self::Ids { ids, set } => set.get_or_init(|| ids.iter().collect()).contains(&record.id),
            Self::All(all) => all.iter().all(|inner| inner.matches(record)),
            Self::Any(any) => any.iter().any(|inner| inner.matches(record)),
            Self::Not(inner) => !inner.matches(record),
        }
    }
}

/// Whether a key is in one of ranges that are sorted by their start and do not overlap.
fn is_in_one(ranges: &[KeyRange], key: &[u8]) -> bool {
    let before = ranges.partition_point(|range| range.start.as_slice() <= key);
    before.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| range.contains(key))
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        single => std::slice::from_ref(single),
    }
}

/// The ranges of keys that a comparison lets pass.
///
/// # Errors
/// [`FilterError::List`]; [`FilterError::NotFinite`]; [`FilterError::Bounds`].
pub(super) fn ranges(filter: &Filter, encode: Encode) -> Result<Vec<KeyRange>, FilterError> {
    match filter {
        Filter::Eq(field, value) => Ok(vec![equal(field, value, encode)?]),
        Filter::In(field, values) => {
            let ranges = values.iter().map(|value| equal(field, value, encode));
            let mut ranges = ranges.collect::<Result<Vec<_>, _>>()?;
            ranges.sort_unstable_by(|a, b| a.start.cmp(&b.start));
            ranges.dedup_by(|a, b| a.start == b.start);
            Ok(ranges)
        }
        Filter::Range { field, lower, upper } => {
            Ok(vec![between(field, lower.as_ref(), upper.as_ref(), encode)?])
        }
        Filter::Exists(_) => Ok(vec![fields::any_value()]),
        _ => Ok(Vec::new()),
    }
}

/// Checks the values that a comparison compares with.
///
/// # Errors
/// [`FilterError::List`]; [`FilterError::Bounds`].
pub(super) fn check_comparison(filter: &Filter) -> Result<(), FilterError> {
    ranges(filter, fields::block_value).map(drop)
}

/// The key of a value to compare with.
fn key(field: &str, value: &Value, encode: Encode) -> Result<Vec<u8>, FilterError> {
    match value {
        Value::Float(number) if !number.is_finite() => {
            Err(FilterError::NotFinite { field: field.to_owned() })
        }
        value => encode(value).ok_or_else(|| FilterError::List { field: field.to_owned() }),
    }
}

fn equal(field: &str, value: &Value, encode: Encode) -> Result<KeyRange, FilterError> {
    let start = key(field, value, encode)?;
    Ok(KeyRange { end: prefix_end(&start), start })
}

fn between(
    field: &str,
    lower: Option<&(Value, bool)>,
    upper: Option<&(Value, bool)>,
    encode: Encode,
) -> Result<KeyRange, FilterError> {
    let Some((of_class, _)) = lower.or(upper) else { return Ok(fields::any_value()) };
    let key = |value: &Value| key(field, value, encode);
    let class = key(of_class)?.get(..1).unwrap_or_default().to_vec();
    let bound = |value: &Value| match key(value)? {
        key if key.starts_with(&class) => Ok(key),
        _ => Err(FilterError::Bounds { field: field.to_owned() }),
    };
    // Behind every key with that value. No key is all 0xff.
    let behind = |value: &Value| Ok::<_, FilterError>(prefix_end(&bound(value)?));
    let start = match lower {
        Some((value, true)) => bound(value)?,
        Some((value, false)) => behind(value)?.unwrap_or_default(),
        None => class.clone(),
    };
    let end = match upper {
        Some((value, true)) => behind(value)?,
        Some((value, false)) => Some(bound(value)?),
        None => prefix_end(&class),
    };
    Ok(KeyRange { start, end })
}
