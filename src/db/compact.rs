//! Compaction: a copy without free pages, and the swap that puts it in the file's place.

use std::path::Path;

use super::{Database, absolute};
use crate::error::Result;
use crate::storage::{StorageError, replace_file};

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file after.
    pub after: u64,
}

/// Times to begin anew when another process writes between the copy and the swap.
const ATTEMPTS: usize = 5;

impl Database {
    /// Folds every collection ([`Collection::maintain`](crate::Collection::maintain)), then
    /// writes a copy without free pages to `target`, which must not exist: the file to ship.
    ///
    /// # Errors
    /// [`StorageError::Exists`] for the target; read-only; those of `maintain`; the target cannot
    /// be written.
    pub fn compact_to(&self, target: impl AsRef<Path>) -> Result<Compacted> {
        let target = absolute(target.as_ref())?;
        // Before anything is folded for a copy that cannot be written.
        if target.symlink_metadata().is_ok() {
            return Err(StorageError::Exists { path: target }.into());
        }
        self.copy_compacted(&target).map(|(compacted, _)| compacted)
    }

    /// Compacts a file in place: copies it beside itself and swaps the copy in atomically. A
    /// crash at any point leaves the old or the new file.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if it is open anywhere; those of [`Database::compact_to`].
    pub fn compact(path: impl AsRef<Path>) -> Result<Compacted> {
        let path = absolute(path.as_ref())?;
        // The file itself is replaced, not a link to it.
        let path = path.canonicalize().unwrap_or(path);
        let in_use = || StorageError::InUse {
            path: path.clone(),
            hint: "close every handle, or use compact_to",
        };
        let mut name = path.as_os_str().to_owned();
        name.push("-compacting");
        let beside = std::path::PathBuf::from(name);
        for _ in 0..ATTEMPTS {
            let db = Self::open_existing(&path)?;
            if std::sync::Arc::strong_count(&db.inner) > 1 {
                return Err(in_use().into());
            }
            // Left by a compaction that was killed.
            match std::fs::remove_file(&beside) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    let action = "remove";
                    return Err(StorageError::Io { action, path: beside, source }.into());
                }
                _ => {}
            }
            let (compacted, version) = db.copy_compacted(&beside)?;
            drop(db);
            match replace_file(&path, &beside, version) {
                Ok(true) => return Ok(compacted),
                Ok(false) => {}
                Err(error) => {
                    let _ = std::fs::remove_file(&beside);
                    return Err(error.into());
                }
            }
        }
        let _ = std::fs::remove_file(&beside);
        Err(in_use().into())
    }

    fn copy_compacted(&self, target: &Path) -> Result<(Compacted, u64)> {
        let store = self.inner.lmdb()?;
        for name in self.collections()? {
            self.collection(&name)?.maintain().run()?;
        }
        let before = self.inner.file_bytes();
        let version = store.writer(self.inner.writer)?.copy_compacted(target)?;
        let after = std::fs::metadata(target).map_or(0, |meta| meta.len());
        Ok((Compacted { before, after }, version))
    }
}
