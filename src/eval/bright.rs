//! Queries in the form of BRIGHT: `id`, `query`, `gold_ids` and `excluded_ids`, one JSON object a
//! line. Eval layer; reads one line at a time, knows no index.
//!
//! Every gold document is relevant with grade 1. Excluded ones are taken out of the results before
//! these are cut (`get_scores` of the benchmark); `"N/A"` among them stands for none.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::beir::Query;
use super::error::LineProblem;
use super::lines::{identifier, object, text};

/// What the benchmark writes where a list of excluded documents is empty.
const NONE: &str = "N/A";

/// One line.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) query: Query,
    pub(super) gold: Vec<String>,
    pub(super) excluded: BTreeSet<String>,
}

/// Reads a line; all fields but the four are left alone.
pub(super) fn example(line: &str) -> Result<Example, LineProblem> {
    let mut object = object(line)?;
    let id = object.remove("id").ok_or(LineProblem::MissingField { field: "id" })?;
    let query = Query { id: identifier("id", id)?, text: text("query", object.remove("query"))? };
    if !object.contains_key("gold_ids") {
        return Err(LineProblem::MissingField { field: "gold_ids" });
    }
    let gold = ids(&mut object, "gold_ids")?;
    let excluded: BTreeSet<String> =
        ids(&mut object, "excluded_ids")?.into_iter().filter(|id| id != NONE).collect();
    if gold.is_empty() || gold.iter().any(|id| id == NONE) {
        return Err(LineProblem::NoGold);
    }
    match gold.iter().find(|id| excluded.contains(*id)) {
        Some(document) => Err(LineProblem::ExcludedGold { document: document.clone() }),
        None => Ok(Example { query, gold, excluded }),
    }
}

/// A list of ids; an absent one and null are empty.
fn ids(object: &mut Map<String, Value>, field: &'static str) -> Result<Vec<String>, LineProblem> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.into_iter().map(|id| identifier(field, id)).collect(),
        Some(_) => Err(LineProblem::WrongType { field, expected: "a list of ids" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gold_and_excluded_ids_are_read_and_not_available_is_none() {
        let line = r#"{"id":"7","query":"why?","gold_ids":["a","b"],"excluded_ids":["N/A"],"x":1}"#;
        let read = example(line).unwrap();
        assert_eq!((read.query.id.as_str(), read.query.text.as_str()), ("7", "why?"));
        assert_eq!(read.gold, ["a", "b"]);
        assert!(read.excluded.is_empty());
        let line = r#"{"id":7,"query":"why?","gold_ids":[1],"excluded_ids":["c",2]}"#;
        let read = example(line).unwrap();
        assert_eq!((read.query.id.as_str(), read.gold), ("7", vec!["1".to_owned()]));
        assert_eq!(read.excluded, BTreeSet::from(["2".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn each_fault_has_its_own_problem() {
        let problem = |line: &str| example(line).unwrap_err();
        let both = r#"{"id":"7","query":"q","gold_ids":["a","b"],"excluded_ids":["b"]}"#;
        assert!(matches!(problem(both), LineProblem::ExcludedGold { document } if document == "b"));
        for gold in ["[]", "null", r#"["N/A"]"#] {
            let line = format!(r#"{{"id":"7","query":"q","gold_ids":{gold}}}"#);
            assert!(matches!(problem(&line), LineProblem::NoGold), "{line}");
        }
        let missing = [
            (r#"{"query":"q","gold_ids":["a"]}"#, "id"),
            (r#"{"id":"7","gold_ids":["a"]}"#, "query"),
            (r#"{"id":"7","query":"q"}"#, "gold_ids"),
        ];
        for (line, name) in missing {
            assert!(
                matches!(problem(line), LineProblem::MissingField { field } if field == name),
                "{line}"
            );
        }
        let wrong = [
            (r#"{"id":"7","query":"q","gold_ids":"a"}"#, "gold_ids"),
            (r#"{"id":"7","query":"q","gold_ids":["a"],"excluded_ids":[[]]}"#, "excluded_ids"),
            (r#"{"id":"7","query":"q","gold_ids":["a",""]}"#, "gold_ids"),
            (r#"{"id":[],"query":"q","gold_ids":["a"]}"#, "id"),
            (r#"{"id":"7","query":null,"gold_ids":["a"]}"#, "query"),
        ];
        for (line, name) in wrong {
            assert!(
                matches!(problem(line), LineProblem::WrongType { field, .. } if field == name),
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in ".*") {
            let _ = example(&line);
        }

        #[test]
        fn gold_and_excluded_never_share_a_document(
            gold in proptest::collection::vec("[a-d]", 1..4),
            excluded in proptest::collection::vec("[a-h]", 0..4),
        ) {
            let line = serde_json::json!({
                "id": "q", "query": "q", "gold_ids": gold, "excluded_ids": excluded,
            });
            let shared = gold.iter().any(|id| excluded.contains(id));
            match example(&line.to_string()) {
                Ok(read) => {
                    prop_assert!(!shared);
                    prop_assert!(excluded.iter().all(|id| read.excluded.contains(id)));
                }
                Err(problem) => {
                    let is_shared = matches!(problem, LineProblem::ExcludedGold { .. });
                    prop_assert!(shared && is_shared);
                }
            }
        }
    }
}
