//! Folding: unsealed vectors become a segment, small segments become larger ones, dead rows go.
//!
//! Rows are collected from a snapshot and the graph is built without any lock. Only then does
//! the writer lock close, for writing the extents (under a number that no manifest names yet)
//! and for the last, small transaction that publishes them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batch::MaintenanceOutcome;
use super::fold::{Fold, Sources};
use super::publish::{Publish, raw_rows};
use super::space::Space;
use super::text::{remove_postings, unindexed};
use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::index::{IndexError, SegmentBuilder, SegmentConfig, SegmentImage};
use crate::storage::extents;
use crate::storage::keys as key;
use crate::storage::tables::{self, Manifest};
use crate::storage::{Snapshot, StorageError, Table, WriterPolicy};

/// When vectors are folded into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Maintenance {
    /// On commit, by the committing thread, once so many vectors are unsealed.
    Inline {
        /// Unsealed vectors that set it off.
        threshold: u32,
    },
    /// Only when the application calls [`Collection::maintain`].
    Manual,
}

/// Unsealed vectors are scanned; 2048 of 384 dimensions take about 0.2 ms.
const INLINE_THRESHOLD: u32 = 2048;
/// Whatever the policy: nobody throws a finished graph away for a moment's wait.
const PUBLISH_WAIT: Duration = Duration::from_secs(30);
/// Times to fold anew when another process was faster.
const FOLDS: usize = 5;
/// Dead rows that set off a rewrite, if they are also more than 30 % of all rows.
const DEAD_MIN: u64 = 1024;

impl Default for Maintenance {
    fn default() -> Self {
        Self::Inline { threshold: INLINE_THRESHOLD }
    }
}

/// Does what a commit that left the spaces of a collection so sets off. Never waits for another
/// fold: it may be running further down the stack of this very thread, under a stolen task.
pub(super) fn after_commit(
    collection: &Collection,
    manifests: &[(u32, Manifest)],
) -> MaintenanceOutcome {
    let Maintenance::Inline { threshold } = collection.inner.maintenance else {
        return MaintenanceOutcome::NotDue;
    };
    let folding = &collection.inner.folding;
    let is_due = |(number, manifest): &&(u32, Manifest)| {
        let waits = manifest.delta >= u64::from(threshold.max(1)) || has_many_dead(manifest);
        waits && !folding.failed_recently(*number, manifest.delta)
    };
    let due: Vec<_> = manifests.iter().filter(is_due).collect();
    if due.is_empty() {
        return MaintenanceOutcome::NotDue;
    }
    let Ok(_one) = folding.one.try_lock() else { return MaintenanceOutcome::NotDue };
    let maintain = collection.maintain().only_due();
    let mut sum = Maintained::default();
    for (number, manifest) in due {
        match maintain.fold_numbered(*number) {
            Ok(done) => sum.add(done),
            Err(error) => {
                folding.remember_failure(*number, manifest.delta);
                return MaintenanceOutcome::Failed(error);
            }
        }
    }
    MaintenanceOutcome::Done(sum)
}

/// Who folds in this handle.
#[derive(Default)]
pub(super) struct Folding {
    /// Held while segments are folded: two folds of the same rows would do the work twice.
    one: Mutex<()>,
    /// Unsealed vectors of a space when its last inline fold failed.
    failures: Mutex<HashMap<u32, u64>>,
}

impl Folding {
    /// A fold that failed (a full disk, a size limit) is tried again when twice as much waits.
    fn failed_recently(&self, collection: u32, unsealed: u64) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&collection).is_some_and(|&before| unsealed < before.saturating_mul(2))
    }

    fn remember_failure(&self, collection: u32, unsealed: u64) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.insert(collection, unsealed.max(1));
    }

    fn forget_failure(&self, collection: u32) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&collection);
    }
}

pub(super) fn has_many_dead(manifest: &Manifest) -> bool {
    let sealed: u64 = manifest.segments.iter().map(|segment| u64::from(segment.rows)).sum();
    manifest.dead >= DEAD_MIN && manifest.dead * 10 > sealed * 3
}

/// What maintenance did, in all vector fields together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Rows of the new segments; 0 if there was nothing to do.
    pub rows: u64,
    /// Unsealed vectors that they took in.
    pub sealed: u64,
    /// Segments that they replace.
    pub merged: usize,
    /// Deleted rows that are gone.
    pub dropped: u64,
    /// Whether one of them has a graph.
    pub graph: bool,
    /// Wall time.
    pub took: Duration,
}

