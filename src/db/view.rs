//! A view: everything vector search needs of one space of a collection at one version of the file,
//! with the extents as slices of the map. Built when the version changes, shared by all searches
//! after (see `views`).

use std::collections::HashMap;
use std::sync::PoisonError;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::Collection;
use super::matching::Matches;
use super::space::Space;
use crate::error::{Error, Result};
use crate::format::{CODEC_INT8, FormatError, SEAL_BYTES, SectionKind, rows_per_extent};
use crate::index::{GraphHeader, GraphParts, IndexError, NavParts, Segment, SegmentParts};
use crate::record::{RecordId, Slot};
use crate::storage::keys as key;
use crate::storage::tables::{self, GraphEntry, Manifest, SegmentEntry};
use crate::storage::{Snapshot, StorageError, Table, Verify, extents, slot_sets};
use crate::vectors::{Encoding, Originals, Rows};

/// One space of a collection at one version.
pub(super) struct View {
    pub(super) encoding: Encoding,
    pub(super) manifest: Manifest,
    pub(super) segments: Vec<Segment>,
    /// Dead slots of all segments.
    pub(super) dead: RoaringBitmap,
    /// Vectors that are not sealed yet, by slot: code row, then raw row.
    pub(super) delta: Vec<(Slot, DeltaRow)>,
    /// What passes the filters that were searched with.
    pub(super) matches: Matches,
}

/// The rows of one unsealed vector, in place.
pub(super) struct DeltaRow {
    sealed: Bytes,
    code_bytes: usize,
}

impl DeltaRow {
    pub(super) fn code(&self) -> &[u8] {
        self.sealed.get(SEAL_BYTES..SEAL_BYTES + self.code_bytes).unwrap_or_default()
    }

    pub(super) fn raw(&self) -> &[u8] {
        self.sealed.get(SEAL_BYTES + self.code_bytes..).unwrap_or_default()
    }
}

impl View {
    pub(super) fn build(
        collection: &Collection,
        space: Space,
        snapshot: &dyn Snapshot,
    ) -> Result<Self> {
        let manifest = collection.manifest_of(snapshot, space)?;
        let encoding = space.encoding;
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            collection.check_segment(snapshot, space, entry.id)?;
            segments.push(open_segment(collection, space, snapshot, entry)?);
        }
        Ok(Self {
            encoding,
            segments,
            dead: slot_sets::tombstones(snapshot, space.id)?,
            delta: read_delta(space.id, encoding, snapshot)?,
            manifest,
            matches: Matches::default(),
        })
    }

    /// The rows of a vector that is not sealed yet.
    pub(super) fn unsealed(&self, slot: Slot) -> Option<&DeltaRow> {
        let at = self.delta.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        self.delta.get(at).map(|(_, row)| row)
    }

    /// Whether there is a vector of a slot, be it of a record that is deleted.
    pub(super) fn has_vector(&self, slot: Slot) -> bool {
        let sealed = |segment: &Segment| segment.position_of(slot.0).is_some();
        self.unsealed(slot).is_some() || self.segments.iter().any(sealed)
    }

    /// The id of a sealed slot, where it stands beside the codes.
    pub(super) fn int_id(&self, slot: Slot) -> Option<RecordId> {
        self.segments.iter().find_map(|segment| segment.int_id(slot.0)).map(RecordId::Int)
    }

    /// The vector of a slot, as stored.
    pub(super) fn vector(&self, slot: Slot) -> Result<Vec<f32>> {
        let missing = StorageError::Missing { what: "the vector of a record" };
        if let Some(row) = self.unsealed(slot) {
            let decoded = if self.encoding.originals() == Originals::None {
                self.encoding.decode_code(row.code())
            } else {
                self.encoding.decode_raw(row.raw())
            };
            return Ok(decoded.map_err(|_| missing)?);
        }
        for segment in &self.segments {
            if let Some(vector) = segment.position_of(slot.0).and_then(|at| segment.raw_vector(at))
            {
                return Ok(vector);
            }
        }
        Err(missing.into())
    }
}

