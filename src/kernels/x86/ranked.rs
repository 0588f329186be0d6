//! The kernels of [`ranked`](super::super::ranked) in AVX-512.

use std::arch::x86_64::*;

use super::super::level::Level;
use super::super::ranked::{BLOCK, IDS, score_of};

/// See [`ranked::insert`](super::super::ranked::insert).
#[inline]
pub fn insert(_proof: Level, blocks: &mut [[u64; BLOCK]], new: u64) -> usize {
    // SAFETY: dispatchers alone call this, in the arm of a level of AVX-512, which is made only
    // after its features were detected.
    unsafe { insert_inner(blocks, new) }
}

/// Every word becomes the greater of itself and of the lesser of `new` and the word before it.
#[target_feature(enable = "avx512f")]
fn insert_inner(blocks: &mut [[u64; BLOCK]], new: u64) -> usize {
    let new = _mm512_set1_epi64(new as i64);
    let mut before = _mm512_set1_epi64(-1);
    let mut at = 0;
    for block in blocks {
        // SAFETY: the array has the 64 bytes that an unaligned load reads.
        let words = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        at += _mm512_cmpgt_epu64_mask(words, new).count_ones() as usize;
        let shifted = _mm512_alignr_epi64::<7>(words, before);
        let moved = _mm512_max_epu64(words, _mm512_min_epu64(shifted, new));
        // SAFETY: the array has the 64 bytes that an unaligned store writes.
        unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), moved) };
        before = words;
    }
    at
}

/// See [`ranked::above`](super::super::ranked::above); as many scores as ids, and room for
/// all words and a block.
#[inline]
pub fn above(_proof: Level, ids: &[u32], scores: &[f32], limit: u64, out: &mut [u64]) -> usize {
    // SAFETY: dispatchers alone call this, in the arm of a level of AVX-512, which is made only
    // after its features were detected.
    unsafe { above_inner(ids, scores, limit, out) }
}

/// Scores below that of the limit are left out first, sixteen at a time; few are left to be made
/// words of. A limit that is no score keeps all.
#[target_feature(enable = "avx512f,avx512vl")]
fn above_inner(ids: &[u32], scores: &[f32], limit: u64, out: &mut [u64]) -> usize {
    const WIDTH: usize = 2 * BLOCK;
    let least = _mm512_set1_ps(score_of(limit));
    let mut count = 0;
    for (ids, scores) in ids.chunks(WIDTH).zip(scores.chunks(WIDTH)) {
        let mask = u16::MAX >> (WIDTH - ids.len().min(scores.len()).clamp(1, WIDTH));
        // SAFETY: a masked load reads only the words whose mask bit is set: those of the chunk.
        let (ids, scores) = unsafe {
            (
                _mm512_maskz_loadu_epi32(mask, ids.as_ptr().cast()),
                _mm512_maskz_loadu_ps(mask, scores.as_ptr()),
            )
        };
        // The second operand where the first is no number.
        let scores = _mm512_max_ps(scores, _mm512_set1_ps(f32::MIN));
        let kept = _mm512_mask_cmp_ps_mask::<_CMP_NLT_UQ>(mask, scores, least);
        let ids = _mm512_maskz_compress_epi32(kept, ids);
        let scores = _mm512_castps_si512(_mm512_maskz_compress_ps(kept, scores));
        let (left, lower) =
            (kept.count_ones(), (_mm512_castsi512_si256(ids), _mm512_castsi512_si256(scores)));
        count += put_above(lower, left, limit, out.get_mut(count..));
        if left > BLOCK as u32 {
            let upper =
                (_mm512_extracti64x4_epi64::<1>(ids), _mm512_extracti64x4_epi64::<1>(scores));
            count += put_above(upper, left - BLOCK as u32, limit, out.get_mut(count..));
        }
    }
    count
}

/// The words above `limit` of the first `len` of eight ids with their scores, which are numbers
/// and not below `f32::MIN`, to `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn put_above(
    (ids, scores): (__m256i, __m256i),
    len: u32,
    limit: u64,
    out: Option<&mut [u64]>,
) -> usize {
    let Some(out) = out.and_then(|out| out.first_chunk_mut::<BLOCK>()) else { return 0 };
    let (last_id, sign) = (_mm256_set1_epi32((IDS - 1) as i32), _mm256_set1_epi32(i32::MIN));
    let scores = _mm256_castsi256_ps(scores);
    let bits = _mm256_castps_si256(_mm256_min_ps(scores, _mm256_set1_ps(f32::MAX)));
    let turned = _mm256_or_si256(_mm256_srai_epi32::<31>(bits), sign);
    let scores = _mm512_cvtepu32_epi64(_mm256_xor_si256(bits, turned));
    let ids = _mm256_slli_epi32::<1>(_mm256_sub_epi32(last_id, ids));
    let words = _mm512_or_si512(_mm512_slli_epi64::<32>(scores), _mm512_cvtepu32_epi64(ids));
    let first = ((1_u32 << len.min(BLOCK as u32)) - 1) as u8;
    let above = first & _mm512_cmpgt_epu64_mask(words, _mm512_set1_epi64(limit as i64));
    let words = _mm512_maskz_compress_epi64(above, words);
    // SAFETY: the array has the 64 bytes that an unaligned store writes.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) };
    above.count_ones() as usize
}
