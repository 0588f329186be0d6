//! Filters as keys of a cache: equal when they are written alike, floats by their bits.
//!
//! Equality of filters themselves is that of floats, by which NaN differs from itself and 0.0
//! equals -0.0; a key must neither miss itself nor equal what could match other records.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{DEPTH_MAX, Filter, FilterError};
use crate::record::{RecordId, Value};

/// A filter with its hash. Comparing two that differ costs a comparison of numbers.
#[derive(Debug, Clone)]
pub struct FilterKey {
    filter: Filter,
    hash: u64,
    bytes: usize,
}

impl FilterKey {
    /// The key of a filter; costs a walk over it.
    ///
    /// # Errors
    /// [`FilterError::TooDeep`].
    pub fn new(filter: &Filter) -> Result<Self, FilterError> {
        let mut visit = Visit { hasher: DefaultHasher::new(), bytes: 0 };
        visit.filter(filter, 0)?;
        let Visit { hasher, bytes } = visit;
        Ok(Self { filter: filter.clone(), hash: hasher.finish(), bytes })
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl PartialEq for FilterKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && same(&self.filter, &other.filter)
    }
}

impl Eq for FilterKey {}

/// Hashes a filter and counts what it holds.
struct Visit {
    hasher: DefaultHasher,
    bytes: usize,
}

impl Visit {
    fn filter(&mut self, filter: &Filter, depth: usize) -> Result<(), FilterError> {
        if depth > DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        self.bytes += size_of::<Filter>();
        std::mem::discriminant(filter).hash(&mut self.hasher);
        match filter {
            Filter::Eq(field, value) => {
                self.field(field);
                self.value(value);
            }
            Filter::In(field, values) => {
                self.field(field);
                self.values(values);
            }
            Filter::Range { field, lower, upper } => {
                self.field(field);
                for bound in [lower, upper] {
                    bound.is_some().hash(&mut self.hasher);
                    if let Some((value, included)) = bound {
                        self.value(value);
                        included.hash(&mut self.hasher);
                    }
                }
            }
            Filter::Exists(field) => self.field(field),
            Filter::StartsWith(field, begin) => {
                self.field(field);
                self.field(begin);
            }
            Filter::Ids(ids) => {
                ids.hash(&mut self.hasher);
                let bytes = |id: &RecordId| match id {
                    RecordId::Int(_) => size_of::<RecordId>(),
                    RecordId::Text(text) => size_of::<RecordId>() + text.len(),
                };
                self.bytes += ids.iter().map(bytes).sum::<usize>();
            }
            Filter::And(inner) | Filter::Or(inner) => {
                inner.len().hash(&mut self.hasher);
                for filter in inner {
                    self.filter(filter, depth + 1)?;
                }
            }
            Filter::Not(inner) => self.filter(inner, depth + 1)?,
        }
        Ok(())
    }

    fn field(&mut self, field: &str) {
        self.bytes += field.len();
        field.hash(&mut self.hasher);
    }

    fn values(&mut self, values: &[Value]) {
        values.len().hash(&mut self.hasher);
        values.iter().for_each(|value| self.value(value));
    }

    fn value(&mut self, value: &Value) {
        self.bytes += size_of::<Value>();
        std::mem::discriminant(value).hash(&mut self.hasher);
        match value {
            Value::Null => {}
            Value::Bool(value) => value.hash(&mut self.hasher),
            Value::Int(number) | Value::Timestamp(number) => number.hash(&mut self.hasher),
            Value::Float(number) => number.to_bits().hash(&mut self.hasher),
            Value::Text(text) => self.field(text),
            // No filter compares with a list, so what it holds makes no difference that counts.
            Value::List(items) => items.len().hash(&mut self.hasher),
        }
    }
}

fn same(a: &Filter, b: &Filter) -> bool {
    match (a, b) {
        (Filter::Eq(field, value), Filter::Eq(other, against)) => {
            field == other && same_value(value, against)
        }
        (Filter::In(field, values), Filter::In(other, against)) => {
            field == other && same_values(values, against)
        }
        (
            Filter::Range { field, lower, upper },
            Filter::Range { field: other, lower: from, upper: to },
        ) => {
            field == other
                && same_bound(lower.as_ref(), from.as_ref())
                && same_bound(upper.as_ref(), to.as_ref())
        }
        (Filter::Exists(field), Filter::Exists(other)) => field == other,
        (Filter::StartsWith(field, begin), Filter::StartsWith(other, against)) => {
            field == other && begin == against
        }
        (Filter::Ids(ids), Filter::Ids(others)) => ids == others,
        (Filter::And(all), Filter::And(others)) | (Filter::Or(all), Filter::Or(others)) => {
            all.len() == others.len() && all.iter().zip(others).all(|(a, b)| same(a, b))
        }
        (Filter::Not(inner), Filter::Not(other)) => same(inner, other),
        _ => false,
    }
}

fn same_bound(a: Option<&(Value, bool)>, b: Option<&(Value, bool)>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some((a, included)), Some((b, other))) => included == other && same_value(a, b),
        _ => false,
    }
}

fn same_values(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::List(a), Value::List(b)) => same_values(a, b),
        // No floats are left in these.
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(filter: &Filter) -> FilterKey {
        FilterKey::new(filter).unwrap()
    }

    #[test]
    fn filters_written_alike_are_one_key_and_others_are_not() {
        let filters = || {
            let year = || Filter::gte("year", 1295);
            vec![
                Filter::eq("lang", "en"),
                Filter::eq("lang", "de"),
                Filter::eq("land", "en"),
                Filter::ne("lang", "en"),
                Filter::eq("lang", 5),
                Filter::eq("lang", 5.0),
                Filter::eq("lang", Value::Timestamp(5)),
                Filter::eq("lang", Value::Null),
                Filter::any_of("lang", ["en"]),
                Filter::any_of("lang", ["en", "de"]),
                year(),
                Filter::gt("year", 1295),
                Filter::lt("year", 1295),
                Filter::lte("year", 1295),
                Filter::exists("year"),
                Filter::starts_with("lang", "en"),
                Filter::starts_with("lang", "e"),
                Filter::starts_with("land", "en"),
                Filter::ids(["en"]),
                Filter::ids([5]),
                Filter::ids(["5"]),
                Filter::ids(["en", "de"]),
                Filter::Ids(Vec::new()),
                year().and(Filter::exists("a")),
                year().or(Filter::exists("a")),
                Filter::And(Vec::new()),
                Filter::Or(Vec::new()),
                Filter::And(vec![year()]),
                !!year(),
            ]
        };
        for (at, a) in filters().iter().enumerate() {
            for (other, b) in filters().iter().enumerate() {
                assert_eq!(key(a) == key(b), at == other, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn floats_are_told_apart_by_their_bits() {
        let of = |number: f64| key(&Filter::gt("x", number));
        assert_eq!(of(f64::NAN), of(f64::NAN));
        assert_ne!(of(0.0), of(-0.0));
        assert_eq!(of(0.1), of(0.1));
    }

    #[test]
    fn filters_too_deep_to_evaluate_have_no_key() {
        let nested = |depth| (0..depth).fold(Filter::exists("x"), |inner, _| !inner);
        assert!(FilterKey::new(&nested(DEPTH_MAX)).is_ok());
        let refused = FilterKey::new(&nested(DEPTH_MAX + 1));
        assert!(matches!(refused, Err(FilterError::TooDeep)));
    }
}
