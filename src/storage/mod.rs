//! One LMDB file, two ways to read it: through LMDB (`env.rs`) or through our own bounds-checked
//! page reader (`reader.rs`). The layers above see the [`Store`] and [`Snapshot`] traits, tables
//! and extents; nothing above this folder knows LMDB.

pub(crate) mod cache;
mod checked;
mod copy;
mod env;
pub(crate) mod extents;
pub(crate) mod field_blocks;
pub(crate) mod field_settings;
pub(crate) mod fields;
mod fresh;
mod gate;
pub(crate) mod keys;
mod lock;
mod mend;
mod one_byte;
mod packed;
mod pages;
mod reader;
mod readers;
mod salvage;
mod schema;
pub(crate) mod settings;
pub(crate) mod slot_sets;
mod snapshot;
mod source;
pub(crate) mod tables;
mod validate;
pub(crate) mod vector_fields;
mod whole;
mod write;

use std::path::PathBuf;

use bytes::Bytes;
use thiserror::Error;

use crate::format::FormatError;

pub(crate) use checked::Checked;
pub use checked::Verify;
pub(crate) use copy::rewrite;
pub(crate) use env::{LmdbOptions, LmdbStore};
pub use lock::WriterPolicy;
pub use pages::PageError;
pub(crate) use reader::FileStore;
pub(crate) use readers::Reader;
pub(crate) use salvage::{Lost, Salvage};
pub(crate) use source::map_file;
pub(crate) use write::{WriteTxn, Writer, copy_file, replace_file};

/// The named tables of the file. The numbers seed checksums: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    /// Format magic and version.
    Meta = 0,
    /// Collection name to its definition and manifest.
    Collections = 1,
    /// Record id to slot.
    Ids = 2,
    /// Slot to record.
    Records = 3,
    /// Slot to vector, until the vector is sealed into a segment.
    Delta = 4,
    /// Extents of the segments.
    Extents = 5,
    /// Deleted slots of sealed vectors.
    Tombstones = 6,
    /// Field value to slot.
    Fields = 7,
    /// Term to the slots whose text has it.
    Postings = 8,
    /// Slot to the rows of a multi-vector.
    Matrices = 9,
}

impl Table {
    pub(crate) const COUNT: usize = 10;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Meta,
        Self::Collections,
        Self::Ids,
        Self::Records,
        Self::Delta,
        Self::Extents,
        Self::Tombstones,
        Self::Fields,
        Self::Postings,
        Self::Matrices,
    ];

    /// The format version that brought the table. In older files it is absent, and reads as empty.
    pub(crate) fn since(self) -> u32 {
        match self {
            Self::Postings | Self::Matrices => 3,
            _ => 1,
        }
    }

    /// The name of the table in LMDB's main database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Collections => "collections",
            Self::Ids => "ids",
            Self::Records => "records",
            Self::Delta => "delta",
            Self::Extents => "extents",
            Self::Tombstones => "tombstones",
            Self::Fields => "fields",
            Self::Postings => "postings",
            Self::Matrices => "matrices",
        }
    }
}

/// A key and a value of a table, borrowed from the snapshot.
pub(crate) type Entry<'s> = (&'s [u8], &'s [u8]);
/// Entries in key order; the first error ends the iteration.
pub(crate) type Entries<'s> = Box<dyn Iterator<Item = Result<Entry<'s>, StorageError>> + 's>;

/// As [`Entries`], with values that outlive the snapshot.
pub(crate) type SharedEntries<'s> =
    Box<dyn Iterator<Item = Result<(&'s [u8], Bytes), StorageError>> + 's>;

/// One unchanging version of the file.
pub(crate) trait Snapshot {
    /// Number of the version; two snapshots of one store with the same number are equal.
    fn version(&self) -> u64;
    /// The value under `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError>;
    /// The last entry whose key is below `key`.
    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Entry<'_>>, StorageError>;
    /// Entries whose key begins with `prefix` and is at least `start`.
    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError>;
    /// Entries whose key begins with `prefix`, their values as slices of the map that keep this
    /// version alive: nothing is copied.
    fn range_shared<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> Result<SharedEntries<'s>, StorageError>;
}

/// How the pages of a file are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageUse {
    /// Bytes of a page.
    pub(crate) page_bytes: u64,
    /// Pages, the two metas among them.
    pub(crate) pages: u64,
    /// Pages that later commits use again.
    pub(crate) free: u64,
}

