//! The projection that navigation codes are made with: the directions along which the vectors of
//! a segment differ most, found from a sample of its int8 codes.
//!
//! A vector is moved by the mean of the segment and projected onto `k` orthonormal directions.
//! The first 112 span the leading principal components, the rest the components after them;
//! inside each group they are turned at random, so that all carry the same energy and one step
//! size suits them all (as in RaBitQ, Gao and Long, 2024; cutting by principal components as in
//! LeanVec, Tepper et al., 2023). Directions are stored as int8 code rows and applied to int8
//! codes, so a projection is integer arithmetic: 2 to 4 microseconds at 1,024 dimensions.

use rayon::prelude::*;

use super::code::{self, CodeRow};
use super::linear::{Random, mix, orthonormalize, principal};
use super::{Encoding, Metric, Rows, VectorError};
use crate::kernels::nav::{FINE_DIMS, dims};
use crate::kernels::{Panel, Tiled, dot_f32, dot_i8, dot4_i8, level};

/// Vectors that a projection is trained on, at most ...
const SAMPLE: usize = 8_192;
/// ... and at least, whatever memory there is.
const SAMPLE_MIN: usize = 512;
/// Bytes that a component of a vector takes while a projection is trained: as f32, as int8, and
/// as int8 in a column.
const SAMPLE_BYTES: usize = 6;
/// More dimensions than this are not projected: the matrix of covariances would not fit.
pub const MAX_PROJECTED_DIM: usize = 4_096;
/// Rows of a matrix that one task multiplies.
const TASK_ROWS: usize = 16;

/// How a projection is trained.
#[derive(Debug, Clone, Copy)]
pub struct Training {
    /// Cache lines of the navigation codes, which tell the number of directions.
    pub lines: usize,
    /// Bytes for the sample, which is the smaller the fewer there are, and the covariances.
    pub memory: usize,
    /// Seed of the sample and of the turns.
    pub seed: u64,
}

/// A trained projection of one segment. Immutable; `k * dim` bytes, twice as many where tiles are
/// faster.
#[derive(Debug, Clone)]
pub struct Projection {
    dim: usize,
    directions: Panel,
    /// The same where they are multiplied faster so.
    tiled: Option<Tiled>,
    /// What a unit of a direction's code is worth.
    scales: Vec<f32>,
    /// The mean along each direction.
    offsets: Vec<f32>,
    mean: Vec<f32>,
    /// The mean as it is stored.
    mean_codes: Vec<i8>,
    mean_scale: f32,
    /// The squared length of the mean.
    mean_square: f64,
}

impl Projection {
    /// Trains on the codes of a segment, in the current rayon pool. Costs `dim^2 * 8192`
    /// multiplications of int8 and six products of a `dim * dim` with a `dim * k` matrix: 0.5 s at
    /// 1,024 dimensions on two cores.
    #[must_use]
    pub fn train(codes: &Rows, encoding: &Encoding, how: Training) -> Self {
        let Training { lines, memory, seed } = how;
        let dim = encoding.coded_dim();
        let mut random = Random::new(seed);
        let covariances = size_of::<f32>() * dim * dim;
        let most = memory.saturating_sub(covariances) / (SAMPLE_BYTES * dim.max(1));
        let most = most.clamp(SAMPLE_MIN, SAMPLE);
        let sample = sample(codes, (dim, most), &mut random);
        let mean = requantized(&mean(&sample, dim));
        let covariance = covariance(&sample, &mean);
        let count = dims(lines).min(dim);
        let mut rows = principal(&covariance, dim, count, &mut random);
        let (fine, coarse) = rows.split_at_mut(count.min(FINE_DIMS) * dim);
        mix(fine, dim, &mut random);
        mix(coarse, dim, &mut random);
        orthonormalize(&mut rows, dim, &mut random);
        let mut bytes = Vec::new();
        for row in rows.chunks_exact(dim) {
            push_row(row, dot_f32(row, &mean), &mut bytes);
        }
        push_row(&mean, 0.0, &mut bytes);
        Self::read(bytes.chunks_exact(code::stride(dim)), dim)
    }

