//! The shared vocabulary: what the user stores (ids, values, records) and how we number it
//! (slots). Bottom layer: no I/O.

mod chunk;
#[cfg(any(feature = "chunk", feature = "nim"))]
mod estimate;
mod template;
pub(crate) mod time;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

mod field_vector;

pub use field_vector::{FieldVector, Matrix, MatrixError};

use crate::format::{
    FIELD_NAME_BYTES_MAX, FIELDS_MAX, ID_BYTES_MAX, LIST_ITEMS_MAX, RECORD_BYTES_MAX,
};

pub use chunk::chunk_position;
#[cfg(any(feature = "chunk", feature = "nim"))]
pub(crate) use estimate::estimated_tokens;
#[cfg(feature = "nim")]
pub(crate) use estimate::{QUARTERS, estimated_quarters};
pub use template::{Template, TemplateError};

/// Our own number of a record in its collection. Never reused, never shown to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The user's name of a record: a string or an integer. `7` and `"7"` are two ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordId {
    /// An integer id.
    Int(i64),
    /// A string id, 1 to 480 bytes of UTF-8.
    Text(String),
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&str> for RecordId {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for RecordId {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<&String> for RecordId {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}
impl From<i64> for RecordId {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<i32> for RecordId {
    fn from(number: i32) -> Self {
        Self::Int(i64::from(number))
    }
}
impl From<u32> for RecordId {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}
impl From<&RecordId> for RecordId {
    fn from(id: &RecordId) -> Self {
        id.clone()
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Present, but without a value.
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A finite 64-bit float.
    Float(f64),
    /// A string.
    Text(String),
    /// Microseconds since 1970-01-01T00:00:00 UTC.
    Timestamp(i64),
    /// Up to 4096 values that are not lists themselves. A filter matches a list when it
    /// matches one of its items.
    List(Vec<Value>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<std::time::SystemTime> for Value {
    fn from(time: std::time::SystemTime) -> Self {
        let micros = match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        };
        Self::Timestamp(micros)
    }
}
impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}
impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Field name to value, ordered by name.
pub type Metadata = BTreeMap<String, Value>;

/// How a model tells a query from a passage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Roles {
    /// It does not: both are encoded alike.
    #[default]
    Same,
    /// By a field of the request (`input_type` of the embedding NIM).
    InputType,
    /// By text in front of the input.
    Prefix {
        /// In front of a query.
        query: String,
        /// In front of a passage.
        passage: String,
    },
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("no roles"),
            Self::InputType => f.write_str("roles by input type"),
            Self::Prefix { query, passage } => write!(f, "prefixes {query:?} and {passage:?}"),
        }
    }
}

/// Which model encoded the vectors of a collection, and how. Queries must be encoded alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelContract {
    /// The model's id, as its service knows it.
    pub model: String,
    /// How it tells a query from a passage.
    pub roles: Roles,
}

impl ModelContract {
    /// The contract of a model that encodes queries and passages alike.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), roles: Roles::Same }
    }

    /// Sets how the model tells a query from a passage.
    #[must_use]
    pub fn roles(mut self, roles: Roles) -> Self {
        self.roles = roles;
        self
    }
}

/// What a collection stores under an id.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The user's id.
    pub id: RecordId,
    /// A title, if the text has one: embedded and reranked in front of the text.
    pub title: Option<String>,
    /// The text.
    pub text: String,
    /// Typed fields to filter by and to return.
    pub metadata: Metadata,
    /// The vector; a record without one is stored, but no vector search finds it.
    pub vector: Option<Vec<f32>>,
    /// What it has in the named vector fields of the collection, by field.
    pub named_vectors: BTreeMap<String, FieldVector>,
}

impl Record {
    /// An empty record of that id.
    #[must_use]
    pub fn new(id: impl Into<RecordId>) -> Self {
        Self {
            id: id.into(),
            title: None,
            text: String::new(),
            metadata: Metadata::new(),
            vector: None,
            named_vectors: BTreeMap::new(),
        }
    }

    /// Sets the title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets the text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Sets one metadata field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Sets the vector.
    #[must_use]
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// Sets what it has in a named vector field: a vector, or a [`Matrix`].
    #[must_use]
    pub fn named_vector(
        mut self,
        field: impl Into<String>,
        vector: impl Into<FieldVector>,
    ) -> Self {
        self.named_vectors.insert(field.into(), vector.into());
        self
    }

    /// What a model gets to read: title, a space, text; or the text alone.
    #[must_use]
    pub fn passage(&self) -> String {
        passage(self.title.as_deref(), &self.text)
    }

