//! Compaction: a copy of what is live, and the swap that puts it in the file's place.

use std::path::Path;

use super::{Database, DatabaseOptions, absolute};
use crate::error::Result;
use crate::storage::{StorageError, Verify, copy_file, replace_file};

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
    /// writes a copy to `target`, which must not exist: the file to ship. The copy has no free
    /// page, no byte of what was deleted, the newest format version, and pages of 4 KiB, which
    /// every machine reads. A handle that was opened read-only folds and sweeps nothing, so that
    /// vectors deleted since the last fold, and words of an
    /// [`index_text`](crate::Collection::index_text) that was cut short, are copied with the rest.
    /// Others may write meanwhile.
    ///
    /// # Errors
    /// [`StorageError::Exists`] for the target; those of `maintain`; the target cannot be written.
    pub fn compact_to(&self, target: impl AsRef<Path>) -> Result<Compacted> {
        let target = absolute(target.as_ref())?;
        // Before anything is folded for a copy that cannot be written.
        if target.symlink_metadata().is_ok() {
            return Err(StorageError::Exists { path: target }.into());
        }
        self.copy_compacted(&target).map(|(compacted, _)| compacted)
    }

    /// Compacts a file in place: copies it beside itself and swaps the copy in atomically. A
    /// crash at any point leaves the old or the new file. As in [`Database::compact_to`], the new
    /// file has no byte of what was deleted; what the disk keeps of the old one is up to the
    /// file system. A file of an older format version becomes one of the newest.
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
            // Everything is read anyway, so that a stranger's file costs no more.
            let options = DatabaseOptions::new().must_exist().verify(Verify::Touched);
            let db = options.open(&path)?;
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
        if !self.is_read_only() {
            for name in self.collections()? {
                self.collection(&name)?.maintain().run()?;
            }
        }
        let before = self.inner.file_bytes();
        let snapshot = self.inner.snapshot()?;
        let original = Some(self.path()).filter(|path| !path.as_os_str().is_empty());
        let after = copy_file(snapshot.as_ref(), original, target)?;
        Ok((Compacted { before, after }, snapshot.version()))
    }
}
