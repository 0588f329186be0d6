//! The file opened read-write: LMDB through heed. Map growth, transactions and the compacting
//! copy live here, and every `unsafe` that LMDB asks for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use memmap2::MmapOptions;

use super::gate::Gate;
use super::lock::{FileLocks, WriterGuard, WriterPolicy};
use super::readers::LockFile;
use super::snapshot::LmdbSnapshot;
use super::source::map_failed;
use super::write::{WriteTxn, Writer};
use super::{
    PageUse, Reader, Snapshot, StorageError, Store, Table, Verify, fresh, reader, schema, whole,
};

pub(super) type LmdbTable = Database<'static, Bytes, Bytes>;
/// None where the file is older than the table.
type Tables = [Option<LmdbTable>; Table::COUNT];

/// LMDB wants a map size in whole pages; 64 KiB is a multiple of every page size.
const MAP_STEP: u64 = 64 * 1024;
/// Least growth of the map that is tried.
const GROW_LEAST: u64 = 16 * 1024 * 1024;
const READERS_MAX: u32 = 510;

/// How to open a file read-write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LmdbOptions {
    /// Size of the memory map to begin with, in bytes. It grows by itself.
    pub(crate) map_bytes: u64,
    /// The map never grows past this.
    pub(crate) map_bytes_max: u64,
    /// Whether an absent file is made.
    pub(crate) create: bool,
    /// How far the file is checked before LMDB sees it.
    pub(crate) verify: Verify,
}

/// One LMDB environment. At most one per file and process.
pub(crate) struct LmdbStore {
    env: Option<Env<WithoutTls>>,
    pub(super) tables: Tables,
    gate: Arc<Gate>,
    locks: FileLocks,
    /// Closed after the environment, which `drop` closes first.
    lock_file: LockFile,
    pub(super) path: PathBuf,
    map_bytes_max: u64,
    pub(super) format: u32,
    pub(super) verify: Verify,
    /// Set when the map was lost.
    dead: AtomicBool,
    /// The version that is on disk for sure; for the writer.
    pub(super) durable: AtomicU64,
}

impl LmdbStore {
    /// Opens the file and its tables; makes them if the file is new.
    pub(crate) fn open(path: &Path, options: LmdbOptions) -> Result<Self, StorageError> {
        if !options.create && !path.exists() {
            return Err(StorageError::NotFound { path: path.to_owned() });
        }
        // Before a side file is made beside a file that is not ours; and again under the lock,
        // since a compaction may have put another file in its place.
        if path.exists() {
            whole::check_metas(path)?;
        }
        let mut locks = FileLocks::acquire(path)?;
        locks.empty_unfinished()?;
        whole::check_metas(path)?;
        if options.verify != Verify::None {
            // Nobody commits during the walk.
            let writer = locks.write(WriterPolicy::Wait)?;
            let checked = reader::validate_file(path);
            drop(writer);
            checked.inspect_err(|_| locks.remove_side_files())?;
        }
        let file_bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
        let map_bytes = options.map_bytes.max(file_bytes).next_multiple_of(MAP_STEP);
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        open.map_size(to_usize(map_bytes)?);
        open.max_dbs(Table::COUNT as u32);
        open.max_readers(READERS_MAX);
        #[expect(unsafe_code, reason = "LMDB maps the file")]
        // SAFETY: NO_SUB_DIR changes only where the file lies. Opening maps the file: all writers
        // go through LMDB's own locks, heed refuses a second environment on the same path in this
        // process, and `check_metas` has seen the metas and the length of the file.
        let env = unsafe {
            open.flags(EnvFlags::NO_SUB_DIR);
            open.open(path)
        };
        let failed = |error| match error {
            heed::Error::Io(source) => map_failed(source, "open", path, map_bytes),
            error => translate(error, "open", path),
        };
        let env = env.map_err(failed).inspect_err(|_| locks.remove_side_files())?;
        let locked = || locks.write(WriterPolicy::Wait);
        let tables = match open_tables(&env).map_err(|error| translate(error, "open", path))? {
            Some(tables) => tables,
            None => create_tables(&env, path, locked()?)?,
        };
        // Slots of readers that were killed would keep old pages alive for ever.
        env.clear_stale_readers().map_err(|error| translate(error, "open", path))?;
        let map_bytes_max = options.map_bytes_max.max(map_bytes);
        let path = path.to_owned();
        let mut store = Self {
            env: Some(env),
            tables,
            gate: Arc::default(),
            locks,
            lock_file: LockFile::open(&path),
            path,
            map_bytes_max,
            format: 0,
            verify: options.verify,
            dead: AtomicBool::new(false),
            durable: AtomicU64::new(u64::MAX),
        };
        let format = schema::check(store.snapshot()?.as_ref())?;
        store.format = format;
        let is_missing = |table: &Table| store.table(*table).is_none() && table.since() <= format;
        if Table::ALL.iter().any(is_missing) {
            return Err(StorageError::Missing { what: "a table" });
        }
        Ok(store)
    }

