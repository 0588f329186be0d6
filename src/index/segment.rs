//! A segment: slots, codes, originals and a graph of one immutable set of vectors, and the one
//! search over them.

use std::sync::OnceLock;

use bytes::Bytes;

use super::builder::{check_len, check_stride};
use super::curve::Curve;
use super::graph::{Graph, GraphCopy};
use super::pool::Scored;
use super::residency::Resident;
use super::scratch::ScratchPool;
use super::slots::Slots;
use super::{
    Allow, Basis, Effort, GraphHeader, IndexError, Passing, SearchParams, SearchPath, TopK,
};
use crate::format::SectionKind;
use crate::kernels::nav::{LINE, MAX_LINES, dims};
use crate::kernels::{Panel, prefetch};
use crate::vectors::nav::lines_for;
use crate::vectors::{Encoding, Metric, Originals, PreparedQuery, Projection, Rows};

/// Under a cut to leading dimensions, candidates of a scan for each that would be ordered by its
/// original without the cut.
const CUT_SCAN_EACH: usize = 24;

/// Bytes of an original that are asked for ahead: the processor itself fetches what follows.
const ASKED: usize = 1024;

/// One hit of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// The slot of the vector.
    pub slot: u32,
    /// Its score: higher is better, always finite. A cosine can pass 1 by rounding.
    pub score: f32,
}

/// What a search of one segment found.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// Best first.
    pub hits: Vec<Neighbor>,
    /// How.
    pub path: SearchPath,
    /// Nodes that walks expanded.
    pub steps: usize,
}

/// What a segment is opened from.
#[derive(Debug)]
pub struct SegmentParts {
    /// Encoding of the rows.
    pub encoding: Encoding,
    /// Slots, stride 4.
    pub slots: Rows,
    /// Code rows, stride [`Encoding::code_stride`].
    pub codes: Rows,
    /// Raw rows, stride [`Encoding::raw_stride`]; required unless originals are not kept.
    pub raw: Option<Rows>,
    /// The graph, if the segment has one.
    pub graph: Option<GraphParts>,
    /// Integer ids of the positions, stride 8, if all records have such ids.
    pub ids: Option<Rows>,
    /// Navigation codes; segments written before format 1 had them are walked by int8 codes.
    pub nav: Option<NavParts>,
    /// The recall curve; segments without a graph have none, nor have old ones.
    pub curve: Option<Rows>,
}

/// Navigation codes as they are stored.
#[derive(Debug)]
pub struct NavParts {
    /// The projection, stride [`Encoding::code_stride`].
    pub projection: Rows,
    /// Navigation codes of all positions, whole cache lines.
    pub rows: Rows,
    /// The first lines of the navigation codes of the upper rows.
    pub upper: Option<Rows>,
}

/// Navigation codes, checked.
#[derive(Debug)]
pub(super) struct Nav {
    pub(super) projection: Projection,
    pub(super) lines: usize,
    pub(super) rows: Rows,
    pub(super) upper: Rows,
}

impl Nav {
    fn open(
        parts: NavParts,
        encoding: Encoding,
        (rows, upper): (u32, u32),
    ) -> Result<Self, IndexError> {
        let stride = parts.rows.stride();
        let lines = stride / LINE;
        let projection = Projection::open(&parts.projection, &encoding)?;
        if !(1..=MAX_LINES).contains(&lines) || projection.len() > dims(lines) {
            let expected = lines_for(encoding.coded_dim()) * LINE;
            let kind = SectionKind::Nav;
            return Err(IndexError::WrongStride { kind, expected, found: stride });
        }
        check_stride(SectionKind::Nav, lines * LINE, stride)?;
        let upper_rows = match parts.upper {
            Some(rows) => rows,
            None => Rows::contiguous(Bytes::new(), LINE)?,
        };
        check_stride(SectionKind::UpperNav, LINE, upper_rows.stride())?;
        check_len(SectionKind::Nav, u64::from(rows), parts.rows.len())?;
        check_len(SectionKind::UpperNav, u64::from(upper), upper_rows.len())?;
        Ok(Self { projection, lines, rows: parts.rows, upper: upper_rows })
    }
}

