//! JSON of no fixed shape, bounded in memory: a value takes 32 bytes where its text took two, a
//! small object more than 600 where its text took nine, so a limit of the text alone lets an answer
//! grow to sixty times its size.
//! Layer: leaf of `nim`; pure.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most memory of a document beside its texts, in units of a value, which is 32 bytes: 32 MiB. An
/// answer with the probabilities of twenty words for each of 1,500 takes about that.
const ROOM: usize = 1 << 20;
/// Units of the first node of an object, which holds up to 11 fields, and of a field beyond them.
const NODE: usize = 20;
const NODE_FIELDS: usize = 11;
const FIELD: usize = 4;

/// A document of at most [`ROOM`] units.
#[derive(Debug)]
pub(super) struct Document(pub(super) Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut left = ROOM;
        Room(&mut left).deserialize(from).map(Self)
    }
}

/// How many units there may still be.
struct Room<'a>(&'a mut usize);

impl Room<'_> {
    fn take<E: Error>(&mut self, units: usize) -> Result<(), E> {
        let left = self.0.checked_sub(units);
        *self.0 = left.ok_or_else(|| E::custom("more values than an answer may have"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Room<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<Value, D::Error> {
        self.take(1)?;
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

    fn visit_map<A: MapAccess<'de>>(mut self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        self.take(NODE)?;
        while let Some(name) = from.next_key::<String>()? {
            if fields.len() >= NODE_FIELDS {
                self.take(FIELD)?;
            }
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
        let list = |item: &str, count: usize| {
            let items = format!("{item},").repeat(count - 1);
            serde_json::from_str::<Document>(&format!("[{items}{item}]"))
        };
        assert!(list("0", ROOM - 1).is_ok());
        let error = list("0", ROOM).expect_err("too many");
        assert!(error.to_string().contains("more values than"), "{error}");
        assert!(list("[]", ROOM - 1).is_ok() && list("[]", ROOM).is_err());
        let objects = (ROOM - 1) / (1 + NODE);
        assert!(list("{}", objects).is_ok() && list("{}", objects + 1).is_err());
        let object = |count: usize| {
            let fields: Vec<String> = (0..count).map(|at| format!("\"{at}\":0")).collect();
            serde_json::from_str::<Document>(&format!("{{{}}}", fields.join(",")))
        };
        let fields = (ROOM - 1 - NODE - NODE_FIELDS) / (1 + FIELD) + NODE_FIELDS;
        assert!(object(fields).is_ok() && object(fields + 1).is_err());
    }
}
