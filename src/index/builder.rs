//! Making a segment: rows in ascending slot order go in, sections ready to be written come out.

use bytes::Bytes;

use super::build::{BuiltGraph, build};
use super::calibrate::curve;
use super::grow::{Inherited, grow};
use super::nav::{Basis, NavCodes};
use super::params::{BuildParams, base_stride, upper_stride};
use super::space::Space;
use super::truth::{OriginalRows, RawRows};
use super::{GraphCopy, GraphHeader, GraphParams, IndexError, Progress};
use crate::format::SectionKind;
use crate::kernels::nav::LINE;
use crate::vectors::{Encoding, Rows};

/// Rows below which a scan of the codes is as fast as a walk.
const DEFAULT_GRAPH_MIN_ROWS: u32 = 20_000;
/// A segment without a graph has navigation codes from so many rows on, if it can share the
/// projection of another ...
pub(super) const NAV_MIN_ROWS: usize = 2_048;
/// ... and otherwise from so many for each dimension: training a projection costs the square of
/// the dimensions and more, which folds of few rows would not pay back by their scans.
const NAV_MIN_ROWS_PER_DIM: usize = 8;
/// Positions stay below this, so that a bit of a u32 remains free.
const MAX_ROWS: u32 = 1 << 31;

/// Refuses a section of another stride.
pub(super) fn check_stride(
    kind: SectionKind,
    expected: usize,
    found: usize,
) -> Result<(), IndexError> {
    if expected == found { Ok(()) } else { Err(IndexError::WrongStride { kind, expected, found }) }
}

/// Refuses a section of another number of rows.
pub(super) fn check_len(kind: SectionKind, expected: u64, found: u32) -> Result<(), IndexError> {
    let found = u64::from(found);
    if expected == found { Ok(()) } else { Err(IndexError::WrongLength { kind, expected, found }) }
}

/// How a segment is built.
#[derive(Debug, Clone, Copy)]
pub struct SegmentConfig {
    /// Encoding of the rows.
    pub encoding: Encoding,
    /// Parameters of the graph.
    pub graph: GraphParams,
    /// A graph is built for more rows than this.
    pub graph_min_rows: u32,
    /// Whether the caller writes the raw rows itself, in the order of pushing. They are not
    /// needed to build, and holding them can take more memory than all the rest.
    pub raw_apart: bool,
    /// Bytes of working memory, beside those of each row.
    pub memory: usize,
}

/// Working memory unless told otherwise: what training on 8,192 vectors of 4,096 dimensions takes,
/// and 64 extents on their way.
pub const BUILD_MEMORY: usize = 256 << 20;

impl SegmentConfig {
    /// Default graph parameters, a graph above 20,000 rows, raw rows in the image.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let graph = GraphParams::default();
        Self {
            encoding,
            graph,
            graph_min_rows: DEFAULT_GRAPH_MIN_ROWS,
            raw_apart: false,
            memory: BUILD_MEMORY,
        }
    }

    /// Sets the graph parameters.
    #[must_use]
    pub fn graph(mut self, params: GraphParams) -> Self {
        self.graph = params;
        self
    }

    /// Sets the number of rows above which a graph is built.
    #[must_use]
    pub fn graph_min_rows(mut self, rows: u32) -> Self {
        self.graph_min_rows = rows;
        self
    }

    /// Leaves the raw rows to the caller: they are not pushed and not in the image.
    #[must_use]
    pub fn raw_apart(mut self, apart: bool) -> Self {
        self.raw_apart = apart;
        self
    }

    /// Sets the working memory.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    fn raw_stride(&self) -> usize {
        if self.raw_apart { 0 } else { self.encoding.raw_stride() }
    }
}

/// One section of a segment image: `rows` rows of `stride` bytes.
#[derive(Debug, Clone)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Bytes per row.
    pub stride: usize,
    /// Number of rows.
    pub rows: u32,
    /// The rows, one after another.
    pub bytes: Bytes,
}

