//! The sorted pool of a walk: the best candidates so far, and which of them were expanded.

use std::cmp::Ordering;

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
/// An array with binary search and shifting: for the few hundred entries of a walk it beats a
/// heap, and it is already sorted at the end. An entry is one word that is greater for a better
/// one: the score in an order of integers, the id turned around, and the mark.
#[derive(Debug, Default)]
pub struct Pool {
    entries: Vec<u64>,
    capacity: usize,
    /// Every entry before it is expanded.
    cursor: usize,
    /// Entries must be greater than this to be kept.
    limit: u64,
}

const EXPANDED: u64 = 1;
/// Ids stay below this.
const IDS: u32 = 1 << 31;

/// An entry that is not expanded.
#[inline]
fn entry(scored: Scored) -> u64 {
    let bits = scored.score.to_bits();
    // Negative numbers are turned around, so that integers are ordered as the floats are.
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | u64::from(IDS.wrapping_sub(1).wrapping_sub(scored.id) << 1)
}

#[inline]
fn id_of(entry: u64) -> u32 {
    (IDS - 1).wrapping_sub(entry as u32 >> 1)
}

fn scored(entry: u64) -> Scored {
    let ordered = (entry >> 32) as u32;
    let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
    Scored { score: f32::from_bits(bits), id: id_of(entry) }
}

impl Pool {
    /// Empties the pool and sets its capacity; keeps the memory.
    pub fn reset(&mut self, capacity: usize) {
        self.entries.clear();
        self.entries.reserve(capacity.saturating_add(1));
        self.capacity = capacity;
        self.cursor = 0;
        self.limit = if capacity == 0 { u64::MAX } else { 0 };
    }

    /// Inserts in order; drops the worst entry when over capacity. The caller never pushes the
    /// same id twice. Whether it is now among the next to be expanded.
    #[inline]
    pub fn push(&mut self, scored: Scored) -> bool {
        let new = entry(scored);
        if new <= self.limit {
            return false;
        }
        let at = self.entries.partition_point(|&entry| entry > new);
        if self.entries.len() == self.capacity {
            self.entries.pop();
        }
        self.entries.insert(at, new);
        if self.entries.len() == self.capacity {
            self.limit = self.entries.last().map_or(0, |worst| worst & !EXPANDED);
        }
        let soon = at <= self.cursor + 1;
        self.cursor = self.cursor.min(at);
        soon
    }

    /// The best id not expanded yet, marked as expanded now.
    #[inline]
    pub fn expand_next(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries.get_mut(self.cursor) {
            self.cursor += 1;
            if *entry & EXPANDED == 0 {
                *entry |= EXPANDED;
                return Some(id_of(*entry));
            }
        }
        None
    }

    /// The score of what [`Pool::expand_next`] gave last, if nothing was pushed since.
    #[inline]
    pub fn last_score(&self) -> Option<f32> {
        self.entries.get(self.cursor.checked_sub(1)?).map(|&entry| scored(entry).score)
    }

    /// The score of the entry at a place, the best at 0.
    #[inline]
    pub fn score_at(&self, place: usize) -> Option<f32> {
        self.entries.get(place).map(|&entry| scored(entry).score)
    }

    /// What [`Pool::expand_next`] would give, if it follows the last.
    #[inline]
    pub fn peek_next(&self) -> Option<u32> {
        self.entries.get(self.cursor).map(|&entry| id_of(entry))
    }

    /// The entries, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Scored> + '_ {
        self.entries.iter().map(|&entry| scored(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
