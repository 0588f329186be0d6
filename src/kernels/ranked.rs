//! Scored ids as words: a greater word is a better score, or the lower id of equal scores. What a
//! walk keeps sorted it keeps as such words.
//!
//! ```text
//! bits 32..64  the score, its bits turned around so that they are ordered as the floats are
//! bits 1..32   2^31 - 1 less the id
//! bit 0        left to the caller
//! ```

#[cfg(target_arch = "x86_64")]
use super::level::Isa;
use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Words that are moved at a time: arrays that are inserted into have a multiple of so many.
pub const BLOCK: usize = 8;

/// Ids are below this.
pub(super) const IDS: u32 = 1 << 31;

/// Maps NaN and the infinities into the finite range, so that a score read from a damaged row
/// still has a place in the order: NaN becomes the worst score.
#[inline]
#[must_use]
pub fn finite(score: f32) -> f32 {
    if score.is_nan() { f32::MIN } else { score.clamp(f32::MIN, f32::MAX) }
}

/// The word of a score, made [`finite`], and an id below 2^31.
#[inline]
#[must_use]
pub fn word(score: f32, id: u32) -> u64 {
    let bits = finite(score).to_bits();
    let ordered = bits ^ ((bits as i32 >> 31) as u32 | 1 << 31);
    u64::from(ordered) << 32 | u64::from((IDS - 1).wrapping_sub(id) << 1)
}

/// The id of a word.
#[inline]
#[must_use]
pub fn id_of(word: u64) -> u32 {
    (IDS - 1).wrapping_sub(word as u32 >> 1)
}

/// The score of a word.
#[inline]
#[must_use]
pub fn score_of(word: u64) -> f32 {
    let ordered = (word >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// The words above `limit` of ids with their scores, in the order of the ids, to the front of
/// `out`; how many. `out` has room for all ids and [`BLOCK`] more.
#[inline]
pub fn above(level: Level, ids: &[u32], scores: &[f32], limit: u64, out: &mut [u64]) -> usize {
    let len = ids.len().min(scores.len());
    let (ids, scores) = (&ids[..len], &scores[..len]);
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if out.len() >= len + BLOCK => {
            x86::ranked::above(level, ids, scores, limit, out)
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if out.len() >= len => x86::ranked_avx2::above(level, ids, scores, limit, out),
        _ => above_scalar(ids, scores, limit, out),
    }
}

/// The scalar twin of [`above`].
#[must_use]
pub fn above_scalar(ids: &[u32], scores: &[f32], limit: u64, out: &mut [u64]) -> usize {
    let mut count = 0;
    for (&id, &score) in ids.iter().zip(scores) {
        let new = word(score, id);
        // Without a branch: which ones are above cannot be foreseen.
        if let Some(place) = out.get_mut(count) {
            *place = new;
        }
        count += usize::from(new > limit);
    }
    count.min(out.len())
}

/// Puts a word among words that descend and are as many as a multiple of [`BLOCK`], behind those
/// that are greater; the last one is dropped. The place it has now, which is past the end if
/// no word was less.
#[inline]
pub fn insert(level: Level, words: &mut [u64], new: u64) -> usize {
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::ranked::insert(level, words.as_chunks_mut().0, new),
        _ => insert_scalar(words, new),
    }
}

/// The scalar twin of [`insert`].
pub fn insert_scalar(words: &mut [u64], new: u64) -> usize {
    let at = words.partition_point(|&word| word > new);
    if at < words.len() {
        words.copy_within(at..words.len() - 1, at + 1);
        words[at] = new;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::available;
    use super::*;

    fn any_score() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<f32>(),
            (-4_i8..4).prop_map(f32::from),
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(f32::MIN),
            Just(-0.0),
        ]
    }

    /// Few ids, so that equal scores are told apart by them.
    fn any_id() -> impl Strategy<Value = u32> {
        prop_oneof![0..IDS, 0..16_u32]
    }

    #[test]
    fn what_is_worst_is_above_a_limit_of_a_higher_id_at_every_level() {
        let scores = [f32::NEG_INFINITY, f32::NAN, f32::MIN, -0.0, 0.0];
        for limit in [word(f32::NAN, 7), word(0.0, 7), word(-0.0, 7), 0, u64::MAX] {
            for id in [3, 7, 9] {
                let ids = [id; 5];
                let mut expected = [0; 5 + BLOCK];
                let count = above_scalar(&ids, &scores, limit, &mut expected);
                for level in available() {
                    let mut out = [0; 5 + BLOCK];
                    assert_eq!(above(level, &ids, &scores, limit, &mut out), count, "{level:?}");
                    assert_eq!(out[..count], expected[..count], "{level:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_keep_ids_and_scores_and_are_ordered_as_they_are(
            a in any_score(), b in any_score(), ids in (0..IDS, 0..IDS),
        ) {
            let finite = |score: f32| {
                if score.is_nan() { f32::MIN } else { score.clamp(f32::MIN, f32::MAX) }
            };
            let (x, y) = (word(a, ids.0), word(b, ids.1));
            prop_assert_eq!((id_of(x), id_of(y)), ids);
            prop_assert_eq!(score_of(x).to_bits(), finite(a).to_bits());
            let order = finite(a).total_cmp(&finite(b)).then(ids.1.cmp(&ids.0));
            prop_assert_eq!(x.cmp(&y), order);
        }

        #[test]
        fn what_is_above_a_limit_is_the_same_at_every_level(
            rows in proptest::collection::vec((any_id(), any_score()), 0..70),
            limit in (any_score(), any_id()),
        ) {
            let (ids, scores): (Vec<u32>, Vec<f32>) = rows.iter().copied().unzip();
            let limit = word(limit.0, limit.1);
            let all = rows.iter().map(|&(id, score)| word(score, id));
            let expected: Vec<u64> = all.filter(|&word| word > limit).collect();
            for level in available() {
                let mut out = vec![0; rows.len() + BLOCK];
                let count = above(level, &ids, &scores, limit, &mut out);
                prop_assert_eq!(&out[..count], &expected, "{:?}", level);
            }
        }

        #[test]
        fn a_word_is_inserted_in_its_order_at_every_level(
            mut words in proptest::collection::vec(0_u64..200, 0..60), new in 0_u64..200,
        ) {
            words.sort_unstable_by(|a, b| b.cmp(a));
            words.truncate(words.len() / BLOCK * BLOCK);
            let mut expected = words.clone();
            let at = words.iter().filter(|&&word| word > new).count();
            expected.insert(at, new);
            expected.truncate(words.len());
            for level in available() {
                let mut words = words.clone();
                prop_assert_eq!(insert(level, &mut words, new), at, "{:?}", level);
                prop_assert_eq!(&words, &expected, "{:?}", level);
            }
        }
    }
}