/// A segment in memory, ready to be written as extents.
#[derive(Debug, Clone)]
pub struct SegmentImage {
    /// Encoding of the rows.
    #[cfg(test)]
    pub encoding: Encoding,
    /// The sections, ascending by kind; empty ones are left out.
    pub sections: Vec<Section>,
    /// Present when a graph was built.
    pub graph: Option<GraphHeader>,
}

/// Collects rows and builds a segment from them.
///
/// Peak memory: slots, codes, raw rows unless kept apart, and while the graph is built the
/// navigation codes and 386 bytes a row at `m = 16`, of which the links (128 bytes) remain.
#[derive(Debug)]
#[must_use]
pub struct SegmentBuilder {
    config: SegmentConfig,
    last: Option<u32>,
    slots: Vec<u8>,
    codes: Vec<u8>,
    raw: Vec<u8>,
    inherited: Option<(GraphCopy, Vec<u32>)>,
    basis: Option<Basis>,
}

impl SegmentBuilder {
    /// An empty builder with room for `rows` rows, which saves the copies of growing.
    ///
    /// # Errors
    /// [`IndexError::GraphParameter`].
    pub fn with_capacity(config: SegmentConfig, rows: usize) -> Result<Self, IndexError> {
        config.graph.check()?;
        let room = |stride: usize| Vec::with_capacity(rows.saturating_mul(stride));
        Ok(Self {
            config,
            last: None,
            slots: room(size_of::<u32>()),
            codes: room(config.encoding.code_stride()),
            raw: room(config.raw_stride()),
            inherited: None,
            basis: None,
        })
    }

