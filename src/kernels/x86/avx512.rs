//! AVX-512 with VNNI: `vpdpbusd` multiplies 64 unsigned by 64 signed bytes and adds groups of
//! four into i32 lanes. A signed operand is made unsigned by adding 128, and the sum it adds is
//! taken off again: `sum (a + 128) b - 128 sum b`.

use std::arch::x86_64::*;

use super::super::level::Level;
use super::super::nav::{LINE, NavQuery, Plane};
use super::super::tiled::{COLUMNS, Dots, Pair, ROWS};
use super::avx2::{Second, combine};

/// Pairs of tiles asked for ahead of the one in use: the walk of the query before has pushed them
/// out of the nearer caches.
const AHEAD: usize = 16;

/// A line of 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &[i8; LINE]) -> __m512i {
    // SAFETY: the array has the 64 bytes that an unaligned load reads.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

/// A line that is not full; zeros past its end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_tail(tail: &[i8]) -> __m512i {
    let mask = (1_u64 << tail.len().min(LINE - 1)) - 1;
    // SAFETY: a masked load reads only the bytes whose mask bit is set: those of `tail`.
    unsafe { _mm512_maskz_loadu_epi8(mask, tail.as_ptr()) }
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
    // SAFETY: dispatchers alone call this, in the arm of a level of AVX-512, which is made only
    // after its features were detected.
    unsafe { dot4_i8_inner(query, rows) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot4_i8_inner(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let flip = _mm512_set1_epi8(i8::MIN);
    let one = _mm512_set1_epi8(1);
    let mut sums = [_mm512_setzero_si512(); 4];
    let mut of_query = _mm512_setzero_si512();
    let (lines, tail) = query.as_chunks::<LINE>();
    let [a, b, c, d] = rows.map(|row| row[..query.len()].as_chunks::<LINE>());
    for ((((q, a), b), c), d) in lines.iter().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
        let q = load(q);
        of_query = _mm512_dpbusd_epi32(of_query, one, q);
        for (sum, row) in sums.iter_mut().zip([a, b, c, d]) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load(row), flip), q);
        }
    }
    if !tail.is_empty() {
        // Zero past the end of the query, whatever the flip makes of the rows there.
        let q = load_tail(tail);
        of_query = _mm512_dpbusd_epi32(of_query, one, q);
        for (sum, row) in sums.iter_mut().zip([a.1, b.1, c.1, d.1]) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load_tail(row), flip), q);
        }
    }
    let excess = _mm512_reduce_add_epi32(of_query).wrapping_mul(128);
    lanes(sum4(sums[0], sums[1], sums[2], sums[3])).map(|sum| sum.wrapping_sub(excess))
}

