//! NEON with the dot product extension: `sdot` multiplies 16 signed by 16 signed bytes and adds
//! groups of four into i32 lanes. The unsigned fields of navigation codes are small enough to
//! be signed as well.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::level::Level;
use super::super::nav::{LINE, NavQuery, Plane};
use super::super::scalar;

/// Bytes of a vector.
const WIDTH: usize = 16;
/// Bytes of two vectors: two sums a row, since one `sdot` takes longer than the loads it needs.
const STEP: usize = 2 * WIDTH;

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[i8; WIDTH]) -> int8x16_t {
    // SAFETY: the array has the 16 bytes that the load reads.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

/// Adds the products of 16 pairs, four to a lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: touches its three registers only; this function requires the instruction.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The sums of four vectors of i32 lanes.
#[inline]
#[target_feature(enable = "neon")]
fn sum4(sums: [int32x4_t; 4]) -> [i32; 4] {
    let [a, b, c, d] = sums;
    let all = vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
    let mut out = [0; 4];
    // SAFETY: `out` has the 16 bytes that the store writes.
    unsafe { vst1q_s32(out.as_mut_ptr(), all) };
    out
}

/// See [`dot4_i8`](super::super::int8::dot4_i8); every row is at least as long as the query.
#[inline]
pub fn dot4_i8(_proof: Level, query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    // SAFETY: dispatchers alone call this, in the arm of a level of NEON, which is made only
    // after its features were detected.
    unsafe { dot4_i8_inner(query, rows) }
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot4_i8_inner(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let (whole, tail) = query.as_chunks::<STEP>();
    let rows = rows.map(|row| &row[..query.len()]);
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<STEP>().0);
    let mut sums = [[vdupq_n_s32(0); 4]; 2];
    for ((((q, a), b), c), d) in whole.iter().zip(a).zip(b).zip(c).zip(d) {
        for (half, sums) in sums.iter_mut().enumerate() {
            let q = load(&q.as_chunks::<WIDTH>().0[half]);
            for (sum, row) in sums.iter_mut().zip([a, b, c, d]) {
                *sum = dot(*sum, load(&row.as_chunks::<WIDTH>().0[half]), q);
            }
        }
    }
    let [mut all, second] = sums;
    for (sum, second) in all.iter_mut().zip(second) {
        *sum = vaddq_s32(*sum, second);
    }
    let mut out = sum4(all);
    for (out, row) in out.iter_mut().zip(rows) {
        *out = out.wrapping_add(scalar::dot_i8(tail, &row[whole.len() * STEP..]));
    }
    out
}

/// All pairs of four rows with four others, all of one length, a multiple of 64.
pub fn dot4x4_i8(_proof: Level, a: [&[i8]; 4], b: [&[i8]; 4]) -> [i32; 16] {
    // SAFETY: as in `dot4_i8`.
    unsafe { dot4x4_i8_inner(a, b) }
}

#[target_feature(enable = "neon,dotprod")]
fn dot4x4_i8_inner(a: [&[i8]; 4], b: [&[i8]; 4]) -> [i32; 16] {
    let len = a.iter().chain(&b).map(|row| row.len()).min().unwrap_or(0);
    let [a0, a1, a2, a3] = a.map(|row| row[..len].as_chunks::<WIDTH>().0);
    let [b0, b1, b2, b3] = b.map(|row| row[..len].as_chunks::<WIDTH>().0);
    let mut sums = [[vdupq_n_s32(0); 4]; 4];
    let rows = a0.iter().zip(a1).zip(a2).zip(a3);
    let columns = b0.iter().zip(b1).zip(b2).zip(b3);
    for ((((a0, a1), a2), a3), (((b0, b1), b2), b3)) in rows.zip(columns) {
        let columns = [load(b0), load(b1), load(b2), load(b3)];
        for (sums, row) in sums.iter_mut().zip([a0, a1, a2, a3]) {
            let row = load(row);
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = dot(*sum, row, column);
            }
        }
    }
    let mut out = [0; 16];
    for (out, sums) in out.chunks_exact_mut(4).zip(sums) {
        out.copy_from_slice(&sum4(sums));
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

/// Scores rows four at a time, or tells what their first lines let them reach.
#[target_feature(enable = "neon,dotprod")]
fn nav_all_inner<const REACH: bool>(query: &NavQuery, rows: &[&[u8]], out: &mut [f32]) {
    let bytes = query.bytes_read::<REACH>();
    let (planes, further) = query.planes().split_at(2);
    for (rows, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
        let mut four = [&[][..]; 4];
        for (lines, row) in four.iter_mut().zip(rows) {
            *lines = bytemuck::cast_slice::<u8, i8>(&row[..bytes]).as_chunks::<LINE>().0;
        }
        // Groups of fewer repeat their first row.
        for at in rows.len()..4 {
            four[at] = four[0];
        }
        let mut fine = [vdupq_n_s32(0); 4];
        add_line::<4>(&mut fine, four, 0, planes);
        let mut coarse = [vdupq_n_s32(0); 4];
        let further = further.chunks_exact(4).take(bytes / LINE - 1);
        for (at, planes) in further.enumerate() {
            add_line::<2>(&mut coarse, four, at + 1, planes);
        }
        let (fine, coarse) = (sum4(fine), sum4(coarse));
        for (at, (out, row)) in out.iter_mut().zip(rows).enumerate() {
            *out = query.finish(fine[at], (!REACH).then_some(coarse[at]), row);
        }
    }
}

/// Adds the products of the fields of one line of four rows with their planes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_line<const BITS: i32>(
    sums: &mut [int32x4_t; 4],
    rows: [&[[i8; LINE]]; 4],
    line: usize,
    planes: &[Plane],
) {
    let mask = vdupq_n_u8((1 << BITS) - 1);
    for quarter in 0..LINE / WIDTH {
        for (sum, row) in sums.iter_mut().zip(rows) {
            let bytes = load(&row[line].as_chunks::<WIDTH>().0[quarter]);
            let mut fields = vreinterpretq_u8_s8(bytes);
            for plane in planes {
                let plane = load(&plane.0.as_chunks::<WIDTH>().0[quarter]);
                let field = vreinterpretq_s8_u8(vandq_u8(fields, mask));
                *sum = dot(*sum, field, plane);
                fields = vshrq_n_u8::<BITS>(fields);
            }
        }
    }
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
#[target_feature(enable = "neon")]
fn reduce_f16<const DIFFERENCE: bool>(row: &[u16], query: &[f32]) -> f32 {
    const LANES: usize = 8;
    let len = row.len().min(query.len());
    let (rows, row_tail) = row[..len].as_chunks::<LANES>();
    let (queries, query_tail) = query[..len].as_chunks::<LANES>();
    // The tail is padded with zeros: they add nothing.
    let (mut last_row, mut last_query) = ([0; LANES], [0.0; LANES]);
    last_row[..row_tail.len()].copy_from_slice(row_tail);
    last_query[..query_tail.len()].copy_from_slice(query_tail);
    let mut sums = [vdupq_n_f32(0.0); 4];
    let tail = [(&last_row, &last_query)];
    for (at, (x, q)) in rows.iter().zip(queries).chain(tail).enumerate() {
        let x = widen(x);
        for half in 0..2 {
            // SAFETY: half of 8 values is the 16 bytes that the load reads.
            let q = unsafe { vld1q_f32(q.as_chunks::<4>().0[half].as_ptr()) };
            let sum = &mut sums[at % 2 * 2 + half];
            *sum = step::<DIFFERENCE>(x[half], q, *sum);
        }
    }
    let [a, b, c, d] = sums;
    vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)))
}

/// Eight f16 values as f32, which every NEON can.
#[inline]
#[target_feature(enable = "neon")]
fn widen(bits: &[u16; 8]) -> [float32x4_t; 2] {
    // SAFETY: the array has the 16 bytes that the load reads.
    let bits = unsafe { vld1q_u16(bits.as_ptr()) };
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: touches its three registers and the floating-point status, which is not kept.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {bits:v}.4h",
            "fcvtl2 {high:v}.4s, {bits:v}.8h",
            bits = in(vreg) bits,
            low = out(vreg) low,
            high = out(vreg) high,
            options(pure, nomem, nostack),
        );
    }
    [low, high]
}

/// Adds the products, or the squares of the differences.
#[inline]
#[target_feature(enable = "neon")]
fn step<const DIFFERENCE: bool>(x: float32x4_t, q: float32x4_t, sum: float32x4_t) -> float32x4_t {
    if DIFFERENCE {
        let difference = vsubq_f32(x, q);
        vfmaq_f32(sum, difference, difference)
    } else {
        vfmaq_f32(sum, x, q)
    }
}
