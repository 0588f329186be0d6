//! Folding: unsealed vectors become a segment, small segments become larger ones, dead rows go.
//!
//! Rows are collected from a snapshot and the graph is built without any lock. Only then does
//! the writer lock close, for writing the extents (under a number that no manifest names yet)
//! and for the last, small transaction that publishes them.

use std::ops::ControlFlow;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::batch::Tombstones;
use super::view::View;
use super::{Collection, Inner};
use crate::error::{Error, Result};
use crate::format::SectionKind;
use crate::index::{IndexError, Segment, SegmentBuilder, SegmentConfig, SegmentImage};
use crate::record::Slot;
use crate::storage::extents::{self, SectionPlace};
use crate::storage::tables::{self, GraphEntry, Manifest, SectionEntry, SegmentEntry, key};
use crate::storage::{Snapshot, StorageError, Table, WriteTxn, Writer, WriterPolicy};
use crate::vectors::Originals;

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

/// Unsealed vectors are scanned exactly; 2048 of 384 dimensions take about 0.2 ms.
const INLINE_THRESHOLD: u32 = 2048;
/// Dead rows that set off a rewrite, if they are also more than 30 % of all rows.
const DEAD_MIN: u64 = 1024;
/// Extents written in one transaction: they are held in memory until it commits.
const EXTENTS_PER_TXN: usize = 64;

impl Default for Maintenance {
    fn default() -> Self {
        Self::Inline { threshold: INLINE_THRESHOLD }
    }
}

/// Whether a commit that left the collection so sets off maintenance.
pub(super) fn is_due(collection: &Collection, manifest: &Manifest) -> bool {
    match collection.inner.maintenance {
        Maintenance::Inline { threshold } => {
            manifest.delta >= u64::from(threshold.max(1)) || has_many_dead(manifest)
        }
        Maintenance::Manual => false,
    }
}

fn has_many_dead(manifest: &Manifest) -> bool {
    let sealed: u64 = manifest.segments.iter().map(|segment| u64::from(segment.rows)).sum();
    manifest.dead >= DEAD_MIN && manifest.dead * 10 > sealed * 3
}

/// What maintenance did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Rows of the new segment; 0 if there was nothing to do.
    pub rows: u64,
    /// Unsealed vectors that it took in.
    pub sealed: u64,
    /// Segments that it replaces.
    pub merged: usize,
    /// Deleted rows that are gone.
    pub dropped: u64,
    /// Whether it has a graph.
    pub graph: bool,
    /// Wall time.
    pub took: Duration,
}

/// Told `(done, total)` rows of the graph; `Break` cancels the work.
type ProgressFn<'p> = dyn Fn(u64, u64) -> ControlFlow<()> + Sync + 'p;

/// Maintenance of a collection. Made by [`Collection::maintain`].
#[must_use]
pub struct Maintain<'p> {
    collection: Collection,
    only_due: bool,
    graph_min_rows: Option<u32>,
    progress: Option<Box<ProgressFn<'p>>>,
}

impl Collection {
    /// Folds all vectors of the collection into one segment and drops deleted rows: the best
    /// state for searching and shipping. Builds the graph on all threads of the current rayon
    /// pool; searches and writes go on meanwhile.
    pub fn maintain<'p>(&self) -> Maintain<'p> {
        let collection = self.clone();
        Maintain { collection, only_due: false, graph_min_rows: None, progress: None }
    }
}

impl<'p> Maintain<'p> {
    /// Does only what is worth it now: seals the unsealed vectors and merges segments of about
    /// their number. A vector is rewritten about log2(n / 2048) times in its life.
    pub fn only_due(mut self) -> Self {
        self.only_due = true;
        self
    }

    /// Segments up to this size get no graph but are scanned. Default: 20,000 rows.
    pub fn graph_min_rows(mut self, rows: u32) -> Self {
        self.graph_min_rows = Some(rows);
        self
    }

