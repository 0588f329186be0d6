//! Text files of evaluation sets, line by line, and what all their forms of JSON share. Eval layer.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{EvalError, LineProblem};

/// The longest line a reader accepts, in bytes.
pub const MAX_LINE_BYTES: u64 = 64 << 20;

/// A line as a JSON object.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, LineProblem> {
    match serde_json::from_str(line).map_err(LineProblem::Json)? {
        Value::Object(object) => Ok(object),
        _ => Err(LineProblem::NotAnObject),
    }
}

/// The id that a field holds: a filled string, or an integer in its decimal form.
pub(super) fn identifier(field: &'static str, value: Value) -> Result<String, LineProblem> {
    match value {
        Value::String(id) if !id.is_empty() => Ok(id),
        Value::Number(id) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        _ => Err(LineProblem::WrongType { field, expected: "a filled string or an integer" }),
    }
}

/// The text that a field holds.
pub(super) fn text(field: &'static str, value: Option<Value>) -> Result<String, LineProblem> {
    match value {
        None => Err(LineProblem::MissingField { field }),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(LineProblem::WrongType { field, expected: "a string" }),
    }
}

/// Non-blank lines of a file with their numbers, without line end and byte order mark.
pub(super) struct Lines<R> {
    reader: R,
    path: PathBuf,
    /// The line that was read last, from 1.
    pub(super) number: u64,
    pub(super) buffer: Vec<u8>,
    ended: bool,
}

impl Lines<BufReader<File>> {
    pub(super) fn open(path: &Path) -> Result<Self, EvalError> {
        let file = File::open(path).map_err(|source| EvalError::io(path, source))?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.to_path_buf(), number: 0, buffer: Vec::new(), ended: false }
    }

    pub(super) fn error(&self, problem: LineProblem) -> EvalError {
        EvalError::line(&self.path, self.number, problem)
    }

    /// Parses the next non-blank line; `None` at the end of the file.
    pub(super) fn next_parsed<T>(
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

    proptest! {
        #[test]
        fn random_bytes_end_every_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut lines = Lines::new(bytes.as_slice(), Path::new("random"));
            let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            let mut items = 0;
            while lines.next_parsed(object).is_some() {
                items += 1;
            }
            prop_assert!(items <= newlines + 1);
        }
    }
}
