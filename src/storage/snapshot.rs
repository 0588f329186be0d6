//! A version of a file that is open through LMDB: lookups, ranges, and slices of the map that keep
//! the version. Not the opening of the file or the moves of its map (see `env`).

use std::cell::Cell;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes as SharedBytes;
use heed::{RoTxn, WithoutTls};

use super::env::{LmdbStore, LmdbTable, translate};
use super::gate::Ticket;
use super::{Entries, Entry, SharedEntries, Snapshot, StorageError, Table, prefix_end};

/// A read transaction that shared slices keep alive. Field order: the transaction ends first.
struct Held {
    txn: RoTxn<'static, WithoutTls>,
    _ticket: Ticket,
}

#[expect(unsafe_code, reason = "heed's read transaction is Send but not Sync")]
// SAFETY: RoTxn is not Sync because one transaction must not be used by two threads at once. The
// only user of `txn` is the `LmdbSnapshot` that owns this Arc, which is neither Sync nor Clone.
// A `PinnedSlice` holds the Arc only to drop it, and to end a transaction made without
// thread-local storage from another thread is allowed (that is why RoTxn<WithoutTls> is Send).
unsafe impl Sync for Held {}

/// A version of a file that LMDB has open.
pub(super) struct LmdbSnapshot<'s> {
    store: &'s LmdbStore,
    held: Arc<Held>,
    /// Keeps the snapshot on one thread at a time.
    _not_sync: PhantomData<Cell<()>>,
}

impl<'s> LmdbSnapshot<'s> {
    pub(super) fn new(
        store: &'s LmdbStore,
        txn: RoTxn<'static, WithoutTls>,
        ticket: Ticket,
    ) -> Self {
        let held = Arc::new(Held { txn, _ticket: ticket });
        Self { store, held, _not_sync: PhantomData }
    }
}

impl Snapshot for LmdbSnapshot<'_> {
    fn version(&self) -> u64 {
        self.held.txn.id() as u64
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let Some(table) = self.store.table(table) else { return Ok(None) };
        let value = table.get(&self.held.txn, key);
        value.map_err(|error| self.store.translate(error, "read"))
    }

    fn before(&self, table: Table, key: &[u8]) -> Result<Option<Entry<'_>>, StorageError> {
        // Nothing is below the empty key, which LMDB does not know.
        if key.is_empty() {
            return Ok(None);
        }
        let Some(table) = self.store.table(table) else { return Ok(None) };
        let entry = table.get_lower_than(&self.held.txn, key);
        entry.map_err(|error| self.store.translate(error, "read"))
    }

    fn range<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
    ) -> Result<Entries<'s>, StorageError> {
        range(self.store.table(table), &self.held.txn, prefix, start, &self.store.path)
    }

    fn range_shared<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> Result<SharedEntries<'s>, StorageError> {
        let entries = self.range(table, prefix, prefix)?;
        Ok(Box::new(entries.map(|entry| {
            let (key, value) = entry?;
            #[expect(unsafe_code, reason = "a slice of the map outlives this borrow")]
            // SAFETY: `value` comes from `self.held`'s own read transaction. LMDB returns values
            // as slices of the map and keeps every page of this version unchanged while the
            // transaction lives; the owner of the new slice holds that very transaction, and the
            // map cannot move before the transaction's ticket is back (`Gate::close`).
            let slice = unsafe { std::slice::from_raw_parts(value.as_ptr(), value.len()) };
            let held = Arc::clone(&self.held);
            Ok((key, SharedBytes::from_owner(PinnedSlice { slice, _held: held })))
        })))
    }
}

/// A slice of the map and the transaction that keeps it unchanged.
struct PinnedSlice {
    slice: &'static [u8],
    _held: Arc<Held>,
}

impl AsRef<[u8]> for PinnedSlice {
    fn as_ref(&self) -> &[u8] {
        self.slice
    }
}

pub(super) fn range<'s>(
    table: Option<&LmdbTable>,
    txn: &'s RoTxn<'_>,
    prefix: &[u8],
    start: &[u8],
    path: &Path,
) -> Result<Entries<'s>, StorageError> {
    use std::ops::Bound;
    let Some(table) = table else { return Ok(Box::new(std::iter::empty())) };
    let end = prefix_end(prefix);
    let start = start.max(prefix);
    let bounds = (
        // LMDB knows no empty key.
        if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) },
        end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
    );
    let entries = table.range(txn, &bounds).map_err(|error| translate(error, "read", path))?;
    let path = path.to_owned();
    Ok(Box::new(entries.map(move |entry| entry.map_err(|error| translate(error, "read", &path)))))
}