    /// Told `(done, total)` rows while the graph is built; `Break` cancels.
    pub fn progress(mut self, progress: impl Fn(u64, u64) -> ControlFlow<()> + Sync + 'p) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Does the work.
    ///
    /// Peak memory: the codes and links of the rows that are folded, plus 64 MiB.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; read-only; [`Error::Index`]; storage. The collection is as before.
    pub fn run(self) -> Result<Maintained> {
        let begin = Instant::now();
        let collection = &self.collection;
        let store = collection.inner.lmdb()?;
        // One at a time: two folds of the same rows would do the work twice.
        let _folding = collection.inner.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((fold, image)) = self.build()? else {
            return Ok(Maintained { took: begin.elapsed(), ..Maintained::default() });
        };
        let writer = store.writer(collection.inner.writer)?;
        let publish = Publish { collection, fold: &fold, image: &image, writer: &writer };
        let mut done = publish.run()?;
        done.took = begin.elapsed();
        Ok(done)
    }

    /// Collects the rows and builds the image, from one snapshot that is released before the
    /// graph is built.
    fn build(&self) -> Result<Option<(Fold, SegmentImage)>> {
        let collection = &self.collection;
        let failed = |source| index_failed(collection, source);
        let mut config = SegmentConfig::new(collection.encoding).graph(collection.graph);
        config = config.raw_apart(true);
        if let Some(rows) = self.graph_min_rows {
            config = config.graph_min_rows(rows);
        }
        let snapshot = collection.inner.snapshot()?;
        let view = collection.view(snapshot.as_ref())?;
        let needs_graph = |rows: u32| rows > config.graph_min_rows;
        let Some(fold) = Fold::plan(&view, self.only_due, needs_graph) else { return Ok(None) };
        let builder = SegmentBuilder::with_capacity(config, fold.rows.len());
        let mut builder = builder.map_err(failed)?;
        let gone = StorageError::Missing { what: "a segment" };
        let sources = Sources::new(&view, &fold.replaced).ok_or(gone)?;
        for row in &fold.rows {
            let code = sources.code(row).ok_or(StorageError::Missing { what: "a code row" })?;
            builder.push(row.slot.0, code, None).map_err(failed)?;
        }
        drop((view, snapshot));
        let go_on = |_, _| ControlFlow::Continue(());
        let image = match &self.progress {
            Some(progress) => builder.finish(progress.as_ref()),
            None => builder.finish(&go_on),
        };
        Ok(Some((fold, image.map_err(failed)?)))
    }
}

fn index_failed(collection: &Collection, source: IndexError) -> Error {
    match source {
        IndexError::Cancelled => Error::Cancelled,
        source => Error::Index { collection: collection.name.to_string(), source },
    }
}

/// Where a row of the new segment comes from.
struct FoldRow {
    slot: Slot,
    /// Segment (by place in [`Fold::replaced`]) and position; none for the delta.
    from: Option<(u32, u32)>,
}

/// The segments that are folded and the delta, as one view has them.
struct Sources<'v> {
    view: &'v View,
    segments: Vec<&'v Segment>,
}

impl<'v> Sources<'v> {
    /// None if the view lacks one of the segments.
    fn new(view: &'v View, replaced: &[u32]) -> Option<Self> {
        let find = |id: &u32| {
            let place = view.manifest.segments.iter().position(|entry| entry.id == *id)?;
            view.segments.get(place)
        };
        let segments = replaced.iter().map(find).collect::<Option<Vec<_>>>()?;
        Some(Self { view, segments })
    }

    fn code(&self, row: &FoldRow) -> Option<&'v [u8]> {
        match row.from {
            Some((segment, position)) => self.segments.get(segment as usize)?.code_row(position),
            None => Some(self.view.unsealed(row.slot)?.code()),
        }
    }

    fn raw(&self, row: &FoldRow) -> Option<&'v [u8]> {
        match row.from {
            Some((segment, position)) => self.segments.get(segment as usize)?.raw_row(position),
            None => Some(self.view.unsealed(row.slot)?.raw()),
        }
    }
}

/// What is folded: rows in order of slot, and the segments they replace.
struct Fold {
    rows: Vec<FoldRow>,
    /// Numbers of the segments that go.
    replaced: Vec<u32>,
    /// Dead slots that go with them.
    dropped: Vec<Slot>,
    /// The next segment number when the rows were collected: unchanged while nobody else folds.
    next_segment: u32,
}

