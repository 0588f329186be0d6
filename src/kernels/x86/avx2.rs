//! AVX2: `vpmaddubsw` multiplies 32 unsigned by 32 signed bytes into i16 pairs, which 4-bit and
//! 2-bit fields cannot overflow; full int8 products are widened to i16 first.

use std::arch::x86_64::*;

use super::super::level::Level;
use super::super::nav::{FACTORS, LINE, NavQuery, Plane};
use super::super::scalar;

/// 32 bytes from the start of a slice that has them.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[i8; 32]) -> __m256i {
    // SAFETY: the array has the 32 bytes that an unaligned load reads.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum4(sums: [__m256i; 4]) -> __m128i {
    let [a, b, c, d] = sums;
    let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all))
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(sums: __m128i) -> [i32; 4] {
    let mut out = [0; 4];
    // SAFETY: `out` has the 16 bytes that an unaligned store writes.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}

/// See [`max_abs`](super::super::round::max_abs).
#[inline]
pub fn max_abs(_proof: Level, values: &[f32]) -> f32 {
    #[target_feature(enable = "avx2")]
    fn inner(values: &[f32]) -> f32 {
        scalar::max_abs(values)
    }
    // SAFETY: `round.rs` alone calls this, with a level of AVX2 or AVX-512; both are made only
    // after the features of AVX2 were detected.
    unsafe { inner(values) }
}

/// See [`round_i8`](super::super::round::round_i8).
#[inline]
pub fn round_i8(_proof: Level, values: &[f32], factor: f32, out: &mut [i8]) {
    #[target_feature(enable = "avx2")]
    fn inner(values: &[f32], factor: f32, out: &mut [i8]) {
        scalar::round_i8(values, factor, out);
    }
    // SAFETY: as in `max_abs`.
    unsafe { inner(values, factor, out) }
}

/// See [`sum_of_squares`](super::super::round::sum_of_squares).
#[inline]
pub fn sum_of_squares(_proof: Level, values: &[f32]) -> f64 {
    #[target_feature(enable = "avx2")]
    fn inner(values: &[f32]) -> f64 {
        scalar::sum_of_squares(values)
    }
    // SAFETY: as in `max_abs`.
    unsafe { inner(values) }
}

/// See [`dot4_i8`](super::super::int8::dot4_i8); every row is at least as long as the query.
#[inline]
pub fn dot4_i8(_proof: Level, query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    // SAFETY: dispatchers alone call this, in the arm of a level of AVX2, which is made only
    // after its features were detected.
    unsafe { dot4_i8_inner(query, rows) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot4_i8_inner(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let (whole, tail) = query.as_chunks::<16>();
    let rows = rows.map(|row| &row[..query.len()]);
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<16>().0);
    let mut sums = [_mm256_setzero_si256(); 4];
    for ((((q, a), b), c), d) in whole.iter().zip(a).zip(b).zip(c).zip(d) {
        let q = widened(q);
        for (sum, row) in sums.iter_mut().zip([a, b, c, d]) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(widened(row), q));
        }
    }
    let mut out = lanes(sum4(sums));
    for (out, row) in out.iter_mut().zip(rows) {
        *out += scalar::dot_i8(tail, &row[whole.len() * 16..]);
    }
    out
}

/// Sixteen values as i16.
#[inline]
#[target_feature(enable = "avx2")]
fn widened(values: &[i8; 16]) -> __m256i {
    // SAFETY: the array has the 16 bytes that an unaligned load reads.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

/// All pairs of four rows with four others, all of one length, a multiple of 16.
pub fn dot4x4_i8(_proof: Level, a: [&[i8]; 4], b: [&[i8]; 4]) -> [i32; 16] {
    let [a0, a1, a2, a3] = a;
    let mut out = [0; 16];
    let (upper, lower) = out.split_at_mut(8);
    // SAFETY: as in `dot4_i8`.
    unsafe {
        dot2x4_i8(a0, a1, b, upper);
        dot2x4_i8(a2, a3, b, lower);
    }
    out
}

/// Two rows with four: as many sums as there are registers for, so that each widened value is
/// used for two or four products.
#[inline]
#[target_feature(enable = "avx2")]
fn dot2x4_i8(a0: &[i8], a1: &[i8], b: [&[i8]; 4], out: &mut [i32]) {
    let len = b.iter().map(|row| row.len()).min().unwrap_or(0).min(a0.len()).min(a1.len());
    let (a0, a1) = (a0[..len].as_chunks::<16>().0, a1[..len].as_chunks::<16>().0);
    let [b0, b1, b2, b3] = b.map(|row| row[..len].as_chunks::<16>().0);
    let mut sums = [[_mm256_setzero_si256(); 4]; 2];
    for (((((a0, a1), b0), b1), b2), b3) in a0.iter().zip(a1).zip(b0).zip(b1).zip(b2).zip(b3) {
        let (a0, a1) = (widened(a0), widened(a1));
        for (at, column) in [b0, b1, b2, b3].into_iter().enumerate() {
            let column = widened(column);
            sums[0][at] = _mm256_add_epi32(sums[0][at], _mm256_madd_epi16(a0, column));
            sums[1][at] = _mm256_add_epi32(sums[1][at], _mm256_madd_epi16(a1, column));
        }
    }
    for (out, sums) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
        *out = lanes(sum4(sums));
    }
}