    pub(super) fn table(&self, table: Table) -> Option<&LmdbTable> {
        self.tables[table as usize].as_ref()
    }

    pub(super) fn env(&self) -> Result<&Env<WithoutTls>, StorageError> {
        if self.dead.load(Ordering::Acquire) {
            return Err(StorageError::Lmdb("the file could not be mapped again".to_owned()));
        }
        self.env.as_ref().ok_or_else(|| StorageError::Lmdb("the environment is closed".to_owned()))
    }

    pub(super) fn translate(&self, error: heed::Error, action: &'static str) -> StorageError {
        translate(error, action, &self.path)
    }

    /// Becomes the one writer of all threads and processes, until the result is dropped.
    ///
    /// # Errors
    /// [`StorageError::WriterBusy`] as the policy says.
    pub(crate) fn writer(&self, policy: WriterPolicy) -> Result<Writer<'_>, StorageError> {
        Writer::new(self, self.locks.write(policy)?)
    }

    /// One transaction: [`LmdbStore::writer`], then [`Writer::transact`].
    pub(crate) fn write<R, E: From<StorageError>>(
        &self,
        policy: WriterPolicy,
        change: impl FnMut(&mut WriteTxn<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.writer(policy)?.transact(change)
    }

    /// Reads the file itself. The pages of a version that a snapshot holds are not used again, so
    /// a writer may be at work; but its commits replace the metas that are read.
    fn beside_writers<T>(
        &self,
        read: impl Fn() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        loop {
            let held = self.snapshot()?;
            match read() {
                Err(_) if self.snapshot()?.version() != held.version() => {}
                done => return done,
            }
        }
    }

    fn clear_stale_readers(&self) -> Result<(), StorageError> {
        let cleared = self.env()?.clear_stale_readers();
        cleared.map(|_| ()).map_err(|error| self.translate(error, "clear the readers of"))
    }

    /// Doubles the map, or grows it by less if the address space is scarce. The caller holds
    /// the writer lock and no transaction.
    pub(super) fn grow(&self) -> Result<(), StorageError> {
        let now = self.env()?.info().map_size as u64;
        if now >= self.map_bytes_max {
            return Err(StorageError::SizeLimit { limit: self.map_bytes_max });
        }
        self.clear_stale_readers()?;
        for more in [now, now / 4, GROW_LEAST] {
            let wanted = now.saturating_add(more).min(self.map_bytes_max);
            let wanted = wanted.next_multiple_of(MAP_STEP);
            if wanted > now && has_room(wanted) {
                return self.resize(wanted);
            }
        }
        Err(StorageError::AddressSpace { wanted: now.saturating_add(GROW_LEAST) })
    }

    /// Makes the map at least as large as another process has made the file. Without room for that
    /// the old map stays, and a later call tries again. The caller keeps writers out and holds no
    /// transaction.
    pub(super) fn adopt_size(&self) -> Result<(), StorageError> {
        let mut doubled = (self.env()?.info().map_size as u64).max(MAP_STEP);
        let least = self.file_bytes();
        while doubled < least {
            doubled = doubled.saturating_mul(2);
        }
        for wanted in [doubled.min(self.map_bytes_max).max(least), least] {
            let wanted = wanted.next_multiple_of(MAP_STEP);
            if has_room(wanted) {
                return self.resize(wanted);
            }
        }
        Err(StorageError::AddressSpace { wanted: least })
    }

    /// Gives the file the length that its meta counts: LMDB does not write pages that were taken
    /// and freed in one transaction. The caller holds the writer lock and has just committed.
    pub(super) fn extend_to_last_page(&self) {
        let Some(env) = &self.env else { return };
        let page_size = u64::from(env.unnamed_database_stat().page_size);
        let needed = (env.info().last_page_number as u64).saturating_add(1) * page_size;
        if self.file_bytes() < needed {
            // A failure costs time only: a short file is walked when it is opened.
            let file = std::fs::File::options().write(true).open(&self.path);
            let _ = file.and_then(|file| file.set_len(needed));
        }
    }

    /// Sets the size of the map, which LMDB makes no smaller than what is committed. Waits until
    /// every snapshot and view of this process is gone: the map moves. The caller keeps writers
    /// out.
    fn resize(&self, bytes: u64) -> Result<(), StorageError> {
        let bytes = to_usize(bytes)?;
        let _closed = self.gate.close();
        #[expect(unsafe_code, reason = "the map moves")]
        // SAFETY: no transaction may be live. Writers are kept out by the caller, who holds the
        // writer lock or has paused the writers, and the gate is closed: no reader is in.
        let resized = unsafe { self.env()?.resize(bytes) };
        resized.map_err(|error| {
            // LMDB has unmapped the file and could not map it again: its environment must not be
            // touched any more.
            self.dead.store(true, Ordering::Release);
            self.translate(error, "grow the map of")
        })
    }
}

