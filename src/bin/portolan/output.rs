//! Standard output: one JSON document (or JSON lines) for scripts, text for people.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use portolan::{Metadata, Value};
use serde::Serialize;
use serde_json::{Map, Number, json};

use crate::failure::{Failure, Result};

/// Where results go.
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON or text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Writes a result: `value` as one line of JSON, or else the text that `text` makes of it.
    pub fn result<T: Serialize, D: Display>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> D,
    ) -> Result<()> {
        if self.json { write(&serde_json::to_string(value)?) } else { write(&text(value)) }
    }

    /// Writes a line for people only.
    pub fn note(&self, text: &dyn Display) -> Result<()> {
        if self.json { Ok(()) } else { write(text) }
    }

    /// Writes a part of a line for people only, at once.
    pub fn piece(&self, text: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        let written = out.write_all(printable(text).as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Failure::of_output(&error))
    }

    /// Whether scripts read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells people, on standard error, what scripts read in the result.
    pub fn warning(&self, text: &str) {
        if !self.json {
            // That it may be closed is no reason to fail.
            let _ = writeln!(std::io::stderr(), "warning: {}", printable(text));
        }
    }
}

fn write(text: &dyn Display) -> Result<()> {
    let text = text.to_string();
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    written.map_err(|error| Failure::of_output(&error))
}

/// Makes a file that is written at the end, or opens it, and its folder: that it cannot be written
/// is found out before there is work to lose.
pub fn writable(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Failure::of_file(path, &error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    OpenOptions::new().append(true).create(true).open(path).map(drop).map_err(failed)
}

/// Writes a file under another name beside it, then puts it in its place: who reads it meanwhile,
/// or after the process was killed, finds the old one or the new one, whole. What is no regular
/// file, such as a pipe, is written itself.
pub fn replaced(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.metadata().is_ok_and(|about| !about.is_file()) {
        return write(path);
    }
    // Of a link the file that it leads to.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = target.with_file_name(name);
    let done = write(&part).and_then(|()| {
        std::fs::rename(&part, &target).map_err(|error| Failure::of_file(path, &error))
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// `text` without characters that steer a terminal: stored text is not trusted to do so.
pub fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars().map(safe).collect()
}

/// `text` on one line, cut at `limit` characters.
pub fn snippet(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cut: String = printable(&line).chars().take(limit).collect();
    if line.chars().nth(limit).is_some() {
        cut.push_str("...");
    }
    cut
}

/// Bytes with a unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut name = "bytes";
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = unit;
    }
    if name == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {name}") }
}

/// The dimensions of vectors, and of their codes where those have fewer.
pub fn dimensions_text(dimensions: usize, leading: usize) -> String {
    match leading < dimensions {
        true => format!("{dimensions} dimensions (codes of the leading {leading})"),
        false => format!("{dimensions} dimensions"),
    }
}

/// Metadata as the JSON it can be ingested from; a timestamp is `{"$timestamp": micros}`.
pub fn metadata_json(metadata: &Metadata) -> Map<String, serde_json::Value> {
    metadata.iter().map(|(name, value)| (name.clone(), value_json(value))).collect()
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(number) => json!(number),
        Value::Float(number) => Number::from_f64(*number).into(),
        Value::Text(text) => json!(text),
        Value::Timestamp(micros) => json!({ "$timestamp": micros }),
        Value::List(items) => items.iter().map(value_json).collect(),
        // null, and kinds of a later version
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn stored_text_cannot_steer_the_terminal() {
        assert_eq!(snippet("a\u{1b}[31m\n  b\tc", 80), "a [31m b c");
        assert_eq!(snippet("abcdef", 3), "abc...");
        assert_eq!(snippet("abc", 3), "abc");
    }
}
