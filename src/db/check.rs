//! What is in the file, and where its bytes are.

use super::space_info::VectorFieldInfo;
use super::{CacheInfo, Collection, Database};
use crate::error::Result;
use crate::format::{SectionKind, extent_value_bytes, rows_per_extent};
use crate::record::ModelContract;
use crate::storage::keys as key;
use crate::storage::tables::{Manifest, SectionEntry};
use crate::storage::{Snapshot, Table, Verify, slot_sets};
use crate::vectors::{Metric, Originals};

/// What is in a file. Made by [`Database::info`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DatabaseInfo {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Format version of the file; [`Database::compact`] makes it the newest.
    pub format_version: u32,
    /// Bytes of the file that later commits use again; [`Database::compact`] gives them back.
    pub free_bytes: u64,
    /// Bytes of the file that are neither free nor counted by a collection: the trees above the
    /// values, and what pages have left.
    pub overhead_bytes: u64,
    /// Who keeps a version of the file open, the oldest first, this process among them. Only a
    /// handle that is open for writing sees them.
    pub readers: Vec<ReaderInfo>,
    /// The collections, by name.
    pub collections: Vec<CollectionInfo>,
    /// What queries keep of what models said.
    pub cache: CacheInfo,
}

/// A process that keeps a version of the file open: in a search, or idle after one. Pages that
/// were freed since then are not used again, so the file grows meanwhile; writers do not wait.
/// [`Database::release`] lets go in an idle process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderInfo {
    /// Number of the process.
    pub process: u32,
    /// Commits since the version that it reads.
    pub behind: u64,
}

/// What is in a collection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Name.
    pub name: String,
    /// Components of a vector.
    pub dimensions: usize,
    /// Components, the leading ones, that codes and graphs are made of.
    pub leading_dimensions: usize,
    /// How vectors are compared.
    pub metric: Metric,
    /// How full vectors are kept.
    pub originals: Originals,
    /// The model that encodes the vectors, if one is known.
    pub model: Option<ModelContract>,
    /// Live records.
    pub records: u64,
    /// Live vectors.
    pub vectors: u64,
    /// Live vectors that are not sealed into a segment yet.
    pub unsealed: u64,
    /// Deleted vectors that still take space in a segment.
    pub deleted: u64,
    /// Records whose vector is to come.
    pub pending: u64,
    /// Segments.
    pub segments: usize,
    /// Segments with a graph.
    pub graphs: usize,
    /// The named vector fields, by name. What is counted above is of the default vectors alone.
    pub vector_fields: Vec<VectorFieldInfo>,
    /// Where the bytes are, of all fields.
    pub space: SpaceInfo,
    /// The recall curve of the largest segment that has one, by ascending candidates: what
    /// [`Search::recall`](crate::Search::recall) goes by.
    pub recall: Vec<RecallPoint>,
}

/// A point of a recall curve.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RecallPoint {
    /// Candidates of the walk.
    pub ef: usize,
    /// Share of the true ten nearest that were found.
    pub recall: f32,
}

/// Bytes by purpose, keys included, the file's own overhead not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceInfo {
    /// Texts and metadata.
    pub records: u64,
    /// Ids.
    pub ids: u64,
    /// Field index.
    pub fields: u64,
    /// Words and where they stand.
    pub postings: u64,
    /// Vectors that are not sealed yet.
    pub unsealed: u64,
    /// int8 codes.
    pub codes: u64,
    /// Full vectors.
    pub originals: u64,
    /// Graph links, all levels.
    pub links: u64,
    /// Slot numbers of the segments.
    pub slots: u64,
    /// Navigation codes, those of the upper levels, and the projections they are made with.
    pub navigation: u64,
    /// Matrices and sparse vectors of named fields.
    pub matrices: u64,
}

impl SpaceInfo {
    /// Adds the bytes of a vector field.
    fn add_vectors(&mut self, field: &Self) {
        self.unsealed += field.unsealed;
        self.codes += field.codes;
        self.originals += field.originals;
        self.links += field.links;
        self.slots += field.slots;
        self.navigation += field.navigation;
        self.matrices += field.matrices;
        self.postings += field.postings;
    }

