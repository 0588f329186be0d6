//! Queries and judgments in the form of ViDoRe, one JSON object a line: `query_id`, `query` and
//! `language`; `query_id`, `corpus_id` and `score`. Eval layer; reads no images and no corpus.
//!
//! Version 2 of the benchmark writes `query-id` and `corpus-id`; both are read. Grades are
//! integers, and any above 0 is relevant. Other fields (types, boxes, answers) are left alone.

use serde_json::{Map, Value};

use super::beir::Query;
use super::error::LineProblem;
use super::lines::{identifier, object, text};

/// A query, and its language if it tells one.
pub(super) fn query(line: &str) -> Result<(Query, Option<String>), LineProblem> {
    let mut object = object(line)?;
    let id = id(&mut object, "query_id", "query-id")?;
    let text = text("query", object.remove("query"))?;
    let language = match object.remove("language") {
        None | Some(Value::Null) => None,
        Some(Value::String(language)) => Some(language),
        Some(_) => {
            return Err(LineProblem::WrongType { field: "language", expected: "a string" });
        }
    };
    Ok((Query { id, text }, language))
}

/// A judgment: query, document, grade.
pub(super) fn judgment(line: &str) -> Result<(String, String, i32), LineProblem> {
    let mut object = object(line)?;
    let query = id(&mut object, "query_id", "query-id")?;
    let document = id(&mut object, "corpus_id", "corpus-id")?;
    let score = object.remove("score").ok_or(LineProblem::MissingField { field: "score" })?;
    match score.as_i64().and_then(|grade| i32::try_from(grade).ok()) {
        Some(grade) => Ok((query, document, grade)),
        None => Err(LineProblem::BadScore { found: score.to_string() }),
    }
}

/// Whether a line of queries looks like this form.
pub(super) fn is_query(object: &Map<String, Value>) -> bool {
    object.contains_key("query_id") || object.contains_key("query-id")
}

fn id(
    object: &mut Map<String, Value>,
    field: &'static str,
    older: &'static str,
) -> Result<String, LineProblem> {
    let value = object.remove(field).or_else(|| object.remove(older));
    identifier(field, value.ok_or(LineProblem::MissingField { field })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_versions_of_the_names_are_read() {
        let line = r#"{"query_id":3,"query":"how?","language":"english","answer":["x"]}"#;
        let (read, language) = query(line).unwrap();
        assert_eq!((read.id.as_str(), read.text.as_str()), ("3", "how?"));
        assert_eq!(language.as_deref(), Some("english"));
        let (read, language) = query(r#"{"query-id":"3","query":"how?"}"#).unwrap();
        assert_eq!((read.id.as_str(), language), ("3", None));
        let of = |line: &str| judgment(line).unwrap();
        let expected = ("3".to_owned(), "11".to_owned(), 2);
        assert_eq!(of(r#"{"query_id":3,"corpus_id":11,"score":2,"bounding_boxes":[]}"#), expected);
        assert_eq!(of(r#"{"query-id":"3","corpus-id":"11","score":2}"#), expected);
    }

    #[test]
    fn a_grade_must_be_a_small_integer() {
        for score in ["1.5", "\"1\"", "null", "4294967296", "true"] {
            let line = format!(r#"{{"query_id":1,"corpus_id":2,"score":{score}}}"#);
            assert!(matches!(judgment(&line), Err(LineProblem::BadScore { .. })), "{line}");
        }
        let line = r#"{"query_id":1,"score":1}"#;
        let missing = judgment(line).unwrap_err();
        assert!(matches!(missing, LineProblem::MissingField { field: "corpus_id" }));
        let wrong = query(r#"{"query_id":1,"query":"q","language":1}"#).unwrap_err();
        assert!(matches!(wrong, LineProblem::WrongType { field: "language", .. }));
    }

    proptest! {
        #[test]
        fn no_line_makes_a_reader_panic(line in ".*") {
            let _ = query(&line);
            let _ = judgment(&line);
        }
    }
}