rows_by_nav! { "avx2" }

/// The products of half a line, whose fields have `BITS` bits, with those halves of its planes:
/// sums of pairs in i16 lanes. A lane of a whole line has at most four products of 2 * 15 * 128 or
/// eight of 2 * 3 * 128, and cannot overflow.
#[inline]
#[target_feature(enable = "avx2")]
fn half_line<const BITS: i32, const FIELDS: usize>(
    bytes: &[i8; 32],
    half: usize,
    planes: &[Plane; FIELDS],
) -> __m256i {
    let mask = _mm256_set1_epi8((1 << BITS) - 1);
    let mut fields = load(bytes);
    let mut sum = _mm256_setzero_si256();
    for (at, plane) in planes.iter().enumerate() {
        if at > 0 {
            fields = _mm256_srli_epi16::<BITS>(fields);
        }
        let plane = load(&plane.0.as_chunks::<32>().0[half]);
        let products = _mm256_maddubs_epi16(_mm256_and_si256(fields, mask), plane);
        sum = _mm256_add_epi16(sum, products);
    }
    sum
}

/// The sums of a line: pairs in i16 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn whole_line<const BITS: i32, const FIELDS: usize>(
    line: &[i8; LINE],
    planes: &[Plane; FIELDS],
) -> __m256i {
    let halves = line.as_chunks::<32>().0;
    let lower = half_line::<BITS, FIELDS>(&halves[0], 0, planes);
    _mm256_add_epi16(lower, half_line::<BITS, FIELDS>(&halves[1], 1, planes))
}

/// The sums of four first lines.
#[inline]
#[target_feature(enable = "avx2")]
fn fine(planes: &[Plane; 2], lines: [&[i8; LINE]; 4]) -> __m128i {
    let ones = _mm256_set1_epi16(1);
    // A loop, not a closure: a closure is called through code without these instructions.
    let mut sums = [_mm256_setzero_si256(); 4];
    for (sum, line) in sums.iter_mut().zip(lines) {
        *sum = _mm256_madd_epi16(whole_line::<4, 2>(line, planes), ones);
    }
    sum4(sums)
}

#[inline]
#[target_feature(enable = "avx2")]
fn nav_four<const N: usize>(query: &NavQuery, lines: [&[[i8; LINE]; N]; 4]) -> [f32; 4] {
    let Some((planes, further)) = query.planes().split_first_chunk::<2>() else { return [0.0; 4] };
    let further = further.as_chunks::<4>().0;
    let first = lines.map(|row| &row[0]);
    let fine = fine(planes, first);
    if query.lines() == 1 {
        return combine(query, first, fine, Second::None);
    }
    if N == 1 {
        return combine(query, first, fine, Second::Reach);
    }
    let ones = _mm256_set1_epi16(1);
    let mut coarse = [_mm256_setzero_si256(); 4];
    for (at, planes) in further.iter().enumerate().take(N - 1) {
        // Loops, as in `fine`.
        for (sum, row) in coarse.iter_mut().zip(lines) {
            let line = _mm256_madd_epi16(whole_line::<2, 4>(&row[at + 1], planes), ones);
            *sum = _mm256_add_epi32(*sum, line);
        }
    }
    combine(query, first, fine, Second::Sums(sum4(coarse)))
}

/// What is added to the part of the first line.
#[derive(Clone, Copy)]
pub(super) enum Second {
    /// Nothing: there is one line.
    None,
    /// The most that the other lines may add.
    Reach,
    /// The part of the other lines, from its sums.
    Sums(__m128i),
}

