//! Who may write, and who has the file open: advisory locks between processes, a gate within.
//!
//! Two locks, neither of them LMDB's own:
//! - every read-write handle holds a *shared* lock on the data file while it is open. The last one
//!   to close can therefore take it exclusively, and knows that the side files may go.
//! - a writer holds an *exclusive* lock on `<path>-writer` during its transaction, which makes
//!   "refuse at once" and "wait so long" possible; LMDB itself can only wait.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{StorageError, fresh};

/// What a write does while another thread or process writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WriterPolicy {
    /// Waits until the other is done.
    #[default]
    Wait,
    /// Waits at most so long, then fails with [`StorageError::WriterBusy`].
    WaitFor(Duration),
    /// Fails at once with [`StorageError::WriterBusy`].
    Refuse,
}

impl WriterPolicy {
    /// The same, but it waits at least so long.
    pub(crate) fn at_least(self, least: Duration) -> Self {
        match self {
            Self::Wait => Self::Wait,
            Self::WaitFor(time) => Self::WaitFor(time.max(least)),
            Self::Refuse => Self::WaitFor(least),
        }
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Wait => None,
            Self::WaitFor(time) => Instant::now().checked_add(time),
            Self::Refuse => Some(Instant::now()),
        }
    }
}

/// `<path><suffix>`, beside the data file.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The locks of one open read-write handle.
pub(super) struct FileLocks {
    path: PathBuf,
    /// Shared lock while the handle is open; none where the system has no such locks.
    data: Option<File>,
    writer: File,
    writing: Mutex<bool>,
    done: Condvar,
}

impl FileLocks {
    /// Opens (or creates) the data file and locks it as in use.
    ///
    /// # Errors
    /// [`StorageError::Io`]; [`StorageError::InUse`] if somebody holds it alone.
    pub(super) fn acquire(path: &Path) -> Result<Self, StorageError> {
        let io = |action| {
            let path = path.to_owned();
            move |source| StorageError::Io { action, path, source }
        };
        let data = loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(io("open"))?;
            match lock_in_use(&file, path)? {
                Lock::Held => {}
                Lock::Unsupported => break None,
            }
            // A compaction may have replaced the file while we waited for the lock.
            if is_same_file(&file, path).map_err(io("open"))? {
                break Some(file);
            }
        };
        let writer = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(beside(path, "-writer"))
            .map_err(io("create the writer lock of"))?;
        Ok(Self {
            path: path.to_owned(),
            data,
            writer,
            writing: Mutex::new(false),
            done: Condvar::new(),
        })
    }

    /// Empties a file that was begun and not finished, so that it can be begun anew.
    ///
    /// # Errors
    /// [`StorageError::Io`]; [`StorageError::InUse`] if others keep it as it is.
    pub(super) fn empty_unfinished(&self) -> Result<(), StorageError> {
        let io = |source| StorageError::Io { action: "begin", path: self.path.clone(), source };
        let Some(data) = &self.data else { return Ok(()) };
        let deadline = Instant::now() + ALONE_WAIT;
        while fresh::is_unfinished_file(&self.path).map_err(io)? {
            // Somebody may be writing it right now, but not while we have it alone.
            let mut emptied = Ok(());
            if data.try_lock().is_ok() && fresh::is_unfinished_file(&self.path).map_err(io)? {
                emptied = data.set_len(0);
            }
            lock_in_use(data, &self.path)?;
            emptied.map_err(io)?;
            if Instant::now() >= deadline || !is_same_file(data, &self.path).map_err(io)? {
                let hint = "it is being made there: try again";
                return Err(StorageError::InUse { path: self.path.clone(), hint });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Becomes the one writer of this process and of all processes.
    pub(super) fn write(&self, policy: WriterPolicy) -> Result<WriterGuard<'_>, StorageError> {
        let deadline = policy.deadline();
        let process = self.enter(deadline)?;
        let mut pause = Duration::from_millis(1);
        loop {
            if deadline.is_none() {
                self.writer.lock().map_err(|source| self.lock_failed(source))?;
                break;
            }
            match self.writer.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(self.lock_failed(source)),
                Err(TryLockError::WouldBlock) => {
                    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                    match left {
                        Some(left) if left > Duration::ZERO => {
                            std::thread::sleep(pause.min(left));
                            pause = (pause * 2).min(Duration::from_millis(20));
                        }
                        _ => return Err(StorageError::WriterBusy),
                    }
                }
            }
        }
        Ok(WriterGuard { process, locked: true })
    }

    /// Keeps other threads of this process from writing; other processes may go on.
    pub(super) fn pause_writers(&self) -> Result<WriterGuard<'_>, StorageError> {
        Ok(WriterGuard { process: self.enter(None)?, locked: false })
    }

    fn enter(&self, deadline: Option<Instant>) -> Result<ProcessGuard<'_>, StorageError> {
        let mut writing = self.state();
        while *writing {
            writing = match deadline {
                None => self.done.wait(writing).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(StorageError::WriterBusy);
                    }
                    self.done.wait_timeout(writing, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *writing = true;
        Ok(ProcessGuard { locks: self })
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_failed(&self, source: std::io::Error) -> StorageError {
        StorageError::Io { action: "lock for writing", path: self.path.clone(), source }
    }

    /// After LMDB has closed: removes the side files if nobody else has the database open.
    /// Newcomers take the shared lock before they touch a side file, so none can slip in.
    pub(super) fn remove_side_files(&mut self) {
        let Some(data) = self.data.take() else { return };
        if data.try_lock().is_ok() {
            // A side file that stays behind does no harm, so a failure needs no report.
            let _ = std::fs::remove_file(beside(&self.path, "-lock"));
            let _ = std::fs::remove_file(beside(&self.path, "-writer"));
        }
        // Not left to the closing: a process that is just being started by another thread has a
        // copy of the descriptor until it runs its program.
        let _ = data.unlock();
    }
}

struct ProcessGuard<'l> {
    locks: &'l FileLocks,
}