impl Fold {
    /// None if there is nothing to do.
    fn plan(view: &View, only_due: bool, needs_graph: impl Fn(u32) -> bool) -> Option<Self> {
        let manifest = &view.manifest;
        let chosen = if only_due { due_segments(manifest) } else { all_segments(manifest) };
        let clean = manifest.delta == 0 && manifest.dead == 0;
        let alone = match chosen.as_slice() {
            [] => true,
            [only] => {
                let entry = &manifest.segments[*only];
                entry.graph.is_some() || !needs_graph(entry.rows)
            }
            _ => false,
        };
        if clean && alone {
            return None;
        }
        let mut fold = Self {
            rows: Vec::new(),
            replaced: Vec::new(),
            dropped: Vec::new(),
            next_segment: manifest.next_segment,
        };
        for place in chosen {
            let source = fold.replaced.len() as u32;
            fold.replaced.push(manifest.segments.get(place)?.id);
            let segment = view.segments.get(place)?;
            for position in 0..segment.len() {
                let slot = Slot(segment.slot(position)?);
                if view.dead.contains(slot.0) {
                    fold.dropped.push(slot);
                } else {
                    fold.rows.push(FoldRow { slot, from: Some((source, position)) });
                }
            }
        }
        let unsealed = view.delta.iter().map(|&(slot, _)| FoldRow { slot, from: None });
        fold.rows.extend(unsealed);
        fold.rows.sort_unstable_by_key(|row| row.slot);
        Some(fold)
    }
}

fn all_segments(manifest: &Manifest) -> Vec<usize> {
    (0..manifest.segments.len()).collect()
}

/// Like a binary counter: what is collected so far takes in a segment of no more than its size.
fn due_segments(manifest: &Manifest) -> Vec<usize> {
    if has_many_dead(manifest) {
        return all_segments(manifest);
    }
    let mut by_size = all_segments(manifest);
    by_size.sort_by_key(|&place| manifest.segments[place].rows);
    let mut rows = manifest.delta;
    let mut chosen = Vec::new();
    for place in by_size {
        let more = u64::from(manifest.segments[place].rows);
        if more > rows {
            break;
        }
        rows += more;
        chosen.push(place);
    }
    chosen
}

/// Writes the image and makes it the collection's, under the writer lock.
struct Publish<'a> {
    collection: &'a Collection,
    fold: &'a Fold,
    image: &'a SegmentImage,
    writer: &'a Writer<'a>,
}