    /// Number of rows pushed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() / size_of::<u32>()
    }

    /// Adds a row: its slot, above all before it, its code row, and its raw row unless originals
    /// are not kept or are kept apart.
    ///
    /// # Errors
    /// [`IndexError::SlotOrder`], [`IndexError::WrongStride`], [`IndexError::MissingSection`]
    /// for an absent raw row, [`IndexError::TooManyRows`].
    pub fn push(&mut self, slot: u32, code: &[u8], raw: Option<&[u8]>) -> Result<(), IndexError> {
        if let Some(last) = self.last.filter(|&last| slot <= last) {
            return Err(IndexError::SlotOrder { last, found: slot });
        }
        if self.len() >= MAX_ROWS as usize {
            return Err(IndexError::TooManyRows { max: MAX_ROWS });
        }
        check_stride(SectionKind::Codes, self.config.encoding.code_stride(), code.len())?;
        if self.config.raw_stride() > 0 {
            let raw = raw.ok_or(IndexError::MissingSection { kind: SectionKind::Raw })?;
            check_stride(SectionKind::Raw, self.config.raw_stride(), raw.len())?;
            self.raw.extend_from_slice(raw);
        }
        self.codes.extend_from_slice(code);
        self.slots.extend_from_slice(&slot.to_le_bytes());
        self.last = Some(slot);
        Ok(())
    }

    /// Lets the graph grow from another one instead of being built anew, if it has as many links
    /// a row. `places` are the positions here of its rows, ascending, [`GONE`](super::GONE) for
    /// those that were not pushed.
    pub fn inherit(mut self, graph: GraphCopy, places: Vec<u32>) -> Self {
        self.inherited = Some((graph, places));
        self
    }

    /// Lets navigation codes be made with the projection of another segment while it serves
    /// these rows as well. A graph that is built anew has its own in any case.
    pub fn basis(mut self, basis: Basis) -> Self {
        self.basis = Some(basis);
        self
    }

    /// Builds the graph, in the current rayon pool, if there are enough rows.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    #[cfg(test)]
    pub fn finish(self, progress: &Progress<'_>) -> Result<SegmentImage, IndexError> {
        let stride = self.config.raw_stride();
        let raw = self.raw.clone();
        let read = move |rows: std::ops::Range<usize>| {
            raw.get(rows.start * stride..rows.end * stride).map(<[u8]>::to_vec)
        };
        self.finish_with(&read, progress)
    }

    /// As `finish`, with raw rows that are elsewhere. They are read to measure recall
    /// where codes leave out dimensions.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    pub fn finish_with(
        self,
        raw: &RawRows<'_>,
        progress: &Progress<'_>,
    ) -> Result<SegmentImage, IndexError> {
        let SegmentConfig { encoding, graph, graph_min_rows, memory, .. } = self.config;
        let params = BuildParams { graph, memory };
        let raw_stride = self.config.raw_stride();
        let rows = self.len() as u32;
        let codes = Bytes::from(self.codes);
        let code_rows = Rows::contiguous(codes.clone(), encoding.code_stride())?;
        let (graph, links, upper, nav) = if rows > graph_min_rows {
            let inherited =
                self.inherited.filter(|(graph, _)| graph.width() == params.graph.base_links());
            let inherited = inherited.and_then(|(graph, at)| Inherited::new(graph, at, rows));
            let built = match inherited {
                Some(old) => grow(&code_rows, encoding, (params, old, self.basis), progress)?,
                None => {
                    // It has the navigation codes of rows that are carried over.
                    drop(self.basis);
                    build(&code_rows, encoding, params, progress)?
                }
            };
            let BuiltGraph { header, links, upper, nav } = built;
            (Some(header), links, upper, nav)
        } else {
            let nav = flat_nav(&code_rows, encoding, self.basis, params);
            (None, Vec::new(), Vec::new(), nav.map(|codes| (codes, Vec::new())))
        };
        let (nav_stride, nav, projection, upper_nav) = match nav {
            Some((codes, upper)) => {
                let stride = codes.stride();
                let (projection, codes) = codes.into_parts();
                (stride, codes, projection.to_bytes(), upper)
            }
            None => (1, Vec::new(), Vec::new(), Vec::new()),
        };
        let sections = [
            (SectionKind::Slots, size_of::<u32>(), Bytes::from(self.slots)),
            (SectionKind::Codes, encoding.code_stride(), codes),
            (SectionKind::Raw, raw_stride, Bytes::from(self.raw)),
            (SectionKind::Links, base_stride(params.graph.m), le_bytes(links)),
            (SectionKind::Upper, upper_stride(params.graph.m), le_bytes(upper)),
            (SectionKind::Nav, nav_stride, Bytes::from(nav)),
            (SectionKind::Projection, encoding.code_stride(), Bytes::from(projection)),
            (SectionKind::UpperNav, LINE, Bytes::from(upper_nav)),
        ];
        let mut sections: Vec<Section> = sections
            .into_iter()
            .filter(|(.., bytes)| !bytes.is_empty())
            .map(|(kind, stride, bytes)| {
                let rows = (bytes.len() / stride) as u32;
                Section { kind, stride, rows, bytes }
            })
            .collect();
        if let Some(header) = &graph {
            let go_on = || match progress(u64::from(rows), u64::from(rows)).is_break() {
                true => Err(IndexError::Cancelled),
                false => Ok(()),
            };
            let originals = encoding.is_cut().then_some(OriginalRows { encoding, read: raw });
            sections.extend(curve(encoding, header, (&sections, originals), &go_on)?);
        }
        sections.sort_by_key(|section| section.kind);
        Ok(SegmentImage {
            #[cfg(test)]
            encoding,
            sections,
            graph,
        })
    }
}

/// Navigation codes for a segment without a graph, where they are worth it.
fn flat_nav(
    codes: &Rows,
    encoding: Encoding,
    basis: Option<Basis>,
    params: BuildParams,
) -> Option<NavCodes> {
    let rows = codes.len() as usize;
    if rows < NAV_MIN_ROWS {
        return None;
    }
    let space = Space::new(codes, encoding);
    let all: Vec<u32> = (0..codes.len()).collect();
    basis.and_then(|basis| NavCodes::shared(&space, codes, (basis, &all))).or_else(|| {
        let is_worth_training = rows >= NAV_MIN_ROWS_PER_DIM * encoding.coded_dim();
        is_worth_training.then(|| NavCodes::build(&space, codes, params)).flatten()
    })
}

/// Words as little-endian bytes; on a little-endian host without copying.
fn le_bytes(mut words: Vec<u32>) -> Bytes {
    struct LeWords(Vec<u32>);
    impl AsRef<[u8]> for LeWords {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    words.iter_mut().for_each(|word| *word = word.to_le());
    Bytes::from_owner(LeWords(words))
}
