//! The best of what was scored, slots in ascending order: of equal ones the first stays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// At most so many; the worst of them on top.
pub(super) struct Best {
    limit: usize,
    heap: BinaryHeap<Reverse<(u32, Reverse<u32>)>>,
}

impl Best {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    /// What a rank must be more than, once there are enough.
    pub(super) fn threshold(&self) -> Option<u32> {
        let is_full = self.heap.len() >= self.limit;
        self.heap.peek().filter(|_| is_full).map(|Reverse((rank, _))| *rank)
    }

    /// Takes a slot that is above all others and whose rank is more than the threshold.
    pub(super) fn push(&mut self, rank: u32, slot: u32) {
        if self.heap.len() >= self.limit {
            self.heap.pop();
        }
        self.heap.push(Reverse((rank, Reverse(slot))));
    }

    /// Ranks and slots, best first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (u32, u32)> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|Reverse((rank, Reverse(slot)))| (rank, slot))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_those_of_a_sort(
            ranks in proptest::collection::vec(0u32..20, 0..60), limit in 1usize..20,
        ) {
            let mut best = Best::new(limit);
            for (slot, &rank) in (0..).zip(&ranks) {
                if best.threshold().is_none_or(|least| rank > least) {
                    best.push(rank, slot);
                }
            }
            let mut all: Vec<(u32, u32)> =
                ranks.iter().zip(0..).map(|(&rank, slot)| (rank, slot)).collect();
            all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(limit);
            prop_assert_eq!(best.into_sorted().collect::<Vec<_>>(), all);
        }
    }
}
