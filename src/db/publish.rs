//! Publishing a new segment: its extents in several transactions under a number that no manifest
//! names yet, then one small transaction that makes it the space's.

use std::collections::HashMap;
use std::time::Duration;

use super::Collection;
use super::fold::Fold;
use super::maintenance::Maintained;
use super::slot_set::SlotSet;
use super::space::Space;
use crate::error::Result;
use crate::format::{EXTENT_HEADER_BYTES, SEAL_BYTES, SectionKind, rows_per_extent};
use crate::index::SegmentImage;
use crate::storage::extents::{self, SectionPlace};
use crate::storage::keys as key;
use crate::storage::tables::{self, GraphEntry, Manifest, SectionEntry, SegmentEntry};
use crate::storage::{Snapshot, StorageError, Table, WriteTxn, Writer};
use crate::vectors::Originals;

/// Extents written in one transaction, at most.
const EXTENTS_PER_TXN: usize = 64;
/// Working memory that one of them is granted: its bytes as read and as pages that wait for the
/// commit, and as much to spare.
const MEMORY_PER_EXTENT: usize = 4 << 20;

/// Writes the image and makes it the space's, under the writer lock.
pub(super) struct Publish<'a> {
    pub(super) collection: &'a Collection,
    pub(super) space: Space,
    pub(super) fold: &'a Fold,
    pub(super) image: &'a SegmentImage,
    pub(super) writer: &'a Writer<'a>,
}