impl Drop for LmdbStore {
    fn drop(&mut self) {
        let _closed = self.gate.close();
        if let Some(env) = self.env.take() {
            env.prepare_for_closing().wait();
        }
        self.locks.remove_side_files();
    }
}

/// Whether a map of that size fits beside the present one. LMDB unmaps the old map before it maps
/// the new, and cannot go back: so the room is tried first, with a reservation that is dropped.
fn has_room(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else { return false };
    MmapOptions::new().len(bytes).no_reserve_swap().map_anon().is_ok()
}

fn to_usize(bytes: u64) -> Result<usize, StorageError> {
    usize::try_from(bytes).map_err(|_| StorageError::SizeLimit { limit: usize::MAX as u64 })
}

/// The tables of the file, if it has those of the first version.
fn open_tables(env: &Env<WithoutTls>) -> Result<Option<Tables>, heed::Error> {
    let txn = settled_txn(env)?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        let mut tables = Vec::with_capacity(Table::COUNT);
        for table in Table::ALL {
            match opener.open_database::<Bytes, Bytes>(txn, Some(table.name()))? {
                None if table.since() == schema::FIRST_VERSION => {
                    return Ok::<_, heed::Error>(CommitOrAbort::Abort(()));
                }
                database => tables.push(database),
            }
        }
        Ok(into_array(tables))
    })?;
    Ok(opened.commit())
}

fn into_array<'e>(
    tables: Vec<Option<Database<'e, Bytes, Bytes>>>,
) -> CommitOrAbort<[Option<Database<'e, Bytes, Bytes>>; Table::COUNT], ()> {
    match tables.try_into() {
        Ok(tables) => CommitOrAbort::Commit(tables),
        Err(_) => CommitOrAbort::Abort(()),
    }
}

fn create_tables(
    env: &Env<WithoutTls>,
    path: &Path,
    _writer: WriterGuard<'_>,
) -> Result<Tables, StorageError> {
    let failed = |error| translate(error, "create the tables of", path);
    // Somebody else may have made them while we waited for the lock.
    if let Some(tables) = open_tables(env).map_err(failed)? {
        return Ok(tables);
    }
    if env.unnamed_database_stat().entries > 0 {
        return Err(StorageError::NotADatabase {
            path: path.to_owned(),
            reason: "it is an LMDB file with other tables".to_owned(),
        });
    }
    // So that the first pages are whole, and the file has a name, before anything is promised.
    env.force_sync().map_err(failed)?;
    fresh::sync_directory(path).map_err(|source| StorageError::Io {
        action: "sync the directory of",
        path: path.to_owned(),
        source,
    })?;
    let txn = env.write_txn().map_err(failed)?;
    let created = env.create_databases_and_commit(txn, |opener, txn| {
        let mut tables = Vec::with_capacity(Table::COUNT);
        for table in Table::ALL {
            tables.push(opener.create_database::<Bytes, Bytes>(txn, Some(table.name()))?);
        }
        for (key, value) in schema::entries_of_a_new_file() {
            tables[Table::Meta as usize].put(txn, key, &value)?;
        }
        Ok::<_, heed::Error>(into_array(tables.into_iter().map(Some).collect()))
    });
    let missing = StorageError::Missing { what: "a table" };
    created.map_err(failed)?.commit().ok_or(missing)
}

