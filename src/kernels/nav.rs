//! Scoring navigation codes: rows of whole cache lines that hold a low-precision image of a
//! vector, 4 bits a coordinate in the first line and 2 bits in the others.
//!
//! ```text
//! line 0       coordinate j < 112: nibble j / 56 of byte j % 56; then
//!              s1 (upper half of an f32), s2 (the same), t (f32), little-endian
//! line l > 0   coordinate 112 + 256 (l - 1) + j: bits 2 (j / 64) of byte j % 64
//! ```
//! With `u` the unsigned fields and `q` the int8 query, the score is
//! `t + s1 (scale1 sum(u q) - bias1) + s2 (scale2 sum(u q) - bias2)`, the first sum over line 0
//! and the second over the others, which a row of one line does not have. Line 0 alone gives a
//! guess, what the score may reach: `t + s1 (scale1 sum(u q) - bias1) + s2 reach`.

#[cfg(target_arch = "aarch64")]
use super::aarch64;
use super::level::{Isa, Level};
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Bytes of a line.
pub const LINE: usize = 64;
/// Bytes of the factors at the end of the first line.
pub const FACTORS: usize = 8;
/// Bytes of line 0 that hold fields.
const FINE_BYTES: usize = LINE - FACTORS;
/// Coordinates that line 0 holds.
pub const FINE_DIMS: usize = 2 * FINE_BYTES;
/// Coordinates that each further line holds.
const COARSE_DIMS: usize = 4 * LINE;
/// Most lines a row may have.
pub const MAX_LINES: usize = 8;

/// Coordinates of a row of `lines` lines.
#[must_use]
pub const fn dims(lines: usize) -> usize {
    match lines {
        0 => 0,
        _ => FINE_DIMS + COARSE_DIMS * (lines - 1),
    }
}

/// Where a coordinate lies in a row: line, field in the byte, byte.
#[must_use]
pub const fn place(dim: usize) -> (usize, usize, usize) {
    if dim < FINE_DIMS {
        return (0, dim / FINE_BYTES, dim % FINE_BYTES);
    }
    let (line, at) = ((dim - FINE_DIMS) / COARSE_DIMS, (dim - FINE_DIMS) % COARSE_DIMS);
    (1 + line, at / LINE, at % LINE)
}

/// Values of a query for one field of all bytes of a line: a line itself, so that reading it
/// touches one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Plane(pub [i8; LINE]);

/// A query laid out as the fields of a row are.
#[derive(Debug, Clone, Default)]
pub struct NavQuery {
    lines: usize,
    /// Two planes for line 0, then four for each further line; zero where no coordinate is.
    planes: Vec<Plane>,
    /// What a unit of the two sums is worth.
    pub scale: [f32; 2],
    /// What is subtracted after that.
    pub bias: [f32; 2],
    /// What the further lines are taken to add to a score for each unit of a row's `s2`.
    pub reach: f32,
}

impl NavQuery {
    /// Zeros for rows of `lines` lines; keeps its memory.
    pub fn reset(&mut self, lines: usize) {
        self.lines = lines.clamp(1, MAX_LINES);
        self.planes.clear();
        self.planes.resize(2 + 4 * (self.lines - 1), Plane([0; LINE]));
        (self.scale, self.bias, self.reach) = ([0.0; 2], [0.0; 2], 0.0);
    }

    /// Sets the coordinates from `first` on; what the rows have no room for is left out.
    pub fn set(&mut self, first: usize, values: &[i8]) {
        let (mut dim, mut values) = (first, values);
        while !values.is_empty() {
            let (line, field, byte) = place(dim);
            let plane = if line == 0 { field } else { 2 + 4 * (line - 1) + field };
            let width = if line == 0 { FINE_BYTES } else { LINE };
            let (run, rest) = values.split_at((width - byte).min(values.len()));
            let Some(plane) = self.planes.get_mut(plane).filter(|_| line < self.lines) else {
                return;
            };
            plane.0[byte..byte + run.len()].copy_from_slice(run);
            (dim, values) = (dim + run.len(), rest);
        }
    }

