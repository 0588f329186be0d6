//! How to open a file, and the opening itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::cache::{Cache, CacheOptions};
use super::maintenance::Folding;
use super::view::View;
use super::views::Views;
use super::{Database, Inner, Maintenance, StoreKind, maintenance, registry};
use crate::error::Result;
use crate::index::BUILD_MEMORY;
use crate::storage::{
    FileStore, LmdbOptions, LmdbStore, StorageError, Store, Verify, WriterPolicy,
};

/// How to open a file.
#[derive(Debug, Clone)]
#[must_use]
pub struct DatabaseOptions {
    map: u64,
    max_size: u64,
    writer: WriterPolicy,
    maintenance: Maintenance,
    build_memory: usize,
    verify: Verify,
    cache: Option<CacheOptions>,
    create: bool,
    create_new: bool,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Address space taken at open: small enough for phones and 16 processes side by side; the map
/// doubles when it is full.
const MAP_BYTES: u64 = 256 * 1024 * 1024;
/// Below this the work would be cut into pieces too small to be worth it.
const BUILD_MEMORY_MIN: usize = 8 * 1024 * 1024;

impl DatabaseOptions {
    /// The defaults: grows without limit, waits for other writers, maintains inline.
    pub fn new() -> Self {
        Self {
            map: MAP_BYTES,
            max_size: 1 << 46,
            writer: WriterPolicy::default(),
            maintenance: Maintenance::default(),
            build_memory: BUILD_MEMORY,
            verify: Verify::None,
            cache: None,
            create: true,
            create_new: false,
        }
    }

    /// The file never grows past this many bytes; a write that needs more fails with
    /// [`StorageError::SizeLimit`]. Default: no limit.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self.map = self.map.min(bytes);
        self
    }

    /// Size of the memory map to begin with. It grows by itself; this only saves the growing.
    pub fn initial_map(mut self, bytes: u64) -> Self {
        self.map = bytes.max(64 * 1024);
        self
    }

    /// What a write does while another thread or process writes. Default: waits.
    pub fn writer(mut self, policy: WriterPolicy) -> Self {
        self.writer = policy;
        self
    }

    /// When vectors are folded into segments. Default: inline on commit.
    pub fn maintenance(mut self, maintenance: Maintenance) -> Self {
        self.maintenance = maintenance;
        self
    }

    /// Working memory for folding vectors into segments and building graphs. Beside it a fold
    /// holds what each of its rows takes: int8 and navigation codes, and at 16 links up to 450
    /// bytes while links are selected. With less, segments are written in smaller transactions,
    /// and a projection is trained on fewer vectors, at worst 512: a graph then needs more
    /// candidates for the same recall (0.94 instead of 0.96 at 1,024 dimensions and 8 MiB).
    /// Default: 256 MiB, which is as good as any; at least 8, and training takes `4 d^2 + 3,072 d`
    /// bytes for `d` dimensions in any case.
    pub fn build_memory(mut self, bytes: usize) -> Self {
        self.build_memory = bytes.max(BUILD_MEMORY_MIN);
        self
    }

    /// How far the bytes of the file are checked. Default: what is decoded. A file from elsewhere
    /// is to be opened with [`Verify::Touched`] or read-only: LMDB, which writes, trusts the
    /// structure of its file, and a crafted one can do anything to the process. The file must
    /// not be changed by others from then on: what was checked once is not checked again.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Lets queries keep in the file what models said, and not ask again: logits of passages and
    /// vectors of questions. The file then holds the questions. A file opened read-only is read
    /// so, never written. Default: off, unless a query asks for it.
    pub fn cache(mut self, options: CacheOptions) -> Self {
        self.cache = Some(options);
        self
    }

    /// Fails with [`StorageError::NotFound`] if the file is absent.
    pub fn must_exist(mut self) -> Self {
        self.create = false;
        self
    }

    /// Fails with [`StorageError::Exists`] if the file is there.
    pub fn must_be_new(mut self) -> Self {
        self.create_new = true;
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// See [`Database::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        let path = absolute(path.as_ref())?;
        self.prepare_file(&path)?;
        // One name in all processes: the lock files stand beside the file itself, not a link.
        let io = |source| StorageError::Io { action: "open", path: path.clone(), source };
        let path = path.canonicalize().map_err(io)?;
        let options = LmdbOptions {
            map_bytes: self.map.min(self.max_size),
            map_bytes_max: self.max_size,
            create: self.create,
            verify: self.verify,
        };
        let inner = registry::open_once(&path, |registration| {
            let store = LmdbStore::open(&path, options)?;
            let views = Arc::new(Views::<View>::default());
            let cached = Arc::clone(&views);
            store.on_evict(Box::new(move || cached.clear()));
            let mut inner = self.inner(StoreKind::Lmdb(store), path.clone());
            inner.views = views;
            inner.registration = Some(registration);
            maintenance::sweep(&inner)?;
            Ok(inner)
        })?;
        Database { inner }.verified(self.verify)
    }

    /// Opens the file for reading only; what concerns writing has no meaning.
    ///
    /// # Errors
    /// See [`Database::open_read_only`].
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Database> {
        let path = absolute(path.as_ref())?;
        let store = FileStore::open(&path, self.verify)?;
        self.reading(store, path)
    }

    /// Opens the bytes of a file for reading; what concerns writing has no meaning.
    ///
    /// # Errors
    /// See [`Database::from_bytes`].
    pub fn from_bytes(self, bytes: impl Into<Arc<[u8]>>) -> Result<Database> {
        let store = FileStore::of_bytes(bytes.into(), self.verify)?;
        self.reading(store, PathBuf::new())
    }

    fn reading(self, store: FileStore, path: PathBuf) -> Result<Database> {
        let inner = Arc::new(self.inner(StoreKind::File(store), path));
        Database { inner }.verified(self.verify)
    }

    fn inner(&self, store: StoreKind, path: PathBuf) -> Inner {
        Inner {
            store,
            views: Arc::default(),
            residents: Arc::default(),
            path,
            writer: self.writer,
            maintenance: self.maintenance,
            build_memory: self.build_memory,
            verify: self.verify,
            checked: Mutex::default(),
            folding: Folding::default(),
            cache: Cache::new(self.cache),
            registration: None,
        }
    }

    /// Makes the file, so that it has an identity to register; an empty file is a new database.
    fn prepare_file(&self, path: &Path) -> Result<()> {
        let io = |source| StorageError::Io { action: "create", path: path.to_owned(), source };
        if self.create_new {
            return match std::fs::File::create_new(path) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    Err(StorageError::Exists { path: path.to_owned() }.into())
                }
                Err(error) => Err(io(error).into()),
            };
        }
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)).into())
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.create => {
                let file = std::fs::File::options().create(true).append(true).open(path);
                file.map_err(io)?;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StorageError::NotFound { path: path.to_owned() }.into())
            }
            Err(error) => Err(io(error).into()),
        }
    }
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    let io = |source| StorageError::Io { action: "open", path: path.to_owned(), source };
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(io(std::io::Error::from(std::io::ErrorKind::InvalidFilename)).into());
    }
    Ok(std::path::absolute(path).map_err(io)?)
}