    /// The sum of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { records, ids, fields, postings, unsealed, .. } = *self;
        let Self { codes, originals, links, slots, navigation, matrices, .. } = *self;
        let text = [records, ids, fields, postings];
        let vectors = [unsealed, codes, originals, links, slots, navigation, matrices];
        text.iter().chain(&vectors).fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

impl Database {
    /// Counts, shapes and where the bytes are. Reads every key: about a second per million
    /// records.
    ///
    /// # Errors
    /// Storage.
    pub fn info(&self) -> Result<DatabaseInfo> {
        let mut collections = Vec::new();
        for name in self.collections()? {
            collections.push(self.collection(&name)?.info()?);
        }
        let (store, file_bytes) = (self.inner.store(), self.inner.file_bytes());
        let (pages, cache) = (store.page_use()?, self.cache_info()?);
        let of_collections = collections.iter().map(|of: &CollectionInfo| of.space.total());
        let used = of_collections.fold(cache.bytes, u64::saturating_add);
        // Pages that the newest version counts may not be written yet.
        let free_bytes = pages.free.saturating_mul(pages.page_bytes).min(file_bytes);
        let newest = store.snapshot()?.version();
        let readers = store.readers().into_iter().map(|reader| ReaderInfo {
            process: reader.process,
            behind: newest.saturating_sub(reader.version),
        });
        Ok(DatabaseInfo {
            file_bytes,
            format_version: store.format(),
            free_bytes,
            overhead_bytes: file_bytes.saturating_sub(free_bytes).saturating_sub(used),
            readers: readers.collect(),
            collections,
            cache,
        })
    }
}

impl Collection {
    /// Counts, shape and where the bytes are.
    ///
    /// # Errors
    /// Storage.
    pub fn info(&self) -> Result<CollectionInfo> {
        let snapshot = self.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let manifest = self.manifest(snapshot)?;
        let mut space = vector_bytes(snapshot, self.id, &manifest)?;
        space.records = table_bytes(snapshot, Table::Records, self.id)?;
        space.ids = table_bytes(snapshot, Table::Ids, self.id)?;
        space.fields = table_bytes(snapshot, Table::Fields, self.id)?;
        let vector_fields = self.fields_info(snapshot)?;
        for field in &vector_fields {
            space.add_vectors(&field.space);
        }
        // A damaged segment is for searches and for `verify` to tell of, unless nothing that is
        // damaged may be passed over.
        let view = match self.view(snapshot) {
            Err(error) if self.inner.verify != Verify::None => return Err(error),
            view => view.ok(),
        };
        let segments = view.iter().flat_map(|view| &view.segments);
        let curves = segments.map(|segment| (segment.len(), segment.recall_curve()));
        let measured = curves.filter(|(_, curve)| !curve.is_empty());
        let curve = measured.max_by_key(|(rows, _)| *rows).map_or_else(Vec::new, |(_, of)| of);
        Ok(CollectionInfo {
            name: self.name.to_string(),
            dimensions: self.dimensions(),
            leading_dimensions: self.leading_dimensions(),
            metric: self.metric(),
            originals: self.encoding.originals(),
            model: manifest.contract.as_ref().map(ModelContract::from),
            records: manifest.records,
            vectors: manifest.vectors(),
            unsealed: manifest.delta,
            deleted: manifest.dead,
            pending: slot_sets::pending(snapshot, self.id)?.len(),
            segments: manifest.segments.len(),
            graphs: manifest.segments.iter().filter(|segment| segment.graph.is_some()).count(),
            vector_fields,
            space,
            recall: curve.into_iter().map(|(ef, recall)| RecallPoint { ef, recall }).collect(),
        })
    }
}

/// Bytes of a table under a number.
pub(super) fn table_bytes(snapshot: &dyn Snapshot, table: Table, number: u32) -> Result<u64> {
    let prefix = key::collection(number);
    let mut sum = 0;
    for entry in snapshot.range(table, &prefix, &prefix)? {
        let (at, value) = entry?;
        sum += (at.len() + value.len()) as u64;
    }
    Ok(sum)
}

/// Bytes of the vectors under a number.
pub(super) fn vector_bytes(
    snapshot: &dyn Snapshot,
    number: u32,
    manifest: &Manifest,
) -> Result<SpaceInfo> {
    let navigation = [SectionKind::Nav, SectionKind::Projection, SectionKind::UpperNav];
    Ok(SpaceInfo {
        unsealed: table_bytes(snapshot, Table::Delta, number)?,
        codes: section_bytes(manifest, &[SectionKind::Codes]),
        originals: section_bytes(manifest, &[SectionKind::Raw]),
        links: section_bytes(manifest, &[SectionKind::Links, SectionKind::Upper]),
        slots: section_bytes(manifest, &[SectionKind::Slots]),
        navigation: section_bytes(manifest, &navigation),
        matrices: table_bytes(snapshot, Table::Matrices, number)?,
        postings: table_bytes(snapshot, Table::Postings, number)?,
        ..SpaceInfo::default()
    })
}

fn section_bytes(manifest: &Manifest, kinds: &[SectionKind]) -> u64 {
    let sections = manifest.segments.iter().flat_map(|segment| &segment.sections);
    sections
        .filter(|section| kinds.iter().any(|&kind| kind as u16 == section.kind))
        .map(extent_bytes)
        .sum()
}

fn extent_bytes(section: &SectionEntry) -> u64 {
    let (rows, stride) = (section.rows as usize, section.stride as usize);
    let per_extent = rows_per_extent(stride).max(1);
    let full = (rows / per_extent) * extent_value_bytes(per_extent * stride);
    let rest = rows % per_extent;
    let last = if rest > 0 { extent_value_bytes(rest * stride) } else { 0 };
    (full + last) as u64
}
