//! Filters as JSON, both ways, for requests that programs write.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value as Json, json};

use super::predicate::check_comparison;
use super::{DEPTH_MAX, Filter, FilterError};
use crate::record::{RecordId, Value, check_field_name, time};

/// What an object may be.
const OBJECT: &str = "\"and\", \"or\", \"not\", \"id\", or \"field\" with a comparison";
const COMPARISONS: &str =
    "one of eq, ne, in, not_in, contains, exists, starts_with, or some of gt, gte, lt, lte";

impl Filter {
    /// Reads a filter from JSON:
    ///
    /// ```json
    /// {"and": [
    ///   {"field": "lang", "eq": "en"},
    ///   {"field": "year", "gte": 1990, "lt": 2010},
    ///   {"or": [{"field": "tags", "contains": "map"}, {"field": "path", "starts_with": "docs/"}]},
    ///   {"not": {"field": "draft", "exists": true}},
    ///   {"field": "added", "gt": {"$timestamp": "2024-01-31"}},
    ///   {"id": ["a", 7]},
    ///   "price < 10.5"
    /// ]}
    /// ```
    ///
    /// A field is compared by `eq`, `ne`, `in`, `not_in`, `contains`, `exists` (true or false),
    /// `starts_with`, or by one or two bounds. A text is a filter as text; a list is an `and`. Of a
    /// timestamp stand the microseconds since 1970 or a text of RFC 3339. Writing it back is
    /// [`Filter::to_json`]; `Filter` is also read and written by serde in this form.
    ///
    /// ```
    /// use portolan::Filter;
    ///
    /// let json = serde_json::json!([
    ///     {"field": "lang", "in": ["en", "de"]},
    ///     {"field": "year", "gte": 1990, "lt": 2010},
    /// ]);
    /// let filter = Filter::from_json(&json)?;
    /// assert_eq!(filter.to_string(), "lang in [\"en\", \"de\"] and 1990 <= year < 2010");
    ///
    /// let wrong = serde_json::json!({"and": [{"field": "year", "gte": [1]}]});
    /// let wrong = Filter::from_json(&wrong).unwrap_err();
    /// assert!(wrong.to_string().starts_with("filter as JSON at \"/and/0/gte\": expected a text"));
    /// # Ok::<(), portolan::FilterError>(())
    /// ```
    ///
    /// # Errors
    /// [`FilterError::Json`] with the place as a JSON pointer (RFC 6901);
    /// [`FilterError::JsonRefused`] with the place, for what a filter as text is refused for too,
    /// [`FilterError::TooDeep`] among it.
    pub fn from_json(json: &Json) -> Result<Self, FilterError> {
        read(json, &mut Vec::new(), 0)
    }

    /// The filter as JSON, which [`Filter::from_json`] reads back as the same filter.
    ///
    /// ```
    /// use portolan::Filter;
    ///
    /// let filter: Filter = "lang = \"en\" and year < 2010".parse()?;
    /// let lang = serde_json::json!({"field": "lang", "eq": "en"});
    /// let year = serde_json::json!({"field": "year", "lt": 2010});
    /// assert_eq!(filter.to_json(), serde_json::json!({"and": [lang, year]}));
    /// assert_eq!(Filter::from_json(&filter.to_json())?, filter);
    /// # Ok::<(), portolan::FilterError>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Eq(field, value) => json!({"field": field, "eq": written(value)}),
            Self::In(field, values) => {
                let values: Vec<Json> = values.iter().map(written).collect();
                json!({"field": field, "in": values})
            }
            Self::Range { field, lower, upper } => {
                let mut object = Map::new();
                object.insert("field".to_owned(), field.as_str().into());
                for (bound, names) in [(lower, ["gt", "gte"]), (upper, ["lt", "lte"])] {
                    if let Some((value, included)) = bound {
                        object.insert(names[usize::from(*included)].to_owned(), written(value));
                    }
                }
                if lower.is_none() && upper.is_none() {
                    object.insert("exists".to_owned(), true.into());
                }
                object.into()
            }
            Self::Exists(field) => json!({"field": field, "exists": true}),
            Self::StartsWith(field, begin) => json!({"field": field, "starts_with": begin}),
            Self::Ids(ids) => {
                let id = |id: &RecordId| match id {
                    RecordId::Int(id) => Json::from(*id),
                    RecordId::Text(id) => id.as_str().into(),
                };
                json!({"id": ids.iter().map(id).collect::<Vec<_>>()})
            }
            Self::And(all) => json!({"and": all.iter().map(Self::to_json).collect::<Vec<_>>()}),
            Self::Or(any) => json!({"or": any.iter().map(Self::to_json).collect::<Vec<_>>()}),
            Self::Not(inner) => json!({"not": inner.to_json()}),
        }
    }
}

