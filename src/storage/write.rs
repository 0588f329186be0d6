//! Writing: the one writer, its transactions, and the copy that may replace the file.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::Ordering;

use heed::{MdbError, PutFlags};

use super::checked::check_gap;
use super::copy::{CopyError, PAGE_BYTES, copy};
use super::env::{LmdbStore, LmdbTable, io_error};
use super::lock::{self, WriterGuard};
use super::pages::META_BYTES;
use super::snapshot::range;
use super::{
    Entries, Entry, SharedEntries, Snapshot, StorageError, Table, Verify, fresh, prefix_end,
    schema, whole,
};
use crate::format::seal;

/// The copy goes to disk in pieces of this size.
const COPY_BUFFER: usize = 1 << 20;

/// The one writer; others wait or are refused.
pub(crate) struct Writer<'s> {
    store: &'s LmdbStore,
    _lock: WriterGuard<'s>,
}

impl<'s> Writer<'s> {
    /// Makes the version that is to be changed durable, unless this handle committed it.
    ///
    /// What the system has in memory may be newer or older than the disk: a process can be killed
    /// while it waits for its meta page, and of one whose writing was reported as failed LMDB puts
    /// the old content back, unsynced. The next transaction uses pages again that the version on
    /// disk may need; it must not be the one in use after a loss of power.
    pub(super) fn new(store: &'s LmdbStore, lock: WriterGuard<'s>) -> Result<Self, StorageError> {
        let env = store.env()?;
        if store.durable.load(Ordering::Acquire) != env.info().last_txn_id as u64 {
            env.force_sync().map_err(|error| store.translate(error, "sync"))?;
        }
        let writer = Self { store, _lock: lock };
        writer.remember_durable();
        Ok(writer)
    }

    fn remember_durable(&self) {
        if let Ok(env) = self.store.env() {
            self.store.durable.store(env.info().last_txn_id as u64, Ordering::Release);
        }
    }

    /// Runs `change` in one write transaction and commits it. When the map is full the
    /// transaction is dropped, the map grown and `change` run again, so it must not keep state,
    /// and the caller must hold no snapshot: growing waits for all of them to go.
    ///
    /// # Errors
    /// Whatever `change` fails with, or a [`StorageError`]; nothing was changed then.
    pub(crate) fn transact<R, E: From<StorageError>>(
        &self,
        mut change: impl FnMut(&mut WriteTxn<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let store = self.store;
        loop {
            let txn = match store.env()?.write_txn() {
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    store.adopt_size()?;
                    continue;
                }
                begun => begun.map_err(|error| store.translate(error, "write"))?,
            };
            let full = Cell::new(false);
            let in_order = Table::ALL.map(|table| BY_SLOT.contains(&table));
            let mut txn = WriteTxn { txn, store, full: &full, in_order };
            let result = change(&mut txn).and_then(|value| {
                txn.put_commit_number()?;
                Ok(value)
            });
            let WriteTxn { txn, .. } = txn;
            match result {
                Ok(value) => {
                    // Unreadable now, it stays as LMDB leaves it; that costs only a check.
                    let meta = OldMeta::read(store, txn.id() as u64).ok();
                    match txn.commit() {
                        Ok(()) => {
                            self.remember_durable();
                            store.extend_to_last_page();
                            return Ok(value);
                        }
                        Err(heed::Error::Mdb(MdbError::MapFull)) => store.grow()?,
                        Err(error) => {
                            let _ = meta.map(OldMeta::put_back);
                            return Err(store.translate(error, "write").into());
                        }
                    }
                }
                Err(error) => {
                    txn.abort();
                    if !full.get() {
                        return Err(error);
                    }
                    store.grow()?;
                }
            }
        }
    }
}

