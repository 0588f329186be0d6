//! Extents whose checksum is wrong: which rows of them show damage, and what is put right before a
//! repair begins.

use std::collections::HashMap;
use std::ops::Range;

use super::damage::{definitions, field_entries};
use super::repair_vectors::{Placed, SectionRows};
use super::space::{Field, Space};
use super::suspect_slots;
use crate::error::Result;
use crate::format::{EXTENT_HEADER_BYTES, ExtentHeader, SectionKind, rows_per_extent};
use crate::storage::extents;
use crate::storage::keys as key;
use crate::storage::tables::SegmentEntry;
use crate::storage::vector_fields::FieldKind;
use crate::storage::{Salvage, Snapshot, Table, tables};
use crate::vectors::Originals;

/// Of so many rows each is searched for the one byte that was changed.
const SEARCHED_MAX: usize = 8;

/// Puts right what can be: slots, originals, and codes where there are no originals or those are
/// damaged too. Whatever else extents hold is derived.
pub(super) fn mend(salvage: &mut Salvage) -> Result<()> {
    for (space, placed) in spaces(salvage)? {
        mend_slots(salvage, space, placed)?;
        let segments = Segments::new(salvage, space);
        let raw = keys(salvage, space.id, SectionKind::Raw);
        for key in &raw {
            mend_rows(salvage, space, &segments, key);
        }
        let mut has_new_codes = false;
        for key in keys(salvage, space.id, SectionKind::Codes) {
            if !segments.has_whole_originals(salvage, space, &key)? {
                has_new_codes |= mend_rows(salvage, space, &segments, &key);
            }
        }
        // What the codes tell of the originals is more now.
        if has_new_codes {
            for key in keys(salvage, space.id, SectionKind::Raw) {
                mend_rows(salvage, space, &segments, &key);
            }
        }
    }
    Ok(())
}

/// How many rows each segment of a space has, where its manifest can be read.
pub(super) struct Segments(Option<HashMap<u32, usize>>);

impl Segments {
    pub(super) fn new(salvage: &Salvage, space: Space) -> Self {
        let manifest = tables::manifest(salvage, space.id).ok();
        let rows = |entry: &SegmentEntry| (entry.id, entry.rows as usize);
        Self(manifest.map(|of| of.segments.iter().map(rows).collect()))
    }

    fn rows(&self, segment: u32) -> Option<usize> {
        self.0.as_ref()?.get(&segment).copied()
    }

    /// Whether the originals of the segment that an extent belongs to are all there, so that codes
    /// need not be known.
    fn has_whole_originals(&self, salvage: &Salvage, space: Space, at: &[u8]) -> Result<bool> {
        let Some((_, segment)) = key::segment_of(at) else { return Ok(false) };
        let Some(rows) = self.rows(segment) else { return Ok(false) };
        let prefix = key::section(space.id, segment, SectionKind::Raw);
        let mut found = 0_usize;
        for entry in salvage.range(Table::Extents, &prefix, &prefix)? {
            found = found.saturating_add(ExtentHeader::read(entry?.1)?.rows as usize);
        }
        Ok(space.encoding.originals() != Originals::None && found >= rows)
    }
}

/// Every space whose vectors are stored for their own sake.
fn spaces(salvage: &Salvage) -> Result<Vec<(Space, Placed)>> {
    let mut found = Vec::new();
    for (_, definition) in definitions(salvage)? {
        let collection = definition.id;
        for (name, entry) in field_entries(salvage, collection) {
            match Field::of(&name, &entry) {
                Ok(field) if field.kind == FieldKind::Dense => {
                    found.push((field.space, Placed { collection, is_named: true }));
                }
                _ => {}
            }
        }
        if let Ok(space) = Space::of(&definition) {
            found.push((space, Placed { collection, is_named: false }));
        }
    }
    Ok(found)
}

