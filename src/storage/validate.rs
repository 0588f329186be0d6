//! Checks before LMDB sees a file. LMDB trusts what it opens, so a file that is cut short or not
//! its own kills the process; these checks turn that into an error.
//!
//! Here are the cheap checks for the application's own file: metas and length, two page reads.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::StorageError;
use super::pages::newest_meta;

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
    let file_len = file.metadata().map_err(io)?.len();
    if file_len == 0 {
        return Ok(None);
    }
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?;
    Ok(Some(newest_meta(&head, file_len)?.version))
}
