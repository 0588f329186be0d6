//! Writing: the one writer, its transactions, and the compacting copy.

use std::cell::Cell;
use std::ops::Bound;
use std::path::Path;

use heed::MdbError;

use super::env::{LmdbStore, LmdbTable, range, translate};
use super::lock::{self, WriterGuard};
use super::{Entries, SharedEntries, Snapshot, StorageError, Table, prefix_end, validate};

/// The one writer; others wait or are refused.
pub(crate) struct Writer<'s> {
    store: &'s LmdbStore,
    _lock: WriterGuard<'s>,
}

impl<'s> Writer<'s> {
    pub(super) fn new(store: &'s LmdbStore, lock: WriterGuard<'s>) -> Self {
        Self { store, _lock: lock }
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
                    store.resize(0)?;
                    continue;
                }
                begun => begun.map_err(|error| store.translate(error, "write"))?,
            };
            let full = Cell::new(false);
            let mut txn = WriteTxn { txn, tables: &store.tables, path: &store.path, full: &full };
            let result = change(&mut txn);
            let WriteTxn { txn, .. } = txn;
            match result {
                Ok(value) => match txn.commit() {
                    Ok(()) => {
                        store.extend_to_last_page();
                        return Ok(value);
                    }
                    Err(heed::Error::Mdb(MdbError::MapFull)) => store.grow()?,
                    Err(error) => return Err(store.translate(error, "write").into()),
                },
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

    /// Writes a compacted copy to `target`, which must not exist, and syncs it to disk. Returns
    /// the version of the file that was copied.
    pub(crate) fn copy_compacted(&self, target: &Path) -> Result<u64, StorageError> {
        let io =
            |action| move |source| StorageError::Io { action, path: target.to_owned(), source };
        let env = self.store.env()?;
        let version = env.info().last_txn_id as u64;
        // Nobody else's to read, until it has the mode of the original.
        let mut options = std::fs::File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(target).map_err(io("create"))?;
        let copied = env
            .copy_to_file(&mut file, heed::CompactionOption::Enabled)
            .map_err(|error| translate(error, "copy to", target))
            .and_then(|()| {
                let mode = std::fs::metadata(&self.store.path).map(|meta| meta.permissions());
                mode.and_then(|mode| file.set_permissions(mode)).map_err(io("set the mode of"))?;
                file.sync_all().map_err(io("sync"))
            });
        if copied.is_err() {
            let _ = std::fs::remove_file(target);
        }
        copied.map(|()| version)
    }
}

/// A write transaction: sees its own changes, publishes them all or none.
pub(crate) struct WriteTxn<'t> {
    txn: heed::RwTxn<'t>,
    tables: &'t [LmdbTable; Table::COUNT],
    path: &'t Path,
    full: &'t Cell<bool>,
}

impl WriteTxn<'_> {
    fn failed(&self, error: heed::Error) -> StorageError {
        let error = translate(error, "write", self.path);
        self.full.set(self.full.get() || matches!(error, StorageError::MapFull));
        error
    }

    /// Stores `value` under `key`.
    pub(crate) fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StorageError> {
        let put = self.tables[table as usize].put(&mut self.txn, key, value);
        put.map_err(|error| self.failed(error))
    }

    /// Removes `key`; whether it was there.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, StorageError> {
        let deleted = self.tables[table as usize].delete(&mut self.txn, key);
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
        let deleted = self.tables[table as usize].delete_range(&mut self.txn, &bounds);
        deleted.map_err(|error| self.failed(error))
    }
}

impl Snapshot for WriteTxn<'_> {
    fn version(&self) -> u64 {
        self.txn.id() as u64
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let value = self.tables[table as usize].get(&self.txn, key);
        value.map_err(|error| translate(error, "read", self.path))
    }

    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError> {
        range(&self.tables[table as usize], &self.txn, prefix, start, self.path)
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
    if validate::check_metas(path)? != Some(version) {
        return Ok(false);
    }
    std::fs::rename(replacement, path).map_err(io("replace"))?;
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory =
            std::fs::File::open(parent.unwrap_or(Path::new("."))).map_err(io("sync"))?;
        directory.sync_all().map_err(io("sync"))?;
    }
    Ok(true)
}
