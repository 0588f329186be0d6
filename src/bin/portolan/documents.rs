//! Lines of a JSON lines file as records: typed metadata, nested objects flattened with dots.

use std::path::Path;

use portolan::eval::beir::{self, Document};
use portolan::{Metadata, Record, Value};
use serde_json::Map;

use crate::failure::{Failure, Result};

/// What a first reading of the whole file has shown.
pub struct Survey {
    /// Documents in the file.
    pub documents: usize,
    /// The first passage that a model could embed.
    pub first_passage: Option<String>,
}

/// Reads the file once, so that a mistake in any line is found before anything is written. Unless
/// it is strict, records that break a limit pass: the ingest sets them aside.
pub fn survey(path: &Path, strict: bool) -> Result<Survey> {
    let mut survey = Survey { documents: 0, first_passage: None };
    for record in records(path)? {
        let record = record?;
        if let Err(error) = record.check()
            && strict
        {
            return Err(located(path, &record.id.to_string(), &error.to_string()));
        }
        survey.documents += 1;
        let passage = record.passage();
        if survey.first_passage.is_none() && !passage.trim().is_empty() {
            survey.first_passage = Some(passage);
        }
    }
    Ok(survey)
}

/// The records of the file, in its order, without vectors.
pub fn records(path: &Path) -> Result<impl Iterator<Item = Result<Record>> + '_> {
    let documents = beir::documents(path)?;
    Ok(documents.map(move |document| record(path, document?)))
}

fn record(path: &Path, document: Document) -> Result<Record> {
    let mut metadata = Metadata::new();
    flatten(&mut metadata, "", document.metadata)
        .map_err(|problem| located(path, &document.id, &problem))?;
    let mut record = Record::new(document.id).text(document.text);
    if !document.title.is_empty() {
        record = record.title(document.title);
    }
    record.metadata = metadata;
    Ok(record)
}

fn located(path: &Path, id: &str, problem: &str) -> Failure {
    Failure::new(format!("{}: document {id:?}: {problem}", path.display()))
}

/// Adds the fields of `object`, those of nested objects as `outer.inner`. Recursion is bounded by
/// the nesting that the JSON parser allows.
fn flatten(
    metadata: &mut Metadata,
    prefix: &str,
    object: Map<String, serde_json::Value>,
) -> std::result::Result<(), String> {
    for (name, value) in object {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            serde_json::Value::Object(inner) if timestamp(&inner).is_none() => {
                if inner.contains_key("$timestamp") {
                    let wanted = "must be the only entry, an integer of microseconds";
                    return Err(format!("field {name:?}: $timestamp {wanted}"));
                }
                flatten(metadata, &name, inner)?;
            }
            value => {
                let value = typed(&name, value)?;
                if metadata.insert(name.clone(), value).is_some() {
                    return Err(format!("field {name:?} is there twice"));
                }
            }
        }
    }
    Ok(())
}

fn typed(name: &str, value: serde_json::Value) -> std::result::Result<Value, String> {
    Ok(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Int(integer),
            (None, Some(float)) if !number.is_u64() => Value::Float(float),
            _ => return Err(format!("field {name:?}: {number} is beyond 64-bit integers")),
        },
        serde_json::Value::Array(items) => {
            let items = items.into_iter().map(|item| match item {
                serde_json::Value::Array(_) => Err(format!("field {name:?} is a list in a list")),
                item => typed(name, item),
            });
            Value::List(items.collect::<std::result::Result<_, _>>()?)
        }
        serde_json::Value::Object(object) => match timestamp(&object) {
            Some(micros) => Value::Timestamp(micros),
            None => return Err(format!("field {name:?} is a list with an object in it")),
        },
    })
}

/// `{"$timestamp": micros}`.
fn timestamp(object: &Map<String, serde_json::Value>) -> Option<i64> {
    match object.len() {
        1 => object.get("$timestamp")?.as_i64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(object: serde_json::Value) -> std::result::Result<Metadata, String> {
        let serde_json::Value::Object(object) = object else { panic!("no object") };
        let mut metadata = Metadata::new();
        flatten(&mut metadata, "", object).map(|()| metadata)
    }

    #[test]
    fn every_json_type_becomes_its_value() {
        let found = fields(json!({
            "b": true, "i": -7, "f": 0.5, "n": null, "s": "x", "l": ["a", 1, null],
            "t": { "$timestamp": 12 }, "o": { "p": { "q": 1 }, "r": "y" }, "e": {},
        }));
        let list = Value::List(vec!["a".into(), 1.into(), Value::Null]);
        let expected = [
            ("b", true.into()),
            ("f", 0.5.into()),
            ("i", (-7).into()),
            ("l", list),
            ("n", Value::Null),
            ("o.p.q", 1.into()),
            ("o.r", "y".into()),
            ("s", "x".into()),
            ("t", Value::Timestamp(12)),
        ];
        let expected: Metadata = expected.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn what_cannot_be_stored_as_it_is_is_refused_by_name() {
        let problem = |object| fields(object).unwrap_err();
        assert!(problem(json!({ "x": [[1]] })).contains("a list in a list"));
        assert!(problem(json!({ "x": [{ "y": 1 }] })).contains("an object in it"));
        assert!(problem(json!({ "x": u64::MAX })).contains("beyond 64-bit"));
        assert!(problem(json!({ "x": { "$timestamp": "noon" } })).contains("$timestamp"));
        assert!(problem(json!({ "a.b": 1, "a": { "b": 2 } })).contains("there twice"));
    }
}
