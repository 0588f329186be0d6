//! Readers for retrieval sets in BEIR form: `docs.jsonl` (or `corpus.jsonl`), `queries.jsonl`,
//! `qrels.tsv`, and TREC four-column qrels. Eval layer; reads files, keeps no index.
//!
//! Tolerated everywhere: a UTF-8 byte order mark, CRLF line ends, blank lines. Everything else that
//! is not in form is an error naming file and line. One line is held in memory at a time, at most
//! [`MAX_LINE_BYTES`] of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::{EvalError, LineProblem};
pub use super::lines::MAX_LINE_BYTES;
use super::lines::{Lines, identifier, object, text};
use super::metrics::Qrels;

/// One document of a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// `_id`; an integer id in its decimal form.
    pub id: String,
    /// `title`, empty when absent.
    pub title: String,
    /// `text`.
    pub text: String,
    /// The entries of `metadata` and all other top-level fields. Where both have a name, `metadata`
    /// wins.
    pub metadata: Map<String, Value>,
}

/// One query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// `_id`; an integer id in its decimal form.
    pub id: String,
    /// `text`.
    pub text: String,
}

/// Opens a corpus for reading one document at a time, in file order.
///
/// Ids are not checked for repetition: that would take memory in proportion to the corpus. After a
/// line that is wrong the iterator goes on with the next one; after an I/O error it ends.
///
/// # Errors
/// When the file cannot be opened.
pub fn documents(path: impl AsRef<Path>) -> Result<Documents, EvalError> {
    Ok(Documents { lines: Lines::open(path.as_ref())? })
}

/// Iterator over the documents of a corpus; see [`documents`].
pub struct Documents {
    lines: Lines<BufReader<File>>,
}

impl Documents {
    /// The line that was read last, counted from 1, and its bytes: what to keep of one that is
    /// wrong.
    #[must_use]
    pub fn line(&self) -> (u64, &[u8]) {
        (self.lines.number, self.lines.buffer.trim_ascii_end())
    }
}

impl Iterator for Documents {
    type Item = Result<Document, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.next_parsed(parse_document)
    }
}

/// Reads all queries, in file order (the row order of a query vector file).
///
/// # Errors
/// When the file cannot be read, a line is not in form, or an id occurs twice.
pub fn queries(path: impl AsRef<Path>) -> Result<Vec<Query>, EvalError> {
    let mut lines = Lines::open(path.as_ref())?;
    let mut seen = HashSet::new();
    let mut queries = Vec::new();
    while let Some(query) = lines.next_parsed(parse_query) {
        let query = query?;
        if !seen.insert(query.id.clone()) {
            return Err(lines.error(LineProblem::DuplicateId { id: query.id }));
        }
        queries.push(query);
    }
    Ok(queries)
}

/// Reads judgments: `query-id TAB corpus-id TAB score`, with or without a header line, or TREC's
/// `query 0 document grade` separated by tabs or spaces.
///
/// # Errors
/// When the file cannot be read, a line has another number of columns, a score is not an integer,
/// or a document is judged twice for a query with different grades.
pub fn qrels(path: impl AsRef<Path>) -> Result<Qrels, EvalError> {
    let mut lines = Lines::open(path.as_ref())?;
    let mut qrels = Qrels::new();
    let mut first = true;
    while let Some(judgment) = lines.next_parsed(|line| parse_judgment(line, first)) {
        let judgment = judgment?;
        first = false;
        let Some(Judgment { query, document, grade }) = judgment else {
            continue;
        };
        judge(&mut qrels, query, document, grade).map_err(|problem| lines.error(problem))?;
    }
    Ok(qrels)
}

/// Adds a judgment, unless it contradicts an earlier one.
pub(super) fn judge(
    qrels: &mut Qrels,
    query: String,
    document: String,
    grade: i32,
) -> Result<(), LineProblem> {
    let previous = qrels.entry(query.clone()).or_default().insert(document.clone(), grade);
    match previous.is_some_and(|previous| previous != grade) {
        true => Err(LineProblem::ConflictingJudgment { query, document }),
        false => Ok(()),
    }
}

struct Judgment {
    query: String,
    document: String,
    grade: i32,
}

/// Parses one judgment line; `None` is a header, which only the first line may be.
fn parse_judgment(line: &str, first: bool) -> Result<Option<Judgment>, LineProblem> {
    let columns: Vec<&str> = if line.contains('\t') {
        line.split('\t').map(str::trim).collect()
    } else {
        line.split_whitespace().collect()
    };
    let (query, document, score) = match columns.as_slice() {
        [query, document, score] => (*query, *document, *score),
        [query, _iteration, document, score] => (*query, *document, *score),
        other => return Err(LineProblem::Columns { found: other.len() }),
    };
    if query.is_empty() || document.is_empty() {
        return Err(LineProblem::EmptyId);
    }
    match score.parse() {
        Ok(grade) => {
            let (query, document) = (query.to_string(), document.to_string());
            Ok(Some(Judgment { query, document, grade }))
        }
        Err(_) if first && is_header(query) => Ok(None),
        Err(_) => Err(LineProblem::BadScore { found: score.to_string() }),
    }
}

/// Whether the first column of a line names the query column rather than a query.
fn is_header(query: &str) -> bool {
    let name = query.to_ascii_lowercase();
    matches!(name.as_str(), "query-id" | "query_id" | "query" | "qid")
}

fn parse_document(line: &str) -> Result<Document, LineProblem> {
    let mut object = object(line)?;
    let id = take_id(&mut object)?;
    let title = match object.remove("title") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(title)) => title,
        Some(_) => {
            return Err(LineProblem::WrongType { field: "title", expected: "a string" });
        }
    };
    let text = text("text", object.remove("text"))?;
    let mut metadata = object;
    match metadata.remove("metadata") {
        None | Some(Value::Null) => {}
        Some(Value::Object(entries)) => metadata.extend(entries),
        Some(_) => {
            return Err(LineProblem::WrongType { field: "metadata", expected: "an object" });
        }
    }
    Ok(Document { id, title, text, metadata })
}

fn parse_query(line: &str) -> Result<Query, LineProblem> {
    let mut object = object(line)?;
    Ok(Query { id: take_id(&mut object)?, text: text("text", object.remove("text"))? })
}

fn take_id(object: &mut Map<String, Value>) -> Result<String, LineProblem> {
    let id = object.remove("_id").ok_or(LineProblem::MissingField { field: "_id" })?;
    identifier("_id", id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_fields_become_metadata_and_the_metadata_object_wins() {
        let line = r#"{"_id":7,"text":"t","lang":"en","metadata":{"lang":"de","year":2020}}"#;
        let document = parse_document(line).unwrap();
        let expected = serde_json::json!({"lang": "de", "year": 2020});
        assert_eq!((document.id.as_str(), document.title.as_str()), ("7", ""));
        assert_eq!(Value::Object(document.metadata), expected);
    }

    #[test]
    fn a_header_is_skipped_on_the_first_line_only() {
        let header = "query-id\tcorpus-id\tscore";
        assert!(parse_judgment(header, true).unwrap().is_none());
        let later = parse_judgment(header, false);
        assert!(matches!(later, Err(LineProblem::BadScore { found }) if found == "score"));
        assert_eq!(parse_judgment("query1\td\t2", true).unwrap().unwrap().grade, 2);
    }

    proptest! {
        #[test]
        fn no_line_makes_a_parser_panic(line in ".*", first in any::<bool>()) {
            let _ = parse_document(&line);
            let _ = parse_query(&line);
            let _ = parse_judgment(&line, first);
        }
    }
}
