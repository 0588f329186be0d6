//! AVX-512 with VNNI: `vpdpbusd` multiplies 64 unsigned by 64 signed bytes and adds groups of
//! four into i32 lanes. A signed operand is made unsigned by adding 128, and the sum it adds is
//! taken off again: `sum (a + 128) b - 128 sum b`.

use std::arch::x86_64::*;

use super::super::level::Level;
use super::super::nav::{LINE, NavQuery};
use super::avx2::combine;

/// 64 bytes of a row; past its end zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(row: &[i8], at: usize) -> __m512i {
    match row.get(at..at + LINE) {
        // SAFETY: the slice holds the 64 bytes that an unaligned load reads.
        Some(line) => unsafe { _mm512_loadu_si512(line.as_ptr().cast()) },
        None => {
            let rest = row.get(at..).unwrap_or_default();
            let mask = (1_u64 << rest.len().min(63)) - 1;
            // SAFETY: a masked load reads only the bytes whose mask bit is set: `rest`.
            unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr()) }
        }
    }
}

/// The sums of four vectors of i32 lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum4(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m128i {
    let q = fold4(a, b, c, d);
    let half = _mm256_add_epi32(_mm512_castsi512_si256(q), _mm512_extracti64x4_epi64::<1>(q));
    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// Four partial sums of four vectors: in every 128-bit lane one of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn fold4(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(sums: __m128i) -> [i32; 4] {
    let mut out = [0; 4];
    // SAFETY: `out` has the 16 bytes that an unaligned store writes.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}

/// See [`dot4_i8`](super::super::int8::dot4_i8); every row is at least as long as the query.
#[inline]
pub fn dot4_i8(_proof: Level, query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    // SAFETY: a level of AVX-512 is made only after its features were detected.
    unsafe { dot4_i8_inner(query, rows) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot4_i8_inner(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut sums = [_mm512_setzero_si512(); 4];
    let mut of_query = _mm512_setzero_si512();
    for at in (0..query.len()).step_by(LINE) {
        // Zero past the end of the query, whatever the rows hold there.
        let q = load(query, at);
        of_query = _mm512_dpbusd_epi32(of_query, _mm512_set1_epi8(1), q);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load(row, at), flip), q);
        }
    }
    let excess = _mm512_reduce_add_epi32(of_query).wrapping_mul(128);
    lanes(sum4(sums[0], sums[1], sums[2], sums[3])).map(|sum| sum.wrapping_sub(excess))
}

