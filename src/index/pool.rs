//! The sorted pool of a walk: the best candidates so far, and which of them were expanded.

use std::cmp::Ordering;

use super::walk::WIDTH;
use crate::kernels::{Level, level, ranked};

/// A scored row. Ordered best first: by descending score, ties by ascending id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The score; never NaN.
    pub score: f32,
    /// What was scored: a position, or in the upper levels a row.
    pub id: u32,
}

impl Scored {
    /// `Less` when `self` is the better of the two.
    #[inline]
    pub fn rank(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.id.cmp(&other.id))
    }
}

/// At most `capacity` scored ids, best first, each with a mark "expanded".
///
/// An array that is searched and shifted in one go: for the few hundred entries of a walk it
/// beats a heap, and it is already sorted at the end. An entry is a [word](ranked) whose last bit
/// is the mark.
#[derive(Debug, Default)]
pub struct Pool {
    /// The entries, and zeros up to whole blocks.
    entries: Vec<u64>,
    len: usize,
    capacity: usize,
    /// Every entry before it is expanded.
    cursor: usize,
    /// Entries must be greater than this to be kept.
    limit: u64,
}

const EXPANDED: u64 = 1;

fn scored(entry: u64) -> Scored {
    Scored { score: ranked::score_of(entry), id: ranked::id_of(entry) }
}

impl Pool {
    /// Empties the pool and sets its capacity; keeps the memory.
    pub fn reset(&mut self, capacity: usize) {
        self.entries.clear();
        self.entries.resize(capacity.next_multiple_of(ranked::BLOCK), 0);
        (self.len, self.capacity, self.cursor) = (0, capacity, 0);
        self.limit = if capacity == 0 { u64::MAX } else { 0 };
    }

    /// Inserts ids with their scores in order; drops the worst entries when over capacity. The
    /// caller never pushes the same id twice. `soon` is told those that were among the next to be
    /// expanded when they came.
    #[inline]
    pub fn push_all(&mut self, ids: &[u32], scores: &[f32], mut soon: impl FnMut(u32)) {
        let level = level();
        let mut above = [0; WIDTH + ranked::BLOCK];
        for (ids, scores) in ids.chunks(WIDTH).zip(scores.chunks(WIDTH)) {
            let count = ranked::above(level, ids, scores, self.limit, &mut above);
            for &entry in &above[..count] {
                if self.insert(level, entry) {
                    soon(ranked::id_of(entry));
                }
            }
        }
    }

    #[inline]
    fn insert(&mut self, level: Level, new: u64) -> bool {
        if new <= self.limit {
            return false;
        }
        // Blocks behind the last entry hold nothing yet.
        let blocks = (self.len + 1).next_multiple_of(ranked::BLOCK).min(self.entries.len());
        let at = ranked::insert(level, &mut self.entries[..blocks], new);
        self.len = (self.len + 1).min(self.capacity);
        if self.len == self.capacity {
            self.limit = self.entries[self.len - 1] & !EXPANDED;
        }
        let soon = at <= self.cursor + 1;
        self.cursor = self.cursor.min(at);
        soon
    }

    fn entries(&self) -> &[u64] {
        &self.entries[..self.len]
    }

    /// The best id not expanded yet, marked as expanded now.
    #[inline]
    pub fn expand_next(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries[..self.len].get_mut(self.cursor) {
            self.cursor += 1;
            if *entry & EXPANDED == 0 {
                *entry |= EXPANDED;
                return Some(ranked::id_of(*entry));
            }
        }
        None
    }

    /// The score of what [`Pool::expand_next`] gave last, if nothing was pushed since.
    #[inline]
    pub fn last_score(&self) -> Option<f32> {
        self.entries().get(self.cursor.checked_sub(1)?).map(|&entry| ranked::score_of(entry))
    }

    /// The score of the entry at a place, the best at 0.
    #[inline]
    pub fn score_at(&self, place: usize) -> Option<f32> {
        self.entries().get(place).map(|&entry| ranked::score_of(entry))
    }

    /// What [`Pool::expand_next`] would give, if it follows the last.
    #[inline]
    pub fn peek_next(&self) -> Option<u32> {
        self.entries().get(self.cursor).map(|&entry| ranked::id_of(entry))
    }

    /// The entries, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Scored> + '_ {
        self.entries().iter().map(|&entry| scored(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Pool {
        fn push(&mut self, scored: Scored) {
            self.push_all(&[scored.id], &[scored.score], |_| ());
        }
    }

    #[test]
    fn keeps_the_best_and_expands_them_in_order() {
        let mut pool = Pool::default();
        pool.reset(3);
        for (score, id) in [(0.1, 1), (0.5, 2), (0.3, 9), (0.3, 4), (0.0, 5)] {
            pool.push(Scored { score, id });
        }
        assert_eq!(pool.iter().map(|s| s.id).collect::<Vec<_>>(), [2, 4, 9]);
        assert_eq!(pool.expand_next(), Some(2));
        pool.push(Scored { score: 0.9, id: 7 });
        assert_eq!(
            [pool.expand_next(), pool.expand_next(), pool.expand_next()],
            [Some(7), Some(4), None]
        );
    }

    #[test]
    fn scores_of_both_signs_and_equal_scores_keep_their_order() {
        let scores = [f32::MAX, 1.5, 1e-40, 0.0, -1e-40, -2.0, f32::MIN];
        let mut pool = Pool::default();
        pool.reset(scores.len() * 2);
        for (id, &score) in scores.iter().enumerate().rev() {
            pool.push(Scored { score, id: id as u32 + 100 });
            pool.push(Scored { score, id: id as u32 });
        }
        let found: Vec<Scored> = pool.iter().collect();
        assert!(found.is_sorted_by(|a, b| a.rank(b).is_lt()));
        assert_eq!(found.len(), scores.len() * 2);
        assert_eq!(found[0], Scored { score: f32::MAX, id: 0 });
    }

    #[test]
    fn a_pool_of_no_capacity_stays_empty() {
        let mut pool = Pool::default();
        pool.reset(0);
        pool.push(Scored { score: 1.0, id: 0 });
        assert_eq!(pool.expand_next(), None);
    }
}
