//! Reciprocal rank fusion: one order from several rankings, by rank alone.
//!
//! Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
//! Learning Methods", SIGIR 2009. Pure: knows ranks, not what is ranked.

use std::collections::HashMap;
use std::hash::Hash;

/// The constant of the paper: how much a first place counts against a tenth.
pub const RRF_K: f64 = 60.0;

/// Fuses rankings: an item scores the sum over rankings of `weight / (k + rank)`, rank from 1.
/// Sorted by score, ties in order of first appearance. An item counts once per ranking.
///
/// ```
/// let fused = portolan::fuse(&[(1.0, vec!["a", "b"]), (1.0, vec!["b", "c"])], portolan::RRF_K);
/// assert_eq!(fused[0].0, "b");
/// ```
#[must_use]
pub fn fuse<T: Clone + Eq + Hash>(rankings: &[(f64, Vec<T>)], k: f64) -> Vec<(T, f64)> {
    let mut place = HashMap::new();
    let mut fused: Vec<(T, f64)> = Vec::new();
    for (weight, ranking) in rankings {
        let mut seen = std::collections::HashSet::new();
        for (rank, item) in ranking.iter().filter(|item| seen.insert(*item)).enumerate() {
            let score = weight / (k + rank as f64 + 1.0);
            match place.get(item) {
                Some(&at) => {
                    if let Some((_, sum)) = fused.get_mut::<usize>(at) {
                        *sum += score;
                    }
                }
                None => {
                    place.insert(item.clone(), fused.len());
                    fused.push((item.clone(), score));
                }
            }
        }
    }
    // Stable: ties keep the order of first appearance.
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_sums_of_reciprocal_ranks() {
        let fused = fuse(&[(1.0, vec![1, 2, 3]), (1.0, vec![3, 1])], RRF_K);
        let expected =
            [(1, 1.0 / 61.0 + 1.0 / 62.0), (3, 1.0 / 63.0 + 1.0 / 61.0), (2, 1.0 / 62.0)];
        assert_eq!(fused, expected);
    }

    #[test]
    fn a_repeated_item_counts_at_its_best_rank_only() {
        assert_eq!(fuse(&[(1.0, vec!["a", "a", "b"])], 0.0), [("a", 1.0), ("b", 0.5)]);
    }
}
