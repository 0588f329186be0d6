//! Sections: arrays of equal rows, cut into extents of 256 pages, each one LMDB value
//! (`storage-format.md` section 4). Rows never straddle extents.

use std::collections::HashMap;

use bytes::Bytes;
use rayon::prelude::*;

use super::keys as key;
use super::tables::SegmentEntry;
use super::{Snapshot, StorageError, Table, WriteTxn};
use crate::format::{
    EXTENT_HEADER_BYTES, ExtentHeader, FormatError, SectionKind, extent_value_bytes,
    rows_per_extent, verify_extent,
};
use crate::record::Slot;

/// A row of the section of ids.
pub(crate) fn id_row(id: i64) -> [u8; 8] {
    id.to_le_bytes()
}

/// Rows of the section of slots.
pub(crate) fn slot_rows(slots: &[u32]) -> Vec<u8> {
    slots.iter().flat_map(|slot| slot.to_le_bytes()).collect()
}

/// The first slots of an extent of them; its header is not read.
pub(crate) fn slots_of(extent: &[u8], rows: usize) -> impl Iterator<Item = u32> {
    let payload = extent.get(EXTENT_HEADER_BYTES..).unwrap_or_default();
    payload.as_chunks::<4>().0.iter().take(rows).map(|slot| u32::from_le_bytes(*slot))
}

/// A section read in place: the payloads of its extents, as slices of the map.
pub(crate) struct Section {
    pub(crate) kind: SectionKind,
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) extents: Vec<Bytes>,
}

/// Which section a row belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SectionPlace {
    pub(crate) collection: u32,
    pub(crate) segment: u32,
    pub(crate) kind: SectionKind,
    pub(crate) stride: usize,
}

impl SectionPlace {
    fn damaged(field: &'static str, value: u64) -> StorageError {
        FormatError::Field { what: "section", field, value }.into()
    }

    /// The key of an extent of it.
    pub(crate) fn key(&self, index: u32) -> [u8; key::EXTENT_KEY_BYTES] {
        key::extent(self.collection, self.segment, self.kind, index)
    }

    /// Number of rows of one full extent, at least 1.
    pub(crate) fn rows_per_extent(&self) -> Result<usize, StorageError> {
        match rows_per_extent(self.stride) {
            0 => Err(Self::damaged("stride", self.stride as u64)),
            rows => Ok(rows),
        }
    }

    /// Writes extent `index`, made of `rows`: at most [`SectionPlace::rows_per_extent`] rows of
    /// exactly `stride` bytes.
    pub(crate) fn put(
        &self,
        txn: &mut WriteTxn<'_>,
        index: u32,
        rows: &[u8],
    ) -> Result<(), StorageError> {
        let count = rows.len() / self.stride.max(1);
        if count == 0 || count > self.rows_per_extent()? || count * self.stride != rows.len() {
            return Err(Self::damaged("rows", count as u64));
        }
        let mut value = vec![0; extent_value_bytes(rows.len())];
        value[EXTENT_HEADER_BYTES..EXTENT_HEADER_BYTES + rows.len()].copy_from_slice(rows);
        let header = ExtentHeader {
            kind: self.kind,
            index,
            rows: count as u32,
            stride: self.stride as u32,
            segment: self.segment,
            collection: self.collection,
        };
        header.write(&mut value)?;
        let key = key::extent(self.collection, self.segment, self.kind, index);
        txn.put(Table::Extents, &key, &value)
    }

    /// A row, if its extent is there and has it.
    ///
    /// # Errors
    /// [`FormatError`] for an extent without a valid header.
    pub(crate) fn row<'s>(
        &self,
        snapshot: &'s dyn Snapshot,
        position: u32,
    ) -> Result<Option<&'s [u8]>, StorageError> {
        if self.stride == 0 {
            return Ok(None);
        }
        let per_extent = self.rows_per_extent()?;
        let (index, at) = (position as usize / per_extent, position as usize % per_extent);
        let key = key::extent(self.collection, self.segment, self.kind, index as u32);
        let Some(value) = snapshot.get(Table::Extents, &key)? else { return Ok(None) };
        let header = ExtentHeader::read(value)?;
        let begin = EXTENT_HEADER_BYTES + at * self.stride;
        let fits = header.stride as usize == self.stride && at < header.rows as usize;
        Ok(value.get(begin..begin + self.stride).filter(|_| fits))
    }

    fn check(
        &self,
        header: ExtentHeader,
        index: u32,
        rows_left: usize,
    ) -> Result<(), StorageError> {
        if header.kind != self.kind
            || header.segment != self.segment
            || header.collection != self.collection
        {
            return Err(Self::damaged("identity", u64::from(header.index)));
        }
        if header.index != index || header.stride as usize != self.stride {
            return Err(Self::damaged("extent", u64::from(header.index)));
        }
        let expected = rows_left.min(self.rows_per_extent()?);
        if header.rows as usize != expected {
            return Err(Self::damaged("rows", u64::from(header.rows)));
        }
        Ok(())
    }
}

