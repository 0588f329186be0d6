//! Products of int8 rows that stay with vectors that come and go: the rows lie in tiles, so that
//! the lanes of a register are the sums of different rows and nothing is added up across lanes.
//!
//! A tile is 16 rows by 4 columns, row after row, its values made unsigned by adding 128. Two
//! tiles, of 32 rows, lie side by side, then those of the next 4 columns, to the last, then those
//! of the next 32 rows. What is missing is zero, stored as 128.

use super::int8::Panel;
#[cfg(target_arch = "x86_64")]
use super::level::Isa;
use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Columns of a tile: bytes that are multiplied and added up in one lane.
pub(super) const COLUMNS: usize = 4;
/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Rows of a pair of tiles.
pub(super) const PAIR: usize = 2 * ROWS;
/// Vectors multiplied together, with one run of pairs.
const TOGETHER: usize = 8;
/// Runs of pairs multiplied together, with one vector: enough sums that none waits for itself.
const RUNS: usize = 4;

/// Values of a vector that are padded on the stack: the most that are projected.
const MAX_PADDED: usize = 4_096;

/// Two tiles, each a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Pair(pub [[u8; ROWS * COLUMNS]; 2]);
/// Products of the rows of a pair.
pub(super) type Dots = [i32; PAIR];

/// Int8 rows in tiles.
#[derive(Debug, Clone, Default)]
pub struct Tiled {
    rows: usize,
    /// Values of a row, with its padding.
    columns: usize,
    pairs: Vec<Pair>,
}

impl Tiled {
    /// Whether tiles are faster than rows at a level.
    #[must_use]
    pub fn is_fast_at(level: Level) -> bool {
        match level.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => true,
            _ => false,
        }
    }

    /// Lays rows out in tiles.
    #[must_use]
    pub fn new(panel: &Panel) -> Self {
        let (rows, columns) = (panel.len(), panel.row(0).len());
        let run = columns / COLUMNS;
        let mut pairs = vec![Pair([[128; ROWS * COLUMNS]; 2]); rows.div_ceil(PAIR) * run];
        for at in 0..rows {
            let (tile, lane) = (at % PAIR / ROWS, at % ROWS * COLUMNS);
            let words = panel.row(at).as_chunks::<COLUMNS>().0;
            for (pair, word) in pairs[at / PAIR * run..].iter_mut().zip(words) {
                let place = &mut pair.0[tile][lane..lane + COLUMNS];
                place.iter_mut().zip(word).for_each(|(byte, value)| *byte = *value as u8 ^ 128);
            }
        }
        Self { rows, columns, pairs }
    }

    /// Dot products of all rows with each vector, vector after vector into `out`, which is
    /// overwritten: what [`Panel::dots`] gives. Vectors of another length have none: `out` is
    /// left empty.
    pub fn dots(&self, level: Level, vectors: &Panel, out: &mut Vec<i32>) {
        out.clear();
        if vectors.is_empty() || vectors.row(0).len() != self.columns {
            return;
        }
        out.resize(vectors.len() * self.rows, 0);
        let mut first = 0;
        while let Some(group) = self.together(vectors, first) {
            let out = &mut out[first * self.rows..];
            for (at, run) in self.runs().enumerate() {
                let dots = products(level, [run], group.map(|(vector, _)| vector));
                for (vector, (dots, (_, sum))) in dots.iter().zip(group).enumerate() {
                    let out = &mut out[vector * self.rows..(vector + 1) * self.rows];
                    put(out, at, &dots[0], sum);
                }
            }
            first += TOGETHER;
        }
        for at in first..vectors.len() {
            let out = &mut out[at * self.rows..(at + 1) * self.rows];
            self.one(level, (vectors.row(at), vectors.sum(at)), out);
        }
    }

    /// [`Tiled::dots`] of one vector, without its padding, of at most 4,096 values or of whole
    /// words of four; a shorter one is taken as far as it goes.
    pub fn dots_of(&self, level: Level, vector: &[i8], out: &mut Vec<i32>) {
        out.clear();
        if vector.len() > self.columns {
            return;
        }
        out.resize(self.rows, 0);
        let mut padded = [0; MAX_PADDED];
        let whole = vector.len().next_multiple_of(COLUMNS);
        let vector = match padded.get_mut(..whole) {
            Some(padded) if whole > vector.len() => {
                padded[..vector.len()].copy_from_slice(vector);
                &*padded
            }
            // A longer one loses what is behind its last whole word, and is none of ours.
            _ => vector,
        };
        let sum = vector.iter().map(|&value| i32::from(value)).sum();
        self.one(level, (vector, sum), out);
    }

    /// The products of one vector, whose sum is given, into `out`.
    fn one(&self, level: Level, (vector, sum): (&[i8], i32), out: &mut [i32]) {
        let mut runs = self.runs().enumerate();
        while let Some((at, run)) = runs.next() {
            // Past the end the first run is taken again and its products dropped.
            let mut several = [run; RUNS];
            several[1..].iter_mut().zip(&mut runs).for_each(|(run, (_, next))| *run = next);
            let dots = products(level, several, [vector]);
            for (at, dots) in (at..).zip(&dots[0]) {
                put(out, at, dots, sum);
            }
        }
    }

    /// The pairs of 32 rows after another.
    fn runs(&self) -> impl Iterator<Item = &[Pair]> {
        self.pairs.chunks_exact((self.columns / COLUMNS).max(1))
    }

    /// Vectors from `first` on with their sums, if there are so many.
    fn together<'a>(
        &self,
        vectors: &'a Panel,
        first: usize,
    ) -> Option<[(&'a [i8], i32); TOGETHER]> {
        let all = first + TOGETHER <= vectors.len();
        all.then(|| std::array::from_fn(|at| (vectors.row(first + at), vectors.sum(first + at))))
    }
}