/// A graph as it is stored.
#[derive(Debug)]
pub struct GraphParts {
    /// The header.
    pub header: GraphHeader,
    /// Base links.
    pub links: Rows,
    /// Upper levels; may be empty.
    pub upper: Rows,
}

/// An immutable set of vectors that can be searched from many threads at once.
#[derive(Debug)]
pub struct Segment {
    pub(super) encoding: Encoding,
    pub(super) slots: Slots,
    pub(super) codes: Rows,
    pub(super) raw: Option<Rows>,
    pub(super) graph: Option<Graph>,
    pub(super) nav: Option<Nav>,
    pub(super) resident: OnceLock<Resident>,
    ids: Option<Rows>,
    curve: Option<Curve>,
    scratches: ScratchPool,
}

impl Segment {
    /// Opens a segment in O(extents): strides and lengths are checked, rows are not read.
    ///
    /// # Errors
    /// [`IndexError::WrongStride`], [`IndexError::WrongLength`], [`IndexError::MissingSection`],
    /// [`IndexError::BadGraphHeader`], [`IndexError::GraphParameter`].
    pub fn open(parts: SegmentParts) -> Result<Self, IndexError> {
        let SegmentParts { encoding, slots, codes, raw, graph, nav, ids, curve } = parts;
        let rows = slots.len();
        check_stride(SectionKind::Slots, size_of::<u32>(), slots.stride())?;
        check_stride(SectionKind::Codes, encoding.code_stride(), codes.stride())?;
        check_len(SectionKind::Codes, u64::from(rows), codes.len())?;
        let raw = match encoding.originals() {
            Originals::None => None,
            _ => Some(raw.ok_or(IndexError::MissingSection { kind: SectionKind::Raw })?),
        };
        if let Some(raw) = &raw {
            check_stride(SectionKind::Raw, encoding.raw_stride(), raw.stride())?;
            check_len(SectionKind::Raw, u64::from(rows), raw.len())?;
        }
        if let Some(ids) = &ids {
            check_stride(SectionKind::Ids, size_of::<i64>(), ids.stride())?;
            check_len(SectionKind::Ids, u64::from(rows), ids.len())?;
        }
        let graph = graph.map(|parts| Graph::open(parts, rows)).transpose()?;
        let upper = graph.as_ref().map_or(0, Graph::upper_rows);
        let nav = nav.map(|parts| Nav::open(parts, encoding, (rows, upper))).transpose()?;
        let scratches = ScratchPool::default();
        Ok(Self {
            encoding,
            slots: Slots::new(slots),
            codes,
            raw,
            graph,
            nav,
            resident: OnceLock::new(),
            ids,
            // A curve that is none is left aside, as a link that leads nowhere is.
            curve: curve.as_ref().and_then(Curve::read),
            scratches,
        })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.slots.len()
    }

    /// Whether there is a graph to walk.
    #[must_use]
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// How to search for `k` hits with some effort.
    #[must_use]
    pub fn params(&self, k: usize, effort: Effort) -> SearchParams {
        let curve = self.curve.as_ref().unwrap_or_else(|| Curve::cautious());
        let mut params = SearchParams::with_effort(k, effort, curve);
        if self.encoding.is_cut() && !self.has_graph() {
            // Nothing is walked, so this decides only how many are ordered by originals.
            params.ef = params.ef.max(params.rescored().saturating_mul(CUT_SCAN_EACH));
        }
        SearchParams { is_cut: self.encoding.is_cut(), ..params }
    }

    /// The share of the true neighbors that a walk is expected to find, by the segment's curve.
    #[must_use]
    pub fn expected_recall(&self, params: &SearchParams) -> f32 {
        let curve = self.curve.as_ref().unwrap_or_else(|| Curve::cautious());
        if params.exact { 1.0 } else { curve.recall(params.ef, params.k) }
    }

    /// The recall curve as pairs of candidates and recall of ten hits, by ascending candidates;
    /// none where the segment has no graph or was built before curves were measured.
    #[must_use]
    pub fn recall_curve(&self) -> Vec<(usize, f32)> {
        self.curve.as_ref().map_or_else(Vec::new, |curve| curve.of_ten().collect())
    }