/// All pairs of four rows with four others, all of one length, a multiple of 64; with the sums of
/// the others.
pub fn dot4x4_i8(_proof: Level, a: [&[i8]; 4], b: [&[i8]; 4], of_b: [i32; 4]) -> [i32; 16] {
    // SAFETY: as in `dot4_i8`.
    unsafe { dot4x4_i8_inner(a, b, of_b) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot4x4_i8_inner(a: [&[i8]; 4], b: [&[i8]; 4], of_b: [i32; 4]) -> [i32; 16] {
    let len = a.iter().chain(&b).map(|row| row.len()).min().unwrap_or(0);
    let [a0, a1, a2, a3] = a.map(|row| row[..len].as_chunks::<LINE>().0);
    let [b0, b1, b2, b3] = b.map(|row| row[..len].as_chunks::<LINE>().0);
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut sums = [_mm512_setzero_si512(); 16];
    let rows = a0.iter().zip(a1).zip(a2).zip(a3);
    let columns = b0.iter().zip(b1).zip(b2).zip(b3);
    for ((((a0, a1), a2), a3), (((b0, b1), b2), b3)) in rows.zip(columns) {
        let columns = [load(b0), load(b1), load(b2), load(b3)];
        for (sums, row) in sums.as_chunks_mut::<4>().0.iter_mut().zip([a0, a1, a2, a3]) {
            let row = _mm512_xor_si512(load(row), flip);
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = _mm512_dpbusd_epi32(*sum, row, column);
            }
        }
    }
    let mut out = [0; 16];
    for (out, sums) in out.chunks_exact_mut(4).zip(sums.chunks_exact(4)) {
        let dots = lanes(sum4(sums[0], sums[1], sums[2], sums[3]));
        for ((out, dot), of_b) in out.iter_mut().zip(dots).zip(of_b) {
            *out = dot.wrapping_sub(of_b.wrapping_mul(128));
        }
    }
    out
}

/// See [`Tiled`](super::super::Tiled): products of unsigned rows in tiles with vectors.
#[inline]
pub fn tiled<const V: usize, const R: usize>(
    _proof: Level,
    runs: [&[Pair]; R],
    vectors: [&[i8]; V],
    out: &mut [[Dots; R]; V],
) {
    // SAFETY: as in `dot4_i8`.
    unsafe { tiled_inner(runs, vectors, out) }
}

/// Asks for a pair of tiles; never fails, wherever it points.
#[inline]
fn ahead(pair: *const Pair) {
    let lines: *const [u8; LINE] = pair.cast();
    for line in [lines, lines.wrapping_add(1)] {
        // SAFETY: as in `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tiled_inner<const V: usize, const R: usize>(
    runs: [&[Pair]; R],
    vectors: [&[i8]; V],
    out: &mut [[Dots; R]; V],
) {
    let vectors = vectors.map(|vector| vector.as_chunks::<COLUMNS>().0);
    let steps = runs.iter().map(|run| run.len()).chain(vectors.iter().map(|words| words.len()));
    let steps = steps.min().unwrap_or(0);
    let (runs, vectors) = (runs.map(|run| &run[..steps]), vectors.map(|words| &words[..steps]));
    let mut sums = [[[_mm512_setzero_si512(); 2]; R]; V];
    for step in 0..steps {
        let mut tiles = [[_mm512_setzero_si512(); 2]; R];
        for (tiles, run) in tiles.iter_mut().zip(runs) {
            ahead(run.as_ptr().wrapping_add(step + AHEAD));
            let [lower, upper] = &run[step].0;
            *tiles = [load(bytemuck::cast_ref(lower)), load(bytemuck::cast_ref(upper))];
        }
        for (sums, words) in sums.iter_mut().zip(vectors) {
            let word = _mm512_set1_epi32(i32::from_le_bytes(words[step].map(|value| value as u8)));
            for (sums, tiles) in sums.iter_mut().zip(tiles) {
                sums[0] = _mm512_dpbusd_epi32(sums[0], tiles[0], word);
                sums[1] = _mm512_dpbusd_epi32(sums[1], tiles[1], word);
            }
        }
    }
    for (out, sums) in out.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        let (lower, upper) = out.split_at_mut(ROWS);
        for (out, sum) in [lower, upper].into_iter().zip(sums) {
            // SAFETY: half of the array has the 64 bytes that an unaligned store writes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *sum) };
        }
    }
}

rows_by_nav! { "avx512f,avx512bw,avx512vl,avx512vnni" }

/// The sums of four first lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn fine(planes: &[Plane; 2], lines: [&[i8; LINE]; 4]) -> __m128i {
    let (low, high, nibble) = (load(&planes[0].0), load(&planes[1].0), _mm512_set1_epi8(15));
    // A loop, not a closure: a closure is called through code without these instructions.
    let mut sums = [_mm512_setzero_si512(); 4];
    for (sum, line) in sums.iter_mut().zip(lines) {
        let line = load(line);
        let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(line), nibble);
        *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(line, nibble), low);
        *sum = _mm512_dpbusd_epi32(*sum, upper, high);
    }
    sum4(sums[0], sums[1], sums[2], sums[3])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn nav_four<const N: usize>(query: &NavQuery, lines: [&[[i8; LINE]; N]; 4]) -> [f32; 4] {
    let Some((planes, further)) = query.planes().split_first_chunk::<2>() else { return [0.0; 4] };
    let further = further.as_chunks::<4>().0;
    let pair = _mm512_set1_epi8(3);
    let first = lines.map(|row| &row[0]);
    let fine = fine(planes, first);
    if query.lines() == 1 {
        return combine(query, first, fine, Second::None);
    }
    if N == 1 {
        return combine(query, first, fine, Second::Reach);
    }
    // Loops, as in `fine`.
    let mut coarse = [_mm512_setzero_si512(); 4];
    for (at, planes) in further.iter().enumerate().take(N - 1) {
        let planes =
            [load(&planes[0].0), load(&planes[1].0), load(&planes[2].0), load(&planes[3].0)];
        for (sum, row) in coarse.iter_mut().zip(lines) {
            let line = load(&row[at + 1]);
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
    combine(query, first, fine, Second::Sums(coarse))
}

/// Dot product of f16 values (as bits) with f32 values of the same number.
#[inline]
pub fn dot_f16(_proof: Level, row: &[u16], query: &[f32]) -> f32 {
    // SAFETY: as in `dot4_i8`.
    unsafe { reduce_f16::<false>(row, query) }
}

/// Squared Euclidean distance of f16 values (as bits) to f32 values of the same number.
#[inline]
pub fn l2sq_f16(_proof: Level, row: &[u16], query: &[f32]) -> f32 {
    // SAFETY: as in `dot4_i8`.
    unsafe { reduce_f16::<true>(row, query) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn reduce_f16<const DIFFERENCE: bool>(row: &[u16], query: &[f32]) -> f32 {
    const WIDTH: usize = 16;
    let len = row.len().min(query.len());
    // Four sums by name: as an array that is indexed they would be kept in memory.
    let (rows, row_rest) = row[..len].as_chunks::<{ 4 * WIDTH }>();
    let (queries, query_rest) = query[..len].as_chunks::<{ 4 * WIDTH }>();
    let zero = _mm512_setzero_ps();
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
    let mask = (1_u16 << row_tail.len()) - 1;
    // SAFETY: masked loads read only the values whose mask bit is set: the tails.
    let (x, q) = unsafe {
        (
            _mm256_maskz_loadu_epi16(mask, row_tail.as_ptr().cast()),
            _mm512_maskz_loadu_ps(mask, query_tail.as_ptr()),
        )
    };
    b = add::<DIFFERENCE>(x, q, b);
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
}

/// [`add`] of values in memory.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn step<const DIFFERENCE: bool>(x: &[u16; 16], q: &[f32; 16], sum: __m512) -> __m512 {
    // SAFETY: each array has the 32 and 64 bytes that the unaligned loads read.
    let (x, q) = unsafe { (_mm256_loadu_si256(x.as_ptr().cast()), _mm512_loadu_ps(q.as_ptr())) };
    add::<DIFFERENCE>(x, q, sum)
}

/// Adds the products, or the squares of the differences.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const DIFFERENCE: bool>(x: __m256i, q: __m512, sum: __m512) -> __m512 {
    let x = _mm512_cvtph_ps(x);
    if DIFFERENCE {
        let difference = _mm512_sub_ps(x, q);
        _mm512_fmadd_ps(difference, difference, sum)
    } else {
        _mm512_fmadd_ps(x, q, sum)
    }
}
