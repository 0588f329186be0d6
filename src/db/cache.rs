//! The cache of what models said, as the database keeps it: bounds, what waits to be written, and
//! when it is. Writing never fails or delays a query: changes wait in memory, where they are found
//! already, and go to the file many at a time, when no other writer is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Database, Inner};
use crate::error::Result;
use crate::storage::cache::{self, Bounds, Change, Subject};
use crate::storage::{StorageError, WriterPolicy};

/// How much of what models said is kept in the file.
///
/// Logits of a reranker are kept by model, query and passage, vectors of queries by everything
/// that decides on them and by query; passages by a keyed digest, queries in full. When it is
/// full, what was stored or asked for longest ago goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct CacheOptions {
    entries: u64,
    bytes: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl CacheOptions {
    /// 64 MiB, and 100,000 queries: about 1 KiB for the logits of 50 passages, and 4 bytes a
    /// component of a vector.
    pub fn new() -> Self {
        Self { entries: 100_000, bytes: 64 << 20 }
    }

    /// At most so many queries, to each model.
    pub fn max_entries(mut self, queries: u64) -> Self {
        self.entries = queries;
        self
    }

    /// At most so many bytes of keys and values.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// What the cache of a file holds. Told by [`Database::info`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheInfo {
    /// Queries, to each model.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// What an open database keeps of its cache.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) options: Option<CacheOptions>,
    waiting: Mutex<Waiting>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Waiting {
    /// The file's seed, or the one it is to get.
    pub(super) seed: Option<u64>,
    pub(super) changes: BTreeMap<Subject, Change>,
    /// Asked for, and about to be dropped if that is not noted.
    pub(super) touched: BTreeSet<Subject>,
    /// Changes that were dropped because the file could not be written.
    pub(super) skipped: u64,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.touched.len()
    }
}

impl Cache {
    pub(super) fn new(options: Option<CacheOptions>) -> Self {
        Self { options, waiting: Mutex::default() }
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bounds(&self) -> Bounds {
        let CacheOptions { entries, bytes } = self.options.unwrap_or_default();
        Bounds { entries, bytes }
    }
}

impl Inner {
    /// Writes what waits; how much that was.
    pub(crate) fn write_cache(&self, policy: WriterPolicy) -> Result<usize> {
        let (seed, changes, touched) = {
            let mut waiting = self.cache.waiting();
            let Some(seed) = waiting.seed.filter(|_| waiting.len() > 0) else { return Ok(0) };
            (seed, std::mem::take(&mut waiting.changes), std::mem::take(&mut waiting.touched))
        };
        let bounds = self.cache.bounds();
        let store = self.lmdb()?;
        let stored = store.write(policy, |txn| {
            match cache::store(txn, seed, bounds, changes.iter(), touched.iter()) {
                // It is derived, and nothing but itself is lost.
                Err(error) if error.is_corruption() => cache::clear(txn).map(|()| false),
                stored => stored,
            }
        });
        match stored {
            Ok(stored) => {
                self.views.clear();
                Ok(if stored { changes.len() } else { 0 })
            }
            Err(error) => {
                let mut waiting = self.cache.waiting();
                if matches!(error, StorageError::WriterBusy) && waiting.seed == Some(seed) {
                    for (subject, change) in changes {
                        waiting.changes.entry(subject).or_insert(change);
                    }
                    waiting.touched.extend(touched);
                } else {
                    waiting.skipped += changes.len() as u64;
                }
                Err(error.into())
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to tell; what is not written is asked for again.
        let _ = self.write_cache(WriterPolicy::Refuse);
    }
}

impl Database {
    /// Writes now what queries have left for the cache; how many entries that were. Otherwise
    /// they are written 64 at a time, and when the last handle is dropped, if no other writer is
    /// at work just then. A commit like any other.
    ///
    /// # Errors
    /// Read-only with something to write, which does not happen; storage. Nothing is lost when
    /// another writer is at work.
    pub fn write_cache(&self) -> Result<usize> {
        self.inner.write_cache(self.inner.writer)
    }

    /// Removes all that the file remembers of what models said: before it is shipped to people
    /// who should not see which questions were asked, [`Database::compact_to`] being next.
    ///
    /// # Errors
    /// Read-only; storage.
    pub fn clear_cache(&self) -> Result<()> {
        {
            let mut waiting = self.inner.cache.waiting();
            waiting.changes.clear();
            waiting.touched.clear();
        }
        self.inner.lmdb()?.write(self.inner.writer, cache::clear)?;
        Ok(())
    }

    pub(super) fn cache_info(&self) -> Result<CacheInfo> {
        let state = cache::state(self.inner.snapshot()?.as_ref())?;
        Ok(state.map_or_else(CacheInfo::default, |state| CacheInfo {
            entries: state.entries,
            bytes: state.bytes,
        }))
    }
}