    /// Reads what [`Projection::to_bytes`] wrote, as rows.
    ///
    /// # Errors
    /// [`VectorError::BadShape`] for another stride, no rows, or more than `dim` directions.
    pub fn open(rows: &Rows, encoding: &Encoding) -> Result<Self, VectorError> {
        let (dim, count) = (encoding.coded_dim(), rows.len() as usize);
        if rows.stride() != code::stride(dim) || count < 2 || count > dim + 1 {
            return Err(VectorError::BadShape { stride: rows.stride(), per_extent: count });
        }
        Ok(Self::read((0..rows.len()).filter_map(|at| rows.row(at)), dim))
    }

    fn read<'a>(rows: impl Iterator<Item = &'a [u8]>, dim: usize) -> Self {
        let mut all: Vec<CodeRow<'_>> = rows.filter_map(|row| CodeRow::read(row, dim)).collect();
        let finite = |x: f32| if x.is_finite() { x } else { 0.0 };
        let mean = all.pop();
        let square = |row: CodeRow<'_>| {
            f64::from(finite(row.scale)).powi(2) * f64::from(dot_i8(row.codes, row.codes))
        };
        let mut directions = Panel::new(dim);
        all.iter().for_each(|row| directions.push(row.codes));
        let tiled = Tiled::is_fast_at(level()).then(|| Tiled::new(&directions));
        Self {
            dim,
            directions,
            tiled,
            scales: all.iter().map(|row| finite(row.scale)).collect(),
            offsets: all.iter().map(|row| finite(row.norm_sq)).collect(),
            mean: mean.map(|row| row.values().collect()).unwrap_or_default(),
            mean_codes: mean.map(|row| row.codes.to_vec()).unwrap_or_default(),
            mean_scale: mean.map_or(0.0, |row| finite(row.scale)),
            mean_square: mean.map_or(0.0, square),
        }
    }

    /// The rows as they are stored: each direction as a code row whose second factor is the mean
    /// along it, then the mean as a code row.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, (scale, offset)) in self.scales.iter().zip(&self.offsets).enumerate() {
            let codes = &self.directions.row(at)[..self.dim];
            let start = bytes.len();
            bytes.extend(codes.iter().map(|code| *code as u8));
            finish_row(start, self.dim, *scale, *offset, &mut bytes);
        }
        push_row(&self.mean, 0.0, &mut bytes);
        bytes
    }

    /// Number of directions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// The mean of the sample, as it is stored.
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What a row equal to a query, given as int8 code, would score by its navigation code, if
    /// nothing were lost to rounding: no row scores more. None under the dot product, where
    /// longer vectors do. Two products of int8 codes.
    #[must_use]
    pub fn best_score(&self, codes: &[i8], scale: f32, metric: Metric) -> Option<f32> {
        if metric == Metric::Dot {
            return None;
        }
        // Sums of integers are exact, so what little is left of large ones is right.
        let product = |a: &[i8], b: &[i8]| f64::from(dot_i8(a, b));
        let scale = f64::from(scale);
        let square = scale * scale * product(codes, codes);
        let along = scale * f64::from(self.mean_scale) * product(codes, &self.mean_codes);
        Some(match metric {
            Metric::L2 => square - 2.0 * along + self.mean_square,
            // With q the query and m the mean: |q - m|^2 + <q - m, m>.
            _ => square - along,
        } as f32)
    }

    /// The coordinates of one vector, given as int8 code, less those of the mean; `dots` is
    /// overwritten.
    pub fn project(&self, codes: &[i8], scale: f32, dots: &mut Vec<i32>, out: &mut Vec<f32>) {
        let level = level();
        if let Some(tiled) = &self.tiled {
            tiled.dots_of(level, codes, dots);
            return self.coordinates(dots, &[scale], out);
        }
        out.clear();
        for first in (0..self.len()).step_by(4) {
            let rows = std::array::from_fn(|at| {
                self.directions.row(first + at).get(..codes.len()).unwrap_or_default()
            });
            let dots = dot4_i8(level, codes, rows);
            let count = (self.len() - first).min(4);
            let factors = |at: usize| (self.scales[at], self.offsets[at]);
            out.extend((0..count).map(|at| coordinate(dots[at], scale, factors(first + at))));
        }
    }

    /// The coordinates of several vectors, one after another; `dots` is overwritten.
    pub fn project_all(
        &self,
        vectors: &Panel,
        scales: &[f32],
        dots: &mut Vec<i32>,
        out: &mut Vec<f32>,
    ) {
        match &self.tiled {
            Some(tiled) => tiled.dots(level(), vectors, dots),
            None => vectors.dots(level(), (0, vectors.len()), &self.directions, dots),
        }
        self.coordinates(dots, scales, out);
    }

    /// Products of the directions with vectors of such scales, to coordinates.
    fn coordinates(&self, dots: &[i32], scales: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.reserve(dots.len());
        for (dots, scale) in dots.chunks(self.len().max(1)).zip(scales) {
            let factors = self.scales.iter().zip(&self.offsets);
            let dots = dots.iter().zip(factors);
            out.extend(dots.map(|(dot, (own, mean))| coordinate(*dot, *scale, (*own, *mean))));
        }
    }
}

