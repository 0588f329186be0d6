//! The navigation codes of a segment while its graph is built: made from the int8 codes, and
//! walked by.

use rayon::prelude::*;

use super::space::Space;
use super::walk::Scorer;
use crate::kernels::nav::LINE;
use crate::kernels::{Level, NavQuery, level};
use crate::vectors::code::CodeRow;
use crate::vectors::nav::{NavEncoder, lines_for};
use crate::vectors::{Projection, Rows};

/// Rows encoded by one task.
const TASK: usize = 128;

/// A projection and the navigation codes made with it, one after another.
#[derive(Debug)]
pub struct NavCodes {
    pub projection: Projection,
    pub lines: usize,
    pub bytes: Vec<u8>,
}

impl NavCodes {
    /// Trains a projection and encodes all codes of a segment; none where vectors have too many
    /// dimensions to be projected.
    pub fn build(space: &Space<'_>, codes: &Rows, seed: u64) -> Option<Self> {
        let encoding = space.encoding();
        let lines = lines_for(encoding.dim());
        if lines == 0 {
            return None;
        }
        let projection = Projection::train(codes, &encoding, lines, seed);
        let mut bytes = vec![0; space.len() as usize * lines * LINE];
        bytes.par_chunks_mut(TASK * lines * LINE).enumerate().for_each(|(task, out)| {
            let first = (task * TASK) as u32;
            let count = (out.len() / (lines * LINE)) as u32;
            let rows: Vec<CodeRow<'_>> =
                (first..first + count).map(|at| space.point(at).row).collect();
            NavEncoder::new(&projection, encoding.metric(), lines).encode(&rows, out);
        });
        Some(Self { projection, lines, bytes })
    }

    /// Bytes of a row.
    pub fn stride(&self) -> usize {
        self.lines * LINE
    }

    pub fn rows(&self) -> NavRows<'_> {
        NavRows { codes: self, stride: self.stride(), level: level() }
    }
}

/// Navigation codes to be walked by.
#[derive(Clone, Copy)]
pub struct NavRows<'a> {
    codes: &'a NavCodes,
    stride: usize,
    level: Level,
}

impl<'a> NavRows<'a> {
    #[inline]
    pub fn row(&self, position: u32) -> &'a [u8] {
        let start = position as usize * self.stride;
        self.codes.bytes.get(start..start + self.stride).unwrap_or_default()
    }

    pub fn scorer<'q>(&self, query: &'q NavQuery) -> BuildScorer<'q>
    where
        'a: 'q,
    {
        BuildScorer { rows: *self, query }
    }

    /// Prepares positions as queries, each handed to `visit`.
    pub fn each_query(
        &self,
        space: &Space<'_>,
        positions: &[u32],
        mut visit: impl FnMut(u32, &NavQuery),
    ) {
        let metric = space.encoding().metric();
        let rows: Vec<CodeRow<'_>> = positions.iter().map(|&at| space.point(at).row).collect();
        let mut encoder = NavEncoder::new(&self.codes.projection, metric, self.codes.lines);
        encoder.queries(&rows, |at, query| visit(positions[at], query));
    }
}

/// Scores positions by their navigation codes.
pub struct BuildScorer<'q> {
    rows: NavRows<'q>,
    query: &'q NavQuery,
}

impl Scorer for BuildScorer<'_> {
    #[inline]
    fn row(&self, id: u32) -> &[u8] {
        self.rows.row(id)
    }

    #[inline]
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.query.score_all(self.rows.level, rows, out);
    }
}
