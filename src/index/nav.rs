//! The navigation codes of a segment while its graph is built: made from the int8 codes, and
//! walked by.

use rayon::prelude::*;

use super::params::BuildParams;
use super::space::Space;
use super::walk::{Scorer, together};
use crate::kernels::nav::{LINE, dims};
use crate::kernels::{Level, NavQuery, level};
use crate::vectors::code::CodeRow;
use crate::vectors::nav::{NavEncoder, lines_for};
use crate::vectors::{Encoding, Projection, Rows, Training};

/// Positions that a projection is tried on.
const SAMPLE: usize = 512;
/// How much less of the differences a projection may keep of other positions than of its own,
/// some of which it was trained on.
const LOSS: f32 = 0.03;
/// Rows encoded by one task.
const TASK: usize = 128;

/// A projection and the navigation codes made with it, one after another.
#[derive(Debug)]
pub struct NavCodes {
    pub projection: Projection,
    pub lines: usize,
    bytes: Vec<u8>,
    /// Where the codes begin in `bytes`.
    start: usize,
}

impl NavCodes {
    /// Trains a projection and encodes all codes of a segment; none where vectors have too many
    /// dimensions to be projected.
    pub fn build(space: &Space<'_>, codes: &Rows, params: BuildParams) -> Option<Self> {
        let encoding = space.encoding();
        let lines = lines_for(encoding.coded_dim());
        if lines == 0 {
            return None;
        }
        let how = Training { lines, memory: params.memory, seed: params.graph.seed };
        let projection = Projection::train(codes, &encoding, how);
        Some(Self::encode(space, projection, lines, Carried::default()))
    }

    /// As [`NavCodes::build`], with the projection of an earlier segment while it serves the
    /// `fresh` positions: training is a third of the cost of growing.
    pub fn inherit(
        space: &Space<'_>,
        codes: &Rows,
        (basis, fresh): (Option<Basis>, &[u32]),
        params: BuildParams,
    ) -> Option<Self> {
        let shared = basis.and_then(|basis| Self::shared(space, codes, (basis, fresh)));
        shared.or_else(|| Self::build(space, codes, params))
    }

    /// With the projection of an earlier segment, if it serves the `fresh` positions.
    pub fn shared(
        space: &Space<'_>,
        codes: &Rows,
        (basis, fresh): (Basis, &[u32]),
    ) -> Option<Self> {
        let (encoding, lines) = (space.encoding(), lines_for(space.encoding().coded_dim()));
        let fits = lines > 0 && basis.projection.len() == dims(lines).min(encoding.coded_dim());
        let serves = || {
            let kept = kept(codes, &encoding, &basis.projection, fresh.iter().copied());
            // Of nothing, or of equal vectors, no share is kept: no reason to train.
            fresh.is_empty() || kept.is_nan() || kept >= basis.kept - LOSS
        };
        let basis = (fits && serves()).then_some(basis)?;
        Some(Self::encode(space, basis.projection, lines, basis.carried))
    }

    /// Encodes all rows but those that are carried over.
    fn encode(space: &Space<'_>, projection: Projection, lines: usize, carried: Carried) -> Self {
        let (metric, stride) = (space.encoding().metric(), lines * LINE);
        let (mut bytes, is_there) = carried.into_rows(space.len() as usize, stride);
        let tasks = bytes.par_chunks_mut(TASK * stride).zip(is_there.par_chunks(TASK));
        tasks.enumerate().for_each(|(task, (out, is_there))| {
            let absent = || (0..).zip(is_there).filter(|(_, is_there)| !**is_there);
            let at = |(at, _)| space.point((task * TASK + at) as u32).row;
            let rows: Vec<CodeRow<'_>> = absent().map(at).collect();
            let mut codes = vec![0; rows.len() * stride];
            NavEncoder::new(&projection, metric, lines).encode(&rows, &mut codes);
            for ((at, _), code) in absent().zip(codes.chunks_exact(stride)) {
                out[at * stride..(at + 1) * stride].copy_from_slice(code);
            }
        });
        Self { projection, lines, bytes, start: 0 }
    }

    /// The same codes where row `at` has the number `order[at]`. A row then begins where a cache
    /// line does, so that no walk touches one more.
    pub fn renumbered(self, order: &[u32]) -> Self {
        let (stride, codes) = (self.stride(), &self.bytes[self.start..]);
        let mut bytes = vec![0; codes.len() + LINE];
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        bytes.truncate(start + codes.len());
        for (row, &id) in codes.chunks_exact(stride).zip(order) {
            let at = start + id as usize * stride;
            bytes[at..at + stride].copy_from_slice(row);
        }
        Self { bytes, start, ..self }
    }

