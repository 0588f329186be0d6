//! The best k of a stream of scores: what exact scans, rescoring and merging collect into.

use super::pool::Scored;
use super::walk::WIDTH;
use crate::kernels::{level, ranked};

/// Collects the k best of `(score, id)`; ties go to the smaller id.
///
/// Holds at most `2 k` entries and cuts them back by selection, so a push costs O(1) amortized
/// for any k, and most pushes one comparison.
#[derive(Debug, Default)]
pub struct TopK {
    k: usize,
    entries: Vec<Scored>,
    /// The k-th best seen, once there are k: anything worse is refused at once.
    threshold: Option<Scored>,
}

impl TopK {
    /// Collects up to `k`.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, entries: Vec::new(), threshold: None }
    }

    /// Empties the collector, to collect up to `k` again; keeps the memory.
    pub fn reset(&mut self, k: usize) {
        self.k = k;
        self.entries.clear();
        self.threshold = None;
    }

    /// Offers one. A score that is NaN counts as the worst.
    #[inline]
    pub fn push(&mut self, id: u32, score: f32) {
        let new = Scored { score: crate::vectors::finite(score), id };
        if self.threshold.is_some_and(|worst| worst.rank(&new).is_lt()) {
            return;
        }
        self.entries.push(new);
        if self.entries.len() >= self.k.saturating_mul(2).max(1) {
            self.cut();
        }
    }

    /// Offers ids below 2^31, each with its score.
    #[inline]
    pub(super) fn push_all(&mut self, ids: &[u32], scores: &[f32]) {
        let mut above = [0; WIDTH + ranked::BLOCK];
        for (ids, scores) in ids.chunks(WIDTH).zip(scores.chunks(WIDTH)) {
            let limit = self.threshold.map_or(0, |worst| ranked::word(worst.score, worst.id));
            let count = ranked::above(level(), ids, scores, limit, &mut above);
            for &word in &above[..count] {
                self.push(ranked::id_of(word), ranked::score_of(word));
            }
        }
    }

    /// Whether a score is too low for any id; cheaper than to offer it.
    #[inline]
    #[must_use]
    pub fn refuses(&self, score: f32) -> bool {
        self.threshold.is_some_and(|worst| score < worst.score)
    }

    fn cut(&mut self) {
        if let Some(last) = self.k.checked_sub(1).filter(|last| *last < self.entries.len()) {
            self.entries.select_nth_unstable_by(last, Scored::rank);
            self.threshold = self.entries.get(last).copied();
        }
        self.entries.truncate(self.k);
    }

    /// The k best, best first.
    #[must_use]
    pub(super) fn sorted(&mut self) -> &[Scored] {
        self.entries.sort_unstable_by(Scored::rank);
        self.entries.truncate(self.k);
        &self.entries
    }

    /// The k best as `(id, score)`, best first.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<(u32, f32)> {
        self.sorted().iter().map(|scored| (scored.id, scored.score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_best_k_are_those_of_a_full_sort(
            scores in proptest::collection::vec(-3_i8..3, 0..200), k in 0_usize..30,
        ) {
            let (mut top, mut together) = (TopK::new(k), TopK::new(k));
            let ids: Vec<u32> = (0..scores.len() as u32).collect();
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut all: Vec<_> = ids.iter().copied().zip(scores.iter().copied()).collect();
            all.iter().for_each(|&(id, score)| top.push(id, score));
            together.push_all(&ids, &scores);
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            all.truncate(k);
            prop_assert_eq!(together.into_sorted(), &all[..]);
            prop_assert_eq!(top.into_sorted(), all);
        }
    }
}