/// The coordinate of a vector along a direction from the product of their codes: `scale` is that
/// of the vector, then those of the direction and the mean along it.
#[inline]
fn coordinate(dot: i32, scale: f32, (own, mean): (f32, f32)) -> f32 {
    dot as f32 * scale * own - mean
}

/// Appends a code row of `values` with another second factor.
fn push_row(values: &[f32], factor: f32, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len(), 0);
    let scale = code::quantize(values, bytemuck::cast_slice_mut(&mut out[start..]));
    finish_row(start, values.len(), scale, factor, out);
}

fn finish_row(start: usize, dim: usize, scale: f32, factor: f32, out: &mut Vec<u8>) {
    out.resize(start + code::factors_offset(dim), 0);
    out.extend_from_slice(&scale.to_le_bytes());
    out.extend_from_slice(&factor.to_le_bytes());
    out.resize(start + code::stride(dim), 0);
}

/// The values as an int8 code row gives them back.
fn requantized(values: &[f32]) -> Vec<f32> {
    let mut codes = vec![0; values.len()];
    let scale = code::quantize(values, &mut codes);
    codes.into_iter().map(|code| f32::from(code) * scale).collect()
}

/// Vectors drawn without a pattern, or all of them when they are few; as values.
fn sample(codes: &Rows, (dim, most): (usize, usize), random: &mut Random) -> Vec<f32> {
    let all = codes.len() as usize;
    let count = all.min(most);
    let mut values = Vec::with_capacity(count * dim);
    for at in 0..count {
        let drawn = random.next_u64() % all.max(1) as u64;
        let position = if count == all { at as u64 } else { drawn };
        let row = codes.row(position as u32).and_then(|row| CodeRow::read(row, dim));
        values.extend(row.into_iter().flat_map(|row| row.values()));
    }
    values
}

fn mean(sample: &[f32], dim: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f64; dim];
    for row in sample.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let count = (sample.len() / dim).max(1) as f64;
    mean.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Covariances of the coordinates, `dim * dim`, from int8 columns: exact enough to find the
