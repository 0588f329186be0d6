//! Scoring navigation codes: rows of whole cache lines that hold a low-precision image of a
//! vector, 4 bits a coordinate in the first line and 2 bits in the others.
//!
//! ```text
//! line 0       coordinate j < 128: nibble j / 64 of byte j % 64
//! line l > 0   coordinate 128 + 256 (l - 1) + j: bits 2 (j / 64) of byte j % 64
//! last line    holds 8 bytes less: fields of 56 bytes instead of 64, then
//!              s1 (upper half of an f32), s2 (the same), t (f32), little-endian
//! ```
//! With `u` the unsigned fields and `q` the int8 query, the score is
//! `t + s1 (scale1 sum(u q) - bias1) + s2 (scale2 sum(u q) - bias2)`, the first sum over line 0
//! and the second over the others. A row of one line has 112 coordinates and no second part.

#[cfg(target_arch = "aarch64")]
use super::aarch64;
use super::level::{Isa, Level};
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Bytes of a line.
pub const LINE: usize = 64;
/// Bytes of the factors at the end of a row.
pub const FACTORS: usize = 8;
/// Coordinates that line 0 holds, if it is not the last.
pub const FINE_DIMS: usize = 128;
/// Most lines a row may have.
pub const MAX_LINES: usize = 8;

/// Coordinates of a row of `lines` lines.
#[must_use]
pub const fn dims(lines: usize) -> usize {
    match lines {
        0 => 0,
        1 => 2 * (LINE - FACTORS),
        _ => FINE_DIMS + 4 * LINE * (lines - 2) + 4 * (LINE - FACTORS),
    }
}

/// Where a coordinate lies in a row of `lines` lines: line, field in the byte, byte.
#[must_use]
pub const fn place(dim: usize, lines: usize) -> (usize, usize, usize) {
    if lines == 1 {
        return (0, dim / (LINE - FACTORS), dim % (LINE - FACTORS));
    }
    if dim < FINE_DIMS {
        return (0, dim / LINE, dim % LINE);
    }
    let (line, at) = (1 + (dim - FINE_DIMS) / (4 * LINE), (dim - FINE_DIMS) % (4 * LINE));
    let width = if line == lines - 1 { LINE - FACTORS } else { LINE };
    (line, at / width, at % width)
}

/// A query laid out as the fields of a row are.
#[derive(Debug, Clone, Default)]
pub struct NavQuery {
    lines: usize,
    /// Two planes for line 0, then four for each further line; zero where no coordinate is.
    planes: Vec<[i8; LINE]>,
    /// What a unit of the two sums is worth.
    pub scale: [f32; 2],
    /// What is subtracted after that.
    pub bias: [f32; 2],
}

impl NavQuery {
    /// Zeros for rows of `lines` lines; keeps its memory.
    pub fn reset(&mut self, lines: usize) {
        self.lines = lines.clamp(1, MAX_LINES);
        self.planes.clear();
        self.planes.resize(2 + 4 * (self.lines - 1), [0; LINE]);
        (self.scale, self.bias) = ([0.0; 2], [0.0; 2]);
    }

    /// Sets the coordinates from `first` on; what the rows have no room for is left out.
    pub fn set(&mut self, first: usize, values: &[i8]) {
        let (mut dim, mut values) = (first, values);
        while !values.is_empty() {
            let (line, field, byte) = place(dim, self.lines);
            let plane = if line == 0 { field } else { 2 + 4 * (line - 1) + field };
            let width = if line + 1 == self.lines { LINE - FACTORS } else { LINE };
            let (run, rest) = values.split_at((width - byte).min(values.len()));
            let Some(plane) = self.planes.get_mut(plane).filter(|_| line < self.lines) else {
                return;
            };
            plane[byte..byte + run.len()].copy_from_slice(run);
            (dim, values) = (dim + run.len(), rest);
        }
    }

