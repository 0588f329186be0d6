//! Many int8 dot products at once: one row against four, and all pairs of two panels.

#[cfg(target_arch = "aarch64")]
use super::aarch64::neon;
use super::level::{Isa, Level};
use super::nav::prefetch;
use super::scalar;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Dot products of one row with four, exact for up to 65,536 values. The length of `query`
/// counts; a shorter row is taken as far as it goes.
#[inline]
#[must_use]
pub fn dot4_i8(level: Level, query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let is_short = |row: &[i8]| row.len() < query.len();
    // A short row, mostly an empty one that fills a group of four up, has the query take its
    // place and is then taken as far as it goes.
    let full = rows.map(|row| if is_short(row) { query } else { row });
    let mut dots = match level.isa() {
        Isa::Scalar => full.map(|row| scalar::dot_i8(query, row)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::avx2::dot4_i8(level, query, full),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::avx512::dot4_i8(level, query, full),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::dot4_i8(level, query, full),
    };
    for (dot, row) in dots.iter_mut().zip(rows) {
        if is_short(row) {
            *dot = scalar::dot_i8(query, row);
        }
    }
    dots
}

/// Rows of int8 values side by side, each padded with zeros to whole cache lines: the operand
/// of [`Panel::dots`].
#[derive(Debug, Clone, Default)]
pub struct Panel {
    stride: usize,
    values: Vec<i8>,
    /// The sum of the values of each row.
    sums: Vec<i32>,
}

impl Panel {
    /// An empty panel of rows of `dim` values.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self { stride: dim.next_multiple_of(64).max(64), ..Self::default() }
    }

    /// Makes room for so many more rows.
    #[must_use]
    pub fn with_room(mut self, rows: usize) -> Self {
        self.values.reserve(rows * self.stride);
        self.sums.reserve(rows);
        self
    }

    /// Empties the panel; keeps its memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.sums.clear();
    }

    /// Adds a row; one that is longer than the stride is cut.
    pub fn push(&mut self, row: &[i8]) {
        let end = self.values.len() + self.stride;
        let row = &row[..row.len().min(self.stride)];
        self.values.extend_from_slice(row);
        self.values.resize(end, 0);
        self.sums.push(row.iter().map(|&value| i32::from(value)).sum());
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.stride).unwrap_or(0)
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A row with its padding; empty past the end.
    #[must_use]
    pub fn row(&self, at: usize) -> &[i8] {
        self.values.get(at * self.stride..(at + 1) * self.stride).unwrap_or_default()
    }

    /// The sum of the values of a row; zero past the end.
    #[must_use]
    pub fn sum(&self, at: usize) -> i32 {
        self.sums.get(at).copied().unwrap_or_default()
    }

    /// Dot products of the rows `from..to` of this panel with all rows of the other, row after
    /// row into `out`, which is overwritten. Panels of two strides have no dot products: `out`
    /// is left empty.
    pub fn dots(&self, level: Level, (from, to): (usize, usize), other: &Self, out: &mut Vec<i32>) {
        out.clear();
        if self.stride != other.stride || from >= to || to > self.len() {
            return;
        }
        let columns = other.len();
        out.resize((to - from) * columns, 0);
        for first_column in (0..columns).step_by(4) {
            for first_row in (from..to).step_by(4) {
                // Meanwhile the next four columns come nearer, which may be far away: one for
                // each of the first four groups of rows, so all of them from 13 rows on.
                let group = (first_row - from) / 4;
                if group < 4 {
                    prefetch(bytemuck::cast_slice(other.row(first_column + 4 + group)));
                }
                // Past the end the last row is taken again and its result dropped.
                let a = std::array::from_fn(|at| self.row((first_row + at).min(to - 1)));
                let four = std::array::from_fn(|at| (first_column + at).min(columns - 1));
                let (b, sums) = (four.map(|at| other.row(at)), four.map(|at| other.sums[at]));
                let dots = dot4x4_i8(level, a, b, sums);
                for (row, dots) in dots.as_chunks::<4>().0.iter().enumerate().take(to - first_row) {
                    let start = (first_row - from + row) * columns + first_column;
                    let out = &mut out[start..(start + 4).min(start + columns - first_column)];
                    match <&mut [i32; 4]>::try_from(&mut *out) {
                        // A copy of known length is one instruction.
                        Ok(out) => *out = *dots,
                        Err(_) => out.iter_mut().zip(dots).for_each(|(out, dot)| *out = *dot),
                    }
                }
            }
        }
    }
}

/// All pairs of four rows with four others, all of one length; `sums` are those of the others.
fn dot4x4_i8(level: Level, a: [&[i8]; 4], b: [&[i8]; 4], sums: [i32; 4]) -> [i32; 16] {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = sums;
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::avx512::dot4x4_i8(level, a, b, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::avx2::dot4x4_i8(level, a, b),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::dot4x4_i8(level, a, b),
        Isa::Scalar => {
            let mut out = [0; 16];
            for (out, a) in out.as_chunks_mut().0.iter_mut().zip(a) {
                *out = dot4_i8(level, a, b);
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::level::available;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn four_dot_products_are_bit_equal_to_their_twin(
            len in 0_usize..700, bytes in proptest::collection::vec(any::<i8>(), 3510),
            shift in 0_usize..8,
        ) {
            let query = &bytes[..len];
            let rows = std::array::from_fn(|row| &bytes[shift + 700 * (row + 1)..][..len]);
            let expected = rows.map(|row| scalar::dot_i8(query, row));
            for level in available() {
                prop_assert_eq!(dot4_i8(level, query, rows), expected, "{}", level.name());
            }
        }

        #[test]
        fn panels_agree_with_single_dot_products(
            (rows, columns, dim) in (0_usize..11, 0_usize..11, 1_usize..200),
            bytes in proptest::collection::vec(any::<i8>(), 11 * 200),
        ) {
            let panel = |count: usize, from: usize| {
                let mut panel = Panel::new(dim);
                for row in 0..count {
                    panel.push(&bytes[(from + row) % 11 * 200..][..dim]);
                }
                panel
            };
            let (a, b) = (panel(rows, 0), panel(columns, 5));
            let mut expected = Vec::new();
            for row in 1..rows {
                for column in 0..columns {
                    expected.push(scalar::dot_i8(a.row(row), b.row(column)));
                }
            }
            let mut out = vec![7; 3];
            for level in available() {
                a.dots(level, (1, rows), &b, &mut out);
                prop_assert_eq!(&out, &expected, "{}", level.name());
            }
        }
    }

    #[test]
    fn extreme_values_do_not_overflow() {
        let low = vec![i8::MIN; 65_536];
        for level in available() {
            assert_eq!(dot4_i8(level, &low, [&low; 4]), [65_536 * 128 * 128; 4]);
            let mut panel = Panel::new(4_096);
            (0..5).for_each(|_| panel.push(&low[..4_096]));
            let mut out = Vec::new();
            panel.dots(level, (0, 5), &panel, &mut out);
            assert_eq!(out, [4_096 * 128 * 128; 25]);
        }
    }

    #[test]
    fn rows_of_other_lengths_use_the_common_prefix() {
        for level in available() {
            let rows: [&[i8]; 4] = [&[4, 5], &[1, 1, 1, 9], &[], &[2, 2, 2]];
            assert_eq!(dot4_i8(level, &[1, 2, 3], rows), [14, 6, 0, 12]);
        }
    }
}