/// Writes what a snapshot of `original` sees to `target`, which must not exist, with the mode of
/// the original if it has a path, and syncs it to disk. Returns the bytes of the copy.
///
/// # Errors
/// Those of reading; [`StorageError::Io`], [`StorageError::DiskFull`]. The target is gone then.
pub(crate) fn copy_file(
    snapshot: &dyn Snapshot,
    original: Option<&Path>,
    target: &Path,
) -> Result<u64, StorageError> {
    let io = |action| move |source: std::io::Error| io_error(source, action, target);
    // Nobody else's to read, until it has the mode of the original.
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(target).map_err(io("create"))?;
    let mut out = BufWriter::with_capacity(COPY_BUFFER, file);
    let copied = copy(snapshot, &mut out, PAGE_BYTES)
        .map_err(|error| match error {
            CopyError::Read(error) => error,
            CopyError::Write(error) => io("write")(error),
        })
        .and_then(|bytes| {
            let file = out.get_ref();
            if let Some(original) = original {
                let mode = std::fs::metadata(original).map(|meta| meta.permissions());
                mode.and_then(|mode| file.set_permissions(mode)).map_err(io("set the mode of"))?;
            }
            file.sync_all().map_err(io("sync")).map(|()| bytes)
        });
    if copied.is_err() {
        let _ = std::fs::remove_file(target);
    }
    copied
}

/// The meta page that a transaction is to write over, as it was.
///
/// If that writing fails LMDB puts back the number of the page, but leaves the roots of the failed
/// transaction beside it. Nobody uses them; but they look like damage to whoever checks that each
/// meta page has the content of its number.
struct OldMeta {
    file: File,
    at: u64,
    bytes: [u8; META_BYTES],
}

impl OldMeta {
    fn read(store: &LmdbStore, version: u64) -> std::io::Result<Self> {
        let env = store.env().map_err(std::io::Error::other)?;
        let at = (version & 1) * u64::from(env.unnamed_database_stat().page_size);
        let mut file = File::options().read(true).write(true).open(&store.path)?;
        let mut bytes = [0; META_BYTES];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        Ok(Self { file, at, bytes })
    }

    fn put_back(mut self) -> std::io::Result<()> {
        let mut now = [0; META_BYTES];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut now)?;
        if now != self.bytes {
            self.file.seek(SeekFrom::Start(self.at))?;
            self.file.write_all(&self.bytes)?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// A write transaction: sees its own changes, publishes them all or none.
pub(crate) struct WriteTxn<'t> {
    txn: heed::RwTxn<'t>,
    store: &'t LmdbStore,
    full: &'t Cell<bool>,
    /// Whether keys of the table have come in order so far, and are likely to go on so.
    in_order: [bool; Table::COUNT],
}

/// Tables whose keys end in slots, which are given out in order.
const BY_SLOT: [Table; 3] = [Table::Records, Table::Delta, Table::Matrices];

impl WriteTxn<'_> {
    /// The table, to write to.
    fn table(&self, table: Table) -> Result<LmdbTable, StorageError> {
        let (found, needed) = (self.store.format, table.since());
        self.store.table(table).copied().ok_or(StorageError::Older { found, needed })
    }

    fn failed(&self, error: heed::Error) -> StorageError {
        let error = self.store.translate(error, "write");
        self.full.set(self.full.get() || matches!(error, StorageError::MapFull));
        error
    }

    /// Format version of the file.
    pub(crate) fn format(&self) -> u32 {
        self.store.format
    }

    /// Refuses a file that is older than format version `needed`.
    pub(crate) fn needs(&self, needed: u32) -> Result<(), StorageError> {
        match self.store.format {
            found if found < needed => Err(StorageError::Older { found, needed }),
            _ => Ok(()),
        }
    }

    /// Stores `value` under `key`.
    pub(crate) fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StorageError> {
        let of = self.table(table)?;
        // Behind all others LMDB fills a page and begins the next; anywhere else, and also behind
        // all others where it is not told so, it splits a full page into two halves.
        if self.in_order[table as usize] {
            match of.put_with_flags(&mut self.txn, PutFlags::APPEND, key, value) {
                Err(heed::Error::Mdb(MdbError::KeyExist)) => self.in_order[table as usize] = false,
                put => return put.map_err(|error| self.failed(error)),
            }
        }
        let put = of.put(&mut self.txn, key, value);
        put.map_err(|error| self.failed(error))
    }