fn open_segment(
    collection: &Collection,
    space: Space,
    snapshot: &dyn Snapshot,
    entry: &SegmentEntry,
) -> Result<Segment> {
    let failed =
        |source: IndexError| Error::Index { collection: collection.name.to_string(), source };
    let damaged = |field, value| FormatError::Field { what: "segment", field, value };
    if entry.codec != CODEC_INT8 {
        return Err(damaged("codec", u64::from(entry.codec)).into());
    }
    let mut sections: HashMap<SectionKind, Rows> = HashMap::new();
    for section in extents::load(snapshot, space.id, entry)? {
        let per_extent = rows_per_extent(section.stride);
        let rows = Rows::new(section.extents, section.stride, per_extent, section.rows as u32);
        sections.insert(section.kind, rows.map_err(|source| failed(source.into()))?);
    }
    let mut take = |kind| {
        let rows = sections.remove(&kind);
        rows.ok_or_else(|| failed(IndexError::MissingSection { kind }))
    };
    let graph = match entry.graph.as_ref().map(graph_header) {
        Some(header) => {
            let links = take(SectionKind::Links)?;
            // A small graph has no upper level, and a section without rows is not written.
            let upper = if header.level_counts.is_empty() {
                Rows::contiguous(Bytes::new(), 1).map_err(|source| failed(source.into()))?
            } else {
                take(SectionKind::Upper)?
            };
            Some(GraphParts { header, links, upper })
        }
        None => None,
    };
    let encoding = space.encoding;
    // Small segments and files of before navigation codes have none: int8 codes do their work.
    let nav = match take(SectionKind::Nav) {
        Ok(rows) => {
            let projection = take(SectionKind::Projection)?;
            // Without an upper level there is nothing to write; where there is one, the segment
            // refuses codes of another number of rows.
            Some(NavParts { projection, rows, upper: take(SectionKind::UpperNav).ok() })
        }
        Err(_) => None,
    };
    let ids = take(SectionKind::Ids).ok();
    let curve = take(SectionKind::Curve).ok();
    let raw = match encoding.originals() {
        Originals::None => None,
        _ => Some(take(SectionKind::Raw)?),
    };
    let (slots, codes) = (take(SectionKind::Slots)?, take(SectionKind::Codes)?);
    if slots.len() != entry.rows {
        return Err(damaged("rows", u64::from(entry.rows)).into());
    }
    Segment::open(SegmentParts { encoding, slots, codes, raw, graph, nav, ids, curve })
        .map_err(failed)
}

impl Collection {
    /// Checks the extents of a segment once, if the file was opened so.
    fn check_segment(&self, snapshot: &dyn Snapshot, space: Space, segment: u32) -> Result<()> {
        let is_checked = || self.inner.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (space.id, segment);
        if self.inner.verify != Verify::None && !is_checked().contains(&place) {
            extents::verify(snapshot, space.id, segment)?;
            is_checked().insert(place);
        }
        Ok(())
    }
}

fn graph_header(entry: &GraphEntry) -> GraphHeader {
    GraphHeader {
        entry: entry.entry,
        level_counts: entry.level_rows.clone(),
        m: u32::from(entry.m),
        ef_construction: entry.ef_construction,
        seed: entry.seed,
    }
}

fn read_delta(
    collection: u32,
    encoding: Encoding,
    snapshot: &dyn Snapshot,
) -> Result<Vec<(Slot, DeltaRow)>> {
    let prefix = key::collection(collection);
    let code_bytes = encoding.code_stride();
    let row_bytes = code_bytes + encoding.raw_stride();
    let mut delta = Vec::new();
    for entry in snapshot.range_shared(Table::Delta, &prefix)? {
        let (at, sealed) = entry?;
        tables::check_delta(&sealed, at, row_bytes)?;
        let slot = key::slot_of(at).ok_or(StorageError::Missing { what: "a slot" })?;
        delta.push((slot, DeltaRow { sealed, code_bytes }));
    }
    Ok(delta)
}