/// The way to what is being read: names and places.
type Place = Vec<String>;

/// Reads a filter that stands in so many others; what is deeper than filters may be is refused
/// before the stack ends.
fn read(json: &Json, place: &mut Place, depth: usize) -> Result<Filter, FilterError> {
    if depth > DEPTH_MAX {
        return Err(refused(place, FilterError::TooDeep));
    }
    match json {
        Json::String(text) => {
            let filter: Filter = text.parse().map_err(|error| refused(place, error))?;
            shallow(filter, place, depth)
        }
        Json::Array(_) => Ok(Filter::And(many(json, place, depth)?)),
        Json::Object(object) => match (object.len(), object.iter().next()) {
            (1, Some((name, inner))) if ["and", "or", "not", "id"].contains(&name.as_str()) => {
                within(place, name, |place| joined(name, inner, place, depth))
            }
            _ => match object.get("field") {
                Some(Json::String(field)) => {
                    let filter = compared(field, object, place)?;
                    let checked = check_field_name(field).map_err(FilterError::Field);
                    match checked.and_then(|()| check_comparison(&filter)) {
                        Ok(()) => shallow(filter, place, depth),
                        Err(error) => Err(refused(place, error)),
                    }
                }
                Some(other) => within(place, "field", |place| {
                    Err(wrong(place, "the name of a field", &other.to_string()))
                }),
                None => {
                    let names: Vec<&str> = object.keys().map(String::as_str).collect();
                    Err(wrong(place, OBJECT, &names.join(", ")))
                }
            },
        },
        other => Err(wrong(place, "an object, a list or a text", &other.to_string())),
    }
}

fn joined(
    name: &str,
    inner: &Json,
    place: &mut Place,
    depth: usize,
) -> Result<Filter, FilterError> {
    match name {
        "and" => Ok(Filter::And(many(inner, place, depth)?)),
        "or" => Ok(Filter::Or(many(inner, place, depth)?)),
        "not" => Ok(read(inner, place, depth + 1)?.negate()),
        _ => Ok(Filter::Ids(listed(inner, place, id)?)),
    }
}

/// A filter that was read whole, unless it is too deep where it stands.
fn shallow(filter: Filter, place: &Place, depth: usize) -> Result<Filter, FilterError> {
    match depth + levels(&filter) > DEPTH_MAX {
        true => Err(refused(place, FilterError::TooDeep)),
        false => Ok(filter),
    }
}

/// How many filters stand in one another below this one.
fn levels(filter: &Filter) -> usize {
    match filter {
        Filter::And(inner) | Filter::Or(inner) => {
            inner.iter().map(|one| levels(one) + 1).max().unwrap_or_default()
        }
        Filter::Not(inner) => levels(inner) + 1,
        _ => 0,
    }
}

/// Filters that stand in one of that depth.
fn many(json: &Json, place: &mut Place, depth: usize) -> Result<Vec<Filter>, FilterError> {
    match json {
        Json::Array(_) => listed(json, place, |json, place| read(json, place, depth + 1)),
        other => Err(wrong(place, "a list of filters", &other.to_string())),
    }
}

/// What stands in a list, or a single one.
fn listed<T>(
    json: &Json,
    place: &mut Place,
    mut one: impl FnMut(&Json, &mut Place) -> Result<T, FilterError>,
) -> Result<Vec<T>, FilterError> {
    match json {
        Json::Array(items) => (items.iter().enumerate())
            .map(|(at, item)| within(place, &at.to_string(), |place| one(item, place)))
            .collect(),
        single => Ok(vec![one(single, place)?]),
    }
}

fn id(json: &Json, place: &mut Place) -> Result<RecordId, FilterError> {
    match (json, json.as_i64()) {
        (_, Some(id)) => Ok(RecordId::Int(id)),
        (Json::String(id), _) => Ok(RecordId::Text(id.clone())),
        _ => Err(wrong(place, "an id: a text or an integer", &json.to_string())),
    }
}