/// Takes off what the unsigned rows add, and puts the products of run `at` in their place; what
/// is past the end is dropped.
#[inline]
fn put(out: &mut [i32], at: usize, dots: &Dots, sum: i32) {
    let excess = sum.wrapping_mul(128);
    let out = out.get_mut(at * PAIR..).unwrap_or_default();
    match out.first_chunk_mut::<PAIR>() {
        Some(out) => *out = dots.map(|dot| dot.wrapping_sub(excess)),
        None => out.iter_mut().zip(dots).for_each(|(out, dot)| *out = dot.wrapping_sub(excess)),
    }
}

/// Products of the unsigned rows of `R` runs with `V` vectors.
#[inline]
fn products<const V: usize, const R: usize>(
    level: Level,
    runs: [&[Pair]; R],
    vectors: [&[i8]; V],
) -> [[Dots; R]; V] {
    let mut out = [[[0; PAIR]; R]; V];
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::avx512::tiled(level, runs, vectors, &mut out),
        _ => scalar(runs, vectors, &mut out),
    }
    out
}

/// The scalar twin: the definition of a tile.
fn scalar<const V: usize, const R: usize>(
    runs: [&[Pair]; R],
    vectors: [&[i8]; V],
    out: &mut [[Dots; R]; V],
) {
    for (out, vector) in out.iter_mut().zip(vectors) {
        for (out, run) in out.iter_mut().zip(runs) {
            for (pair, word) in run.iter().zip(vector.as_chunks::<COLUMNS>().0) {
                let rows = pair.0.as_flattened().as_chunks::<COLUMNS>().0;
                for (sum, row) in out.iter_mut().zip(rows) {
                    let products = row.iter().zip(word).map(|(&a, &b)| i32::from(a) * i32::from(b));
                    *sum = sum.wrapping_add(products.sum());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::available;
    use super::*;

    fn panel(count: usize, dim: usize, bytes: &[i8], from: usize) -> Panel {
        let mut panel = Panel::new(dim);
        for row in 0..count {
            let values: Vec<i8> =
                (0..dim).map(|at| bytes[(from + row * 31 + at * 7) % bytes.len()]).collect();
            panel.push(&values);
        }
        panel
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn tiles_give_the_products_of_rows_at_every_level(
            (rows, vectors, dim) in (0_usize..140, 0_usize..20, 1_usize..200),
            bytes in proptest::collection::vec(any::<i8>(), 3_001),
        ) {
            let rows = panel(rows, dim, &bytes, 0);
            let vectors = panel(vectors, dim, &bytes, 1_000);
            let tiled = Tiled::new(&rows);
            let mut expected = Vec::new();
            vectors.dots(Level::SCALAR, (0, vectors.len()), &rows, &mut expected);
            let mut out = vec![7; 3];
            for level in available() {
                tiled.dots(level, &vectors, &mut out);
                prop_assert_eq!(&out, &expected, "{}", level.name());
                for (at, expected) in expected.chunks(rows.len().max(1)).enumerate() {
                    tiled.dots_of(level, &vectors.row(at)[..dim], &mut out);
                    prop_assert_eq!(&out, expected, "{}", level.name());
                }
            }
        }
    }

    #[test]
    fn extreme_values_do_not_overflow_and_other_lengths_have_no_products() {
        let mut rows = Panel::new(4_096);
        (0..33).for_each(|_| rows.push(&[i8::MIN; 4_096]));
        let tiled = Tiled::new(&rows);
        for level in available() {
            let mut out = Vec::new();
            tiled.dots_of(level, &[i8::MIN; 4_096], &mut out);
            assert_eq!(out, [4_096 * 128 * 128; 33]);
            tiled.dots_of(level, &[1; 4_100], &mut out);
            assert!(out.is_empty());
            let mut short = Panel::new(64);
            short.push(&[1; 64]);
            tiled.dots(level, &short, &mut out);
            assert!(out.is_empty());
        }
    }
}