impl Maintained {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.sealed += other.sealed;
        self.merged += other.merged;
        self.dropped += other.dropped;
        self.graph |= other.graph;
        self.took += other.took;
    }
}

/// Told `(done, total)` rows of the graph; `Break` cancels the work.
type ProgressFn<'p> = dyn Fn(u64, u64) -> ControlFlow<()> + Sync + 'p;

/// Maintenance of a collection. Made by [`Collection::maintain`].
#[must_use]
pub struct Maintain<'p> {
    collection: Collection,
    only_due: bool,
    rebuild: bool,
    graph_min_rows: Option<u32>,
    progress: Option<Box<ProgressFn<'p>>>,
}

impl Collection {
    /// Folds all vectors of each field of the collection into one segment and drops deleted rows:
    /// the best state for searching and shipping. Builds the graph on all threads of the current
    /// rayon pool; searches and writes go on meanwhile.
    pub fn maintain<'p>(&self) -> Maintain<'p> {
        let collection = self.clone();
        Maintain {
            collection,
            only_due: false,
            rebuild: false,
            graph_min_rows: None,
            progress: None,
        }
    }
}

impl<'p> Maintain<'p> {
    /// Does only what is worth it now: seals the unsealed vectors, merges small segments of about
    /// their number, and takes all that into the next graph once it is a fifth of it.
    pub fn only_due(mut self) -> Self {
        self.only_due = true;
        self
    }

    /// Builds the graph anew, even where one could take in what changed: the same file whatever
    /// happened to the collection before.
    pub fn rebuild(mut self) -> Self {
        self.rebuild = true;
        self
    }

    /// Segments up to this size get no graph but are scanned. Default: 20,000 rows.
    pub fn graph_min_rows(mut self, rows: u32) -> Self {
        self.graph_min_rows = Some(rows);
        self
    }

    /// Told `(done, total)` rows while a graph is built, one vector field after the other; `Break`
    /// cancels.
    pub fn progress(mut self, progress: impl Fn(u64, u64) -> ControlFlow<()> + Sync + 'p) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Does the work. Waits while another thread of this handle folds, so it must not be called
    /// from a progress callback, nor from a task that a rayon worker may steal while it folds.
    ///
    /// Peak memory: what [`DatabaseOptions::build_memory`](super::DatabaseOptions::build_memory)
    /// says.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; read-only; [`Error::Index`]; storage. The vector field that was being
    /// folded is as before.
    pub fn run(self) -> Result<Maintained> {
        let folding = &self.collection.inner.folding;
        let _one = folding.one.lock().unwrap_or_else(PoisonError::into_inner);
        let spaces = self.collection.spaces(self.collection.inner.snapshot()?.as_ref())?;
        let mut sum = Maintained::default();
        for space in spaces {
            sum.add(self.fold_whole(space)?);
        }
        Ok(sum)
    }

    fn fold_whole(&self, space: Space) -> Result<Maintained> {
        // Another process may fold the same rows meanwhile; then there is less left to do.
        for _ in 0..FOLDS {
            if let Some(done) = self.fold(space)? {
                return Ok(done);
            }
        }
        Err(StorageError::WriterBusy.into())
    }

    /// Folds the space of a number once, if it is still there.
    fn fold_numbered(&self, number: u32) -> Result<Maintained> {
        let spaces = self.collection.spaces(self.collection.inner.snapshot()?.as_ref())?;
        match spaces.into_iter().find(|space| space.id == number) {
            Some(space) => Ok(self.fold(space)?.unwrap_or_default()),
            None => Ok(Maintained::default()),
        }
    }

    /// None if another process folded the same rows.
    fn fold(&self, space: Space) -> Result<Option<Maintained>> {
        let begin = Instant::now();
        let collection = &self.collection;
        let store = collection.inner.lmdb()?;
        // A writer that is busy now refuses the work before it is done, as the policy says.
        drop(store.writer(collection.inner.writer)?);
        let Some((fold, image)) = self.build(space)? else {
            return Ok(Some(Maintained { took: begin.elapsed(), ..Maintained::default() }));
        };
        let writer = store.writer(collection.inner.writer.at_least(PUBLISH_WAIT))?;
        let publish = Publish { collection, space, fold: &fold, image: &image, writer: &writer };
        let published = publish.run()?;
        collection.inner.views.clear();
        collection.inner.folding.forget_failure(space.id);
        Ok(published.map(|done| Maintained { took: begin.elapsed(), ..done }))
    }

    /// Collects the rows and builds the image, from one snapshot that is released before the
    /// graph is built.
    fn build(&self, space: Space) -> Result<Option<(Fold, SegmentImage)>> {
        let collection = &self.collection;
        let failed = |source| index_failed(collection, source);
        let mut config = SegmentConfig::new(space.encoding).graph(space.graph);
        config = config.raw_apart(true).memory(collection.inner.build_memory);
        if let Some(rows) = self.graph_min_rows {
            config = config.graph_min_rows(rows);
        }
        let snapshot = collection.inner.snapshot()?;
        if !collection.has_space(snapshot.as_ref(), space)? {
            return Ok(None);
        }
        let view = collection.view_of(snapshot.as_ref(), space)?;
        let needs_graph = |rows: u32| rows > config.graph_min_rows;
        let Some(mut fold) = Fold::plan(&view, (self.only_due, self.rebuild), needs_graph) else {
            return Ok(None);
        };
        // What is copied gets a checksum of its own: damage would look whole from then on.
        for &segment in &fold.replaced {
            extents::verify(snapshot.as_ref(), space.id, segment)?;
        }
        let builder = SegmentBuilder::with_capacity(config, fold.rows.len());
        let mut builder = builder.map_err(failed)?;
        let gone = StorageError::Missing { what: "a segment" };
        let sources = Sources::new(&view, &fold.replaced).ok_or(gone)?;
        for row in &fold.rows {
            let code = sources.code(row).ok_or(StorageError::Missing { what: "a code row" })?;
            builder.push(row.slot.0, code, None).map_err(failed)?;
        }
        if !self.rebuild {
            if let Some(basis) = sources.basis(&fold) {
                builder = builder.basis(basis);
            }
            if let Some((graph, places)) = sources.graph_of(&fold) {
                builder = builder.inherit(graph, places);
            }
        }
        fold.ids = sources.int_ids(&fold, snapshot.as_ref(), collection.id);
        drop((view, snapshot));
        let go_on = |_, _| ControlFlow::Continue(());
        let progress: &ProgressFn<'_> = match &self.progress {
            Some(progress) => progress.as_ref(),
            None => &go_on,
        };
        // Rows that are gone were folded by another process: publishing will find that out.
        let raw = |rows| raw_rows(collection, space, &fold, rows).ok();
        let image = builder.finish_with(&raw, progress);
        Ok(Some((fold, image.map_err(failed)?)))
    }
}