/// A comparison of one field.
fn compared(
    field: &str,
    object: &Map<String, Json>,
    place: &mut Place,
) -> Result<Filter, FilterError> {
    let others = || object.iter().filter(|(name, _)| *name != "field");
    let is_bound = |name: &str| ["gt", "gte", "lt", "lte"].contains(&name);
    if others().count() > 0 && others().all(|(name, _)| is_bound(name)) {
        return range(field, object, place);
    }
    let mut others = others();
    let (Some((name, given)), None) = (others.next(), others.next()) else {
        let names: Vec<&str> = object.keys().map(String::as_str).collect();
        return Err(wrong(place, COMPARISONS, &names.join(", ")));
    };
    within(place, name, |place| {
        let shown = || given.to_string();
        match (name.as_str(), given) {
            ("eq" | "contains", _) => Ok(Filter::eq(field, value(given, place)?)),
            ("ne", _) => Ok(Filter::ne(field, value(given, place)?)),
            ("in", Json::Array(_)) => Ok(Filter::In(field.into(), listed(given, place, value)?)),
            ("not_in", Json::Array(_)) => {
                Ok(Filter::In(field.into(), listed(given, place, value)?).negate())
            }
            ("in" | "not_in", _) => Err(wrong(place, "a list of values", &shown())),
            ("exists", Json::Bool(true)) => Ok(Filter::exists(field)),
            ("exists", Json::Bool(false)) => Ok(Filter::exists(field).negate()),
            ("exists", _) => Err(wrong(place, "true or false", &shown())),
            ("starts_with", Json::String(begin)) => Ok(Filter::starts_with(field, begin.as_str())),
            ("starts_with", _) => Err(wrong(place, "a text", &shown())),
            _ => Err(wrong(place, COMPARISONS, name)),
        }
    })
}

fn range(
    field: &str,
    object: &Map<String, Json>,
    place: &mut Place,
) -> Result<Filter, FilterError> {
    let mut bound = |names: [&str; 2]| {
        let given = |name: &str| object.get(name);
        match (given(names[0]), given(names[1])) {
            (Some(_), Some(_)) => Err(wrong(place, "one bound on each side", &names.join(", "))),
            (None, None) => Ok(None),
            (open, closed) => {
                let name = names[usize::from(closed.is_some())];
                let Some(given) = open.or(closed) else { return Ok(None) };
                let value = within(place, name, |place| value(given, place))?;
                Ok(Some((value, closed.is_some())))
            }
        }
    };
    let (lower, upper) = (bound(["gt", "gte"])?, bound(["lt", "lte"])?);
    Ok(Filter::Range { field: field.to_owned(), lower, upper })
}

fn value(json: &Json, place: &mut Place) -> Result<Value, FilterError> {
    let mut expected = "a text, a number, true, false, null or {\"$timestamp\": ...}";
    let found = match json {
        Json::Null => Some(Value::Null),
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Some(Value::Int(integer)),
            None => number.as_f64().map(Value::Float),
        },
        Json::Object(object) if object.len() == 1 => match object.get("$timestamp") {
            Some(Json::String(text)) => {
                if time::lacks_zone(text) {
                    expected = "a time with its zone, Z or as +01:00, at its end";
                }
                time::parse(text).map(Value::Timestamp)
            }
            Some(micros) => micros.as_i64().map(Value::Timestamp),
            None => None,
        },
        _ => None,
    };
    found.ok_or_else(|| wrong(place, expected, &json.to_string()))
}

/// A value as it is read; floats that no JSON number is are refused in any filter.
fn written(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Timestamp(micros) => json!({ "$timestamp": micros }),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(written).collect(),
    }
}

/// Reads what stands under a name.
fn within<T>(
    place: &mut Place,
    name: &str,
    read: impl FnOnce(&mut Place) -> Result<T, FilterError>,
) -> Result<T, FilterError> {
    place.push(name.replace('~', "~0").replace('/', "~1"));
    let found = read(place);
    place.pop();
    found
}

/// The JSON pointer to a place.
fn pointer(place: &Place) -> String {
    place.iter().flat_map(|name| ["/", name.as_str()]).collect()
}

fn refused(place: &Place, error: FilterError) -> FilterError {
    FilterError::JsonRefused { at: pointer(place), error: Box::new(error) }
}

fn wrong(place: &Place, expected: &'static str, found: &str) -> FilterError {
    let at = pointer(place);
    let found = match found.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", found.get(..cut).unwrap_or_default()),
        None if found.is_empty() => "nothing".to_owned(),
        None => found.to_owned(),
    };
    FilterError::Json { at, expected, found }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Self::from_json(&json).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
