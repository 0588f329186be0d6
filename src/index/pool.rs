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
/// heap, and it is already sorted at the end.
#[derive(Debug, Default)]
pub struct Pool {
    entries: Vec<Entry>,
    capacity: usize,
    /// Every entry before it is expanded.
    cursor: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    scored: Scored,
    expanded: bool,
}

impl Pool {
    /// Empties the pool and sets its capacity; keeps the memory.
    pub fn reset(&mut self, capacity: usize) {
        self.entries.clear();
        self.entries.reserve(capacity.saturating_add(1));
        self.capacity = capacity;
        self.cursor = 0;
    }

    /// Whether [`Pool::push`] would keep it.
    #[inline]
    pub fn admits(&self, scored: Scored) -> bool {
        match self.entries.last() {
            Some(worst) if self.entries.len() >= self.capacity => {
                scored.rank(&worst.scored) == Ordering::Less
            }
            _ => self.capacity > 0,
        }
    }

    /// Inserts in order; drops the worst entry when over capacity. The caller never pushes the
    /// same id twice.
    #[inline]
    pub fn push(&mut self, scored: Scored) {
        if !self.admits(scored) {
            return;
        }
        let at = self.entries.partition_point(|e| e.scored.rank(&scored) == Ordering::Less);
        self.entries.insert(at, Entry { scored, expanded: false });
        self.entries.truncate(self.capacity);
        self.cursor = self.cursor.min(at);
    }

    /// The best id not expanded yet, marked as expanded now.
    #[inline]
    pub fn expand_next(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries.get_mut(self.cursor) {
            self.cursor += 1;
            if !entry.expanded {
                entry.expanded = true;
                return Some(entry.scored.id);
            }
        }
        None
    }

    /// The entries, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Scored> + '_ {
        self.entries.iter().map(|entry| entry.scored)
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
    fn a_pool_of_no_capacity_stays_empty() {
        let mut pool = Pool::default();
        pool.reset(0);
        pool.push(Scored { score: 1.0, id: 0 });
        assert_eq!(pool.expand_next(), None);
    }
}
