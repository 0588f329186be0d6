//! Lines of a JSON lines file as records: typed metadata, nested objects flattened with dots.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use portolan::eval::beir::{self, Document};
use portolan::eval::{EvalError, LineProblem};
use portolan::{Metadata, Record, Value};
use serde_json::Map;

use crate::failure::{Failure, Result};
use crate::output::snippet;

/// What a first reading of the whole file has shown.
#[derive(Default)]
pub struct Survey {
    /// Documents in the file.
    pub documents: usize,
    /// The first passage that a model could embed.
    pub first_passage: Option<String>,
    /// Documents with the id of one before them, and the first such id.
    pub repeated: usize,
    pub first_repeated: Option<String>,
    /// Fields of times that no document has.
    pub absent: Vec<String>,
    /// Metadata fields with a text in any document.
    pub texts: BTreeSet<String>,
}

/// A line that makes no record.
pub struct Bad {
    /// Counted from 1.
    pub line: u64,
    pub text: Vec<u8>,
    pub problem: String,
}

/// What a line of the file has come to.
pub enum Line {
    Record(Record),
    Bad(Bad),
}

/// A file of documents, and how it is read.
#[derive(Clone, Copy)]
pub struct Documents<'a> {
    pub path: &'a Path,
    /// Fields whose texts are times.
    pub timestamp_fields: &'a [String],
}

impl<'a> Documents<'a> {
    /// Reads the file once, so that a mistake in any line is found before anything is written: a
    /// failure that ends with the advice. Without advice, bad lines and records that break a limit
    /// pass: the ingest sets them aside.
    pub fn survey(self, advice: Option<&str>) -> Result<Survey> {
        let path = self.path;
        if path.metadata().is_ok_and(|about| !about.is_file()) {
            return Err(Failure::new(format!(
                "{} is no file: documents are read twice, so write them to a file first",
                path.display()
            )));
        }
        let mut survey = Survey { absent: self.timestamp_fields.to_vec(), ..Survey::default() };
        // Of each id 64 bits, by a key of this process: two of a billion ids are hardly ever equal.
        let (mut ids, keyed) = (HashSet::new(), RandomState::new());
        for line in self.lines()? {
            survey.documents += 1;
            let record = match line? {
                Line::Record(record) => record,
                Line::Bad(bad) => match advice {
                    Some(advice) => return Err(Failure::new(bad.problem).hint(advice)),
                    None => continue,
                },
            };
            if let Err(error) = record.check()
                && let Some(advice) = advice
            {
                let problem = located(path, &record.id.to_string(), &error.to_string());
                return Err(Failure::new(problem).hint(advice));
            }
            if !ids.insert(keyed.hash_one(&record.id)) {
                survey.repeated += 1;
                survey.first_repeated.get_or_insert_with(|| record.id.to_string());
            }
            survey.absent.retain(|name| !record.metadata.contains_key(name));
            for (name, _) in record.metadata.iter().filter(|(_, value)| is_text(value)) {
                if !survey.texts.contains(name) {
                    survey.texts.insert(name.clone());
                }
            }
            let passage = record.passage();
            if survey.first_passage.is_none() && !passage.trim().is_empty() {
                survey.first_passage = Some(passage);
            }
        }
        Ok(survey)
    }

    /// The records of the file, in its order, without vectors; a bad line is a failure.
    pub fn records(self) -> Result<impl Iterator<Item = Result<Record>> + 'a> {
        let strict = |line| match line {
            Line::Record(record) => Ok(record),
            Line::Bad(bad) => Err(Failure::new(bad.problem)),
        };
        Ok(self.lines()?.map(move |line| line.and_then(strict)))
    }

    /// The lines of the file, in its order. Only what ends the reading is a failure.
    pub fn lines(self) -> Result<impl Iterator<Item = Result<Line>> + 'a> {
        let mut documents = beir::documents(self.path)?;
        Ok(std::iter::from_fn(move || {
            let problem = match documents.next()? {
                Ok(document) => match self.record(document) {
                    Ok(record) => return Some(Ok(Line::Record(record))),
                    Err(problem) => problem,
                },
                Err(error @ EvalError::Line { source: LineProblem::TooLong { .. }, .. }) => {
                    return Some(Err(error.into()));
                }
                Err(error @ EvalError::Line { .. }) => error.to_string(),
                Err(error) => return Some(Err(error.into())),
            };
            let (line, text) = documents.line();
            Some(Ok(Line::Bad(Bad { line, text: text.to_vec(), problem })))
        }))
    }

    fn record(self, document: Document) -> std::result::Result<Record, String> {
        let mut metadata = Metadata::new();
        let id = document.id;
        let read = flatten(&mut metadata, "", document.metadata)
            .and_then(|()| self.read_times(&mut metadata));
        read.map_err(|problem| located(self.path, &id, &problem))?;
        let mut record = Record::new(id).text(document.text);
        if !document.title.is_empty() {
            record = record.title(document.title);
        }
        record.metadata = metadata;
        Ok(record)
    }

    fn read_times(self, metadata: &mut Metadata) -> std::result::Result<(), String> {
        for name in self.timestamp_fields {
            if let Some(value) = metadata.get_mut(name) {
                *value = time(name, std::mem::replace(value, Value::Null))?;
            }
        }
        Ok(())
    }
}

fn located(path: &Path, id: &str, problem: &str) -> String {
    format!("{}: document {id:?}: {problem}", path.display())
}

/// Whether it is a text, or a list with one.
pub fn is_text(value: &Value) -> bool {
    holds(value, |value| matches!(value, Value::Text(_)))
}

/// Whether a value is so, or an item of a list.
pub fn holds(value: &Value, is_so: impl Fn(&Value) -> bool) -> bool {
    match value {
        Value::List(items) => items.iter().any(is_so),
        value => is_so(value),
    }
}

/// A text as the time that it is; of a list each item.
fn time(name: &str, value: Value) -> std::result::Result<Value, String> {
    let wanted = "write it as 2024-01-31 or 2024-01-31T10:00:00Z";
    match value {
        Value::Text(text) => Value::timestamp(&text).ok_or_else(|| {
            format!("field {name:?} is {:?}, no time: {wanted}", snippet(&text, 40))
        }),
        Value::List(items) => {
            let items = items.into_iter().map(|item| time(name, item));
            Ok(Value::List(items.collect::<std::result::Result<_, _>>()?))
        }
        Value::Null | Value::Timestamp(_) => Ok(value),
        _ => Err(format!("field {name:?} is no time: {wanted}")),
    }
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
    fn texts_of_fields_of_times_become_timestamps_and_what_is_none_is_refused() {
        let second = Value::Timestamp(1_000_000);
        let read = |value: &str| time("added", value.into());
        assert_eq!(read("1970-01-01T00:00:01Z"), Ok(second.clone()));
        assert_eq!(read("1970-01-01T01:00:01+01:00"), Ok(second.clone()));
        assert_eq!(read("1970-01-02"), Ok(Value::Timestamp(86_400_000_000)));
        for value in [Value::Null, second.clone()] {
            assert_eq!(time("added", value.clone()), Ok(value));
        }
        let list = Value::List(vec!["1970-01-01T00:00:01Z".into(), Value::Null]);
        assert_eq!(time("added", list), Ok(Value::List(vec![second, Value::Null])));
        for (value, told) in [("noon".into(), "\"noon\""), (12.into(), "no time")] {
            let problem = time("added", value).unwrap_err();
            assert!(problem.contains("\"added\"") && problem.contains(told), "{problem}");
        }
        assert!(time("added", Value::List(vec!["noon".into()])).is_err());
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