/// directions, and a tenth of the time.
fn covariance(sample: &[f32], mean: &[f32]) -> Vec<f32> {
    let dim = mean.len();
    let count = sample.len() / dim;
    let columns: Vec<(Vec<i8>, f32)> = (0..dim)
        .into_par_iter()
        .map(|axis| {
            let values: Vec<f32> =
                (0..count).map(|row| sample[row * dim + axis] - mean[axis]).collect();
            let mut codes = vec![0; count];
            let scale = code::quantize(&values, &mut codes);
            (codes, scale)
        })
        .collect();
    let mut panel = Panel::new(count);
    columns.iter().for_each(|(codes, _)| panel.push(codes));
    let mut out = vec![0.0; dim * dim];
    out.par_chunks_mut(dim * TASK_ROWS).enumerate().for_each(|(task, out)| {
        let first = task * TASK_ROWS;
        let mut dots = Vec::new();
        panel.dots(level(), (first, first + out.len() / dim), &panel, &mut dots);
        for (row, (out, dots)) in out.chunks_mut(dim).zip(dots.chunks(dim)).enumerate() {
            let scale = columns[first + row].1 / count.max(1) as f32;
            for ((value, dot), (_, other)) in out.iter_mut().zip(dots).zip(&columns) {
                *value = *dot as f32 * scale * other;
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{Metric, Originals};
    use bytes::Bytes;

    /// Vectors that vary along few axes only.
    fn rows(encoding: &Encoding, count: usize) -> Rows {
        let mut random = Random::new(5);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let mut values = random.normals(encoding.dim());
            for (axis, value) in values.iter_mut().enumerate() {
                *value = *value / (axis + 1) as f32 + 0.5;
            }
            bytes.extend(encoding.encode(&values).unwrap().code);
        }
        Rows::contiguous(Bytes::from(bytes), encoding.code_stride()).unwrap()
    }

    fn training(lines: usize, seed: u64) -> Training {
        Training { lines, memory: 64 << 20, seed }
    }

    #[test]
    fn less_memory_takes_a_smaller_sample_that_still_keeps_most() {
        let encoding = Encoding::new(64, Metric::L2, Originals::None).unwrap();
        let codes = rows(&encoding, 3_000);
        let mut random = Random::new(1);
        assert_eq!(sample(&codes, (64, 700), &mut random).len(), 700 * 64);
        let little = Projection::train(&codes, &encoding, Training { memory: 0, ..training(1, 7) });
        let much = Projection::train(&codes, &encoding, training(1, 7));
        let kept = |projection: &Projection| {
            let (mut dots, mut out) = (Vec::new(), Vec::new());
            let of = |at| CodeRow::read(codes.row(at).unwrap(), 64).unwrap();
            let mut square = |at| {
                projection.project(of(at).codes, of(at).scale, &mut dots, &mut out);
                dot_f32(&out, &out)
            };
            (0..300).map(&mut square).sum::<f32>()
        };
        assert_ne!(little.to_bytes(), much.to_bytes());
        assert!(kept(&little) > 0.95 * kept(&much));
    }

    #[test]
    fn a_projection_keeps_most_of_the_differences_and_survives_storage() {
        let encoding = Encoding::new(400, Metric::L2, Originals::None).unwrap();
        let codes = rows(&encoding, 900);
        let projection = Projection::train(&codes, &encoding, training(1, 7));
        assert_eq!(projection.len(), 112);
        let stored = projection.to_bytes();
        let stored = Rows::contiguous(Bytes::from(stored), encoding.code_stride()).unwrap();
        let again = Projection::open(&stored, &encoding).unwrap();
        let (mut kept, mut all) = (0.0, 0.0);
        let (mut dots, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..100 {
            let row = CodeRow::read(codes.row(at).unwrap(), 400).unwrap();
            projection.project(row.codes, row.scale, &mut dots, &mut a);
            again.project(row.codes, row.scale, &mut dots, &mut b);
            assert_eq!(a, b);
            kept += dot_f32(&a, &a);
            all += row.values().zip(projection.mean()).map(|(x, m)| (x - m).powi(2)).sum::<f32>();
        }
        assert!(kept > 0.97 * all && kept < 1.01 * all, "{kept} of {all}");
    }

    #[test]
    fn the_best_score_is_that_of_a_row_equal_to_the_query() {
        let encoding = Encoding::new(100, Metric::L2, Originals::None).unwrap();
        let codes = rows(&encoding, 300);
        let projection = Projection::train(&codes, &encoding, training(1, 7));
        for at in 0..50 {
            let row = CodeRow::read(codes.row(at).unwrap(), 100).unwrap();
            let pairs = || row.values().zip(projection.mean());
            let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
                pairs().map(|(x, m)| of(f64::from(x), f64::from(*m))).sum()
            };
            let best = |metric| projection.best_score(row.codes, row.scale, metric);
            let near = |found: Option<f32>, expected: f64| {
                let error = (f64::from(found.unwrap()) - expected).abs();
                assert!(error <= 1e-5 * expected.abs().max(1.0), "{found:?} {expected}");
            };
            near(best(Metric::L2), sum(&|x, m| (x - m).powi(2)));
            near(best(Metric::Cosine), sum(&|x, m| (x - m) * x));
            assert_eq!(best(Metric::Dot), None);
        }
    }

    #[test]
    fn many_vectors_project_as_one_by_one() {
        let encoding = Encoding::new(100, Metric::L2, Originals::None).unwrap();
        let codes = rows(&encoding, 50);
        let projection = Projection::train(&codes, &encoding, training(2, 7));
        assert_eq!(projection.len(), 100);
        let (mut panel, mut scales) = (Panel::new(100), Vec::new());
        for at in 0..7 {
            let row = CodeRow::read(codes.row(at).unwrap(), 100).unwrap();
            panel.push(row.codes);
            scales.push(row.scale);
        }
        let (mut dots, mut all, mut one) = (Vec::new(), Vec::new(), Vec::new());
        projection.project_all(&panel, &scales, &mut dots, &mut all);
        for at in 0..7 {
            let row = CodeRow::read(codes.row(at as u32).unwrap(), 100).unwrap();
            projection.project(row.codes, row.scale, &mut dots, &mut one);
            assert_eq!(one, all[at * 100..(at + 1) * 100]);
        }
    }

    #[test]
    fn directions_and_mean_are_the_bytes_of_the_format_and_project_by_its_formula() {
        // Two directions and the mean, of 3 dimensions: codes, a zero, scale, the second factor.
        let mut bytes = [0_u8; 3 * 64];
        // 1, -2, 3; 0.5; 0.25.
        bytes[..12].copy_from_slice(&[1, 0xFE, 3, 0, 0, 0, 0, 0x3F, 0, 0, 0x80, 0x3E]);
        // -127, 4, 0; 0.25; -1.5.
        bytes[64..76].copy_from_slice(&[0x81, 4, 0, 0, 0, 0, 0x80, 0x3E, 0, 0, 0xC0, 0xBF]);
        // 127, 0, -1; 2.0; zero.
        bytes[128..140].copy_from_slice(&[127, 0, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 0]);
        let encoding = Encoding::new(3, Metric::L2, Originals::None).unwrap();
        let rows = Rows::contiguous(Bytes::copy_from_slice(&bytes), 64).unwrap();
        let projection = Projection::open(&rows, &encoding).unwrap();
        assert_eq!(projection.mean(), [254.0, 0.0, -2.0]);
        let (mut dots, mut out) = (Vec::new(), Vec::new());
        projection.project(&[5, -6, 7], 2.0, &mut dots, &mut out);
        // 2 * 0.5 * (5 + 12 + 21) - 0.25 and 2 * 0.25 * (-635 - 24) + 1.5.
        assert_eq!(out, [37.75, -328.0]);
        assert_eq!(projection.to_bytes(), bytes);
    }

    #[test]
    fn rows_of_another_shape_are_refused() {
        let encoding = Encoding::new(8, Metric::L2, Originals::None).unwrap();
        for (bytes, stride) in [(64, 64), (64 * 10, 64), (128 * 3, 128)] {
            let rows = Rows::contiguous(Bytes::from(vec![0; bytes]), stride).unwrap();
            assert!(Projection::open(&rows, &encoding).is_err());
        }
    }
}
