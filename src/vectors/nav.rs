//! Navigation codes: what a walk of the graph scores its candidates by. Up to 112, 368 or 624
//! coordinates of a projection in one, two or three cache lines; the layout is that of
//! [`crate::kernels::nav`].
//!
//! With `r = x - mean` and `q' = q - mean`, a cosine or dot product is `<q, mean> + <r, mean> +
//! <q', r>`, and a negative squared distance `2 <q', r> - |r|^2 - |q'|^2`. What depends on the
//! query alone is left out, as it changes no order; what depends on the row alone is stored
//! exactly as its factor `t`; the rest is estimated from the code, whose two parts are scaled so
//! that the estimate has no bias along the row itself.
//!
//! The first line bounds the estimate: with `y` and `r` the `n` coordinates of query and row that
//! the further lines hold, the part of those lines is at most `|y| |r|`. `|r|` is told by `s2`,
//! since the fields of a row have about the same length whatever the row: steps of the size that
//! serves Gaussian values best make `|u - 1.5|` about `sqrt(n)`. Entries are ranked by their first
//! lines and a share of that bound, [`REACH`].
//!
//! That bounds the size of a part, not its error. How far an estimate may be from the score along
//! the coordinates is told by [`error_bound`]: by RaBitQ's theorem a fraction of `|y| |r|` that
//! falls with `sqrt(n)`, some 0.01 for the first line and 0.02 for a further one. What the
//! projection leaves out of vectors with more dimensions than coordinates is not in it.

mod bound;

pub use bound::error_bound;

use super::code::{self, CodeRow};
use super::{Metric, Projection};
use crate::kernels::nav::{FACTORS, FINE_DIMS, LINE, MAX_LINES, dims, place};
use crate::kernels::{NavQuery, Panel};

/// Steps tried for the 4-bit part, as shares of the step that reaches the largest coordinate.
const FINE_STEPS: [f32; 5] = [0.55, 0.65, 0.75, 0.85, 1.0];
/// The same for the 2-bit part.
const COARSE_STEPS: [f32; 5] = [0.35, 0.42, 0.5, 0.6, 0.7];
/// The part of the product of their lengths that the further lines of a query and of the entries
/// near it are taken to add. With none of it the walks began at worse entries.
const REACH: f32 = 0.5;
/// Middle of the 16 and of the 4 values of a field.
const MIDDLE: [f32; 2] = [7.5, 1.5];

/// Lines of the navigation codes of vectors of so many dimensions; 0 where they are walked by
/// their int8 codes.
#[must_use]
pub const fn lines_for(dim: usize) -> usize {
    match dim {
        0..=112 => 1,
        113..=512 => 2,
        513..=super::projection::MAX_PROJECTED_DIM => 3,
        _ => 0,
    }
}

/// Encodes rows with a projection; keeps its memory between calls.
#[derive(Debug)]
pub struct NavEncoder<'p> {
    projection: &'p Projection,
    metric: Metric,
    lines: usize,
    panel: Panel,
    scales: Vec<f32>,
    dots: Vec<i32>,
    coordinates: Vec<f32>,
}

impl<'p> NavEncoder<'p> {
    /// An encoder to rows of `lines` lines.
    #[must_use]
    pub fn new(projection: &'p Projection, metric: Metric, lines: usize) -> Self {
        Self {
            projection,
            metric,
            lines,
            panel: Panel::new(projection.mean().len()),
            scales: Vec::new(),
            dots: Vec::new(),
            coordinates: Vec::new(),
        }
    }