/// What the operating system said, as an error of ours.
pub(super) fn io_error(source: std::io::Error, action: &'static str, path: &Path) -> StorageError {
    const EFBIG: i32 = 27;
    const ENOSPC: i32 = 28;
    const EDQUOT: i32 = 122;
    let full = source.kind() == std::io::ErrorKind::StorageFull
        || matches!(source.raw_os_error(), Some(EFBIG | ENOSPC | EDQUOT));
    if full && cfg!(unix) {
        StorageError::DiskFull { source }
    } else {
        StorageError::Io { action, path: path.to_owned(), source }
    }
}

pub(super) fn translate(error: heed::Error, action: &'static str, path: &Path) -> StorageError {
    const EIO: i32 = 5;
    match error {
        // LMDB's report of a short write, which is what a full disk gives first.
        heed::Error::Io(source) if action == "write" && source.raw_os_error() == Some(EIO) => {
            StorageError::DiskFull { source }
        }
        heed::Error::Io(source) => io_error(source, action, path),
        heed::Error::Mdb(MdbError::MapFull) => StorageError::MapFull,
        heed::Error::Mdb(MdbError::ReadersFull) => StorageError::TooManyReaders,
        heed::Error::Mdb(MdbError::Invalid | MdbError::VersionMismatch) => {
            let reason = "LMDB does not know the format".to_owned();
            StorageError::NotADatabase { path: path.to_owned(), reason }
        }
        heed::Error::Mdb(error) if is_damage(error) => {
            StorageError::Damaged { path: path.to_owned(), source: Box::new(error) }
        }
        heed::Error::EnvAlreadyOpened => StorageError::InUse {
            path: path.to_owned(),
            hint: "this process has it open already, share that handle",
        },
        other => StorageError::Lmdb(other.to_string()),
    }
}

/// What LMDB says where a page is not what it must be. A transaction is bad once something in it
/// failed; if that was another error it was told of, and ended the transaction.
fn is_damage(error: MdbError) -> bool {
    matches!(
        error,
        MdbError::PageNotFound
            | MdbError::Corrupted
            | MdbError::CursorFull
            | MdbError::PageFull
            | MdbError::Incompatible
            | MdbError::BadTxn
            | MdbError::Problem
    )
}

/// Whether a read transaction of that number has the roots of its version.
///
/// LMDB reads the number N of the last commit, then copies the roots from meta page N mod 2. A
/// thread that is held up between the two can copy what commit N + 2 is writing there: a version
/// that is not announced yet, under another number, or half of it. Commit N + 2 writes its meta
/// only after N + 1 has been announced, so the roots are those of N if N is still the last commit
/// after the copy.
fn is_settled(env: &Env<WithoutTls>, number: usize) -> Result<bool, heed::Error> {
    fence(Ordering::SeqCst);
    // Else the meta of N + 1 is written, but its commit may wait for the disk and not be
    // announced: a second transaction tells what is.
    Ok(env.info().last_txn_id == number || env.read_txn()?.id() == number)
}

fn settled_txn(env: &Env<WithoutTls>) -> Result<RoTxn<'static, WithoutTls>, heed::Error> {
    loop {
        let txn = env.clone().static_read_txn()?;
        if is_settled(env, txn.id())? {
            return Ok(txn);
        }
        std::thread::yield_now();
    }
}

impl Store for LmdbStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, StorageError> {
        let mut cleared = false;
        loop {
            let ticket = self.gate.enter();
            match settled_txn(self.env()?) {
                Ok(txn) => return Ok(Box::new(LmdbSnapshot::new(self, txn, ticket))),
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    drop(ticket);
                    let _paused = self.locks.pause_writers()?;
                    self.adopt_size()?;
                }
                Err(heed::Error::Mdb(MdbError::ReadersFull)) if !cleared => {
                    // Slots of readers that were killed; a live one is never taken.
                    cleared = true;
                    self.clear_stale_readers()?;
                }
                Err(error) => return Err(self.translate(error, "read")),
            }
        }
    }

    fn on_evict(&self, drop_views: Box<dyn Fn() + Send + Sync>) {
        self.gate.on_evict(drop_views);
    }

    fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    fn format(&self) -> u32 {
        self.format
    }

    fn check_structure(&self) -> Result<(), StorageError> {
        self.beside_writers(|| reader::validate_file(&self.path))
    }

    fn page_use(&self) -> Result<PageUse, StorageError> {
        self.beside_writers(|| reader::page_use_of_file(&self.path))
    }

    fn readers(&self) -> Vec<Reader> {
        // Of processes that were killed, nobody holds anything.
        let _ = self.clear_stale_readers();
        self.lock_file.readers(READERS_MAX)
    }
}
