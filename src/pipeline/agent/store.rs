//! Traces as files: written whole or not at all, found again by what they are of, read with
//! distrust.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::trace::{AgentTrace, TRACE_VERSION};

/// The largest trace that is read, in bytes.
const READ_LIMIT: u64 = 256 << 20;
/// How the name of a file begins and ends that is not yet a trace.
const BESIDE: (&str, &str) = (".trace-", ".tmp");
/// A file of such a name that is so old is one whose program was killed.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most letters of a query that are in the name of its file.
const SLUG_CHARS: usize = 48;

/// Why a trace could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file or its folder.
    #[error("cannot access trace {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is written to: the output of an export.
    #[error("the export cannot be written: {source}")]
    Output {
        /// What the system says.
        source: io::Error,
    },
    /// It is larger than any trace should be; nothing of it was read.
    #[error("trace {} has more than {limit} bytes: it is not read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is no trace, or a damaged one.
    #[error("{} is not a whole trace: {detail}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        detail: String,
    },
    /// Its version is not known.
    #[error("trace {} is of version {found}, this program reads {TRACE_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl TraceError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

#[derive(Deserialize)]
struct Versioned {
    trace_version: u32,
}

impl AgentTrace {
    /// Reads a trace. At most 256 MiB of it.
    ///
    /// # Errors
    /// A [`TraceError`]: the file cannot be read, is too large, no trace, damaged or of another
    /// version.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| TraceError::io(path, source))?;
        let mut bytes = Vec::new();
        let read = file.take(READ_LIMIT + 1).read_to_end(&mut bytes);
        read.map_err(|source| TraceError::io(path, source))?;
        if bytes.len() as u64 > READ_LIMIT {
            return Err(TraceError::TooLarge { path: path.to_path_buf(), limit: READ_LIMIT });
        }
        let failed = |error: serde_json::Error| TraceError::Json {
            path: path.to_path_buf(),
            detail: error.to_string(),
        };
        let Versioned { trace_version: found } = serde_json::from_slice(&bytes).map_err(failed)?;
        if found != TRACE_VERSION {
            return Err(TraceError::Version { path: path.to_path_buf(), found });
        }
        serde_json::from_slice(&bytes).map_err(failed)
    }

    /// Writes the trace, so that at any time, also after a loss of power, the file is the old one
    /// or the new one. Makes the folder if it is absent.
    ///
    /// # Errors
    /// [`TraceError::Io`]; the old file is as it was then.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), TraceError> {
        let path = path.as_ref();
        let json = serde_json::to_vec_pretty(self);
        let json = json.map_err(|error| TraceError::io(path, error.into()))?;
        replace(path, &json).map_err(|source| TraceError::io(path, source))
    }

    /// The name of its file in a folder of traces.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name(self.query.id.as_deref().unwrap_or(&self.query.text), &self.key)
    }
}

/// Letters of the query for people, and the key for us.
pub(super) fn file_name(query: &str, key: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let slug: String = query.chars().take(SLUG_CHARS).map(letter).collect();
    let slug = slug.trim_matches('-');
    let key: String = key.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    if slug.is_empty() { format!("{key}.json") } else { format!("{slug}-{key}.json") }
}

/// Traces of a folder, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let failed = |source| TraceError::io(folder, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden =
            path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A new content for a file: beside it, to the disk, and then under its name.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // No two writers share a name: one would rename what the other has half written.
    let (begin, end) = BESIDE;
    let beside = folder.join(format!("{begin}{}-{number}{end}", std::process::id()));
    let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It may not have come into being.
        let _ = fs::remove_file(&beside);
        return written;
    }
    // Some systems cannot open a folder; there the rename is as durable as they make it.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes what programs that were killed have left beside the traces of a folder. What cannot be
/// removed stays: it is in nobody's way.
pub(super) fn sweep(folder: &Path) {
    let (begin, end) = BESIDE;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if name.starts_with(begin) && name.ends_with(end) && age().is_some_and(|age| age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn names_of_files_are_safe_whatever_the_query_is() {
        let key = "0123456789abcdef0123456789abcdef";
        let name = |query: &str| file_name(query, key);
        assert_eq!(name("q1"), "q1-0123456789abcdef.json");
        assert_eq!(name("../../etc/x"), "etc-x-0123456789abcdef.json");
        assert_eq!(name("\u{0}\u{e4} .."), "0123456789abcdef.json");
        assert_eq!(name(&"a".repeat(500)).len(), SLUG_CHARS + 1 + 16 + 5);
        // A key out of a file is not trusted either.
        assert_eq!(file_name("", "../x/0a"), "0a.json");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/er/trace.json");
        for text in ["first", "second, longer"] {
            replace(&path, text.as_bytes()).expect("a file");
            assert_eq!(fs::read_to_string(&path).expect("the file"), text);
        }
        // A folder stands where the file should be: the new one is taken back.
        let blocked = path.with_file_name("blocked.json");
        fs::create_dir_all(blocked.join("x")).expect("a folder");
        assert!(replace(&blocked, b"third").is_err());
        let left = fs::read_dir(path.parent().expect("a folder")).expect("entries").count();
        assert_eq!(left, 2);
    }

    #[test]
    fn what_killed_programs_left_is_removed_and_what_may_be_under_way_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, age: Duration| {
            let file = File::create(dir.path().join(name)).expect("a file");
            file.set_modified(SystemTime::now() - age).expect("a time");
        };
        let minute = Duration::from_secs(60);
        file(".trace-1-0.tmp", STALE + minute);
        file(".trace-1-1.tmp", STALE - minute);
        file(".trace-notes", STALE + minute);
        file("a-0.json", STALE + minute);
        fs::create_dir(dir.path().join(".trace-1-2.tmp")).expect("a folder");
        sweep(dir.path());
        sweep(&dir.path().join("none"));
        let names = fs::read_dir(dir.path()).expect("entries");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string());
        let names: BTreeSet<String> = names.map(|name| name.expect("a name")).collect();
        let expected = [".trace-1-1.tmp", ".trace-notes", "a-0.json", ".trace-1-2.tmp"];
        assert_eq!(names, expected.map(str::to_owned).into());
    }
}
