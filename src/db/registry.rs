//! One handle per file and process: opening a file twice yields the same database.
//!
//! LMDB must not be opened twice in one process, and two environments would each keep a map.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::Inner;
use crate::error::Result;
use crate::storage::StorageError;

/// What makes two paths the same file: device and inode where there are such.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum FileKey {
    #[cfg(unix)]
    Inode(u64, u64),
    #[cfg(not(unix))]
    Path(std::path::PathBuf),
}

fn file_key(path: &Path) -> std::io::Result<FileKey> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(path)?;
        Ok(FileKey::Inode(meta.dev(), meta.ino()))
    }
    #[cfg(not(unix))]
    path.canonicalize().map(FileKey::Path)
}

#[derive(Default)]
struct Registry {
    open: Mutex<HashMap<FileKey, Weak<Inner>>>,
    closed: Condvar,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);

fn open_files() -> MutexGuard<'static, HashMap<FileKey, Weak<Inner>>> {
    REGISTRY.open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the file's entry; goes last when a handle is dropped.
pub(super) struct Registration(FileKey);

impl Drop for Registration {
    fn drop(&mut self) {
        open_files().remove(&self.0);
        REGISTRY.closed.notify_all();
    }
}

/// The open handle of the file, or the one that `open` makes. The file must exist.
pub(super) fn open_once(
    path: &Path,
    open: impl FnOnce(Registration) -> Result<Inner>,
) -> Result<Arc<Inner>> {
    let io = |source| StorageError::Io { action: "open", path: path.to_owned(), source };
    let key = file_key(path).map_err(io)?;
    let mut files = open_files();
    loop {
        match files.get(&key).map(Weak::upgrade) {
            Some(Some(handle)) => return Ok(handle),
            // The last handle is being dropped by another thread: wait until it has closed.
            Some(None) => {
                files = REGISTRY.closed.wait(files).unwrap_or_else(PoisonError::into_inner);
            }
            None => break,
        }
    }
    // Claimed with a dead entry, so that the lock need not be held while the file opens: another
    // thread that wants it waits above.
    files.insert(key.clone(), Weak::new());
    drop(files);
    let handle = Arc::new(open(Registration(key.clone()))?);
    open_files().insert(key, Arc::downgrade(&handle));
    REGISTRY.closed.notify_all();
    Ok(handle)
}
