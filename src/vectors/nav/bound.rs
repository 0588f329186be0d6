//! How far the estimate of a navigation code may be from the score along the projected
//! coordinates, told by query and code alone: the bound of RaBitQ (Gao and Long, SIGMOD 2024,
//! theorem 3.2), for fields of 4 and 2 bits instead of one.
//!
//! Of the `n` coordinates of the first line, and again of those of the further ones, let `y` be
//! the query's, `x` the row's and `c` its fields less their middle. The code has `s <c, y>` in the
//! place of `<x, y>` and so is wrong by `<d, y>`, where `d = s c - x`. As `s` is such that
//! `<s c, x> = |x|^2`, `d` is orthogonal to `x`, and `|d| = |s c| sin(c, x)`. `s` and `c` are
//! stored. The angle is not, but it is about the same whatever the row: coordinates that were
//! turned at random are about normal, and how much of a normal distribution so many equal steps
//! lose is known.
//!
//! The same turn makes every direction of `d` across `x` equally likely. So `<d, y>` is zero on
//! average, its standard deviation is `|d| / sqrt(n - 1)` times the length of the part of `y`
//! across `x`, which is at most `|y|`, and more than `e` of them are as rare as the theorem says,
//! `2 exp(-e^2 / 2)`. To that come the query's rounding to int8, taken as noise with a variance of
//! a twelfth of its squared step, and that of `s`, which has a firm bound.

use super::MIDDLE;
use crate::kernels::nav::{FACTORS, FINE_DIMS, LINE, dims, place};
use crate::vectors::code::MAX_CODE;

/// Squared sine of the angle between coordinates and fields of 4 bits, and of 2: the share of its
/// variance that a normal distribution loses to 16 and to 4 equal steps of the best size (Max,
/// "Quantizing for minimum distortion", 1960). Few coordinates lose less.
const LOST: [f64; 2] = [0.01154, 0.1188];
/// Share of a factor, at most, by which its upper half differs from it.
const FACTOR_ROUNDING: f64 = 1.0 / 256.0;

/// How far the estimate of a row may be from the score along the projected coordinates, in units
/// of the score, given the coordinates of the query.
///
/// An estimate is within the bound with a probability of at least `1 - 2 exp(-deviations^2 / 2)`
/// over the random turns of the projection: 0.73 for 2 standard deviations, 0.978 for 3. As the
/// error is about normal, 0.95 and 0.997 are to be expected. This is for rows that lose as much to
/// their fields as a normal distribution would; from row to row that varies by about a tenth, and
/// it is not true of made-up codes, nor of coordinates that were not turned at random.
///
/// It is a bound against the score along the projected coordinates, no other: where vectors have
/// more dimensions than there are directions, the true score differs from that one by the product
/// of what the projection leaves out of the two, of which the bound knows nothing. Nor does it
/// know what was lost of the vectors by int8 codes, which navigation codes are made of.
///
/// `f32::MAX`, as nothing is known, for a row without a whole line or with factors that are no
/// numbers. Costs some multiplications a coordinate: not for every row that a walk meets.
#[must_use]
pub fn error_bound(coordinates: &[f32], row: &[u8], deviations: f32) -> f32 {
    let Some(&[a, b, c, d, ..]) = row.get(LINE - FACTORS..LINE) else { return f32::MAX };
    let factors = [[a, b], [c, d]].map(|[a, b]| f64::from(f32::from_le_bytes([0, 0, a, b])));
    // What a row has no room for is not in its estimate.
    let held = coordinates.len().min(dims(row.len() / LINE));
    let (fine, coarse) = coordinates[..held].split_at(held.min(FINE_DIMS));
    let (mut variance, mut rounding) = (0.0_f64, 0.0_f64);
    for (part, (values, first)) in [(fine, 0), (coarse, FINE_DIMS)].into_iter().enumerate() {
        // The factor of no coordinates has no meaning.
        if values.is_empty() {
            continue;
        }
        // Squared lengths of fields and query, their product, and the query's largest coordinate.
        let (mut of_row, mut of_query, mut along, mut largest) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0);
        for (at, &y) in values.iter().enumerate() {
            let centered = f64::from(f32::from(field(row, first + at)) - MIDDLE[part]);
            let y = f64::from(y);
            of_row += centered * centered;
            of_query += y * y;
            along += centered * y;
            largest = f64::max(largest, y.abs());
        }
        // A single coordinate has no direction to lose.
        let across = values.len().saturating_sub(1) as f64;
        let lost = if across > 0.0 { LOST[part] * of_query / across } else { 0.0 };
        let step = largest / f64::from(MAX_CODE);
        variance += factors[part].powi(2) * of_row * (lost + step * step / 12.0);
        rounding += FACTOR_ROUNDING * (factors[part] * along).abs();
    }
    let bound = (f64::from(deviations) * variance.sqrt() + rounding) as f32;
    if bound.is_finite() { bound } else { f32::MAX }
}

