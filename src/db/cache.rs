//! The cache of what models said, as the database keeps it: bounds, what waits to be written, and
//! when it is. Writing never fails or delays a query: changes wait in memory, where they are found
//! already, and go to the file many at a time, when no other writer is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

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
    /// Held from taking what waits until it is in the file or waits again.
    writing: Mutex<()>,
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

/// A seed that nobody can foresee.
pub(super) fn new_seed() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// What is about to be written, and the seed that it is digested by.
struct Taken {
    seed: u64,
    changes: BTreeMap<Subject, Change>,
    touched: BTreeSet<Subject>,
}

impl Waiting {
    /// All that waits; none if there is nothing.
    fn take(&mut self) -> Option<Taken> {
        let seed = self.seed.filter(|_| self.len() > 0)?;
        let (changes, touched) = (mem::take(&mut self.changes), mem::take(&mut self.touched));
        Some(Taken { seed, changes, touched })
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.touched.len()
    }
}

impl Cache {
    pub(super) fn new(options: Option<CacheOptions>) -> Self {
        Self { options, waiting: Mutex::default(), writing: Mutex::default() }
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
    /// Writes what waits, after a write that is under way: what that one could not store waits
    /// again, and is not overlooked. How much was written.
    fn write_cache(&self, policy: WriterPolicy) -> Result<usize> {
        let _writing = self.cache.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_waiting(policy)
    }

    /// Writes what waits, unless any writer is at work, one of the cache included.
    pub(crate) fn try_write_cache(&self) -> Result<usize> {
        let _writing = match self.cache.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(0),
        };
        self.write_waiting(WriterPolicy::Refuse)
    }

    fn write_waiting(&self, policy: WriterPolicy) -> Result<usize> {
        // In a statement of its own: queries add to what waits while the file is written.
        let taken = self.cache.waiting().take();
        taken.map_or(Ok(0), |taken| self.write_taken(policy, taken))
    }

    fn write_taken(&self, policy: WriterPolicy, taken: Taken) -> Result<usize> {
        let Taken { seed, changes, touched } = taken;
        let bounds = self.cache.bounds();
        let store = self.lmdb()?;
        let stored = store.write(policy, |txn| {
            match cache::store(txn, seed, bounds, changes.iter(), touched.iter()) {
                // It is derived, and nothing but itself is lost.
                Err(error) if error.is_corruption() => {
                    cache::clear(txn, new_seed()).map(|()| false)
                }
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
        let _ = self.try_write_cache();
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
    /// What queries keep that began before is dropped too, even when its writing has begun.
    ///
    /// # Errors
    /// Read-only; storage.
    pub fn clear_cache(&self) -> Result<()> {
        let seed = new_seed();
        self.inner.lmdb()?.write(self.inner.writer, |txn| cache::clear(txn, seed))?;
        let mut waiting = self.inner.cache.waiting();
        waiting.changes.clear();
        waiting.touched.clear();
        waiting.seed = Some(seed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DatabaseOptions;
    use crate::storage::cache::Said;

    #[test]
    fn a_write_that_was_under_way_does_not_undo_a_clearing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("p.portolan");
        let db = DatabaseOptions::new().cache(CacheOptions::new()).open(&path).expect("a file");
        let keep = |seed| {
            let mut waiting = db.inner.cache.waiting();
            waiting.seed = Some(seed);
            let change = Change { said: Said::Vector(vec![1.0]), merge: false };
            waiting.changes.insert(Subject::logits("model", "a secret question"), change);
        };
        let entries = || db.info().expect("the counts").cache.entries;
        keep(7);
        // The writer has taken what waits, and is held up until the cache was cleared.
        let held = db.inner.cache.waiting().take().expect("a change");
        db.clear_cache().expect("a commit");
        assert_eq!(db.inner.write_taken(db.inner.writer, held).expect("nothing to do"), 0);
        assert_eq!(entries(), 0);
        // Nor does a query that looked up before and keeps afterwards.
        keep(7);
        assert_eq!(db.write_cache().expect("nothing to do"), 0);
        assert_eq!(entries(), 0);
        db.verify().expect("an undamaged file");
        let bytes = std::fs::read(&path).expect("the file");
        assert!(!bytes.windows(8).any(|window| window == b"question"));
        // What is asked from now on is kept.
        let seed = cache::state(db.inner.snapshot().expect("a snapshot").as_ref());
        keep(seed.expect("a state").expect("a cache").seed);
        assert_eq!((db.write_cache().expect("a commit"), entries()), (1, 1));
    }

    #[test]
    fn what_another_write_could_not_store_is_written_by_the_next() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("p.portolan");
        let db = DatabaseOptions::new().cache(CacheOptions::new()).open(&path).expect("a file");
        let cache = &db.inner.cache;
        {
            let mut waiting = cache.waiting();
            waiting.seed = Some(7);
            let change = Change { said: Said::Vector(vec![1.0]), merge: false };
            waiting.changes.insert(Subject::logits("model", "a question"), change);
        }
        // A write is under way, and has taken what waits.
        let under_way = cache.writing.lock().expect("nobody writes");
        let taken = cache.waiting().take().expect("a change");
        assert_eq!(db.inner.try_write_cache().expect("left to the other"), 0);
        let next = std::thread::spawn({
            let db = db.clone();
            move || db.write_cache().expect("a commit")
        });
        // It finds the file busy, and gives back what it took.
        cache.waiting().changes.extend(taken.changes);
        drop(under_way);
        assert_eq!(next.join().expect("a thread"), 1);
        assert_eq!(db.info().expect("the counts").cache.entries, 1);
    }
}