/// The keys of the suspects of a space that are of one section.
pub(super) fn of(salvage: &Salvage, space: u32, kind: SectionKind) -> impl Iterator<Item = &[u8]> {
    let is_one = move |key: &&[u8]| {
        key::kind_of(key) == Some(kind) && key::collection_of(key) == Some(space)
    };
    salvage.suspects().filter(is_one)
}

fn keys(salvage: &Salvage, space: u32, kind: SectionKind) -> Vec<Vec<u8>> {
    of(salvage, space, kind).map(<[u8]>::to_vec).collect()
}

/// The header that an extent of slots, codes or originals must have. Its key and the manifest tell
/// all of it; without the manifest it is believed how many rows it has, if they fit.
pub(super) fn header(
    salvage: &Salvage,
    space: Space,
    segments: &Segments,
    at: &[u8],
) -> Option<ExtentHeader> {
    let (kind, index) = (key::kind_of(at)?, key::extent_of(at)?);
    let (collection, segment) = key::segment_of(at)?;
    let stride = match kind {
        SectionKind::Slots => size_of::<u32>(),
        SectionKind::Codes => space.encoding.code_stride(),
        SectionKind::Raw => space.encoding.raw_stride(),
        _ => return None,
    };
    let value = salvage.suspect(at)?;
    let fit = value.len().checked_sub(EXTENT_HEADER_BYTES)?.checked_div(stride)?;
    let per_extent = rows_per_extent(stride);
    // No segment has more rows than a u32 counts.
    let before = per_extent.checked_mul(index as usize)?;
    u32::try_from(before.checked_add(per_extent)?).ok()?;
    let rows = match segments.rows(segment) {
        Some(rows) => rows.saturating_sub(before).min(per_extent),
        None => match ExtentHeader::read(value) {
            Ok(header) if header.stride as usize == stride => header.rows as usize,
            _ => fit.min(per_extent),
        },
    };
    let (rows, stride) = (u32::try_from(rows).ok()?, u32::try_from(stride).ok()?);
    let fits = rows > 0 && rows as usize <= fit;
    fits.then_some(ExtentHeader { kind, index, rows, stride, segment, collection })
}

fn mend_slots(salvage: &mut Salvage, space: Space, placed: Placed) -> Result<()> {
    for extent in suspect_slots::read(salvage, space, placed)? {
        let known: Option<Vec<u32>> = extent.rows.iter().copied().collect();
        let rows = known.map(|slots| extents::slot_rows(&slots));
        let is_mended = salvage.mend(&extent.key, extent.header, rows.as_deref(), &[]);
        if !is_mended {
            let all = 0..extent.rows.len();
            salvage.mend(&extent.key, extent.header, None, std::slice::from_ref(&all));
        }
    }
    Ok(())
}

/// Rows that show damage are searched for a changed byte; where none does, all are. More than one
/// may where codes and originals are damaged: each shows in the other. Returns whether the extent
/// was put right.
fn mend_rows(salvage: &mut Salvage, space: Space, segments: &Segments, at: &[u8]) -> bool {
    let Some(header) = header(salvage, space, segments, at) else { return false };
    // To judge the rows and to try their checksum reads them a few times.
    let bytes = u64::from(header.rows) * u64::from(header.stride);
    if salvage.spend(8 * bytes).is_none() {
        return false;
    }
    let per_extent = rows_per_extent(header.stride as usize) as u32;
    let first = header.index.saturating_mul(per_extent);
    let rows = SectionRows { salvage, space };
    let damaged = (0..header.rows).filter(|row| {
        let place = (header.segment, first.saturating_add(*row));
        match header.kind {
            SectionKind::Codes => !rows.is_whole_code(place),
            _ => !rows.is_whole_original(place),
        }
    });
    let damaged = damaged.map(|row| row as usize..row as usize + 1).take(SEARCHED_MAX + 1);
    let mut places: Vec<Range<usize>> = damaged.collect();
    match places.len() {
        0 => places.push(0..header.rows as usize),
        // More than one byte was changed.
        more if more > SEARCHED_MAX => places.clear(),
        _ => {}
    }
    salvage.mend(at, header, None, &places)
}
