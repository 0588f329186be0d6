//! Publishing a new segment: its extents in several transactions under a number that no manifest
//! names yet, then one small transaction that makes it the collection's.

use std::time::Duration;

use super::Collection;
use super::batch::Tombstones;
use super::fold::{Fold, Sources};
use super::maintenance::Maintained;
use crate::error::Result;
use crate::format::SectionKind;
use crate::index::SegmentImage;
use crate::storage::extents::SectionPlace;
use crate::storage::keys as key;
use crate::storage::tables::{self, GraphEntry, Manifest, SectionEntry, SegmentEntry};
use crate::storage::{StorageError, Table, WriteTxn, Writer};
use crate::vectors::Originals;

/// Extents written in one transaction: they are held in memory until it commits.
const EXTENTS_PER_TXN: usize = 64;

/// Writes the image and makes it the collection's, under the writer lock.
pub(super) struct Publish<'a> {
    pub(super) collection: &'a Collection,
    pub(super) fold: &'a Fold,
    pub(super) image: &'a SegmentImage,
    pub(super) writer: &'a Writer<'a>,
}

impl Publish<'_> {
    pub(super) fn run(&self) -> Result<Maintained> {
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
