//! A segment: slots, codes, originals and a graph of one immutable set of vectors, and the one
//! search over them.

use super::builder::{check_len, check_stride};
use super::graph::Graph;
use super::plan::Plan;
use super::pool::Scored;
use super::scratch::{Scratch, ScratchPool};
use super::slots::Slots;
use super::walk::{Scorer, touch_row};
use super::{Allow, GraphHeader, IndexError, SearchParams, TopK};
use crate::format::SectionKind;
use crate::vectors::{Encoding, Metric, Originals, PreparedQuery, Rows};

/// One hit of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// The slot of the vector.
    pub slot: u32,
    /// Its score: higher is better, always finite. A cosine can pass 1 by rounding.
    pub score: f32,
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
    encoding: Encoding,
    slots: Slots,
    codes: Rows,
    pub(super) raw: Option<Rows>,
    graph: Option<Graph>,
    scratches: ScratchPool,
}

impl Segment {
    /// Opens a segment in O(extents): strides and lengths are checked, rows are not read.
    ///
    /// # Errors
    /// [`IndexError::WrongStride`], [`IndexError::WrongLength`], [`IndexError::MissingSection`],
    /// [`IndexError::BadGraphHeader`], [`IndexError::GraphParameter`].
    pub fn open(parts: SegmentParts) -> Result<Self, IndexError> {
        let SegmentParts { encoding, slots, codes, raw, graph } = parts;
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
        let graph = graph.map(|parts| Graph::open(parts, rows)).transpose()?;
        let scratches = ScratchPool::default();
        Ok(Self { encoding, slots: Slots::new(slots), codes, raw, graph, scratches })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.slots.len()
    }

    /// Whether there is a graph to walk.
    #[must_use]
    #[cfg(test)]
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
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

    /// The position of a slot; O(log n).
    #[must_use]
    pub fn position_of(&self, slot: u32) -> Option<u32> {
        self.slots.position_of(slot)
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

    /// The `k` best rows that pass, or all that pass when they are fewer: by descending score,
    /// ties by ascending slot.
    ///
    /// Candidates come from a walk of the graph, or from a scan of the codes when there is no
    /// graph or too few rows pass; the best `max(2k, k + 16)` are ordered by their originals.
    /// An exact search scans the originals instead (the codes, if there are none).
    ///
    /// # Errors
    /// [`IndexError::OtherEncoding`] for a query prepared for another metric or dimension.
    pub fn search(
        &self,
        query: &PreparedQuery,
        params: &SearchParams,
        allow: Allow<'_>,
    ) -> Result<Vec<Neighbor>, IndexError> {
        if query.dim() != self.encoding.dim() || query.metric() != self.encoding.metric() {
            return Err(IndexError::OtherEncoding {
                expected: (self.encoding.metric(), self.encoding.dim()),
                found: (query.metric(), query.dim()),
            });
        }
        let k = params.k.min(self.len() as usize);
        if k == 0 {
            return Ok(Vec::new());
        }
        Ok(self.scratches.with(|scratch| {
            let candidates = if params.exact {
                self.scan(k, allow, |position| {
                    self.fine_score(query, position, &mut scratch.values)
                })
            } else {
                self.candidates(query, k, params, allow, scratch)
            };
            self.order(query, candidates, k, &mut scratch.values)
        }))
    }

    /// The best candidates by code.
    fn candidates(
        &self,
        query: &PreparedQuery,
        k: usize,
        params: &SearchParams,
        allow: Allow<'_>,
        scratch: &mut Scratch,
    ) -> Vec<u32> {
        let keep = params.rescored().min(self.len() as usize);
        let scorer = CodeScorer { query, codes: &self.codes };
        if let Some(graph) = &self.graph {
            let passing = self.slots.passing(allow);
            if let Plan::Walk { ef } = Plan::choose(self.len(), passing, params.ef, keep) {
                let found = self.walk(graph, &scorer, ef, keep, allow, scratch);
                if found.len() >= k {
                    return found;
                }
            }
        }
        self.scan(keep, allow, |position| scorer.score(position))
    }

    fn walk(
        &self,
        graph: &Graph,
        scorer: &CodeScorer<'_>,
        ef: usize,
        keep: usize,
        allow: Allow<'_>,
        scratch: &mut Scratch,
    ) -> Vec<u32> {
        if matches!(allow, Allow::All) {
            graph.search(scorer, ef, scratch, |_| {});
            return scratch.pool.iter().take(keep).map(|scored| scored.id).collect();
        }
        let mut accepted = std::mem::take(&mut scratch.accepted);
        accepted.reset(keep);
        graph.search(scorer, ef, scratch, |scored| {
            // The bitmap is asked only about what could be returned.
            if accepted.admits(scored)
                && self.slots.slot(scored.id).is_some_and(|slot| allow.contains(slot))
            {
                accepted.push(scored);
            }
        });
        let found = accepted.iter().map(|scored| scored.id).collect();
        scratch.accepted = accepted;
        found
    }

    fn scan(&self, keep: usize, allow: Allow<'_>, mut score: impl FnMut(u32) -> f32) -> Vec<u32> {
        let mut top = TopK::new(keep);
        self.slots.for_each(allow, |position| top.push(position, score(position)));
        top.into_sorted().into_iter().map(|(position, _)| position).collect()
    }

    /// Orders candidates by their best scores and keeps `k`.
    fn order(
        &self,
        query: &PreparedQuery,
        candidates: Vec<u32>,
        k: usize,
        values: &mut Vec<f32>,
    ) -> Vec<Neighbor> {
        let mut scored: Vec<Scored> = candidates
            .into_iter()
            .map(|id| Scored { score: self.fine_score(query, id, values), id })
            .collect();
        scored.sort_unstable_by(Scored::rank);
        scored
            .into_iter()
            .filter_map(|hit| Some(Neighbor { slot: self.slot(hit.id)?, score: hit.score }))
            .take(k)
            .collect()
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

/// Scores positions by their codes against a query.
struct CodeScorer<'a> {
    query: &'a PreparedQuery,
    codes: &'a Rows,
}

impl Scorer for CodeScorer<'_> {
    #[inline]
    fn score(&self, position: u32) -> f32 {
        self.codes.row(position).map_or(f32::MIN, |row| self.query.score_code(row))
    }

    #[inline]
    fn touch(&self, position: u32) -> u8 {
        touch_row(self.codes.row(position))
    }
}

/// The `k` best of the hits of several segments, in the order of [`Segment::search`].
#[must_use]
pub fn merge(hits: impl IntoIterator<Item = Vec<Neighbor>>, k: usize) -> Vec<Neighbor> {
    let mut all: Vec<Neighbor> = hits.into_iter().flatten().collect();
    all.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.slot.cmp(&b.slot)));
    all.truncate(k);
    all
}
