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
    let ab = _mm256_hadd_epi32(sums[0], sums[1]);
    let cd = _mm256_hadd_epi32(sums[2], sums[3]);
    let all = _mm256_hadd_epi32(ab, cd);
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
    // SAFETY: a level of AVX2 is made only after its features were detected.
    unsafe { dot4_i8_inner(query, rows) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot4_i8_inner(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let (whole, tail) = query.as_chunks::<32>();
    let rows = rows.map(|row| &row[..query.len()]);
    let chunks = rows.map(|row| row.as_chunks::<32>().0);
    let mut sums = [_mm256_setzero_si256(); 4];
    for (at, q) in whole.iter().enumerate() {
        let q = load(q);
        let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q));
        let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(q));
        for (sum, row) in sums.iter_mut().zip(chunks) {
            let x = load(&row[at]);
            let x_low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(x));
            let x_high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(x));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x_low, low));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x_high, high));
        }
    }
    let mut out = lanes(sum4(sums));
    for (out, row) in out.iter_mut().zip(rows) {
        *out += scalar::dot_i8(tail, &row[whole.len() * 32..]);
    }
    out
}

/// See [`NavQuery::score_all`] and [`NavQuery::reach_all`]; every row has the bytes that are read.
pub fn nav_all<const REACH: bool>(
    _proof: Level,
    query: &NavQuery,
    rows: &[&[u8]],
    out: &mut [f32],
) {
    // SAFETY: as in `dot4_i8`.
    unsafe { nav_all_inner::<REACH>(query, rows, out) }
}

/// Adds the products of the fields of one line with their planes.
#[inline]
#[target_feature(enable = "avx2")]
fn add_line<const BITS: i32>(sum: __m256i, line: &[i8; LINE], planes: &[Plane]) -> __m256i {
    let mask = _mm256_set1_epi8((1 << BITS) - 1);
    let ones = _mm256_set1_epi16(1);
    let mut sum = sum;
    for (half, bytes) in line.as_chunks::<32>().0.iter().enumerate() {
        let mut fields = load(bytes);
        for plane in planes {
            let plane = load(&plane.0.as_chunks::<32>().0[half]);
            let products = _mm256_maddubs_epi16(_mm256_and_si256(fields, mask), plane);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
            fields = _mm256_srli_epi16::<BITS>(fields);
        }
    }
    sum
}

#[target_feature(enable = "avx2")]
fn nav_all_inner<const REACH: bool>(query: &NavQuery, rows: &[&[u8]], out: &mut [f32]) {
    in_fours!(nav_four::<REACH>, query, rows, out);
}

#[inline]
#[target_feature(enable = "avx2")]
fn nav_four<const REACH: bool>(query: &NavQuery, rows: &[&[u8]; 4]) -> [f32; 4] {
    let bytes = query.bytes_read::<REACH>();
    let (planes, further) = query.planes().split_at(2);
    let mut fine = [_mm256_setzero_si256(); 4];
    let mut coarse = [_mm256_setzero_si256(); 4];
    let mut starts = [&[0; LINE]; 4];
    for (at, row) in rows.iter().enumerate() {
        let lines = bytemuck::cast_slice(&row[..bytes]).as_chunks::<LINE>().0;
        let Some((first, others)) = lines.split_first() else { continue };
        fine[at] = add_line::<4>(fine[at], first, planes);
        for (line, planes) in others.iter().zip(further.chunks_exact(4)) {
            coarse[at] = add_line::<2>(coarse[at], line, planes);
        }
        starts[at] = first;
    }
    let second = match query.lines() {
        1 => Second::None,
        _ if REACH => Second::Reach,
        _ => Second::Sums(sum4(coarse)),
    };
    combine(query, starts, sum4(fine), second)
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
    let (rows, row_tail) = row[..len].as_chunks::<WIDTH>();
    let (queries, query_tail) = query[..len].as_chunks::<WIDTH>();
    // The tail is padded with zeros: they add nothing.
    let (mut last_row, mut last_query) = ([0; WIDTH], [0.0; WIDTH]);
    last_row[..row_tail.len()].copy_from_slice(row_tail);
    last_query[..query_tail.len()].copy_from_slice(query_tail);
    let mut sums = [_mm256_setzero_ps(); 4];
    let tail = [(&last_row, &last_query)];
    for (at, (x, q)) in rows.iter().zip(queries).chain(tail).enumerate() {
        // SAFETY: each array has the 16 and 32 bytes that the unaligned loads read.
        let (x, q) = unsafe { (_mm_loadu_si128(x.as_ptr().cast()), _mm256_loadu_ps(q.as_ptr())) };
        sums[at % 4] = step::<DIFFERENCE>(_mm256_cvtph_ps(x), q, sums[at % 4]);
    }
    let [a, b, c, d] = sums;
    let all = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
    let mut lanes = [0.0; WIDTH];
    // SAFETY: `lanes` has the 32 bytes that an unaligned store writes.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), all) };
    lanes.iter().sum()
}

/// Adds the products, or the squares of the differences.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn step<const DIFFERENCE: bool>(x: __m256, q: __m256, sum: __m256) -> __m256 {
    if DIFFERENCE {
        let difference = _mm256_sub_ps(x, q);
        _mm256_fmadd_ps(difference, difference, sum)
    } else {
        _mm256_fmadd_ps(x, q, sum)
    }
}