impl Publish<'_> {
    fn run(&self) -> Result<Maintained> {
        let collection = self.collection;
        let segment = self.writer.transact(|txn| -> Result<Option<u32>> {
            let mut manifest = collection.manifest(txn)?;
            if manifest.next_segment != self.fold.next_segment {
                return Ok(None);
            }
            manifest.next_segment = (manifest.next_segment)
                .checked_add(1)
                .ok_or(StorageError::Missing { what: "a free segment number" })?;
            put_manifest(collection, txn, &manifest)?;
            Ok(Some(self.fold.next_segment))
        })?;
        let Some(segment) = segment else {
            // Another process folded the same rows meanwhile; its work stands.
            return Ok(Maintained::default());
        };
        let sections = match self.write_sections(segment) {
            Ok(sections) => sections,
            Err(error) => {
                // What was written stays unpublished; without room to delete it, the next open
                // sweeps it.
                let prefix = key::segment(collection.id, segment);
                let _ = self.writer.transact(|txn| txn.delete_prefix(Table::Extents, &prefix));
                return Err(error);
            }
        };
        let entry = SegmentEntry {
            id: segment,
            rows: self.fold.rows.len() as u32,
            codec: crate::format::CODEC_INT8,
            graph: self.image.graph.as_ref().map(|graph| GraphEntry {
                entry: graph.entry,
                m: graph.m as u16,
                ef_construction: graph.ef_construction,
                seed: graph.seed,
                level_rows: graph.level_counts.clone(),
            }),
            sections,
        };
        self.writer.transact(|txn| self.publish(txn, &entry))
    }

    /// Writes all sections in order of kind, a few extents per transaction.
    fn write_sections(&self, segment: u32) -> Result<Vec<SectionEntry>> {
        let encoding = self.collection.encoding;
        let mut entries = Vec::new();
        for section in &self.image.sections {
            let place = self.place(segment, section.kind, section.stride);
            self.write_rows(place, section.rows as usize, |rows| {
                let (begin, end) = (rows.start * section.stride, rows.end * section.stride);
                Ok(section.bytes.slice(begin..end).to_vec())
            })?;
            entries.push(section_entry(place, section.rows as usize));
        }
        if encoding.originals() != Originals::None && !self.fold.rows.is_empty() {
            let place = self.place(segment, SectionKind::Raw, encoding.raw_stride());
            self.write_rows(place, self.fold.rows.len(), |rows| self.raw_rows(place.stride, rows))?;
            entries.push(section_entry(place, self.fold.rows.len()));
        }
        entries.sort_by_key(|entry| entry.kind);
        Ok(entries)
    }

    fn place(&self, segment: u32, kind: SectionKind, stride: usize) -> SectionPlace {
        SectionPlace { collection: self.collection.id, segment, kind, stride }
    }

    fn write_rows(
        &self,
        place: SectionPlace,
        rows: usize,
        read: impl Fn(std::ops::Range<usize>) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let per_extent = place.rows_per_extent()?;
        let extents = rows.div_ceil(per_extent);
        for first in (0..extents).step_by(EXTENTS_PER_TXN) {
            let last = (first + EXTENTS_PER_TXN).min(extents);
            let bytes = read(first * per_extent..(last * per_extent).min(rows))?;
            self.writer.transact(|txn| -> Result<()> {
                for (at, rows) in bytes.chunks(per_extent * place.stride).enumerate() {
                    place.put(txn, (first + at) as u32, rows)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Full-precision rows from where they are now. A view is held only while copying: the map
    /// may have to grow right after.
    fn raw_rows(&self, stride: usize, rows: std::ops::Range<usize>) -> Result<Vec<u8>> {
        let snapshot = self.collection.inner.snapshot()?;
        let view = self.collection.view(snapshot.as_ref())?;
        let gone = StorageError::Missing { what: "a segment" };
        let sources = Sources::new(&view, &self.fold.replaced).ok_or(gone)?;
        let mut bytes = Vec::with_capacity(rows.len() * stride);
        for row in self.fold.rows.get(rows).unwrap_or_default() {
            let end = bytes.len() + stride;
            // An unsealed vector that was deleted meanwhile leaves zeros: its slot is dead.
            bytes.extend_from_slice(sources.raw(row).unwrap_or_default());
            bytes.resize(end, 0);
        }
        Ok(bytes)
    }

    fn publish(&self, txn: &mut WriteTxn<'_>, entry: &SegmentEntry) -> Result<Maintained> {
        let collection = self.collection;
        let mut manifest = collection.manifest(txn)?;
        let mut tombstones = Tombstones::default();
        for &slot in &self.fold.dropped {
            tombstones.remove(collection.id, slot, txn)?;
            manifest.dead = manifest.dead.saturating_sub(1);
        }
        let mut sealed = 0;
        for row in self.fold.rows.iter().filter(|row| row.from.is_none()) {
            if txn.delete(Table::Delta, &key::slot(collection.id, row.slot))? {
                manifest.delta = manifest.delta.saturating_sub(1);
                sealed += 1;
            } else {
                // Deleted while the graph was built: dead in the new segment.
                tombstones.insert(collection.id, row.slot, txn)?;
                manifest.dead += 1;
            }
        }
        tombstones.write(collection.id, txn)?;
        for &segment in &self.fold.replaced {
            txn.delete_prefix(Table::Extents, &key::segment(collection.id, segment))?;
        }
        manifest.segments.retain(|segment| !self.fold.replaced.contains(&segment.id));
        if entry.rows > 0 {
            manifest.segments.push(entry.clone());
        }
        put_manifest(collection, txn, &manifest)?;
        Ok(Maintained {
            rows: u64::from(entry.rows),
            sealed,
            merged: self.fold.replaced.len(),
            dropped: self.fold.dropped.len() as u64,
            graph: entry.graph.is_some(),
            took: Duration::ZERO,
        })
    }
}

fn section_entry(place: SectionPlace, rows: usize) -> SectionEntry {
    SectionEntry { kind: place.kind as u16, stride: place.stride as u32, rows: rows as u32 }
}

fn put_manifest(
    collection: &Collection,
    txn: &mut WriteTxn<'_>,
    manifest: &Manifest,
) -> Result<()> {
    let sealed = tables::encode_manifest(collection.id, manifest)?;
    Ok(txn.put(Table::Collections, &key::manifest(collection.id), &sealed)?)
}

/// Removes extents that no manifest names: what a killed process left behind. Whoever is
/// publishing holds the writer lock, so without the lock nothing is swept.
pub(super) fn sweep(inner: &Inner) -> Result<()> {
    let store = inner.lmdb()?;
    if orphans(inner.snapshot()?.as_ref())?.is_empty() {
        return Ok(());
    }
    let writer = match store.writer(WriterPolicy::Refuse) {
        Err(StorageError::WriterBusy) => return Ok(()),
        writer => writer?,
    };
    writer.transact(|txn| {
        for (collection, segment) in orphans(txn)? {
            txn.delete_prefix(Table::Extents, &key::segment(collection, segment))?;
        }
        Ok(())
    })
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
