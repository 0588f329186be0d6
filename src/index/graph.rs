//! A stored graph, checked when it is opened and walked in place.
//!
//! Base rows: `2 * m` positions, u32 LE, padded with the row's own position. Upper rows: node
//! u32, down u32, `m` links u32, grouped by level, the top level first; links are rows of the
//! upper section, `down` is the row one level below, or at level 1 the base position. Links of a
//! damaged file may say anything: what is out of range is skipped.

use super::builder::{check_len, check_stride};
use super::params::{GraphHeader, MAX_LEVELS, base_stride, check_m, upper_stride};
use super::pool::Scored;
use super::scratch::Scratch;
use super::walk::{Adjacency, Scorer, climb, walk};
use super::{GraphParts, IndexError};
use crate::format::SectionKind;
use crate::vectors::Rows;

/// The links of one segment.
#[derive(Debug)]
pub struct Graph {
    entry: u32,
    levels: usize,
    base: Base,
    upper: Upper,
}

#[derive(Debug)]
struct Base(Rows);

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

    /// Descends from the top, then walks the base with `ef` candidates. The candidates are left
    /// in `scratch.pool`; `seen` is given each scored position once.
    pub fn search<S: Scorer>(
        &self,
        scorer: &S,
        ef: usize,
        scratch: &mut Scratch,
        seen: impl FnMut(Scored),
    ) {
        let start = self.descend(scorer, &mut scratch.links).unwrap_or(self.entry);
        let start = if start < self.base.len() { start } else { self.entry };
        walk(scorer, &self.base, start, ef, scratch, seen);
    }

    /// The base position below the best row of level 1; `None` when there is no upper level.
    fn descend<S: Scorer>(&self, scorer: &S, links: &mut Vec<u32>) -> Option<u32> {
        let scorer = UpperScorer { scorer, upper: &self.upper };
        let mut at = None;
        for _ in 0..self.levels {
            let best = climb(&scorer, &self.upper, at.unwrap_or(0), links);
            at = Some(self.upper.word(best, 1)?);
        }
        at
    }
}

impl Adjacency for Base {
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn links(&self, id: u32, out: &mut Vec<u32>) {
        let words = self.0.row(id).map_or(&[][..], |row| row.as_chunks().0);
        out.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
    }
}

impl Upper {
    fn word(&self, row: u32, at: usize) -> Option<u32> {
        self.0.row(row)?.as_chunks().0.get(at).map(|word| u32::from_le_bytes(*word))
    }
}

impl Adjacency for Upper {
    fn len(&self) -> u32 {
        self.0.len()
    }

    fn links(&self, id: u32, out: &mut Vec<u32>) {
        let words = self.0.row(id).map_or(&[][..], |row| row.as_chunks().0);
        out.extend(words.iter().skip(2).map(|word| u32::from_le_bytes(*word)));
    }
}

/// Scores rows of the upper section by the nodes they stand for.
struct UpperScorer<'a, S> {
    scorer: &'a S,
    upper: &'a Upper,
}

impl<S: Scorer> Scorer for UpperScorer<'_, S> {
    fn score(&self, row: u32) -> f32 {
        self.upper.word(row, 0).map_or(f32::MIN, |node| self.scorer.score(node))
    }

    fn touch(&self, row: u32) -> u8 {
        self.upper.word(row, 0).map_or(0, |node| self.scorer.touch(node))
    }
}