/// Loads the sections of a segment. Reads the header of every extent, not the payload: cost about
/// one tree step per MiB.
///
/// # Errors
/// [`FormatError`] when an extent is missing or does not fit the manifest.
pub(crate) fn load(
    snapshot: &dyn Snapshot,
    collection: u32,
    segment: &SegmentEntry,
) -> Result<Vec<Section>, StorageError> {
    let prefix = key::segment(collection, segment.id);
    let mut entries = snapshot.range_shared(Table::Extents, &prefix)?;
    let mut sections = Vec::with_capacity(segment.sections.len());
    for entry in &segment.sections {
        let kind = SectionKind::from_u16(entry.kind)
            .ok_or_else(|| SectionPlace::damaged("kind", u64::from(entry.kind)))?;
        let stride = entry.stride as usize;
        let place = SectionPlace { collection, segment: segment.id, kind, stride };
        let rows = entry.rows as usize;
        let extents = load_section(&mut entries, place, rows)?;
        sections.push(Section { kind, stride, rows, extents });
    }
    match entries.next() {
        None => Ok(sections),
        Some(_) => Err(SectionPlace::damaged("extents", u64::from(segment.id))),
    }
}

fn load_section(
    entries: &mut super::SharedEntries<'_>,
    place: SectionPlace,
    rows: usize,
) -> Result<Vec<Bytes>, StorageError> {
    let mut extents = Vec::new();
    let mut left = rows;
    while left > 0 {
        let (_, value) = entries.next().ok_or(StorageError::Missing { what: "an extent" })??;
        let header = ExtentHeader::read(&value)?;
        place.check(header, extents.len() as u32, left)?;
        left -= header.rows as usize;
        extents.push(value.slice(EXTENT_HEADER_BYTES..));
    }
    Ok(extents)
}

/// Checks the checksum of every extent of a segment, in parallel unless on a worker of a pool;
/// returns the bytes read.
pub(crate) fn verify(
    snapshot: &dyn Snapshot,
    collection: u32,
    segment: u32,
) -> Result<u64, StorageError> {
    let prefix = key::segment(collection, segment);
    let values = snapshot.range(Table::Extents, &prefix, &prefix)?;
    let values: Vec<&[u8]> =
        values.map(|entry| entry.map(|(_, value)| value)).collect::<Result<_, _>>()?;
    // A worker would take up other tasks meanwhile, which may wait for what its caller holds.
    if rayon::current_thread_index().is_some() {
        values.iter().try_for_each(|value| verify_extent(value))?;
    } else {
        values.par_iter().try_for_each(|value| verify_extent(value))?;
    }
    Ok(values.iter().map(|value| value.len() as u64).sum())
}

/// Segment and position of every slot of a collection that stands in a segment, whether a
/// manifest names the segment or not: a slot has one vector for ever.
///
/// # Errors
/// [`FormatError`] for an extent without a valid header.
pub(crate) fn places(
    snapshot: &dyn Snapshot,
    collection: u32,
) -> Result<HashMap<Slot, (u32, u32)>, StorageError> {
    let mut places = HashMap::new();
    for (of, segment) in segments_on_disk(snapshot)? {
        if of != collection {
            continue;
        }
        let prefix = key::section(collection, segment, SectionKind::Slots);
        for entry in snapshot.range(Table::Extents, &prefix, &prefix)? {
            let (_, value) = entry?;
            let header = ExtentHeader::read(value)?;
            let rows = value.get(EXTENT_HEADER_BYTES..).unwrap_or_default().as_chunks::<4>().0;
            let first = u64::from(header.index) * rows_per_extent(4) as u64;
            for (at, slot) in (first..).zip(rows).take(header.rows as usize) {
                let position = u32::try_from(at).unwrap_or(u32::MAX);
                places.insert(Slot(u32::from_le_bytes(*slot)), (segment, position));
            }
        }
    }
    Ok(places)
}

/// The position of a slot in a segment, if it stands there. Reads one header and the last slot of
/// each extent before it, then the logarithm of the rows.
///
/// # Errors
/// [`FormatError`] when an extent is missing or does not fit the manifest.
pub(crate) fn position(
    snapshot: &dyn Snapshot,
    collection: u32,
    entry: &SegmentEntry,
    slot: Slot,
) -> Result<Option<u32>, StorageError> {
    let (segment, kind, stride) = (entry.id, SectionKind::Slots, size_of::<u32>());
    let place = SectionPlace { collection, segment, kind, stride };
    let per_extent = place.rows_per_extent()?;
    let rows = entry.rows as usize;
    for (index, first) in (0_u32..).zip((0..rows).step_by(per_extent)) {
        let at = key::extent(collection, segment, kind, index);
        let value = snapshot.get(Table::Extents, &at)?;
        let value = value.ok_or(StorageError::Missing { what: "an extent" })?;
        place.check(ExtentHeader::read(value)?, index, rows - first)?;
        let slots = value.get(EXTENT_HEADER_BYTES..).unwrap_or_default().as_chunks::<4>().0;
        let slots = slots.get(..per_extent.min(rows - first)).unwrap_or_default();
        if slots.last().is_some_and(|last| u32::from_le_bytes(*last) >= slot.0) {
            let found = slots.binary_search_by_key(&slot.0, |slot| u32::from_le_bytes(*slot));
            return Ok(found.ok().map(|at| (first + at) as u32));
        }
    }
    Ok(None)
}

/// Segments that have extents in the file, in order, with a seek from one to the next.
pub(crate) fn segments_on_disk(snapshot: &dyn Snapshot) -> Result<Vec<(u32, u32)>, StorageError> {
    let mut found = Vec::new();
    let mut start: Vec<u8> = Vec::new();
    loop {
        let Some(entry) = snapshot.range(Table::Extents, &[], &start)?.next() else {
            return Ok(found);
        };
        let (key, _) = entry?;
        let segment = key::segment_of(key).ok_or(StorageError::Missing { what: "a segment" })?;
        found.push(segment);
        match super::prefix_end(&key::segment(segment.0, segment.1)) {
            Some(next) => start = next,
            None => return Ok(found),
        }
    }
}