fn index_failed(collection: &Collection, source: IndexError) -> Error {
    match source {
        IndexError::Cancelled => Error::Cancelled,
        source => Error::Index { collection: collection.name.to_string(), source },
    }
}

/// Removes what a killed process left behind: extents that no manifest names, and postings of
/// collections without a text index, which no commit keeps up. Whoever is publishing or indexing
/// holds the writer lock, so without the lock nothing is swept.
///
/// A failure that is no damage (a full disk, a size limit) leaves them for the next open.
pub(super) fn sweep(inner: &Inner) -> Result<()> {
    match remove_orphans(inner) {
        Err(error) if error.is_corruption() => Err(error),
        _ => Ok(()),
    }
}

fn remove_orphans(inner: &Inner) -> Result<()> {
    let store = inner.lmdb()?;
    let snapshot = inner.snapshot()?;
    if orphans(snapshot.as_ref())?.is_empty() && unindexed(snapshot.as_ref())?.is_empty() {
        return Ok(());
    }
    drop(snapshot);
    let writer = match store.writer(WriterPolicy::Refuse) {
        Err(StorageError::WriterBusy) => return Ok(()),
        writer => writer?,
    };
    writer.transact(|txn| {
        for (collection, segment) in orphans(txn)? {
            txn.delete_prefix(Table::Extents, &key::segment(collection, segment))?;
        }
        Ok::<_, Error>(())
    })?;
    // Nobody else can begin an index meanwhile.
    let unindexed = unindexed(inner.snapshot()?.as_ref())?;
    unindexed.into_iter().try_for_each(|collection| remove_postings(&writer, collection))
}

fn orphans(snapshot: &dyn Snapshot) -> Result<Vec<(u32, u32)>> {
    let mut orphans = Vec::new();
    for (collection, segment) in extents::segments_on_disk(snapshot)? {
        let at = key::manifest(collection);
        let known = snapshot.get(Table::Collections, &at)?.is_some()
            && tables::manifest(snapshot, collection)?
                .segments
                .iter()
                .any(|entry| entry.id == segment);
        if !known {
            orphans.push((collection, segment));
        }
    }
    Ok(orphans)
}
