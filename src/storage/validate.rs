//! Checks before LMDB sees a file. LMDB trusts what it opens, so a file that is cut short or not
//! its own kills the process; these checks turn that into an error.
//!
//! Here are the cheap checks for the application's own file: metas and length, two page reads. A
//! file that is shorter than its meta says is walked (`whole.rs`).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::StorageError;
use super::pages::{Meta, newest_meta};
use super::reader::map_file;
use super::whole::newest_whole_meta;

/// Bytes that hold both metas at the largest page size.
const HEAD_BYTES: u64 = 2 * 32768;

/// Checks the two metas of an existing file and that no page is missing. An empty file passes:
/// it is a database that was never written to. Returns the newest version in the file.
///
/// # Errors
/// [`StorageError::Page`] if LMDB must not open the file, [`StorageError::Io`].
pub(super) fn check_metas(path: &Path) -> Result<Option<u64>, StorageError> {
    let io =
        |source| StorageError::Io { action: "read the head of", path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    loop {
        let Some((meta, file_len)) = read_meta(&file, path)? else { return Ok(None) };
        if meta.check_length(file_len).is_ok() {
            return Ok(Some(meta.version));
        }
        // A short file may be whole; but what another process commits while the trees are walked
        // looks like damage.
        let map = map_file(&file).map_err(io)?;
        match newest_whole_meta(&map) {
            Ok(meta) => return Ok(Some(meta.version)),
            Err(error) => match read_meta(&file, path)? {
                Some((now, _)) if now.version != meta.version => {}
                _ => return Err(error.into()),
            },
        }
    }
}

/// The newest meta and the length of the file; none if it is empty.
fn read_meta(file: &File, path: &Path) -> Result<Option<(Meta, u64)>, StorageError> {
    let io =
        |source| StorageError::Io { action: "read the head of", path: path.to_owned(), source };
    let mut head = Vec::new();
    let mut from_start = file;
    from_start.seek(SeekFrom::Start(0)).map_err(io)?;
    from_start.take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?;
    // After the head: another process may be growing the file, never shrinking it.
    let file_len = file.metadata().map_err(io)?.len();
    if file_len == 0 || head.is_empty() {
        return Ok(None);
    }
    let meta = newest_meta(&head, file_len).map_err(|error| StorageError::of_page(error, path))?;
    Ok(Some((meta, file_len)))
}