/// All pairs of four rows with four others, all of one length, a multiple of 64.
pub fn dot4x4_i8(_proof: Level, a: [&[i8]; 4], b: [&[i8]; 4]) -> [i32; 16] {
    // SAFETY: as in `dot4_i8`.
    unsafe { dot4x4_i8_inner(a, b) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot4x4_i8_inner(a: [&[i8]; 4], b: [&[i8]; 4]) -> [i32; 16] {
    let len = a.iter().chain(&b).map(|row| row.len()).min().unwrap_or(0) / LINE * LINE;
    let (a, b) = (a.map(|row| &row[..len]), b.map(|row| &row[..len]));
    let flip = _mm512_set1_epi8(i8::MIN);
    let one = _mm512_set1_epi8(1);
    let mut sums = [_mm512_setzero_si512(); 16];
    let mut of_b = [_mm512_setzero_si512(); 4];
    for at in (0..len).step_by(LINE) {
        let columns = b.map(|row| load(row, at));
        for (sum, column) in of_b.iter_mut().zip(columns) {
            *sum = _mm512_dpbusd_epi32(*sum, one, column);
        }
        for (sums, row) in sums.chunks_exact_mut(4).zip(a) {
            let row = _mm512_xor_si512(load(row, at), flip);
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = _mm512_dpbusd_epi32(*sum, row, column);
            }
        }
    }
    let excess = lanes(sum4(of_b[0], of_b[1], of_b[2], of_b[3]));
    let mut out = [0; 16];
    for (out, sums) in out.chunks_exact_mut(4).zip(sums.chunks_exact(4)) {
        let dots = lanes(sum4(sums[0], sums[1], sums[2], sums[3]));
        for ((out, dot), excess) in out.iter_mut().zip(dots).zip(excess) {
            *out = dot.wrapping_sub(excess.wrapping_mul(128));
        }
    }
    out
}

/// See [`NavQuery::score4`]; every row has the bytes of the query's rows.
#[inline]
pub fn nav4(_proof: Level, query: &NavQuery, rows: [&[u8]; 4]) -> [f32; 4] {
    // SAFETY: as in `dot4_i8`.
    unsafe { nav4_inner(query, rows) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn nav4_inner(query: &NavQuery, rows: [&[u8]; 4]) -> [f32; 4] {
    let bytes = query.row_bytes();
    let rows: [&[i8]; 4] = rows.map(|row| bytemuck::cast_slice(&row[..bytes]));
    let Some((planes, further)) = query.planes().split_first_chunk::<2>() else {
        return [f32::MIN; 4];
    };
    let nibble = _mm512_set1_epi8(15);
    let [low, high] = [load(&planes[0], 0), load(&planes[1], 0)];
    let fine = rows.map(|row| {
        let line = load(row, 0);
        let sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_and_si512(line, nibble), low);
        let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(line), nibble);
        _mm512_dpbusd_epi32(sum, upper, high)
    });
    let fine = sum4(fine[0], fine[1], fine[2], fine[3]);
    let pair = _mm512_set1_epi8(3);
    let mut coarse = [_mm512_setzero_si512(); 4];
    for (at, planes) in further.chunks_exact(4).enumerate() {
        let planes = [0, 1, 2, 3].map(|field| load(&planes[field], 0));
        for (sum, row) in coarse.iter_mut().zip(rows) {
            let line = load(row, (at + 1) * LINE);
            let fields = [
                line,
                _mm512_srli_epi16::<2>(line),
                _mm512_srli_epi16::<4>(line),
                _mm512_srli_epi16::<6>(line),
            ];
            for (field, plane) in fields.into_iter().zip(planes) {
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(field, pair), plane);
            }
        }
    }
    let coarse = sum4(coarse[0], coarse[1], coarse[2], coarse[3]);
    combine(query, rows, fine, coarse)
}

/// Dot product of f16 values (as bits) with f32 values of the same number.
#[inline]
pub fn dot_f16(_proof: Level, row: &[u16], query: &[f32]) -> f32 {
    // SAFETY: as in `dot4_i8`.
    unsafe { reduce_f16(row, query, |x, q, sum| _mm512_fmadd_ps(x, q, sum)) }
}

/// Squared Euclidean distance of f16 values (as bits) to f32 values of the same number.
#[inline]
pub fn l2sq_f16(_proof: Level, row: &[u16], query: &[f32]) -> f32 {
    // SAFETY: as in `dot4_i8`.
    unsafe {
        reduce_f16(row, query, |x, q, sum| {
            let difference = _mm512_sub_ps(x, q);
            _mm512_fmadd_ps(difference, difference, sum)
        })
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn reduce_f16(row: &[u16], query: &[f32], step: impl Fn(__m512, __m512, __m512) -> __m512) -> f32 {
    const WIDTH: usize = 16;
    let len = row.len().min(query.len());
    let (row, query) = (&row[..len], &query[..len]);
    let mut sums = [_mm512_setzero_ps(); 4];
    let (rows, row_tail) = row.as_chunks::<WIDTH>();
    let (queries, query_tail) = query.as_chunks::<WIDTH>();
    for (at, (x, q)) in rows.iter().zip(queries).enumerate() {
        // SAFETY: each array has the 32 and 64 bytes that the unaligned loads read.
        let (x, q) =
            unsafe { (_mm256_loadu_si256(x.as_ptr().cast()), _mm512_loadu_ps(q.as_ptr())) };
        sums[at % 4] = step(_mm512_cvtph_ps(x), q, sums[at % 4]);
    }
    let mask = (1_u16 << row_tail.len()) - 1;
    // SAFETY: masked loads read only the values whose mask bit is set: the tails.
    let (x, q) = unsafe {
        (
            _mm256_maskz_loadu_epi16(mask, row_tail.as_ptr().cast()),
            _mm512_maskz_loadu_ps(mask, query_tail.as_ptr()),
        )
    };
    sums[0] = step(_mm512_cvtph_ps(x), q, sums[0]);
    let [a, b, c, d] = sums;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
}