/// A file that can be read.
pub(crate) trait Store: Send + Sync {
    /// The newest version. Short-lived: no snapshot outlives a call of the public API, except
    /// through the shared slices of a cached view, which [`Store::on_evict`] can drop.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, StorageError>;
    /// `drop_views` is called when every shared slice must go because the map moves.
    fn on_evict(&self, drop_views: Box<dyn Fn() + Send + Sync>);
    /// Bytes of the file that are in use.
    fn file_bytes(&self) -> u64;
    /// Format version of the file.
    fn format(&self) -> u32;
    /// Walks the structure of the newest version, again if a commit came in between.
    fn check_structure(&self) -> Result<(), StorageError>;
    /// Counts pages: reads the list of the free ones.
    fn page_use(&self) -> Result<PageUse, StorageError>;
    /// Snapshots that processes hold, this one among them, oldest first.
    fn readers(&self) -> Vec<Reader>;
}

/// Why the file could not be read or written. After any of these the file is what the last
/// successful commit left.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The disk (or the quota, or the file size limit) is full. LMDB reports a short write,
    /// which has the same causes, as an I/O error; it ends here as well.
    #[error("the disk is full, nothing was changed: free some space and try again ({source})")]
    DiskFull {
        /// The reason.
        source: std::io::Error,
    },
    /// The file would grow past the limit that the application set.
    #[error("the file would grow past {limit} bytes: raise `max_size`, or delete and compact")]
    SizeLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// Another writer is at work and the policy is not to wait (longer).
    #[error("another writer holds the file: try again, or open with WriterPolicy::Wait")]
    WriterBusy,
    /// Somebody else has the file open.
    #[error("{path} is open for writing elsewhere: {hint}", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// The file does not exist, and was not to be created.
    #[error("{path} does not exist", path = path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file exists, and was to be created.
    #[error("{path} exists already: open it, or name another file", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Not a file that portolan wrote.
    #[error("{path} is not a portolan file: {reason}", path = path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A page of the file breaks the rules of the page format.
    #[error("the file is damaged: {0}")]
    Page(#[from] PageError),
    /// A value breaks the rules of `storage-format.md`.
    #[error("the file is damaged: {0}")]
    Format(#[from] FormatError),
    /// A table lacks something that another refers to.
    #[error("the file is damaged: {what} is missing")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// LMDB came upon a page that cannot be what was written.
    #[error(
        "{path} is damaged, nothing was changed: `Database::verify` (or `portolan verify`) tells \
         where, `Database::repair` (or `portolan repair`) saves what is whole into a new file",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What LMDB says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no room in the address space for the map of a file that is opened, or for the
    /// larger map that a write needs, or that another process has made of the file. The file is as
    /// it was. After a write that failed so it can be read, and written on while its changes fit.
    #[error("no address space for a map of {wanted} bytes: raise the limit of the process")]
    AddressSpace {
        /// Bytes of the map that was wanted.
        wanted: u64,
    },
    /// The file was changed while it was open read-only.
    #[error("{path} was changed while it was open read-only: open it again", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a version that cannot hold what was to be written.
    #[error(
        "the file has format version {found}, and this needs {needed}: call `Database::compact` \
         on it (or `portolan compact`), which brings it up to date"
    )]
    Older {
        /// Version of the file.
        found: u32,
        /// Version that it takes.
        needed: u32,
    },
    /// Too many readers at once.
    #[error("too many readers are active in all processes together: wait for one to end")]
    TooManyReaders,
    /// The file was opened read-only.
    #[error("the file was opened read-only: open it with Database::open to write")]
    ReadOnly,
    /// The map is full; handled inside by growing it.
    #[error("the memory map is full")]
    MapFull,
    /// LMDB failed in some other way.
    #[error("LMDB failed: {0}; close the file and open it again")]
    Lmdb(String),
}

impl StorageError {
    /// The error of a page with the path, if the file is not LMDB's at all: nothing is damaged.
    fn of_page(error: PageError, path: &std::path::Path) -> Self {
        match error {
            PageError::Magic => {
                Self::NotADatabase { path: path.to_owned(), reason: error.to_string() }
            }
            other => other.into(),
        }
    }

    /// Whether the file itself is damaged or was made by something else.
    pub(crate) fn is_corruption(&self) -> bool {
        match self {
            // A file of another version is whole: throwing it away would lose it.
            Self::Format(error) => !matches!(error, FormatError::Version { .. }),
            Self::Page(_)
            | Self::Missing { .. }
            | Self::NotADatabase { .. }
            | Self::Damaged { .. } => true,
            _ => false,
        }
    }
}

/// The first key after every key that begins with `prefix`; none if the prefix is all 0xff.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

#[cfg(test)]
mod tests;
