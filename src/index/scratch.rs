//! The memory a walk needs, kept between walks: in the steady state a search of a segment allocates
//! nothing but its result.

use std::sync::{Mutex, PoisonError};

use super::exact::TopK;
use super::graph::Starts;
use super::pool::{Pool, Scored};
use crate::kernels::NavQuery;

/// Scratches kept for reuse; more threads than this at once allocate their own each time.
const MAX_IDLE: usize = 64;

/// Scored rows that an idle scratch keeps room for: a search for all rows of a large segment is
/// no reason to hold as much from then on.
const MAX_IDLE_ROWS: usize = 1 << 16;

/// One walk's memory.
#[derive(Debug, Default)]
pub struct Scratch {
    pub visited: Visited,
    /// Candidates of the walk.
    pub pool: Pool,
    /// Where walks begin.
    pub starts: Starts,
    /// The best of a scan.
    pub top: TopK,
    /// What a walk or a scan found, best first.
    pub found: Vec<Scored>,
    /// The best of it by int8 code.
    pub refined: Vec<Scored>,
    /// Ids expanded by the last walk, in order.
    pub trail: Vec<u32>,
    /// Ids expanded by all walks of one search.
    pub steps: usize,
    /// The query as navigation codes are scored with, and its coordinates.
    pub nav_query: NavQuery,
    pub coordinates: Vec<f32>,
    /// Products that coordinates are made of.
    pub dots: Vec<i32>,
    /// A decoded raw row.
    pub values: Vec<f32>,
}

impl Scratch {
    /// The `keep` best of what `scan` offers are what was found.
    pub fn scan(&mut self, keep: usize, scan: impl FnOnce(&mut TopK)) {
        self.top.reset(keep);
        scan(&mut self.top);
        self.found.clear();
        self.found.extend_from_slice(self.top.sorted());
    }

    /// Gives back what only an unusually large search needs.
    fn shrink(&mut self) {
        if self.found.capacity().max(self.refined.capacity()) > MAX_IDLE_ROWS {
            (self.found, self.refined) = (Vec::new(), Vec::new());
            (self.top, self.pool) = (TopK::default(), Pool::default());
        }
    }

    /// What is in the pool and passes is what was found.
    pub fn take_found(&mut self, passes: impl Fn(u32) -> bool) {
        self.found.clear();
        self.found.extend(self.pool.iter().filter(|found| passes(found.id)));
    }
}

/// Words that are cleared one after another in the time of one here and there.
const WORDS_PER_TOUCH: usize = 8;

/// A set of ids as a bitset that is cleared by undoing what was set, or as a whole where that is
/// less work.
#[derive(Debug, Default)]
pub struct Visited {
    words: Vec<u64>,
    /// Words that are not zero are among the first `count` of these.
    touched: Vec<u32>,
    count: usize,
}

impl Visited {
    /// Empties the set and makes room for ids below `len`.
    pub fn reset(&mut self, len: u32) {
        if self.words.len() < self.count * WORDS_PER_TOUCH {
            self.words.fill(0);
        } else {
            for &word in self.touched.iter().take(self.count) {
                self.words[word as usize] = 0;
            }
        }
        self.count = 0;
        let needed = len.div_ceil(u64::BITS) as usize;
        if self.words.len() < needed {
            self.words.resize(needed, 0);
        }
    }

    /// Whether an id was added.
    #[inline]
    pub fn contains(&self, id: u32) -> bool {
        let word = self.words.get((id / u64::BITS) as usize);
        word.is_some_and(|word| word >> (id % u64::BITS) & 1 == 1)
    }

    /// Adds an id; whether it is new. An id out of range is never new.
    #[inline]
    pub fn insert(&mut self, id: u32) -> bool {
        self.insert_all(&mut [id], u32::MAX) == 1
    }

    /// Adds those of `ids` that are below `len`; the new ones are moved to the front, as many as
    /// returned. Without branches that depend on an id: which ones are new cannot be foreseen.
    #[inline]
    pub fn insert_all(&mut self, ids: &mut [u32], len: u32) -> usize {
        let room = self.count + ids.len();
        if self.touched.len() < room {
            self.touched.resize(room, 0);
        }
        let len = len.min(u32::try_from(self.words.len() * 64).unwrap_or(u32::MAX));
        let (words, touched) = (&mut self.words[..], &mut self.touched[..]);
        let (mut new, mut count) = (0, self.count);
        for at in 0..ids.len() {
            let id = ids[at];
            let is_in = id < len;
            let word = if is_in { id / u64::BITS } else { 0 };
            let bit = u64::from(is_in) << (id % u64::BITS);
            let Some(bits) = words.get_mut(word as usize) else { return 0 };
            touched[count] = word;
            count += usize::from((*bits == 0) & is_in);
            ids[new] = id;
            new += usize::from((*bits & bit == 0) & is_in);
            *bits |= bit;
        }
        self.count = count;
        new
    }
}

/// Idle scratches, shared by the threads that search one segment.
#[derive(Debug, Default)]
pub struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    /// Runs `work` with a scratch of its own.
    pub fn with<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = idle.unwrap_or_default();
        let result = work(&mut scratch);
        scratch.shrink();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(scratch);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_after_a_larger_one_finds_its_own_and_little_memory_stays() {
        let scratches = ScratchPool::default();
        let all = |keep: usize, rows: u32| {
            scratches.with(|scratch| {
                scratch.scan(keep, |top| (0..rows).for_each(|id| top.push(id, id as f32)));
                scratch.found.iter().map(|found| found.id).collect::<Vec<_>>()
            })
        };
        assert_eq!(all(100, 1_000).len(), 100);
        assert_eq!(all(3, 5), [4, 3, 2]);
        assert_eq!(all(9, 2), [1, 0]);
        assert_eq!(all(2 * MAX_IDLE_ROWS, 200_000).len(), 2 * MAX_IDLE_ROWS);
        scratches.with(|scratch| assert!(scratch.found.capacity() <= MAX_IDLE_ROWS));
        assert_eq!(all(1, 9), [8]);
    }

    #[test]
    fn visited_remembers_until_reset_and_refuses_what_is_out_of_range() {
        let mut visited = Visited::default();
        visited.reset(65);
        assert!(visited.insert(0) && visited.insert(64) && !visited.insert(64));
        assert!(!visited.insert(128) && !visited.insert(u32::MAX));
        visited.reset(65);
        assert!(visited.insert(64) && visited.insert(0));
    }
}