/// The number of a coordinate in a row that has it.
fn field(row: &[u8], dim: usize) -> u8 {
    let (line, at, byte) = place(dim);
    let bits = if line == 0 { 4 } else { 2 };
    (row[line * LINE + byte] >> (bits * at)) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::NavQuery;
    use crate::vectors::code::CodeRow;
    use crate::vectors::linear::Random;
    use crate::vectors::nav::{NavEncoder, encode_row, fill_query, lines_for};
    use crate::vectors::{Encoding, Metric, Originals, Projection, Rows, Training};

    /// Vectors that are queries, and vectors that are rows.
    const QUERIES: usize = 30;
    const ROWS: usize = 500;

    /// How far the estimate of a row is from the score along the coordinates of query and row.
    fn error(y: &[f32], x: &[f32], row: &[u8], metric: Metric) -> f32 {
        let mut query = NavQuery::default();
        fill_query(y, row.len() / LINE, &mut query);
        let t = f32::from_le_bytes(row[LINE - 4..LINE].try_into().unwrap());
        let product: f64 = y.iter().zip(x).map(|(y, x)| f64::from(*y) * f64::from(*x)).sum();
        let times = if metric == Metric::L2 { 2.0 } else { 1.0 };
        (f64::from(query.score(row)) - f64::from(t) - times * product).abs() as f32
    }

    /// Codes of vectors around so many centers, which differ less from axis to axis.
    fn codes(encoding: &Encoding, centers: usize) -> Rows {
        let dim = encoding.dim();
        let mut random = Random::new((dim + centers) as u64);
        let centers: Vec<Vec<f32>> = (0..centers).map(|_| random.normals(dim)).collect();
        let mut bytes = Vec::new();
        for center in centers.iter().cycle().take(QUERIES + ROWS) {
            let mut values = random.normals(dim);
            for (axis, (value, center)) in values.iter_mut().zip(center).enumerate() {
                *value = (0.5 * *value + *center) / ((axis + 1) as f32).sqrt() + 0.3;
            }
            bytes.extend(encoding.encode(&values).unwrap().code);
        }
        Rows::contiguous(Bytes::from(bytes), encoding.code_stride()).unwrap()
    }

    /// Shares of the pairs of a query and a row that are off by more than the bound of 2 and of 3
    /// deviations, and how many times as large as the error a deviation is, by root mean squares.
    fn observed(projection: &Projection, rows: &[CodeRow<'_>], metric: Metric) -> [f64; 3] {
        let lines = lines_for(projection.mean().len());
        let mut encoder = NavEncoder::new(projection, metric, lines);
        let mut nav = vec![0; rows.len() * lines * LINE];
        encoder.encode(rows, &mut nav);
        // Encoding leaves those of all rows behind.
        let coordinates: Vec<&[f32]> = encoder.coordinates.chunks(projection.len()).collect();
        let (mut beyond, mut errors, mut bounds) = ([0.0_f64; 2], 0.0_f64, 0.0_f64);
        for y in &coordinates[..QUERIES] {
            for (x, row) in coordinates.iter().zip(nav.chunks(lines * LINE)).skip(QUERIES) {
                let error = error(y, x, row, metric);
                let [two, three] = [2.0, 3.0].map(|deviations| error_bound(y, row, deviations));
                beyond[0] += f64::from(u8::from(error > two));
                beyond[1] += f64::from(u8::from(error > three));
                errors += f64::from(error).powi(2);
                bounds += f64::from(two / 2.0).powi(2);
            }
        }
        let pairs = (QUERIES * ROWS) as f64;
        [beyond[0] / pairs, beyond[1] / pairs, (bounds / errors).sqrt()]
    }

    #[test]
    fn few_estimates_are_off_by_more_than_their_bounds_which_are_not_loose() {
        let all = [40, 112, 384, 1_024].into_iter().flat_map(|dim| [(dim, 1), (dim, 8)]);
        for (dim, centers) in all {
            let encoding = Encoding::new(dim, Metric::Dot, Originals::None).unwrap();
            let codes = codes(&encoding, centers);
            let rows: Vec<CodeRow<'_>> = (0..codes.len())
                .map(|at| CodeRow::read(codes.row(at).unwrap(), dim).unwrap())
                .collect();
            let how = Training { lines: lines_for(dim), memory: 64 << 20, seed: 1 };
            let projection = Projection::train(&codes, &encoding, how);
            // A cosine is the dot product of shorter vectors.
            for metric in [Metric::Dot, Metric::L2] {
                let [two, three, times] = observed(&projection, &rows, metric);
                let seen = format!("{metric} {dim}, {centers}: {two} {three} {times}");
                assert!(two < 0.06 && three < 0.01 && times < 2.0, "{seen}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_estimate_is_off_by_six_deviations_whatever_the_lengths(
            (count, seed) in (1_usize..=624, any::<u64>()),
            (near, of_row, of_query) in (0.0_f32..1.0, -30..=30_i32, -30..=30_i32),
        ) {
            let scaled = |values: &[f32], power: i32| -> Vec<f32> {
                values.iter().map(|value| value * 2.0_f32.powi(power)).collect()
            };
            let mut random = Random::new(seed);
            let (row, other) = (random.normals(count), random.normals(count));
            // From a query that has nothing to do with the row to the row itself.
            let query: Vec<f32> =
                row.iter().zip(&other).map(|(x, y)| near * x + (1.0 - near) * y).collect();
            let (x, y) = (scaled(&row, of_row), scaled(&query, of_query));
            let lines = (1..).find(|&lines| dims(lines) >= count).unwrap();
            let [product, distance] = [Metric::Dot, Metric::L2].map(|metric| {
                let mut code = vec![0; lines * LINE];
                encode_row(&x, metric, 0.0, &mut code);
                code
            });
            let (error, bound) =
                (error(&y, &x, &product, Metric::Dot), error_bound(&y, &product, 6.0));
            prop_assert!(error <= bound, "{} of {}", error, bound);
            prop_assert!(error_bound(&y, &product, 3.0) <= bound);
            // In proportion to the query, and double where a product counts twice.
            prop_assert_eq!(error_bound(&scaled(&y, 1), &product, 6.0), 2.0 * bound);
            prop_assert_eq!(error_bound(&y, &distance, 6.0), 2.0 * bound);
        }
    }

    #[test]
    fn the_bound_is_by_the_formula_from_the_bytes_of_the_format() {
        let mut row = [0_u8; 2 * LINE];
        // Of 16 numbers 8 and 6 of the coordinates 0 and 1; of 4, 3 and 1 of 112 and 113. Each
        // of the other 110 in the first line is 7.5 below the middle.
        (row[0], row[1], row[64], row[65]) = (8, 6, 3, 1);
        // 1 and 0.5 as the upper halves of f32.
        row[56..60].copy_from_slice(&[0x80, 0x3F, 0x00, 0x3F]);
        let mut y = [0.0; 114];
        (y[0], y[1], y[112], y[113]) = (3.0, 4.0, -1.0, 2.0);
        let fields = 0.25 + 2.25 + 110.0 * 56.25;
        let fine: f64 = fields * (0.01154 * 25.0 / 111.0 + (4.0_f64 / 127.0).powi(2) / 12.0);
        let coarse = 0.25 * 2.5 * (0.1188 * 5.0 + (2.0_f64 / 127.0).powi(2) / 12.0);
        // 0.5 * 3 - 1.5 * 4, and 0.5 * (1.5 * -1 - 0.5 * 2).
        for (row, variance, products) in
            [(&row[..LINE], fine, 4.5), (&row[..], fine + coarse, 4.5 + 1.25)]
        {
            let expected = 2.0 * variance.sqrt() + products / 256.0;
            let found = f64::from(error_bound(&y, row, 2.0));
            assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn zeros_have_no_error_and_rows_that_tell_nothing_the_largest() {
        let y = [1.0; 200];
        assert_eq!(error_bound(&y, &[0; 2 * LINE], 2.0), 0.0);
        assert_eq!(error_bound(&[0.0; 200], &[0x11; 2 * LINE], 2.0), 0.0);
        assert_eq!(error_bound(&y, &[0; LINE - 1], 2.0), f32::MAX);
        assert_eq!(error_bound(&y, &[0xFF; 2 * LINE], 2.0), f32::MAX);
        // A row of one line has a second factor without meaning.
        let mut line = [0_u8; LINE];
        line[58..60].fill(0xFF);
        assert_eq!(error_bound(&y, &line, 2.0), 0.0);
    }
}
