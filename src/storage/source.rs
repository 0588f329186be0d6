//! All bytes of a file, mapped or in memory.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::env::io_error;
use super::pages::PageError;
use super::{Entries, SharedEntries, StorageError, lock};

/// Maps a file for reading.
///
/// # Errors
/// What the operating system says.
#[expect(unsafe_code, reason = "a memory map")]
pub(crate) fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process. The documented contract of every
    // caller is that nobody writes to or truncates the file while it is open: shipped database
    // files and vector files are immutable. `whole.rs` and the check of structure alone map a file
    // that another process may be writing (never truncating), walk it once, and look again if it
    // changed. The parsers on top check every offset, so the worst that a broken contract can do
    // is a signal on a truncated file.
    unsafe { Mmap::map(file) }
}

/// As [`map_file`], of a database.
///
/// # Errors
/// Those of [`map_failed`].
pub(super) fn map_database(
    file: &File,
    action: &'static str,
    path: &Path,
) -> Result<Mmap, StorageError> {
    map_file(file).map_err(|source| {
        let wanted = file.metadata().map_or(0, |meta| meta.len());
        map_failed(source, action, path, wanted)
    })
}

/// Why there is no map of `wanted` bytes: [`StorageError::AddressSpace`] if they do not fit.
pub(super) fn map_failed(
    source: std::io::Error,
    action: &'static str,
    path: &Path,
    wanted: u64,
) -> StorageError {
    match source.kind() {
        std::io::ErrorKind::OutOfMemory => StorageError::AddressSpace { wanted },
        _ => io_error(source, action, path),
    }
}

/// Bytes at the beginning of a file that are asked for when it is opened: both metas, unless its
/// pages are larger than most.
const FRONT_BYTES: usize = 16 * 1024;
/// ... and at its end.
const END_BYTES: usize = 64 * 1024;

/// All bytes of a file.
pub(super) enum Source {
    Map(Mmap),
    Memory(Arc<[u8]>),
}

impl Source {
    /// Maps a file that nobody has open for writing.
    ///
    /// # Errors
    /// Not found, in use, empty; no address space for all of it.
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => StorageError::NotFound { path: path.to_owned() },
            _ => StorageError::Io { action: "open", path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(io)?;
        if lock::is_open_for_writing(&file) {
            return Err(StorageError::InUse {
                path: path.to_owned(),
                hint: "use Database::open, or read a copy",
            });
        }
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(PageError::TooShort { found: 0 }.into());
        }
        let source = Self::Map(map_database(&file, "open", path)?);
        // Of a compacted file what opening reads mostly stands there. What is not asked for comes
        // with as much around it as the system reads ahead, which may be megabytes.
        let len = source.len();
        source.ask(0..len.min(FRONT_BYTES));
        source.ask(len.saturating_sub(END_BYTES)..len);
        Ok(source)
    }

    /// Asks the system to read a part of the bytes from the disk soon, if it takes such advice.
    pub(super) fn ask(&self, part: Range<usize>) {
        #[cfg(unix)]
        if let Self::Map(map) = self {
            let _ = map.advise_range(memmap2::Advice::WillNeed, part.start, part.len());
        }
        #[cfg(not(unix))]
        let _ = part;
    }

    /// Where a part of the bytes stands; nowhere for a slice of something else.
    pub(super) fn place(&self, part: &[u8]) -> Range<usize> {
        let begin = part.as_ptr().addr().wrapping_sub(self.as_ptr().addr());
        begin..begin.wrapping_add(part.len())
    }

    /// Entries with values that keep all of the bytes they are part of.
    pub(super) fn share_values<'s>(
        source: &'s Arc<Self>,
        entries: Entries<'s>,
    ) -> SharedEntries<'s> {
        let share = |value: &[u8]| {
            let at = source.place(value);
            Bytes::from_owner(Part { source: Arc::clone(source), at })
        };
        Box::new(entries.map(move |entry| entry.map(|(key, value)| (key, share(value)))))
    }
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}

struct Part {
    source: Arc<Source>,
    at: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.source.get(self.at.clone()).unwrap_or_default()
    }
}