/// The sums and the factors of four rows, at the end of their first lines, to their scores, in
/// the order of the scalar twin.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn combine(
    query: &NavQuery,
    starts: [&[i8; LINE]; 4],
    fine: __m128i,
    second: Second,
) -> [f32; 4] {
    let mut factors = [_mm_setzero_si128(); 4];
    for (factors, line) in factors.iter_mut().zip(starts) {
        let tail = &line[LINE - FACTORS..];
        // SAFETY: the slice holds the 8 bytes that the load reads.
        *factors = unsafe { _mm_loadl_epi64(tail.as_ptr().cast()) };
    }
    let ab = _mm_unpacklo_epi32(factors[0], factors[1]);
    let cd = _mm_unpacklo_epi32(factors[2], factors[3]);
    let halves = _mm_unpacklo_epi64(ab, cd);
    let t = _mm_castsi128_ps(_mm_unpackhi_epi64(ab, cd));
    let s1 = _mm_castsi128_ps(_mm_slli_epi32::<16>(halves));
    let s2 = _mm_castsi128_ps(_mm_and_si128(halves, _mm_set1_epi32(0xFFFF_0000_u32 as i32)));
    let mut scores = _mm_add_ps(_mm_mul_ps(part(query, fine, 0), s1), t);
    scores = match second {
        Second::None => scores,
        Second::Reach => _mm_add_ps(_mm_mul_ps(_mm_set1_ps(query.reach), s2), scores),
        Second::Sums(coarse) => _mm_add_ps(_mm_mul_ps(part(query, coarse, 1), s2), scores),
    };
    let mut out = [0.0; 4];
    // SAFETY: `out` has the 16 bytes that an unaligned store writes.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), scores) };
    out
}

/// One part of four scores, before the row's own factor.
#[inline]
#[target_feature(enable = "avx2")]
fn part(query: &NavQuery, sums: __m128i, at: usize) -> __m128 {
    let scaled = _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_set1_ps(query.scale[at]));
    _mm_sub_ps(scaled, _mm_set1_ps(query.bias[at]))
}

/// Dot product of f16 values (as bits) with f32 values of the same number.
#[inline]
pub fn dot_f16(_proof: Level, row: &[u16], query: &[f32]) -> f32 {
    // SAFETY: as in `dot4_i8`; the level includes FMA and F16C.
    unsafe { reduce_f16::<false>(row, query) }
}

/// Squared Euclidean distance of f16 values (as bits) to f32 values of the same number.
#[inline]
pub fn l2sq_f16(_proof: Level, row: &[u16], query: &[f32]) -> f32 {
    // SAFETY: as in `dot_f16`.
    unsafe { reduce_f16::<true>(row, query) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn reduce_f16<const DIFFERENCE: bool>(row: &[u16], query: &[f32]) -> f32 {
    const WIDTH: usize = 8;
    let len = row.len().min(query.len());
    // Four sums by name: as an array that is indexed they would be kept in memory.
    let (rows, row_rest) = row[..len].as_chunks::<{ 4 * WIDTH }>();
    let (queries, query_rest) = query[..len].as_chunks::<{ 4 * WIDTH }>();
    let zero = _mm256_setzero_ps();
    let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
    for (row, query) in rows.iter().zip(queries) {
        let (row, query) = (row.as_chunks::<WIDTH>().0, query.as_chunks::<WIDTH>().0);
        a = step::<DIFFERENCE>(&row[0], &query[0], a);
        b = step::<DIFFERENCE>(&row[1], &query[1], b);
        c = step::<DIFFERENCE>(&row[2], &query[2], c);
        d = step::<DIFFERENCE>(&row[3], &query[3], d);
    }
    let (rows, row_tail) = row_rest.as_chunks::<WIDTH>();
    let (queries, query_tail) = query_rest.as_chunks::<WIDTH>();
    for (row, query) in rows.iter().zip(queries) {
        a = step::<DIFFERENCE>(row, query, a);
    }
    if !row_tail.is_empty() {
        // The tail is padded with zeros: they add nothing.
        let (mut last_row, mut last_query) = ([0; WIDTH], [0.0; WIDTH]);
        last_row[..row_tail.len()].copy_from_slice(row_tail);
        last_query[..query_tail.len()].copy_from_slice(query_tail);
        b = step::<DIFFERENCE>(&last_row, &last_query, b);
    }
    let all = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
    let mut lanes = [0.0; WIDTH];
    // SAFETY: `lanes` has the 32 bytes that an unaligned store writes.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), all) };
    lanes.iter().sum()
}

/// Adds the products, or the squares of the differences.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn step<const DIFFERENCE: bool>(x: &[u16; 8], q: &[f32; 8], sum: __m256) -> __m256 {
    // SAFETY: each array has the 16 and 32 bytes that the unaligned loads read.
    let (x, q) = unsafe { (_mm_loadu_si128(x.as_ptr().cast()), _mm256_loadu_ps(q.as_ptr())) };
    let x = _mm256_cvtph_ps(x);
    if DIFFERENCE {
        let difference = _mm256_sub_ps(x, q);
        _mm256_fmadd_ps(difference, difference, sum)
    } else {
        _mm256_fmadd_ps(x, q, sum)
    }
}
