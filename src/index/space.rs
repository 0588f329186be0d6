//! The codes of a segment as a space of comparable positions, which a graph is built in.

use std::iter::repeat;

use rayon::prelude::*;

use super::pool::Scored;
use crate::kernels::{dot4_i8, level, prefetch};
use crate::vectors::code::CodeRow;
use crate::vectors::{Encoding, Metric, Rows, finite};

/// Fours of rows asked for ahead of those being scored.
const AHEAD: usize = 2;

/// The codes of one segment. Two positions score the negative squared distance of what their
/// codes stand for.
///
/// Under the dot product a graph built by plain products leaves short vectors unreachable,
/// because every node prefers to link to long ones. So nodes are compared as if each had one
/// more coordinate that brings all to the largest norm (Neyshabur and Srebro, 2015); queries,
/// whose coordinate would be zero, score as before.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    codes: &'a Rows,
    /// The rows of the positions, where they are not all rows.
    among: Option<&'a [u32]>,
    encoding: Encoding,
    /// Largest squared norm, under the dot product only.
    max_norm_sq: Option<f32>,
}

/// One position: its code, and what turns an integer product into a score.
#[derive(Clone, Copy)]
pub struct Point<'a> {
    pub row: CodeRow<'a>,
    norm_sq: f32,
    missing: f32,
}

impl Point<'_> {
    /// The score of two points from the product of their codes.
    #[inline]
    pub fn score(&self, other: &Self, dot: i32) -> f32 {
        self.score_of(dot, other.row.scale, other.norm_sq, other.missing)
    }

    /// The same from what a score takes of the other point.
    #[inline]
    pub fn score_of(&self, dot: i32, scale: f32, norm_sq: f32, missing: f32) -> f32 {
        let dot = self.row.scale * scale * dot as f32 + self.missing * missing;
        finite(2.0 * dot - (self.norm_sq + norm_sq))
    }

    /// What [`Point::score_of`] takes of a point: scale, squared norm, missing coordinate.
    pub fn factors(&self) -> [f32; 3] {
        [self.row.scale, self.norm_sq, self.missing]
    }
}

const NOWHERE: Point<'_> = Point {
    row: CodeRow { codes: &[], scale: 0.0, norm_sq: f32::MAX },
    norm_sq: f32::MAX,
    missing: 0.0,
};

impl<'a> Space<'a> {
    pub fn new(codes: &'a Rows, encoding: Encoding) -> Self {
        let mut space = Self { codes, among: None, encoding, max_norm_sq: None };
        if encoding.metric() == Metric::Dot {
            let norms = (0..codes.len()).into_par_iter().map(|at| space.point(at).norm_sq);
            space.max_norm_sq = Some(norms.reduce(|| 0.0, f32::max));
        }
        space
    }

    /// Some positions as a space of their own, numbered by their places in `positions`.
    pub fn among(&self, positions: &'a [u32]) -> Self {
        Self { among: Some(positions), ..*self }
    }

    pub fn len(&self) -> u32 {
        self.among.map_or(self.codes.len(), |positions| positions.len() as u32)
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether positions are compared by something else than what queries are scored by.
    pub fn is_augmented(&self) -> bool {
        self.max_norm_sq.is_some()
    }

    pub fn point(&self, position: u32) -> Point<'a> {
        self.row(position).map_or(NOWHERE, |row| self.read(row))
    }

    fn read<'r>(&self, row: &'r [u8]) -> Point<'r> {
        let Some(row) = CodeRow::read(row, self.encoding.coded_dim()) else { return NOWHERE };
        match self.max_norm_sq {
            None => Point { row, norm_sq: row.norm_sq, missing: 0.0 },
            Some(max) => Point { row, norm_sq: max, missing: (max - row.norm_sq).max(0.0).sqrt() },
        }
    }

    /// The bytes of a position's row, for a walk.
    pub fn bytes(&self, position: u32) -> &'a [u8] {
        self.row(position).unwrap_or_default()
    }

    #[inline]
    fn row(&self, position: u32) -> Option<&'a [u8]> {
        match self.among {
            Some(positions) => self.codes.row(*positions.get(position as usize)?),
            None => self.codes.row(position),
        }
    }

    /// Scores of rows against a point.
    pub fn score_all(&self, point: &Point<'_>, rows: &[&[u8]], out: &mut [f32]) {
        let next = rows.chunks(4).skip(AHEAD).chain(repeat(&[][..]));
        for ((rows, out), next) in rows.chunks(4).zip(out.chunks_mut(4)).zip(next) {
            next.iter().for_each(|row| prefetch(row));
            let others: [Point<'_>; 4] =
                std::array::from_fn(|at| rows.get(at).map_or(NOWHERE, |row| self.read(row)));
            let codes = [0, 1, 2, 3].map(|at: usize| others[at].row.codes);
            let dots = dot4_i8(level(), point.row.codes, codes);
            for ((out, other), dot) in out.iter_mut().zip(&others).zip(dots) {
                *out = point.score(other, dot);
            }
        }
    }

    /// Whether one of `others` (whose points are given) scores above `limit` with `point`.
    pub fn any_above(&self, point: &Point<'_>, others: &[Point<'_>], limit: f32) -> bool {
        others.chunks(4).any(|others| {
            let codes = std::array::from_fn(|at| others.get(at).map_or(&[][..], |o| o.row.codes));
            let dots = dot4_i8(level(), point.row.codes, codes);
            others.iter().zip(dots).any(|(other, dot)| point.score(other, dot) > limit)
        })
    }

    /// Scores `ids` against a position, best first.
    pub fn ranked(&self, position: u32, ids: &[u32]) -> Vec<Scored> {
        let point = self.point(position);
        let rows: Vec<&[u8]> = ids.iter().map(|&id| self.bytes(id)).collect();
        let mut scores = vec![f32::MIN; ids.len()];
        self.score_all(&point, &rows, &mut scores);
        let mut scored: Vec<Scored> =
            ids.iter().zip(scores).map(|(&id, score)| Scored { score, id }).collect();
        scored.sort_unstable_by(Scored::rank);
        scored
    }
}
