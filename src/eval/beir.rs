//! Readers for retrieval sets in BEIR form: `docs.jsonl` (or `corpus.jsonl`), `queries.jsonl`,
//! `qrels.tsv`, and TREC four-column qrels. Eval layer; reads files, keeps no index.
//!
//! Tolerated everywhere: a UTF-8 byte order mark, CRLF line ends, blank lines. Everything else that
//! is not in form is an error naming file and line. One line is held in memory at a time, at most
//! [`MAX_LINE_BYTES`] of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{EvalError, LineProblem};
use super::metrics::Qrels;

/// The longest line a reader accepts, in bytes.
pub const MAX_LINE_BYTES: u64 = 64 << 20;

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
        let previous = qrels.entry(query.clone()).or_default().insert(document.clone(), grade);
        if previous.is_some_and(|previous| previous != grade) {
            return Err(lines.error(LineProblem::ConflictingJudgment { query, document }));
        }
    }
    Ok(qrels)
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
    let mut object = parse_object(line)?;
    let id = take_id(&mut object)?;
    let title = match object.remove("title") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(title)) => title,
        Some(_) => {
            return Err(LineProblem::WrongType { field: "title", expected: "a string" });
        }
    };
    let text = take_text(&mut object)?;
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
    let mut object = parse_object(line)?;
    Ok(Query { id: take_id(&mut object)?, text: take_text(&mut object)? })
}

fn parse_object(line: &str) -> Result<Map<String, Value>, LineProblem> {
    match serde_json::from_str(line).map_err(LineProblem::Json)? {
        Value::Object(object) => Ok(object),
        _ => Err(LineProblem::NotAnObject),
    }
}

fn take_id(object: &mut Map<String, Value>) -> Result<String, LineProblem> {
    match object.remove("_id") {
        None => Err(LineProblem::MissingField { field: "_id" }),
        Some(Value::String(id)) if !id.is_empty() => Ok(id),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        Some(_) => {
            Err(LineProblem::WrongType { field: "_id", expected: "a filled string or an integer" })
        }
    }
}

fn take_text(object: &mut Map<String, Value>) -> Result<String, LineProblem> {
    match object.remove("text") {
        None => Err(LineProblem::MissingField { field: "text" }),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(LineProblem::WrongType { field: "text", expected: "a string" }),
    }
}

/// Non-blank lines of a file with their numbers, without line end and byte order mark.
struct Lines<R> {
    reader: R,
    path: PathBuf,
    number: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines<BufReader<File>> {
    fn open(path: &Path) -> Result<Self, EvalError> {
        let file = File::open(path).map_err(|source| EvalError::io(path, source))?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.to_path_buf(), number: 0, buffer: Vec::new(), ended: false }
    }

    fn error(&self, problem: LineProblem) -> EvalError {
        EvalError::line(&self.path, self.number, problem)
    }

    /// Parses the next non-blank line; `None` at the end of the file.
    fn next_parsed<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, LineProblem>,
    ) -> Option<Result<T, EvalError>> {
        loop {
            match self.advance() {
                Ok(false) => return None,
                Ok(true) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            let bytes = match self.number {
                1 => self.buffer.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.buffer),
                _ => &self.buffer,
            };
            let parsed = match std::str::from_utf8(bytes) {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => parse(line.trim_end_matches(['\r', '\n'])),
                Err(_) => Err(LineProblem::NotUtf8),
            };
            return Some(parsed.map_err(|problem| self.error(problem)));
        }
    }

    /// Reads one line into the buffer; false at the end of the file.
    fn advance(&mut self) -> Result<bool, EvalError> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.clear();
        let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| EvalError::io(&self.path, source))?;
        self.number += u64::from(read > 0);
        if read as u64 > MAX_LINE_BYTES {
            return Err(self.error(LineProblem::TooLong { limit: MAX_LINE_BYTES }));
        }
        Ok(read > 0)
    }
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

        #[test]
        fn random_bytes_end_every_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut lines = Lines::new(bytes.as_slice(), Path::new("random"));
            let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            let mut items = 0;
            while lines.next_parsed(parse_document).is_some() {
                items += 1;
            }
            prop_assert!(items <= newlines + 1);
        }
    }
}