impl Drop for ProcessGuard<'_> {
    fn drop(&mut self) {
        *self.locks.state() = false;
        self.locks.done.notify_one();
    }
}

/// Held while writing; releases on drop.
pub(super) struct WriterGuard<'l> {
    process: ProcessGuard<'l>,
    locked: bool,
}

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        if self.locked {
            // The lock also goes when the file closes, so a failure here cannot outlive us.
            let _ = self.process.locks.writer.unlock();
        }
    }
}

/// The only handle on a file that is about to be replaced.
pub(super) struct ExclusiveUse(Option<File>);

impl Drop for ExclusiveUse {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

/// Takes the file for replacement: fails if any read-write handle has it open.
pub(super) fn exclusive(path: &Path) -> Result<ExclusiveUse, StorageError> {
    let file = File::open(path).map_err(|source| StorageError::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })?;
    // Those who only look whether the file is in use hold it for a moment.
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(ExclusiveUse(Some(file))),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(4)),
            Err(TryLockError::Error(_)) => return Ok(ExclusiveUse(None)),
        }
    }
    Err(StorageError::InUse { path: path.to_owned(), hint: "close it there before replacing it" })
}

/// Whether a read-write handle has the file open now. Two probes at the same moment can see each
/// other, hence the retries.
pub(super) fn is_open_for_writing(file: &File) -> bool {
    if !cfg!(unix) {
        return false;
    }
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => {
                let _ = file.unlock();
                return false;
            }
            Err(TryLockError::Error(_)) => return false,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    true
}

enum Lock {
    Held,
    /// The system or file system has no such lock.
    Unsupported,
}

/// Time to wait for whoever holds the file alone: a compaction does so for a moment.
const ALONE_WAIT: Duration = Duration::from_secs(5);

/// Locks the data file as in use. On Windows a file lock is mandatory and would lock LMDB out of
/// its own file: not used there.
///
/// A file with several names (hard links) is locked exclusively: LMDB's lock file goes by name,
/// so two processes that use two names would not see each other.
fn lock_in_use(file: &File, path: &Path) -> Result<Lock, StorageError> {
    if !cfg!(unix) {
        return Ok(Lock::Unsupported);
    }
    let alone = has_several_names(file);
    let deadline = Instant::now() + ALONE_WAIT;
    loop {
        match if alone { file.try_lock() } else { file.try_lock_shared() } {
            Ok(()) => return Ok(Lock::Held),
            Err(TryLockError::Error(_)) => return Ok(Lock::Unsupported),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                let hint = if alone {
                    "it has several names (hard links) and can be open only once: copy it"
                } else {
                    "it is being replaced, or open under another name: try again"
                };
                return Err(StorageError::InUse { path: path.to_owned(), hint });
            }
        }
    }
}

#[cfg(unix)]
fn has_several_names(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|meta| meta.nlink() > 1)
}

#[cfg(not(unix))]
fn has_several_names(_file: &File) -> bool {
    false
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok(held.dev() == named.dev() && held.ino() == named.ino()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_same_file(_file: &File, _path: &Path) -> std::io::Result<bool> {
    Ok(true)
}
