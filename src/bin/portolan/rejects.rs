//! Documents that an ingest sets aside: to a file, one JSON object a line, or told of at the end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use portolan::{IngestReport, Rejected};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::output::printable;

/// Rejected documents that a message names.
const NAMED: usize = 3;

/// The file of the rejected documents, if there is to be one.
pub struct Rejects {
    file: Option<(PathBuf, BufWriter<File>)>,
    failed: Option<std::io::Error>,
}

impl Rejects {
    /// Makes the file, before anything is done whose rejects could not be kept.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        let file = match path {
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::of_file(path, &error))?;
                Some((path.to_owned(), BufWriter::new(file)))
            }
            None => None,
        };
        Ok(Self { file, failed: None })
    }

    /// Adds a document.
    pub fn add(&mut self, rejected: &Rejected) {
        if let Some((_, file)) = &mut self.file {
            let line = json!({ "_id": rejected.id.to_string(), "error": rejected.reason });
            if let Err(error) = writeln!(file, "{line}") {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Writes the rest of the file; a failure if there are rejected documents and no file.
    pub fn finish(self, report: &IngestReport) -> Result<()> {
        let Some((path, mut file)) = self.file else { return refuse(report) };
        let written = self.failed.map_or_else(|| file.flush(), Err);
        written.map_err(|error| Failure::of_file(&path, &error))
    }
}

fn refuse(report: &IngestReport) -> Result<()> {
    let count = report.progress.rejected;
    if count == 0 {
        return Ok(());
    }
    let named = report.rejected.iter().take(NAMED);
    let named = named.map(|one| format!("{}: {}", printable(&one.id.to_string()), one.reason));
    let named: Vec<String> = named.collect();
    Err(Failure::new(format!(
        "{count} documents were set aside, all others are stored; use --rejects to list them \
         ({})",
        named.join("; ")
    )))
}