    /// Lines of the rows it scores.
    #[inline]
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Bytes of the rows it scores.
    #[inline]
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.lines * LINE
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) fn planes(&self) -> &[Plane] {
        &self.planes
    }

    /// Scores rows into `out`, as many as the shorter of the two; a row shorter than
    /// [`NavQuery::row_bytes`] scores `f32::MIN`. The same at every level, to the bit.
    #[inline]
    pub fn score_all(&self, level: Level, rows: &[&[u8]], out: &mut [f32]) {
        self.all::<false>(level, rows, out);
    }

    /// What the scores of rows can reach, into `out`, from their first lines, which are all that
    /// is read of them; a row without one scores `f32::MIN`. The score itself where a row is one
    /// line. The same at every level, to the bit.
    #[inline]
    pub fn reach_all(&self, level: Level, rows: &[&[u8]], out: &mut [f32]) {
        self.all::<true>(level, rows, out);
    }

    /// [`NavQuery::score_all`] of some of the rows that lie one after another; an id past the last
    /// of them scores `f32::MIN`.
    #[inline]
    pub fn score_ids(&self, level: Level, lines: &[[u8; LINE]], ids: &[u32], out: &mut [f32]) {
        let len = ids.len().min(out.len());
        let (ids, out) = (&ids[..len], &mut out[..len]);
        #[cfg(target_arch = "x86_64")]
        if level.isa() != Isa::Scalar && !self.planes.is_empty() {
            let rows = lines.len() / self.lines.max(1);
            if ids.iter().all(|&id| (id as usize) < rows) {
                return match level.isa() {
                    Isa::Avx512 => x86::avx512::nav_ids(level, self, lines, ids, out),
                    _ => x86::avx2::nav_ids(level, self, lines, ids, out),
                };
            }
        }
        for (ids, out) in ids.chunks(16).zip(out.chunks_mut(16)) {
            let mut some = [&[][..]; 16];
            some.iter_mut().zip(ids).for_each(|(row, &id)| *row = self.row_in(lines, id));
            self.score_all(level, &some[..out.len()], out);
        }
    }

    /// Asks for those rows.
    #[inline]
    pub fn prefetch_ids(&self, lines: &[[u8; LINE]], ids: &[u32]) {
        ids.iter().for_each(|&id| prefetch(self.row_in(lines, id)));
    }

    /// A row of those that lie one after another; empty past the last of them.
    #[inline]
    fn row_in<'a>(&self, lines: &'a [[u8; LINE]], id: u32) -> &'a [u8] {
        let first = (id as usize).saturating_mul(self.lines);
        lines.get(first..first.saturating_add(self.lines)).unwrap_or_default().as_flattened()
    }

    /// [`NavQuery::reach_all`] of first lines that lie one after another.
    #[inline]
    pub fn reach_lines(&self, level: Level, lines: &[[u8; LINE]], out: &mut [f32]) {
        let len = lines.len().min(out.len());
        let (lines, out) = (&lines[..len], &mut out[..len]);
        match level.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if !self.planes.is_empty() => {
                x86::avx512::nav_lines(level, self, lines, out);
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if !self.planes.is_empty() => {
                x86::avx2::nav_lines(level, self, lines, out);
            }
            _ => {
                for (lines, out) in lines.chunks(16).zip(out.chunks_mut(16)) {
                    let mut rows = [&[][..]; 16];
                    rows.iter_mut().zip(lines).for_each(|(row, line)| *row = line);
                    self.reach_all(level, &rows[..lines.len()], out);
                }
            }
        }
    }

    #[inline]
    fn all<const REACH: bool>(&self, level: Level, rows: &[&[u8]], out: &mut [f32]) {
        let len = rows.len().min(out.len());
        let (rows, out) = (&rows[..len], &mut out[..len]);
        let is_short = |row: &&[u8]| row.len() < self.bytes_read::<REACH>();
        let isa = level.isa();
        if isa == Isa::Scalar || self.planes.is_empty() || rows.iter().any(is_short) {
            let one = if REACH { Self::reach_of } else { Self::score };
            out.iter_mut().zip(rows).for_each(|(out, row)| *out = one(self, row));
            return;
        }
        match isa {
            Isa::Scalar => {}
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::avx2::nav_all::<REACH>(level, self, rows, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::avx512::nav_all::<REACH>(level, self, rows, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => aarch64::neon::nav_all::<REACH>(level, self, rows, out),
        }
    }

    /// Bytes of a row that its score takes, or its reach.
    #[inline]
    pub(super) fn bytes_read<const REACH: bool>(&self) -> usize {
        if REACH { LINE } else { self.row_bytes() }
    }

    /// The scalar twin: the definition of a score.
    #[must_use]
    pub fn score(&self, row: &[u8]) -> f32 {
        let Some(row) = row.get(..self.row_bytes()).filter(|_| !self.planes.is_empty()) else {
            return f32::MIN;
        };
        let sums = row.chunks(LINE).enumerate().map(|(at, line)| (at.min(1), self.sum(at, line)));
        let mut parts = [0; 2];
        sums.for_each(|(part, sum)| parts[part] += sum);
        self.finish(parts[0], Some(parts[1]), row)
    }

    /// The scalar twin of [`NavQuery::reach_all`].
    #[must_use]
    pub fn reach_of(&self, row: &[u8]) -> f32 {
        let Some(line) = row.get(..LINE).filter(|_| !self.planes.is_empty()) else {
            return f32::MIN;
        };
        self.finish(self.sum(0, line), None, line)
    }

    /// The sum of the products of one line.
    fn sum(&self, at: usize, line: &[u8]) -> i32 {
        let (first, count, bits) = if at == 0 { (0, 2, 4) } else { (4 * at - 2, 4, 2) };
        let of_field = |field: usize| {
            let plane = self.planes.get(first + field).map_or(&[0; LINE], |plane| &plane.0);
            let products = line.iter().zip(plane).map(|(byte, q)| {
                i32::from(byte >> (bits * field) & ((1 << bits) - 1)) * i32::from(*q)
            });
            products.sum::<i32>()
        };
        (0..count).map(of_field).sum()
    }

    /// The sum of the first line, and of the others unless their reach is meant, to a score.
    #[inline]
    pub(super) fn finish(&self, fine: i32, coarse: Option<i32>, row: &[u8]) -> f32 {
        let mut factors = [0; FACTORS];
        factors.copy_from_slice(&row[FINE_BYTES..LINE]);
        let [a, b, c, d, t @ ..] = factors;
        let (s1, s2) = (f32::from_le_bytes([0, 0, a, b]), f32::from_le_bytes([0, 0, c, d]));
        let part = |at: usize, sum: i32| sum as f32 * self.scale[at] - self.bias[at];
        let fine = part(0, fine) * s1 + f32::from_le_bytes(t);
        match coarse {
            _ if self.lines == 1 => fine,
            Some(coarse) => part(1, coarse) * s2 + fine,
            None => self.reach * s2 + fine,
        }
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
                let (line, field, byte) = place(dim);
                assert!(line < lines && field < if line == 0 { 2 } else { 4 });
                assert!(byte < if line == 0 { LINE - FACTORS } else { LINE });
                assert!(seen.insert((line, field, byte)));
            }
        }
        assert_eq!([dims(1), dims(2), dims(3), dims(4)], [112, 368, 624, 880]);
    }

    #[test]
    fn the_first_and_last_coordinates_of_fields_are_where_the_format_says() {
        // Line, bit and byte by its text; a field has 4 bits in line 0 and 2 in the others.
        for (dim, line, bit, byte) in [
            (0, 0, 0, 0),
            (55, 0, 0, 55),
            (56, 0, 4, 0),
            (111, 0, 4, 55),
            (112, 1, 0, 0),
            (175, 1, 0, 63),
            (176, 1, 2, 0),
            (239, 1, 2, 63),
            (240, 1, 4, 0),
            (303, 1, 4, 63),
            (304, 1, 6, 0),
            (367, 1, 6, 63),
            (368, 2, 0, 0),
            (431, 2, 0, 63),
            (432, 2, 2, 0),
            (623, 2, 6, 63),
            (624, 3, 0, 0),
        ] {
            let bits = if line == 0 { 4 } else { 2 };
            assert_eq!(place(dim), (line, bit / bits, byte), "{dim}");
        }
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
            query.reach = 7.0 * scale;
            let stride = query.row_bytes();
            let rows: Vec<&[u8]> = (0..count)
                .map(|row| &bytes[shift + row * stride..][..stride])
                .collect();
            let expected: Vec<f32> = rows
                .iter()
                .flat_map(|row| [query.score(row), query.reach_of(row)])
                .collect();
            for level in available() {
                let (mut scores, mut reaches) = (vec![0.5; count], vec![0.5; count]);
                query.score_all(level, &rows, &mut scores);
                query.reach_all(level, &rows, &mut reaches);
                let lines = bytes[shift..shift + count * stride].as_chunks::<LINE>().0;
                let ids: Vec<u32> = (0..count as u32).rev().chain([0, count as u32, 9]).collect();
                let mut by_id = vec![0.5; ids.len()];
                for within in [count, ids.len()] {
                    query.score_ids(level, lines, &ids[..within], &mut by_id[..within]);
                    for (&id, found) in ids[..within].iter().zip(&by_id) {
                        let row = rows.get(id as usize).copied().unwrap_or_default();
                        let expected = query.score(row);
                        prop_assert!(
                            found.to_bits() == expected.to_bits()
                                || found.is_nan() && expected.is_nan()
                        );
                    }
                }
                query.prefetch_ids(lines, &ids);
                let lines = bytes[shift..].as_chunks::<LINE>().0;
                let mut of_lines = vec![0.5; lines.len()];
                query.reach_lines(level, lines, &mut of_lines);
                for (line, found) in lines.iter().zip(of_lines) {
                    let expected = query.reach_of(line);
                    prop_assert!(
                        found.to_bits() == expected.to_bits()
                            || found.is_nan() && expected.is_nan()
                    );
                }
                let found = scores.iter().zip(&reaches).flat_map(|(score, reach)| [score, reach]);
                for (found, expected) in found.zip(&expected) {
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
    fn extreme_fields_and_queries_do_not_overflow_at_any_level() {
        for (lines, value) in (1..=MAX_LINES).flat_map(|n| [(n, i8::MIN), (n, i8::MAX)]) {
            let mut query = NavQuery::default();
            query.reset(lines);
            query.set(0, &vec![value; dims(lines)]);
            query.scale = [1.0; 2];
            let mut row = vec![0xff; query.row_bytes()];
            // Factors of 1, 1 and 0.
            row[FINE_BYTES..LINE].copy_from_slice(&[0x80, 0x3f, 0x80, 0x3f, 0, 0, 0, 0]);
            let coarse = 3 * COARSE_DIMS * (lines - 1);
            let expected = (i32::from(value) * (15 * FINE_DIMS + coarse) as i32) as f32;
            for level in available() {
                let mut scores = [0.0; 5];
                query.score_all(level, &[&row[..]; 5], &mut scores);
                assert_eq!(scores, [expected; 5], "{lines} lines, {}", level.name());
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
            query.set(0, &[3; 200]);
            (query.scale, query.reach) = ([0.5; 2], 1.5);
            query.score_all(level, &[&long, &short, &long, &[]], &mut scores);
            assert_eq!([scores[1], scores[3]], [f32::MIN; 2]);
            assert!(scores[0] > f32::MIN);
            query.reach_all(level, &[&short, &short[..63], &[], &long], &mut scores);
            assert_eq!([scores[1], scores[2]], [f32::MIN; 2]);
            // Rows that end behind their first line go through the kernel.
            let lines: [&[u8]; 4] = [&short, &short[..64], &long, &long[..100]];
            query.reach_all(level, &lines, &mut scores);
            assert_eq!(scores, lines.map(|line| query.reach_of(line)));
        }
        prefetch(&[]);
        prefetch(&long);
    }
}