    /// Encoding of the rows.
    #[must_use]
    #[cfg(test)]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The slot at a position.
    #[must_use]
    pub fn slot(&self, position: u32) -> Option<u32> {
        self.slots.slot(position)
    }

    /// The integer id of a slot, if this segment has the slot and ids; O(log n).
    #[must_use]
    pub fn int_id(&self, slot: u32) -> Option<i64> {
        self.int_id_at(self.position_of(slot)?)
    }

    /// The integer id at a position, if this segment has ids.
    #[must_use]
    pub fn int_id_at(&self, position: u32) -> Option<i64> {
        let row = self.ids.as_ref()?.row(position)?;
        row.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))
    }

    /// The position of a slot; O(log n).
    #[must_use]
    pub fn position_of(&self, slot: u32) -> Option<u32> {
        self.slots.position_of(slot)
    }

    /// The slots of the rows that no chain of links leads to from any entry of the graph,
    /// ascending; none without a graph. Searches start at a few of the entries, so that a row that
    /// can be reached may still be found by none. Costs a look at every link.
    #[must_use]
    pub fn unreachable(&self) -> Vec<u32> {
        let positions = self.graph.as_ref().map_or_else(Vec::new, Graph::unreachable);
        positions.into_iter().filter_map(|position| self.slot(position)).collect()
    }

    /// The graph, for another segment to grow from; 128 bytes a row.
    #[must_use]
    pub fn graph_copy(&self) -> Option<GraphCopy> {
        self.graph.as_ref().map(Graph::copy)
    }

    /// The projection, for the navigation codes of another segment; measured on 512 rows.
    #[must_use]
    pub fn basis(&self) -> Option<Basis> {
        let nav = self.nav.as_ref()?;
        Some(Basis::new(&self.codes, &self.encoding, nav.projection.clone()))
    }

    /// The navigation code at a position, if the segment has such codes.
    #[must_use]
    pub fn nav_row(&self, position: u32) -> Option<&[u8]> {
        self.nav.as_ref()?.rows.row(position)
    }

    /// The code row at a position, as it was pushed.
    #[must_use]
    pub fn code_row(&self, position: u32) -> Option<&[u8]> {
        self.codes.row(position)
    }

    /// The vector at a position (under cosine: normalized), from the original if it is kept,
    /// otherwise from the code, approximately.
    #[must_use]
    pub fn raw_vector(&self, position: u32) -> Option<Vec<f32>> {
        match &self.raw {
            Some(raw) => self.encoding.decode_raw(raw.row(position)?).ok(),
            None => self.encoding.decode_code(self.codes.row(position)?).ok(),
        }
    }

    /// The positions that pass, to be given to searches. Costs a step per slot of the bitmaps.
    #[must_use]
    pub fn passing(&self, allow: Allow<'_>) -> Passing {
        self.slots.passing(allow)
    }

    /// The `k` best rows that pass, or all that pass when they are fewer: by descending score,
    /// ties by ascending slot.
    ///
    /// Candidates come from a walk of the graph by navigation codes, or from a scan of the codes
    /// when there is no graph or too few rows pass ([`SearchPath`]). The best of them by int8
    /// code, a few more than `k`, are ordered by their originals; so are all, without a look at
    /// their codes, when they are at most twice as many.
    /// An exact search scans the originals instead (the codes, if there are none).
    ///
    /// Beside the rows: how many nodes the walk expanded.
    ///
    /// # Errors
    /// [`IndexError::OtherEncoding`] for a query prepared for another metric or dimension.
    pub fn search_passing(
        &self,
        query: &PreparedQuery,
        params: &SearchParams,
        passing: &Passing,
    ) -> Result<Searched, IndexError> {
        self.search_projected(query, &[], params, passing)
    }

    /// [`Segment::search_passing`] for several queries, which are projected together.
    ///
    /// # Errors
    /// As [`Segment::search_passing`].
    pub fn search_many(
        &self,
        queries: &[PreparedQuery],
        params: &SearchParams,
        passing: &Passing,
    ) -> Result<Vec<Searched>, IndexError> {
        let (mut coordinates, mut width) = (Vec::new(), 0);
        if let Some(nav) = &self.nav {
            let mut panel = Panel::new(self.encoding.coded_dim()).with_room(queries.len());
            queries.iter().for_each(|query| panel.push(query.codes()));
            let scales: Vec<f32> = queries.iter().map(PreparedQuery::scale).collect();
            nav.projection.project_all(&panel, &scales, &mut Vec::new(), &mut coordinates);
            width = nav.projection.len();
        }
        let mut found = Vec::with_capacity(queries.len());
        for (at, query) in queries.iter().enumerate() {
            let own = coordinates.get(at * width..(at + 1) * width).unwrap_or_default();
            found.push(self.search_projected(query, own, params, passing)?);
        }
        Ok(found)
    }

    /// A search for a query whose coordinates may be known, and the nodes that were expanded.
    fn search_projected(
        &self,
        query: &PreparedQuery,
        coordinates: &[f32],
        params: &SearchParams,
        passing: &Passing,
    ) -> Result<Searched, IndexError> {
        // A cut is told apart by the dimensions of codes alone.
        let (mut expected, mut found) = (self.encoding.dim(), query.dim());
        if expected == found {
            (expected, found) = (self.encoding.coded_dim(), query.codes().len());
        }
        if expected != found || query.metric() != self.encoding.metric() {
            return Err(IndexError::OtherEncoding {
                expected: (self.encoding.metric(), expected),
                found: (query.metric(), found),
            });
        }
        let k = params.k.min(passing.count() as usize);
        if k == 0 {
            let path = if params.exact { SearchPath::Exact } else { SearchPath::Scan };
            return Ok(Searched { hits: Vec::new(), path, steps: 0 });
        }
        Ok(self.scratches.with(|scratch| {
            scratch.steps = 0;
            let path = if params.exact {
                let mut values = std::mem::take(&mut scratch.values);
                scratch.scan(k, |top| self.scan_exact(query, passing, &mut values, top));
                scratch.values = values;
                SearchPath::Exact
            } else {
                let params = SearchParams { k, ..*params };
                self.candidates((query, coordinates), &params, passing, scratch)
            };
            let hits = self.order(query, &mut scratch.found, k, &mut scratch.values);
            Searched { hits, path, steps: scratch.steps }
        }))
    }

    /// Offers all positions that pass, by their originals.
    fn scan_exact(
        &self,
        query: &PreparedQuery,
        passing: &Passing,
        values: &mut Vec<f32>,
        top: &mut TopK,
    ) {
        passing.for_each(|position| {
            top.push(position, self.fine_score(query, position, values));
        });
    }

    /// Orders candidates by their best scores and keeps `k`.
    fn order(
        &self,
        query: &PreparedQuery,
        candidates: &mut [Scored],
        k: usize,
        values: &mut Vec<f32>,
    ) -> Vec<Neighbor> {
        if let Some(raw) = &self.raw {
            for candidate in candidates.iter() {
                let row = raw.row(candidate.id).unwrap_or_default();
                prefetch(&row[..row.len().min(ASKED)]);
            }
        }
        for candidate in &mut *candidates {
            candidate.score = self.fine_score(query, candidate.id, values);
        }
        candidates.sort_unstable_by(Scored::rank);
        let hit = |hit: &Scored| Some(Neighbor { slot: self.slot(hit.id)?, score: hit.score });
        let mut hits = Vec::with_capacity(k.min(candidates.len()));
        hits.extend(candidates.iter().filter_map(hit).take(k));
        hits
    }

    /// The best score there is for a position: from the original, else from the code.
    fn fine_score(&self, query: &PreparedQuery, position: u32, values: &mut Vec<f32>) -> f32 {
        let originals = self.encoding.originals();
        let score = match &self.raw {
            Some(raw) => raw.row(position).map(|row| query.score_raw(row, originals, values)),
            None => self.codes.row(position).map(|row| query.score_code(row)),
        };
        let score = score.unwrap_or(f32::MIN);
        // Rounded codes can put a squared distance slightly below zero.
        if self.encoding.metric() == Metric::L2 { score.min(0.0) } else { score }
    }
}

/// The `k` best of the hits of several segments, in the order of [`Segment::search_passing`].
#[must_use]
pub fn best_of(mut all: Vec<Neighbor>, k: usize) -> Vec<Neighbor> {
    all.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.slot.cmp(&b.slot)));
    all.truncate(k);
    all
}