    /// Checks everything but the vectors against the limits of the format.
    ///
    /// # Errors
    /// A [`RecordError`] that names the field and the limit.
    pub fn check(&self) -> Result<(), RecordError> {
        check_id(&self.id)?;
        if self.metadata.len() > FIELDS_MAX {
            return Err(RecordError::TooManyFields { found: self.metadata.len() });
        }
        let mut bytes = self.text.len() + self.title.as_ref().map_or(0, String::len);
        for (name, value) in &self.metadata {
            check_field_name(name)?;
            bytes += name.len() + check_value(name, value)?;
        }
        if bytes > RECORD_BYTES_MAX - 4096 {
            return Err(RecordError::TooLarge { found: bytes });
        }
        Ok(())
    }
}

/// Title, a space, text; or the text alone.
pub fn passage(title: Option<&str>, text: &str) -> String {
    match title {
        Some(title) if !title.is_empty() => format!("{title} {text}"),
        _ => text.to_owned(),
    }
}

/// Why a record cannot be stored. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Ids are 1 to 480 bytes.
    #[error("record id has {found} bytes, but ids are 1 to {ID_BYTES_MAX} bytes: use a shorter id")]
    IdLength {
        /// Bytes of the id.
        found: usize,
    },
    /// Field names are 1 to 128 bytes without NUL.
    #[error(
        "metadata field name {name:?} is not allowed: \
         use 1 to {FIELD_NAME_BYTES_MAX} bytes without NUL"
    )]
    FieldName {
        /// The name, shortened.
        name: String,
    },
    /// Too many fields.
    #[error("record has {found} metadata fields, at most {FIELDS_MAX} are allowed")]
    TooManyFields {
        /// Number of fields.
        found: usize,
    },
    /// Too many items in a list.
    #[error(
        "metadata field {field:?} is a list of {found} items, at most {LIST_ITEMS_MAX} are allowed"
    )]
    TooManyItems {
        /// Field name.
        field: String,
        /// Number of items.
        found: usize,
    },
    /// Lists hold plain values only.
    #[error("metadata field {field:?} is a list in a list: flatten it")]
    NestedList {
        /// Field name.
        field: String,
    },
    /// Floats must be finite.
    #[error("metadata field {field:?} is NaN or infinite: use null instead")]
    NotFinite {
        /// Field name.
        field: String,
    },
    /// The record is larger than 8 MiB.
    #[error(
        "record has {found} bytes of text and metadata, the limit is 8 MiB: \
         split the text into chunks"
    )]
    TooLarge {
        /// Bytes of text and metadata.
        found: usize,
    },
}

/// Checks an id against the limits of the format.
pub fn check_id(id: &RecordId) -> Result<(), RecordError> {
    match id {
        RecordId::Text(text) if text.is_empty() || text.len() > ID_BYTES_MAX => {
            Err(RecordError::IdLength { found: text.len() })
        }
        _ => Ok(()),
    }
}

/// Checks a metadata field name against the limits of the format.
pub fn check_field_name(name: &str) -> Result<(), RecordError> {
    if name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX || name.contains('\0') {
        return Err(RecordError::FieldName { name: name.chars().take(40).collect() });
    }
    Ok(())
}

/// Checks a value and returns about how many bytes it takes.
fn check_value(field: &str, value: &Value) -> Result<usize, RecordError> {
    let field = || field.to_owned();
    match value {
        Value::Float(number) if !number.is_finite() => {
            Err(RecordError::NotFinite { field: field() })
        }
        Value::Text(text) => Ok(text.len() + 8),
        Value::List(items) => {
            if items.len() > LIST_ITEMS_MAX {
                return Err(RecordError::TooManyItems { field: field(), found: items.len() });
            }
            let mut bytes = 8;
            for item in items {
                if matches!(item, Value::List(_)) {
                    return Err(RecordError::NestedList { field: field() });
                }
                bytes += check_value(&field(), item)?;
            }
            Ok(bytes)
        }
        _ => Ok(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_refused_by_name() {
        let long = "x".repeat(481);
        assert_eq!(Record::new(long.as_str()).check(), Err(RecordError::IdLength { found: 481 }));
        assert_eq!(Record::new("").check(), Err(RecordError::IdLength { found: 0 }));
        let nested = Value::List(vec![Value::List(vec![])]);
        assert_eq!(
            Record::new(1).field("f", nested).check(),
            Err(RecordError::NestedList { field: "f".into() })
        );
        assert_eq!(
            Record::new(1).field("f", f64::NAN).check(),
            Err(RecordError::NotFinite { field: "f".into() })
        );
        assert!(matches!(
            Record::new(1).field("a\0b", 1).check(),
            Err(RecordError::FieldName { .. })
        ));
        assert!(matches!(
            Record::new(1).text("x".repeat(RECORD_BYTES_MAX)).check(),
            Err(RecordError::TooLarge { .. })
        ));
        assert_eq!(Record::new("a").text("t").field("n", 1).check(), Ok(()));
    }

    #[test]
    fn a_passage_puts_the_title_first() {
        assert_eq!(Record::new(1).title("T").text("x").passage(), "T x");
        assert_eq!(Record::new(1).text("x").passage(), "x");
        assert_eq!(Record::new(1).title("").text("x").passage(), "x");
    }
}
