//! Documents that an ingest sets aside: to a file, one JSON object a line, or told of at the end.
//! Of a record that is its id, of a line that makes none the whole line: as the object that it is,
//! or else as a string.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use portolan::{IngestReport, RecordId, Rejected};
use serde_json::json;

use crate::documents::Bad;
use crate::failure::{Failure, Result, in_commands};
use crate::output::printable;

/// Rejected documents that a message names.
const NAMED: usize = 3;

/// The file of the rejected documents, if there is to be one.
pub struct Rejects {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    failed: Option<std::io::Error>,
    lines: usize,
}

impl Rejects {
    /// Refuses a path where something is already, or no folder for it. The file is made with the
    /// first document.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        let refused = |path: &Path, why: &str| {
            Err(Failure::Usage(format!("--rejects: {} {why}", path.display())))
        };
        let is_folder = |folder: &Path| folder.as_os_str().is_empty() || folder.is_dir();
        match path {
            Some(path) if path.exists() => refused(path, "exists already: name a file to be made"),
            Some(path) if !path.parent().is_some_and(is_folder) => {
                refused(path, "is in no folder that exists")
            }
            _ => Ok(Self { path: path.map(Path::to_owned), file: None, failed: None, lines: 0 }),
        }
    }

    /// Adds a document.
    pub fn add(&mut self, rejected: &Rejected) {
        self.add_document(&rejected.id, &rejected.reason);
    }

    /// As [`add`](Self::add), of a document that no [`Rejected`] tells of.
    pub fn add_document(&mut self, id: &RecordId, reason: &str) {
        let line = json!({ "_id": id.to_string(), "error": in_commands(reason) });
        self.write(&line.to_string());
    }

    /// Adds a line that makes no document.
    pub fn add_line(&mut self, bad: &Bad) {
        self.lines += 1;
        let text = String::from_utf8_lossy(&bad.text);
        let text = text.trim_start_matches('\u{feff}');
        // As it came: parsed and written anew, large numbers would not be the same.
        let is_object = serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok();
        let document = if is_object { text.to_owned() } else { json!(text).to_string() };
        let (line, error) = (bad.line, json!(bad.problem));
        self.write(&format!(r#"{{"line":{line},"error":{error},"document":{document}}}"#));
    }

    /// Lines that made no document.
    pub fn lines(&self) -> usize {
        self.lines
    }

    fn write(&mut self, line: &str) {
        if let Err(error) = self.write_line(line) {
            self.failed.get_or_insert(error);
        }
    }

    fn write_line(&mut self, line: &str) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(File::create_new(path)?)),
        };
        writeln!(file, "{line}")?;
        // They are few, and whoever ends the command early has those that came.
        file.flush()
    }

    /// Writes the rest of the file; a failure if there are rejected documents and no file.
    pub fn finish(self, report: &IngestReport) -> Result<()> {
        match self.path {
            Some(_) => self.close(),
            None => refuse(report),
        }
    }

    /// Writes the rest of the file, if there is one.
    pub fn close(self) -> Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        let mut file = self.file;
        let flush = || file.as_mut().map_or(Ok(()), BufWriter::flush);
        let written = self.failed.map_or_else(flush, Err);
        written.map_err(|error| Failure::of_file(&path, &error))
    }
}

fn refuse(report: &IngestReport) -> Result<()> {
    let count = report.progress.rejected;
    if count == 0 {
        return Ok(());
    }
    let named = report.rejected.iter().take(NAMED);
    let named = named
        .map(|one| format!("{}: {}", printable(&one.id.to_string()), in_commands(&one.reason)));
    let named: Vec<String> = named.collect();
    Err(Failure::new(format!(
        "{count} documents were set aside, all others are stored; use --rejects to list them \
         ({})",
        named.join("; ")
    )))
}