    /// The projection and the codes, one after another.
    pub fn into_parts(mut self) -> (Projection, Vec<u8>) {
        self.bytes.drain(..self.start);
        (self.projection, self.bytes)
    }

    /// Bytes of a row.
    pub fn stride(&self) -> usize {
        self.lines * LINE
    }

    pub fn rows(&self) -> NavRows<'_> {
        let rows = self.bytes.get(self.start..).unwrap_or_default().as_chunks().0;
        NavRows { codes: self, rows, level: level() }
    }
}

/// A projection of one segment for the codes of another, and how well it serves its own.
#[derive(Debug, Clone)]
pub struct Basis {
    projection: Projection,
    /// Share of the squared differences from the mean that it keeps.
    kept: f32,
    carried: Carried,
}

/// Navigation codes of rows that another segment takes over.
#[derive(Debug, Clone, Default)]
struct Carried {
    /// Where the rows are there, ascending.
    places: Vec<u32>,
    /// Their codes, one after another.
    codes: Vec<u8>,
}

impl Carried {
    /// The rows of the other segment, and whether each is there: all zeros where it is not.
    fn into_rows(self, len: usize, stride: usize) -> (Vec<u8>, Vec<bool>) {
        let (mut rows, mut is_there) = (vec![0; len * stride], vec![false; len]);
        // Codes of other lengths come from a file that is not as we write it.
        let fits = self.codes.len() == self.places.len() * stride;
        let codes = if fits { &self.codes[..] } else { &[] };
        for (&place, code) in self.places.iter().zip(codes.chunks_exact(stride)) {
            let at = place as usize;
            if let Some(row) = rows.get_mut(at * stride..(at + 1) * stride) {
                row.copy_from_slice(code);
                is_there[at] = true;
            }
        }
        (rows, is_there)
    }
}

impl Basis {
    /// Measures a projection on the codes of its segment.
    pub fn new(codes: &Rows, encoding: &Encoding, projection: Projection) -> Self {
        let kept = kept(codes, encoding, &projection, 0..codes.len());
        Self { projection, kept, carried: Carried::default() }
    }

    /// Adds the navigation code of a row that the other segment takes over at `place`; places
    /// ascend. It need not be made again.
    pub fn carry(&mut self, place: u32, code: &[u8]) {
        self.carried.places.push(place);
        self.carried.codes.extend_from_slice(code);
    }
}

/// The share of the squared differences from the mean that a projection keeps, of some of the
/// positions.
fn kept(
    codes: &Rows,
    encoding: &Encoding,
    projection: &Projection,
    positions: impl ExactSizeIterator<Item = u32>,
) -> f32 {
    let step = (positions.len() / SAMPLE).max(1);
    let (mut dots, mut coordinates, mut kept, mut total) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for position in positions.step_by(step) {
        let row = codes.row(position).and_then(|row| CodeRow::read(row, encoding.coded_dim()));
        let Some(row) = row else { continue };
        projection.project(row.codes, row.scale, &mut dots, &mut coordinates);
        kept += coordinates.iter().map(|x| x * x).sum::<f32>();
        let differences = row.values().zip(projection.mean()).map(|(x, mean)| x - mean);
        total += differences.map(|x| x * x).sum::<f32>();
    }
    kept / total
}

/// Navigation codes to be walked by.
#[derive(Clone, Copy)]
pub struct NavRows<'a> {
    codes: &'a NavCodes,
    /// The lines of all rows.
    rows: &'a [[u8; LINE]],
    level: Level,
}

impl<'a> NavRows<'a> {
    #[inline]
    pub fn row(&self, position: u32) -> &'a [u8] {
        let start = position as usize * self.codes.lines;
        self.rows.get(start..start + self.codes.lines).unwrap_or_default().as_flattened()
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

    #[inline]
    fn ask(&self, ids: &[u32]) {
        self.query.prefetch_ids(self.rows.rows, ids);
    }

    #[inline]
    fn group(&self) -> usize {
        together(self.query.row_bytes() / LINE)
    }

    #[inline]
    fn score_ids(&self, ids: &[u32], out: &mut [f32]) {
        self.query.score_ids(self.rows.level, self.rows.rows, ids, out);
    }
}
