//! One order from several rankings: by rank alone, or by scores that were made comparable.
//!
//! Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
//! Learning Methods", SIGIR 2009. Pure: knows ranks and scores, not what is ranked.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

/// The constant of the paper: how much a first place counts against a tenth.
pub const RRF_K: f64 = 60.0;

/// How several lists become one.
///
/// ```
/// use portolan::{Fusion, Normalization};
///
/// assert_eq!(Fusion::default(), Fusion::rrf());
/// assert_eq!(Fusion::weighted(), Fusion::Weighted(Normalization::MinMax));
/// assert_eq!(Fusion::Rrf { k: 20.0 }.to_string(), "reciprocal rank fusion with k = 20");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fusion {
    /// Reciprocal rank fusion: a record scores the sum over lists of `weight / (k + rank)`, rank
    /// from 1. Blind to scores, and therefore safe between lists of any kind.
    Rrf {
        /// How much a first place counts against a tenth: the larger, the less.
        k: f64,
    },
    /// A record scores the sum over lists of `weight * normalized score`. A list that lacks the
    /// record counts with its lowest normalized score, or with 0 if that is lower.
    Weighted(Normalization),
}

/// How the scores of one list are made comparable with those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Normalization {
    /// The best of the list becomes 1 and its last 0; where all are equal, 1.
    #[default]
    MinMax,
    /// Distance from the list's mean in its standard deviations; where all are equal, 0.
    ZScore,
    /// Scores as they are: for lists of one kind, such as two query vectors.
    None,
}

impl Fusion {
    /// Reciprocal rank fusion with k = 60, the default.
    #[must_use]
    pub fn rrf() -> Self {
        Self::Rrf { k: RRF_K }
    }

    /// The weighted sum of scores, each list from 0 to 1.
    #[must_use]
    pub fn weighted() -> Self {
        Self::Weighted(Normalization::MinMax)
    }

    /// What each place of a list adds to its record, and what the list adds to one it lacks.
    pub(crate) fn shares(&self, weight: f64, scores: &[f32]) -> Shares {
        match *self {
            Self::Rrf { k } => {
                let share = |place| reciprocal(weight, k, place);
                Shares { present: (0..scores.len()).map(share).collect(), absent: 0.0 }
            }
            Self::Weighted(normalization) => {
                let mut present = normalization.of(scores);
                let absent = present.iter().copied().fold(0.0, f64::min) * weight;
                present.iter_mut().for_each(|score| *score *= weight);
                Shares { present, absent }
            }
        }
    }

    /// Fuses lists of `(item, score)`, best first, each with its weight: items by descending
    /// score, equal scores by ascending item. No list may name an item twice.
    pub(crate) fn merge<T: Copy + Ord>(&self, lists: &[(f64, Vec<(T, f32)>)]) -> Vec<(T, f64)> {
        let mut all = Vec::with_capacity(lists.iter().map(|(_, list)| list.len()).sum());
        let mut absent = Vec::with_capacity(lists.len());
        let mut scores = Vec::new();
        for (at, (weight, list)) in lists.iter().enumerate() {
            scores.clear();
            scores.extend(list.iter().map(|(_, score)| *score));
            let shares = self.shares(*weight, &scores);
            absent.push(shares.absent);
            all.extend(
                list.iter().zip(shares.present).map(|((item, _), share)| (*item, at, share)),
            );
        }
        all.sort_unstable_by_key(|(item, at, _)| (*item, *at));
        let mut fused = Vec::with_capacity(all.len());
        for places in all.chunk_by(|a, b| a.0 == b.0) {
            let Some((item, ..)) = places.first() else { continue };
            let mut places = places.iter().peekable();
            // In the order of the lists, so that equal places give equal sums.
            let share = |(at, absent): (usize, &f64)| {
                places.next_if(|place| place.1 == at).map_or(*absent, |place| place.2)
            };
            // With 0.0 added there is one zero, not two of which one sorts lower.
            fused.push((*item, absent.iter().enumerate().map(share).sum::<f64>() + 0.0));
        }
        fused.sort_by(|a, b| b.1.total_cmp(&a.1));
        fused
    }
}

/// What a list adds to the scores of records.
pub(crate) struct Shares {
    /// For each place.
    pub(crate) present: Vec<f64>,
    /// For a record that is not in the list.
    pub(crate) absent: f64,
}

impl Normalization {
    fn of(self, scores: &[f32]) -> Vec<f64> {
        let wide = scores.iter().map(|&score| f64::from(score));
        match self {
            Self::None => wide.collect(),
            Self::MinMax => {
                let low = wide.clone().fold(f64::INFINITY, f64::min);
                let range = wide.clone().fold(f64::NEG_INFINITY, f64::max) - low;
                wide.map(|score| if range > 0.0 { (score - low) / range } else { 1.0 }).collect()
            }
            Self::ZScore => {
                let count = scores.len().max(1) as f64;
                let mean = wide.clone().sum::<f64>() / count;
                let squares = wide.clone().map(|score| (score - mean).powi(2)).sum::<f64>();
                let deviation = (squares / count).sqrt();
                let of = |score: f64| (score - mean) / deviation;
                wide.map(|score| if deviation > 0.0 { of(score) } else { 0.0 }).collect()
            }
        }
    }
}

impl Default for Fusion {
    fn default() -> Self {
        Self::rrf()
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rrf { k } => write!(f, "reciprocal rank fusion with k = {k}"),
            Self::Weighted(Normalization::MinMax) => {
                f.write_str("weighted sum of scores from 0 to 1 in each list")
            }
            Self::Weighted(Normalization::ZScore) => {
                f.write_str("weighted sum of scores in standard deviations of each list")
            }
            Self::Weighted(Normalization::None) => {
                f.write_str("weighted sum of scores as they are")
            }
        }
    }
}

