//! JSON of no fixed shape, bounded in memory: a value takes 32 bytes or more where its text took
//! two, so a limit of the text alone lets `[0,0,...` grow to sixteen times its size.
//! Layer: leaf of `nim`; pure.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most values of a document: 16 MiB in a list. The longest answers, with probabilities of twenty
/// words for each of 4,000, have about 400,000.
const VALUES_MAX: usize = 1 << 19;

/// A document of at most [`VALUES_MAX`] values.
#[derive(Debug)]
pub(super) struct Document(pub(super) Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut left = VALUES_MAX;
        Room(&mut left).deserialize(from).map(Self)
    }
}

/// How many values there may still be.
struct Room<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Room<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0.checked_sub(1) {
            Some(left) => *self.0 = left,
            None => return Err(D::Error::custom(format!("more than {VALUES_MAX} values"))),
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Room<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Room(&mut *self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            fields.insert(name, from.next_value_seed(Room(&mut *self.0))?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_any_value_is() {
        let text =
            r#"{"a":[null,true,-7,18446744073709551615,0.5,"x\n\u00e9",[],{}],"a":1,"b":{}}"#;
        let read: Document = serde_json::from_str(text).expect("a document");
        assert_eq!(read.0, serde_json::from_str::<Value>(text).expect("a value"));
        let deep = "[".repeat(10_000);
        for text in ["", "{", "nul", "1e999", deep.as_str()] {
            assert!(serde_json::from_str::<Document>(text).is_err(), "{text:.9}");
        }
    }

    #[test]
    fn one_value_too_many_is_refused_wherever_it_stands() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(serde_json::from_str::<Document>(&list(VALUES_MAX - 1)).is_ok());
        let error = serde_json::from_str::<Document>(&list(VALUES_MAX)).expect_err("too many");
        assert!(error.to_string().contains("more than 524288 values"), "{error}");
        let lists = format!("[{}[]]", "[],".repeat(VALUES_MAX));
        assert!(serde_json::from_str::<Document>(&lists).is_err());
        let fields: Vec<String> = (0..VALUES_MAX).map(|at| format!("\"{at}\":0")).collect();
        let object = format!("{{{}}}", fields.join(","));
        assert!(serde_json::from_str::<Document>(&object).is_err());
    }
}