    /// Projects several rows at once, which costs a fraction of one by one.
    fn project(&mut self, rows: &[CodeRow<'_>]) {
        self.panel.clear();
        self.scales.clear();
        for row in rows {
            self.panel.push(row.codes);
            self.scales.push(row.scale);
        }
        let (dots, out) = (&mut self.dots, &mut self.coordinates);
        self.projection.project_all(&self.panel, &self.scales, dots, out);
    }

    /// Writes the code of each row into `out`, `lines * 64` bytes each.
    pub fn encode(&mut self, rows: &[CodeRow<'_>], out: &mut [u8]) {
        self.project(rows);
        let coordinates = self.coordinates.chunks(self.projection.len().max(1));
        for ((row, coordinates), out) in
            rows.iter().zip(coordinates).zip(out.chunks_mut(self.lines * LINE))
        {
            let mean = self.projection.mean();
            let t: f32 = match self.metric {
                Metric::Cosine | Metric::Dot => {
                    row.values().zip(mean).map(|(x, mean)| (x - mean) * mean).sum()
                }
                Metric::L2 => -row.values().zip(mean).map(|(x, m)| (x - m).powi(2)).sum::<f32>(),
            };
            encode_row(coordinates, self.metric, t, out);
        }
    }

    /// Prepares rows as queries and hands each to `visit` with its place.
    pub fn queries(&mut self, rows: &[CodeRow<'_>], mut visit: impl FnMut(usize, &NavQuery)) {
        self.project(rows);
        let mut query = NavQuery::default();
        let coordinates = self.coordinates.chunks(self.projection.len().max(1));
        for (at, coordinates) in coordinates.enumerate().take(rows.len()) {
            fill_query(coordinates, self.lines, &mut query);
            visit(at, &query);
        }
    }
}

fn encode_row(coordinates: &[f32], metric: Metric, t: f32, out: &mut [u8]) {
    out.fill(0);
    let (fine, coarse) = coordinates.split_at(coordinates.len().min(FINE_DIMS));
    // A squared distance counts the product twice.
    let double = if metric == Metric::L2 { 2.0 } else { 1.0 };
    let mut put = |dim: usize, bits: usize, field: u8| {
        let (line, at, byte) = place(dim);
        out[line * LINE + byte] |= field << (bits * at);
    };
    let s1 = quantize(fine, MIDDLE[0], &FINE_STEPS, |at, field| put(at, 4, field));
    let s2 = quantize(coarse, MIDDLE[1], &COARSE_STEPS, |at, field| put(FINE_DIMS + at, 2, field));
    let factors = &mut out[LINE - FACTORS..LINE];
    factors[..2].copy_from_slice(&upper_half(double * s1));
    factors[2..4].copy_from_slice(&upper_half(double * s2));
    factors[4..].copy_from_slice(&super::finite(t).to_le_bytes());
}

/// The upper half of an f32, rounded: 8 bits of precision, which leaves 0.2 % of the estimate.
fn upper_half(value: f32) -> [u8; 2] {
    let rounded = value.to_bits().saturating_add(0x8000);
    let [_, _, a, b] = if f32::from_bits(rounded).is_finite() {
        rounded.to_le_bytes()
    } else {
        0.0_f32.to_le_bytes()
    };
    [a, b]
}

/// Puts each value into one of `2 * middle + 1` equal steps around zero, of the size among
/// `steps` that keeps the direction best, and returns the factor that makes the product with the
/// values themselves exact.
fn quantize(values: &[f32], middle: f32, steps: &[f32], mut put: impl FnMut(usize, u8)) -> f32 {
    let largest = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let per_step = middle / largest;
    if !per_step.is_normal() {
        (0..values.len()).for_each(|at| put(at, middle as u8));
        return 0.0;
    }
    let field = |x: f32, per_step: f32| (x * per_step + middle + 0.5).clamp(0.0, 2.0 * middle);
    let mut best = (f32::MIN, per_step, 0.0);
    for step in steps {
        let per_step = per_step / step;
        let (mut along, mut norm) = (0.0, 0.0);
        for &x in values {
            let centered = (field(x, per_step) as i32) as f32 - middle;
            along += centered * x;
            norm += centered * centered;
        }
        let cosine = along / norm.sqrt();
        if cosine > best.0 {
            best = (cosine, per_step, along);
        }
    }
    let (_, per_step, along) = best;
    values.iter().enumerate().for_each(|(at, &x)| put(at, field(x, per_step) as u8));
    let energy: f32 = values.iter().map(|x| x * x).sum();
    let factor = energy / along;
    if factor.is_finite() { factor } else { 0.0 }
}

/// Lays the coordinates of a query out for rows of `lines` lines.
pub fn fill_query(coordinates: &[f32], lines: usize, query: &mut NavQuery) {
    query.reset(lines);
    let (fine, coarse) = coordinates.split_at(coordinates.len().min(FINE_DIMS));
    for (part, (values, first)) in [(fine, 0), (coarse, FINE_DIMS)].into_iter().enumerate() {
        let mut codes = [0_i8; dims(MAX_LINES)];
        let codes = &mut codes[..values.len().min(dims(MAX_LINES))];
        let scale = code::quantize(values, codes);
        let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
        query.set(first, codes);
        query.scale[part] = scale;
        query.bias[part] = MIDDLE[part] * sum as f32 * scale;
    }
    let energy: f32 = coarse.iter().map(|x| x * x).sum();
    query.reach = REACH * energy.sqrt() * (coarse.len() as f32).sqrt();
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kernels::available;
    use crate::vectors::linear::Random;
    use crate::vectors::{Encoding, Originals, Rows, Training};

    /// How far estimates are from true scores, as a share of the spread of the scores.
    fn error(dim: usize, metric: Metric, lines: usize, length: f32) -> f64 {
        let encoding = Encoding::new(dim, metric, Originals::None).unwrap();
        let mut random = Random::new(dim as u64);
        let mut bytes = Vec::new();
        for _ in 0..600 {
            let mut values = random.normals(dim);
            for (axis, value) in values.iter_mut().enumerate() {
                *value = length * (*value / ((axis + 1) as f32).sqrt() + 0.3);
            }
            bytes.extend(encoding.encode(&values).unwrap().code);
        }
        let codes = Rows::contiguous(Bytes::from(bytes), encoding.code_stride()).unwrap();
        let rows: Vec<CodeRow<'_>> = (0..codes.len())
            .map(|at| CodeRow::read(codes.row(at).unwrap(), dim).unwrap())
            .collect();
        let how = Training { lines, memory: 64 << 20, seed: 1 };
        let projection = Projection::train(&codes, &encoding, how);
        let mut encoder = NavEncoder::new(&projection, metric, lines);
        let mut nav = vec![0; rows.len() * lines * LINE];
        encoder.encode(&rows, &mut nav);
        let (mut errors, mut spread) = (0.0, 0.0);
        encoder.queries(&rows[..40], |at, query| {
            let pairs: Vec<(f64, f64)> = (100..600)
                .map(|other| {
                    let estimate = query.score(&nav[other * lines * LINE..][..lines * LINE]);
                    (f64::from(estimate), f64::from(rows[at].score(&rows[other], metric)))
                })
                .collect();
            // What depends on the query alone is not in the estimate.
            let count = pairs.len() as f64;
            let shift = pairs.iter().map(|(x, y)| x - y).sum::<f64>() / count;
            let middle = pairs.iter().map(|(_, y)| y).sum::<f64>() / count;
            errors += pairs.iter().map(|(x, y)| (x - y - shift).powi(2)).sum::<f64>();
            spread += pairs.iter().map(|(_, y)| (y - middle).powi(2)).sum::<f64>();
        });
        (errors / spread).sqrt()
    }

    #[test]
    fn estimates_are_near_the_true_scores_under_every_metric_and_length() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            for (dim, lines, largest) in [(48, 1, 0.12), (300, 2, 0.1), (700, 2, 0.1)] {
                for length in [1.0, 1e-12, 1e12] {
                    let error = error(dim, metric, lines, length);
                    assert!(error < largest, "{metric} {dim} x {length}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_several_lines_has_its_factors_at_the_end_of_the_first() {
        // One coordinate in each line.
        let mut values = [0.0; 500];
        (values[0], values[112]) = (1.0, -2.0);
        let mut out = [0; 3 * LINE];
        encode_row(&values, Metric::L2, 0.25, &mut out);
        assert_eq!(out[60..64], 0.25_f32.to_le_bytes());
        let mut query = NavQuery::default();
        fill_query(&values, 3, &mut query);
        // Squared distances count products twice: 1 and 4.
        assert!((query.score(&out) - 10.25).abs() < 0.1, "{}", query.score(&out));
        // The first line alone: its own part, and half of what the others may add.
        let of_first = query.reach_of(&out[..LINE]);
        assert!(of_first > 2.2 && of_first.is_finite(), "{of_first}");
    }

    /// The bytes and the sums are by the text of the format, not by what this file writes.
    #[test]
    fn a_row_of_three_lines_scores_by_the_formula_of_the_format() {
        // Coordinates at the borders of fields and lines: that of the query, and the row's number.
        let fine = [(0, 127.0, 3.0), (55, -2.0, 15.0), (56, 3.0, 12.0), (111, -4.0, 1.0)];
        let coarse = [
            (112, 127.0, 2.0),
            (175, 5.0, 3.0),
            (176, -6.0, 1.0),
            (240, 10.0, 0.0),
            (304, -11.0, 3.0),
            (367, 7.0, 1.0),
            (368, -8.0, 3.0),
            (623, 9.0, 2.0),
        ];
        // The other coordinates of the query are zero, so that these bits are of no account.
        let mut row = [0x5A_u8; 192];
        // Nibbles: 3 of coordinate 0 below 12 of 56; 15 of 55 below 1 of 111.
        (row[0], row[55]) = (0xC3, 0x1F);
        // 0.75 and 1.5 as the upper halves of f32, then -10.25.
        row[56..64].copy_from_slice(&[0x40, 0x3F, 0xC0, 0x3F, 0x00, 0x00, 0x24, 0xC1]);
        // Line 1. From bit 0 on 2, 1, 0, 3 of 112, 176, 240, 304; 3 of 175, and 1 of 367 on top.
        (row[64], row[127]) = (0b1100_0110, 0b0110_1111);
        // Line 2. 3 of 368 from bit 0 on; 2 of 623 on top.
        (row[128], row[191]) = (0b1001_1011, 0b1000_0101);
        let mut coordinates = [0.0; 624];
        for &(at, y, _) in fine.iter().chain(&coarse) {
            coordinates[at] = y;
        }
        let mut query = NavQuery::default();
        fill_query(&coordinates, 3, &mut query);
        let sum = |part: &[(usize, f32, f32)], middle: f32| -> f32 {
            part.iter().map(|(_, y, u)| (u - middle) * y).sum()
        };
        let (fine, coarse) = (sum(&fine, 7.5), sum(&coarse, 1.5));
        assert_eq!((fine, coarse), (-547.0, 31.5));
        assert_eq!(query.score(&row), -10.25 + 0.75 * fine + 1.5 * coarse);
        for level in available() {
            let mut scores = [0.0];
            query.score_all(level, &[&row], &mut scores);
            assert_eq!(scores, [-373.25], "{level:?}");
        }
    }

    #[test]
    fn the_longest_vectors_reach_a_finite_score() {
        let values = [4e16; 600];
        let mut query = NavQuery::default();
        fill_query(&values, 3, &mut query);
        assert!(query.reach.is_finite() && query.reach > 0.0);
    }

    #[test]
    fn equal_vectors_and_zeros_encode_without_division_by_zero() {
        for values in [[0.0; 8], [1.0; 8], [1e-40; 8]] {
            let mut out = [1_u8; LINE];
            encode_row(&values, Metric::L2, f32::NAN, &mut out);
            let mut query = NavQuery::default();
            fill_query(&values, 1, &mut query);
            assert!(query.score(&out).is_finite());
        }
        assert_eq!(upper_half(1.0), [0x80, 0x3F]);
        assert_eq!(upper_half(f32::MAX), [0, 0]);
    }
}