/// `rrf`, `rrf:20` for another k, `minmax`, `zscore`, or `sum` for scores as they are.
///
/// ```
/// use portolan::Fusion;
///
/// assert_eq!("rrf:20".parse(), Ok(Fusion::Rrf { k: 20.0 }));
/// assert_eq!("minmax".parse(), Ok(Fusion::weighted()));
/// assert!("rrf:-1".parse::<Fusion>().is_err());
/// ```
impl FromStr for Fusion {
    type Err = ParseFusionError;

    fn from_str(text: &str) -> Result<Self, ParseFusionError> {
        let k = |text: &str| text.parse().ok().filter(|k: &f64| k.is_finite() && *k >= 0.0);
        let fusion = match text {
            "rrf" => Some(Self::rrf()),
            "minmax" => Some(Self::weighted()),
            "zscore" => Some(Self::Weighted(Normalization::ZScore)),
            "sum" => Some(Self::Weighted(Normalization::None)),
            _ => text.strip_prefix("rrf:").and_then(k).map(|k| Self::Rrf { k }),
        };
        fusion.ok_or_else(|| ParseFusionError { text: text.to_owned() })
    }
}

/// A text that names no [`Fusion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "{text:?} is no fusion that is known: use rrf, rrf:K with a K of 0 or more, minmax, zscore or \
     sum"
)]
pub struct ParseFusionError {
    /// The text.
    pub text: String,
}

/// What a place of a ranking, from 0, is worth: `weight / (k + rank)`, rank from 1.
pub(crate) fn reciprocal(weight: f64, k: f64, place: usize) -> f64 {
    weight / (k + place as f64 + 1.0)
}

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
            let score = reciprocal(*weight, k, rank);
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
    use proptest::prelude::*;

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

    #[test]
    fn lists_whose_scores_are_all_equal_are_no_division_by_zero() {
        let lists = [(1.0, vec![(1, 3.0), (2, 3.0)]), (2.0, vec![(2, -1.0)])];
        let of = |normalization| Fusion::Weighted(normalization).merge(&lists);
        assert_eq!(of(Normalization::MinMax), [(2, 3.0), (1, 1.0)]);
        assert_eq!(of(Normalization::ZScore), [(1, 0.0), (2, 0.0)]);
        assert_eq!(of(Normalization::None), [(1, 1.0), (2, 1.0)]);
    }

    /// Lists of distinct items with few distinct scores, best first.
    fn lists() -> impl Strategy<Value = Vec<(f64, Vec<(u32, f32)>)>> {
        let list = proptest::collection::btree_map(0_u32..20, -4_i8..5, 0..12);
        let list = list.prop_map(|scores| {
            let mut list: Vec<(u32, f32)> =
                scores.into_iter().map(|(item, score)| (item, f32::from(score) / 2.0)).collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            list
        });
        proptest::collection::vec(((0_u8..4).prop_map(f64::from), list), 0..5)
    }

    /// The definition, word by word.
    fn naive(fusion: Fusion, lists: &[(f64, Vec<(u32, f32)>)]) -> Vec<(u32, f64)> {
        let mut scored = Vec::new();
        for item in 0..20 {
            if !lists.iter().any(|(_, list)| list.iter().any(|(of, _)| *of == item)) {
                continue;
            }
            let mut sum = 0.0;
            for (weight, list) in lists {
                let place = list.iter().position(|(of, _)| *of == item);
                let values: Vec<f64> = list.iter().map(|(_, score)| f64::from(*score)).collect();
                let most = values.iter().copied().fold(f64::MIN, f64::max);
                let least = values.iter().copied().fold(f64::MAX, f64::min);
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
                let deviation = (variance / values.len() as f64).sqrt();
                let normal = |value: f64| match fusion {
                    Fusion::Weighted(Normalization::MinMax) if most == least => 1.0,
                    Fusion::Weighted(Normalization::MinMax) => (value - least) / (most - least),
                    Fusion::Weighted(Normalization::ZScore) if deviation == 0.0 => 0.0,
                    Fusion::Weighted(Normalization::ZScore) => (value - mean) / deviation,
                    _ => value,
                };
                sum += match (fusion, place) {
                    (Fusion::Rrf { k }, Some(place)) => weight / (k + (place + 1) as f64),
                    (Fusion::Rrf { .. }, None) => 0.0,
                    (_, Some(place)) => weight * normal(values[place]),
                    (_, None) if values.is_empty() => 0.0,
                    (_, None) => weight * normal(least).min(0.0),
                };
            }
            scored.push((item, sum));
        }
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        scored
    }

    proptest! {
        #[test]
        fn merged_lists_are_what_the_definition_says(lists in lists()) {
            for fusion in [
                Fusion::rrf(),
                Fusion::Rrf { k: 0.0 },
                Fusion::weighted(),
                Fusion::Weighted(Normalization::ZScore),
                Fusion::Weighted(Normalization::None),
            ] {
                let (found, expected) = (fusion.merge(&lists), naive(fusion, &lists));
                prop_assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    prop_assert!((found.1 - expected.1).abs() < 1e-9, "{found:?} {expected:?}");
                }
                prop_assert!(found.is_sorted_by(|a, b| a.1 > b.1 || a.1 == b.1 && a.0 < b.0));
            }
        }

        #[test]
        fn ranks_alone_fuse_as_rankings_do(lists in lists()) {
            let rankings: Vec<(f64, Vec<u32>)> = lists
                .iter()
                .map(|(weight, list)| (*weight, list.iter().map(|(item, _)| *item).collect()))
                .collect();
            let mut expected = fuse(&rankings, RRF_K);
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            prop_assert_eq!(Fusion::rrf().merge(&lists), expected);
        }
    }
}