impl Publish<'_> {
    pub(super) fn run(&self) -> Result<Option<Maintained>> {
        let (collection, space) = (self.collection, self.space);
        let segment = self.writer.transact(|txn| -> Result<Option<u32>> {
            if !collection.has_space(txn, space)? {
                return Ok(None);
            }
            let mut manifest = collection.manifest_of(txn, space)?;
            if manifest.next_segment != self.fold.next_segment {
                return Ok(None);
            }
            manifest.next_segment = (manifest.next_segment)
                .checked_add(1)
                .ok_or(StorageError::Missing { what: "a free segment number" })?;
            put_manifest(space, txn, &manifest)?;
            Ok(Some(self.fold.next_segment))
        })?;
        let Some(segment) = segment else {
            // Another process folded meanwhile, or removed the field; its work stands.
            return Ok(None);
        };
        let published = self.write_sections(segment).and_then(|sections| {
            let entry = self.entry(segment, sections);
            self.writer.transact(|txn| self.publish(txn, &entry))
        });
        if published.is_err() {
            // What was written stays unpublished; without room to delete it, the next open
            // sweeps it.
            let prefix = key::segment(space.id, segment);
            let _ = self.writer.transact(|txn| txn.delete_prefix(Table::Extents, &prefix));
        }
        published.map(Some)
    }

    fn entry(&self, segment: u32, sections: Vec<SectionEntry>) -> SegmentEntry {
        SegmentEntry {
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
        }
    }

    /// Writes all sections in order of kind, a few extents per transaction.
    fn write_sections(&self, segment: u32) -> Result<Vec<SectionEntry>> {
        let encoding = self.space.encoding;
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
            self.write_rows(place, self.fold.rows.len(), |rows| {
                raw_rows(self.collection, self.space, self.fold, rows)
            })?;
            entries.push(section_entry(place, self.fold.rows.len()));
        }
        if let Some(ids) = self.fold.ids.as_ref().filter(|ids| !ids.is_empty()) {
            let place = self.place(segment, SectionKind::Ids, size_of::<i64>());
            self.write_rows(place, ids.len(), |rows| {
                Ok(ids[rows].iter().flat_map(|&id| extents::id_row(id)).collect())
            })?;
            entries.push(section_entry(place, ids.len()));
        }
        entries.sort_by_key(|entry| entry.kind);
        Ok(entries)
    }

    fn place(&self, segment: u32, kind: SectionKind, stride: usize) -> SectionPlace {
        SectionPlace { collection: self.space.id, segment, kind, stride }
    }

    fn write_rows(
        &self,
        place: SectionPlace,
        rows: usize,
        read: impl Fn(std::ops::Range<usize>) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let per_extent = place.rows_per_extent()?;
        let extents = rows.div_ceil(per_extent);
        let memory = self.collection.inner.build_memory;
        let per_txn = (memory / MEMORY_PER_EXTENT).clamp(1, EXTENTS_PER_TXN);
        for first in (0..extents).step_by(per_txn) {
            let last = (first + per_txn).min(extents);
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

    fn publish(&self, txn: &mut WriteTxn<'_>, entry: &SegmentEntry) -> Result<Maintained> {
        let space = self.space;
        let mut manifest = self.collection.manifest_of(txn, space)?;
        let mut tombstones = SlotSet::tombstones();
        for &slot in &self.fold.dropped {
            tombstones.remove(space.id, slot, txn)?;
            manifest.dead = manifest.dead.saturating_sub(1);
        }
        let mut sealed = 0;
        for row in self.fold.rows.iter().filter(|row| row.from.is_none()) {
            if txn.delete(Table::Delta, &key::slot(space.id, row.slot))? {
                manifest.delta = manifest.delta.saturating_sub(1);
                sealed += 1;
            } else {
                // Deleted while the graph was built: dead in the new segment.
                tombstones.insert(space.id, row.slot, txn)?;
                manifest.dead += 1;
            }
        }
        tombstones.write(space.id, txn)?;
        for &segment in &self.fold.replaced {
            txn.delete_prefix(Table::Extents, &key::segment(space.id, segment))?;
        }
        manifest.segments.retain(|segment| !self.fold.replaced.contains(&segment.id));
        if entry.rows > 0 {
            manifest.segments.push(entry.clone());
        }
        put_manifest(space, txn, &manifest)?;
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

/// Full-precision rows of a fold from where they are now. The snapshot is held only while
/// copying: the map may have to grow right after.
pub(super) fn raw_rows(
    collection: &Collection,
    space: Space,
    fold: &Fold,
    rows: std::ops::Range<usize>,
) -> Result<Vec<u8>> {
    let (encoding, stride) = (space.encoding, space.encoding.raw_stride());
    let snapshot = collection.inner.snapshot()?;
    let mut sealed = SealedRows::new(snapshot.as_ref(), space.id, stride);
    let mut bytes = Vec::with_capacity(rows.len() * stride);
    for row in fold.rows.get(rows).unwrap_or_default() {
        let end = bytes.len() + stride;
        let raw = match row.from {
            Some((source, position)) => {
                let gone = StorageError::Missing { what: "a segment" };
                sealed.row(*fold.replaced.get(source as usize).ok_or(gone)?, position)?
            }
            // An unsealed vector that was deleted meanwhile leaves zeros: its slot is dead.
            None => {
                let at = key::slot(space.id, row.slot);
                let value = snapshot.get(Table::Delta, &at)?.unwrap_or_default();
                value.get(SEAL_BYTES + encoding.code_stride()..).unwrap_or_default()
            }
        };
        bytes.extend_from_slice(raw);
        bytes.resize(end, 0);
    }
    Ok(bytes)
}

/// Raw rows of segments, by number and position; remembers the last extent of each.
struct SealedRows<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
    stride: usize,
    last: HashMap<u32, (u32, &'s [u8])>,
}

impl<'s> SealedRows<'s> {
    fn new(snapshot: &'s dyn Snapshot, collection: u32, stride: usize) -> Self {
        Self { snapshot, collection, stride, last: HashMap::new() }
    }

    fn row(&mut self, segment: u32, position: u32) -> Result<&'s [u8]> {
        let missing = StorageError::Missing { what: "an extent" };
        let per_extent = rows_per_extent(self.stride) as u32;
        let index = position.checked_div(per_extent).unwrap_or(0);
        let extent = match self.last.get(&segment) {
            Some(&(last, extent)) if last == index => extent,
            _ => {
                let at = key::extent(self.collection, segment, SectionKind::Raw, index);
                let extent = self.snapshot.get(Table::Extents, &at)?.ok_or(missing)?;
                self.last.insert(segment, (index, extent));
                extent
            }
        };
        let begin = EXTENT_HEADER_BYTES + (position % per_extent.max(1)) as usize * self.stride;
        let missing = StorageError::Missing { what: "a row of an extent" };
        Ok(extent.get(begin..begin + self.stride).ok_or(missing)?)
    }
}

fn section_entry(place: SectionPlace, rows: usize) -> SectionEntry {
    SectionEntry { kind: place.kind as u16, stride: place.stride as u32, rows: rows as u32 }
}

fn put_manifest(space: Space, txn: &mut WriteTxn<'_>, manifest: &Manifest) -> Result<()> {
    let sealed = tables::encode_manifest(space.id, manifest)?;
    Ok(txn.put(Table::Collections, &key::manifest(space.id), &sealed)?)
}