    /// Bytes of the rows it scores.
    #[inline]
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.lines * LINE
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) fn planes(&self) -> &[[i8; LINE]] {
        &self.planes
    }

    /// Scores rows into `out`, as many as the shorter of the two; a row shorter than
    /// [`NavQuery::row_bytes`] scores `f32::MIN`. The same at every level, to the bit.
    #[inline]
    pub fn score_all(&self, level: Level, rows: &[&[u8]], out: &mut [f32]) {
        let len = rows.len().min(out.len());
        let (rows, out) = (&rows[..len], &mut out[..len]);
        if self.planes.is_empty() || rows.iter().any(|row| row.len() < self.row_bytes()) {
            out.iter_mut().zip(rows).for_each(|(out, row)| *out = self.score(row));
            return;
        }
        match level.isa() {
            Isa::Scalar => out.iter_mut().zip(rows).for_each(|(out, row)| *out = self.score(row)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::avx2::nav_all(level, self, rows, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::avx512::nav_all(level, self, rows, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => aarch64::neon::nav_all(level, self, rows, out),
        }
    }

    /// The scalar twin: the definition of a score.
    #[must_use]
    pub fn score(&self, row: &[u8]) -> f32 {
        let Some(row) = row.get(..self.row_bytes()).filter(|_| !self.planes.is_empty()) else {
            return f32::MIN;
        };
        let mut sums = [0_i32; 2];
        for (at, line) in row.chunks(LINE).enumerate() {
            let (first, count, bits) = if at == 0 { (0, 2, 4) } else { (4 * at - 2, 4, 2) };
            for field in 0..count {
                let plane = self.planes.get(first + field).map_or(&[0; LINE], |plane| plane);
                let sum = line.iter().zip(plane).map(|(byte, q)| {
                    i32::from(byte >> (bits * field) & ((1 << bits) - 1)) * i32::from(*q)
                });
                sums[at.min(1)] += sum.sum::<i32>();
            }
        }
        self.finish(sums, &row[row.len() - FACTORS..])
    }

    /// The two sums of a row and its factors to its score.
    #[inline]
    pub(super) fn finish(&self, sums: [i32; 2], row_end: &[u8]) -> f32 {
        let mut factors = [0; FACTORS];
        factors.copy_from_slice(row_end);
        let [a, b, c, d, t @ ..] = factors;
        let (s1, s2) = (f32::from_le_bytes([0, 0, a, b]), f32::from_le_bytes([0, 0, c, d]));
        let part = |at: usize| sums[at] as f32 * self.scale[at] - self.bias[at];
        let fine = part(0) * s1 + f32::from_le_bytes(t);
        if self.lines == 1 { fine } else { part(1) * s2 + fine }
    }
}

/// Asks for the lines of a row to be brought into the cache; never fails, whatever the row.
#[inline]
pub fn prefetch(row: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(row);
    #[cfg(target_arch = "aarch64")]
    aarch64::prefetch(row);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = row;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::kernels::level::available;

    #[test]
    fn every_coordinate_has_a_place_of_its_own_before_the_factors() {
        for lines in 1..=MAX_LINES {
            let mut seen = HashSet::new();
            for dim in 0..dims(lines) {
                let (line, field, byte) = place(dim, lines);
                assert!(line < lines && field < if line == 0 { 2 } else { 4 });
                assert!(byte < if line == lines - 1 { LINE - FACTORS } else { LINE });
                assert!(seen.insert((line, field, byte)));
            }
        }
        assert_eq!([dims(1), dims(2), dims(3), dims(4)], [112, 352, 608, 864]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_level_gives_the_same_bits(
            lines in 1..=MAX_LINES,
            count in 0_usize..7,
            bytes in proptest::collection::vec(any::<u8>(), 6 * MAX_LINES * LINE + 3),
            values in proptest::collection::vec(any::<i8>(), dims(MAX_LINES)),
            (scale, bias, shift) in (0.001_f32..2.0, -50.0_f32..50.0, 0_usize..4),
        ) {
            let mut query = NavQuery::default();
            query.reset(lines);
            // More values than there is room for.
            query.set(0, &values);
            let mut apart = NavQuery::default();
            apart.reset(lines);
            for (dim, value) in values.iter().take(dims(lines)).enumerate() {
                apart.set(dim, &[*value]);
            }
            prop_assert_eq!(&apart.planes, &query.planes);
            (query.scale, query.bias) = ([scale, scale / 3.0], [bias, -bias]);
            let stride = query.row_bytes();
            let rows: Vec<&[u8]> = (0..count)
                .map(|row| &bytes[shift + row * stride..][..stride])
                .collect();
            let expected: Vec<f32> = rows.iter().map(|row| query.score(row)).collect();
            for level in available() {
                let mut found = vec![0.5; count];
                query.score_all(level, &rows, &mut found);
                for (found, expected) in found.iter().zip(&expected) {
                    prop_assert!(
                        found.to_bits() == expected.to_bits()
                            || found.is_nan() && expected.is_nan(),
                        "{}: {found} and {expected}", level.name()
                    );
                }
            }
        }
    }

    #[test]
    fn short_rows_score_worst_at_every_level() {
        let mut query = NavQuery::default();
        query.reset(2);
        let (long, short) = ([1_u8; 128], [1_u8; 127]);
        for level in available() {
            let mut scores = [0.0; 4];
            query.score_all(level, &[&long, &short, &long, &[]], &mut scores);
            assert_eq!([scores[1], scores[3]], [f32::MIN; 2]);
            assert!(scores[0] > f32::MIN);
        }
        prefetch(&[]);
        prefetch(&long);
    }
}
