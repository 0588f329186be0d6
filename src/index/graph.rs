//! A stored graph, checked when it is opened and walked in place.
//!
//! Base rows: `2 * m` positions, u32 LE, padded with the row's own position. Upper rows: node
//! u32, down u32, `m` links u32, grouped by level, the top level first; links are rows of the
//! upper section, `down` is the row one level below, or at level 1 the base position. Links of a
//! damaged file may say anything: what is out of range is skipped.

use super::builder::{check_len, check_stride};
use super::params::{GraphHeader, MAX_LEVELS, base_stride, check_m, upper_stride};
use super::scratch::Scratch;
use super::walk::{Adjacency, Scorer, climb, walk};
use super::{GraphParts, IndexError, TopK};
use crate::format::SectionKind;
use crate::kernels::prefetch;
use crate::vectors::Rows;

/// Rows of level 1 that are all scored; more are walked.
const SCANNED: u32 = 2_048;
/// Candidates of the walk over level 1.
const UPPER_EF: usize = 48;
/// Base positions a walk starts from.
const STARTS: usize = 2;

/// The links of one segment.
#[derive(Debug)]
pub struct Graph {
    entry: u32,
    levels: usize,
    base: Base,
    upper: Upper,
}

/// The base level, read in place.
#[derive(Debug, Clone)]
pub struct Base(Rows);

#[derive(Debug)]
struct Upper(Rows);

impl Graph {
    /// Checks the shape of a graph over `rows` rows; costs nothing per row.
    pub fn open(parts: GraphParts, rows: u32) -> Result<Self, IndexError> {
        let GraphParts { header, links, upper } = parts;
        check_m(header.m)?;
        check_stride(SectionKind::Links, base_stride(header.m), links.stride())?;
        check_len(SectionKind::Links, u64::from(rows), links.len())?;
        let GraphHeader { entry, level_counts, m, .. } = header;
        let bad = IndexError::BadGraphHeader { entry, rows };
        if entry >= rows || level_counts.len() > MAX_LEVELS || level_counts.contains(&0) {
            return Err(bad);
        }
        let in_levels: u64 = level_counts.iter().map(|&count| u64::from(count)).sum();
        check_len(SectionKind::Upper, in_levels, upper.len())?;
        if in_levels > 0 {
            check_stride(SectionKind::Upper, upper_stride(m), upper.stride())?;
        }
        Ok(Self { entry, levels: level_counts.len(), base: Base(links), upper: Upper(upper) })
    }

    /// Base positions to start a walk from: the best of level 1 that a small walk finds when its
    /// rows have navigation codes, else where a descent from the top ends.
    pub fn starts<S: Scorer>(
        &self,
        scorer: &S,
        upper: Option<&impl Scorer>,
        scratch: &mut Scratch,
    ) -> Vec<u32> {
        let mut starts = Vec::with_capacity(STARTS);
        match upper {
            Some(upper) if self.levels == 1 && self.upper_rows() <= SCANNED => {
                let mut top = TopK::new(STARTS);
                let rows: Vec<&[u8]> = (0..self.upper_rows()).map(|row| upper.row(row)).collect();
                let mut scores = vec![f32::MIN; rows.len()];
                upper.score_all(&rows, &mut scores);
                (0..).zip(scores).for_each(|(row, score)| top.push(row, score));
                let best = top.into_sorted().into_iter();
                starts.extend(best.filter_map(|(row, _)| self.upper.word(row, 1)));
            }
            Some(upper) if self.levels == 1 => {
                walk(upper, &self.upper, &[0], UPPER_EF, scratch, |_| {});
                let best = scratch.pool.iter().take(STARTS);
                starts.extend(best.filter_map(|best| self.upper.word(best.id, 1)));
            }
            _ => starts.extend(self.descend(scorer)),
        }
        starts.retain(|&start| start < self.base.len());
        if starts.is_empty() {
            starts.push(self.entry);
        }
        starts
    }

    /// Number of upper rows.
    pub fn upper_rows(&self) -> u32 {
        self.upper.0.len()
    }

    /// The base level as another copy of its rows has it.
    pub fn base_of(rows: Rows) -> Base {
        Base(rows)
    }

    /// The base level.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The base position below the best row of level 1; `None` when there is no upper level.
    fn descend<S: Scorer>(&self, scorer: &S) -> Option<u32> {
        let scorer = UpperScorer { scorer, upper: &self.upper };
        let mut at = None;
        for _ in 0..self.levels {
            let best = climb(&scorer, &self.upper, at.unwrap_or(0));
            at = Some(self.upper.word(best, 1)?);
        }
        at
    }
}

impl Base {
    /// The rows of links.
    pub fn rows(&self) -> &Rows {
        &self.0
    }
}

impl Adjacency for Base {
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn each_link(&self, id: u32, visit: impl FnMut(u32)) {
        words(self.0.row(id)).for_each(visit);
    }

    #[inline]
    fn prefetch(&self, id: u32) {
        prefetch(self.0.row(id).unwrap_or_default());
    }
}

#[inline]
fn words(row: Option<&[u8]>) -> impl Iterator<Item = u32> {
    row.map_or(&[][..], |row| row.as_chunks().0).iter().map(|word| u32::from_le_bytes(*word))
}

impl Upper {
    fn word(&self, row: u32, at: usize) -> Option<u32> {
        words(self.0.row(row)).nth(at)
    }
}

impl Adjacency for Upper {
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn each_link(&self, id: u32, visit: impl FnMut(u32)) {
        words(self.0.row(id)).skip(2).for_each(visit);
    }

    #[inline]
    fn prefetch(&self, id: u32) {
        prefetch(self.0.row(id).unwrap_or_default());
    }
}

/// Scores rows of the upper section by the nodes they stand for.
struct UpperScorer<'a, S> {
    scorer: &'a S,
    upper: &'a Upper,
}

impl<S: Scorer> Scorer for UpperScorer<'_, S> {
    fn row(&self, row: u32) -> &[u8] {
        self.upper.word(row, 0).map_or(&[], |node| self.scorer.row(node))
    }

    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.scorer.score_all(rows, out);
    }
}