    /// Stores an entry of the field index, which is all key.
    pub(crate) fn put_field(&mut self, key: &[u8]) -> Result<(), StorageError> {
        let sealed = schema::has_sealed_fields(self.store.format);
        let value = if sealed { seal(Table::Fields as u8, key, &[]) } else { Vec::new() };
        self.put(Table::Fields, key, &value)
    }

    /// Tells readers which transaction wrote what they see.
    fn put_commit_number(&mut self) -> Result<(), StorageError> {
        match schema::commit_entry(self.store.format, self.version()) {
            Some((key, value)) => self.put(Table::Meta, key, &value),
            None => Ok(()),
        }
    }

    /// Removes `key`; whether it was there.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, StorageError> {
        let Some(table) = self.store.table(table) else { return Ok(false) };
        let deleted = table.delete(&mut self.txn, key);
        deleted.map_err(|error| self.failed(error))
    }

    /// Removes every key that begins with `prefix`; how many there were.
    pub(crate) fn delete_prefix(
        &mut self,
        table: Table,
        prefix: &[u8],
    ) -> Result<usize, StorageError> {
        let end = prefix_end(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(prefix), end);
        let Some(table) = self.store.table(table) else { return Ok(0) };
        let deleted = table.delete_range(&mut self.txn, &bounds);
        deleted.map_err(|error| self.failed(error))
    }

    /// Removes the first keys that begin with `prefix`, at most so many; how many there were.
    pub(crate) fn delete_some(
        &mut self,
        table: Table,
        prefix: &[u8],
        most: usize,
    ) -> Result<usize, StorageError> {
        let mut last = None;
        for entry in self.range(table, prefix, prefix)?.take(most) {
            last = Some(entry?.0);
        }
        let Some(last) = last.map(<[u8]>::to_vec) else { return Ok(0) };
        let bounds = (Bound::Included(prefix), Bound::Included(last.as_slice()));
        let Some(table) = self.store.table(table) else { return Ok(0) };
        let deleted = table.delete_range(&mut self.txn, &bounds);
        deleted.map_err(|error| self.failed(error))
    }
}

impl Snapshot for WriteTxn<'_> {
    fn version(&self) -> u64 {
        self.txn.id() as u64
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let Some(of) = self.store.table(table) else { return Ok(None) };
        let value = of.get(&self.txn, key);
        let value = value.map_err(|error| self.store.translate(error, "read"))?;
        if value.is_none() && self.store.verify != Verify::None {
            check_gap(self, self.store.format, table, key)?;
        }
        Ok(value)
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Entry<'_>>, StorageError> {
        // Nothing is below the empty key, which LMDB does not know.
        if key.is_empty() {
            return Ok(None);
        }
        let Some(table) = self.store.table(table) else { return Ok(None) };
        let entry = table.get_lower_than(&self.txn, key);
        entry.map_err(|error| self.store.translate(error, "read"))
    }

    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError> {
        range(self.store.table(table), &self.txn, prefix, start, &self.store.path)
    }

    fn range_shared<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> Result<SharedEntries<'s>, StorageError> {
        let entries = self.range(table, prefix, prefix)?;
        // What this transaction wrote is not in the map yet.
        let copied = entries.map(|entry| entry.map(|(key, value)| (key, value.to_vec().into())));
        Ok(Box::new(copied))
    }
}

/// Replaces `path` by `replacement`, atomically, if no read-write handle has it open and it is
/// still at `version`; otherwise nothing changes and the answer is false.
pub(crate) fn replace_file(
    path: &Path,
    replacement: &Path,
    version: u64,
) -> Result<bool, StorageError> {
    let io = |action| move |source| StorageError::Io { action, path: path.to_owned(), source };
    let _exclusive = lock::exclusive(path)?;
    if whole::check_metas(path)? != Some(version) {
        return Ok(false);
    }
    std::fs::rename(replacement, path).map_err(io("replace"))?;
    fresh::sync_directory(path).map_err(io("sync"))?;
    Ok(true)
}
