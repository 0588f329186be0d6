//! The kernel of [`ranked`](super::super::ranked) that is faster in AVX2 than in plain Rust.

use std::arch::x86_64::*;

use super::super::level::Level;
use super::super::ranked::{score_of, word};

/// Scores of a register.
const SCORES: usize = 8;

/// See [`ranked::above`](super::super::ranked::above); as many scores as ids, and room for all
/// words.
#[inline]
pub fn above(_proof: Level, ids: &[u32], scores: &[f32], limit: u64, out: &mut [u64]) -> usize {
    // SAFETY: dispatchers alone call this, in the arm of a level of AVX2, which is made only
    // after its features were detected.
    unsafe { above_inner(ids, scores, limit, out) }
}

/// Scores below that of the limit are left out eight at a time; few are left to be made words of.
/// A limit that is no score keeps all.
#[target_feature(enable = "avx2")]
fn above_inner(ids: &[u32], scores: &[f32], limit: u64, out: &mut [u64]) -> usize {
    let least = _mm256_set1_ps(score_of(limit));
    let mut count = 0;
    for (ids, scores) in ids.chunks(SCORES).zip(scores.chunks(SCORES)) {
        let mut eight = [f32::MIN; SCORES];
        let eight = match scores.first_chunk::<SCORES>() {
            Some(scores) => scores,
            None => {
                eight[..scores.len()].copy_from_slice(scores);
                &eight
            }
        };
        // SAFETY: the array has the 32 bytes that an unaligned load reads.
        let loaded = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
        // The second operand where the first is no number.
        let loaded = _mm256_max_ps(loaded, _mm256_set1_ps(f32::MIN));
        let kept = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(loaded, least)) as u32;
        let mut left = kept & ((1 << ids.len().min(scores.len())) - 1);
        while left != 0 {
            let at = left.trailing_zeros() as usize & (SCORES - 1);
            left &= left - 1;
            let new = word(eight[at], ids.get(at).copied().unwrap_or_default());
            if let Some(place) = out.get_mut(count) {
                *place = new;
                count += usize::from(new > limit);
            }
        }
    }
    count
}
