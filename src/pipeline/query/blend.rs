//! What a rerank stage makes of the scores before it and those of its model.

use crate::error::{Error, Result};
use crate::fusion::{Fusion, Normalization, RRF_K, reciprocal};

/// How the scores of a reranker and those that the candidates came with give an order.
///
/// ```
/// use portolan::{Blend, Normalization};
///
/// assert_eq!(Blend::default(), Blend::Replace);
/// assert_eq!(Blend::rrf(), Blend::Rrf { k: 60.0 });
/// let normalization = Normalization::MinMax;
/// assert_eq!(Blend::weighted(0.7), Blend::Weighted { rerank: 0.7, normalization });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Blend {
    /// The reranker's scores alone.
    #[default]
    Replace,
    /// `rerank * r + (1 - rerank) * s`, where `r` is the reranker's score and `s` the one before,
    /// both made comparable over the candidates of the stage. A candidate without a score before
    /// counts as the last of those that have one.
    Weighted {
        /// How much the reranker counts, from 0 to 1.
        rerank: f64,
        /// How scores are made comparable.
        normalization: Normalization,
    },
    /// Reciprocal rank fusion of both orders: `1 / (k + rank)` summed, ranks from 1.
    Rrf {
        /// How much a first place counts against a tenth: the larger, the less.
        k: f64,
    },
}

impl Blend {
    /// The weighted sum, both scores from 0 to 1.
    #[must_use]
    pub fn weighted(rerank: f64) -> Self {
        Self::Weighted { rerank, normalization: Normalization::MinMax }
    }

    /// Reciprocal rank fusion with k = 60.
    #[must_use]
    pub fn rrf() -> Self {
        Self::Rrf { k: RRF_K }
    }

    /// Refuses what gives no order.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason| Err(Error::Query { reason });
        match *self {
            Self::Weighted { rerank, .. } if !(0.0..=1.0).contains(&rerank) => {
                refuse("the weight of a reranker in a blend is outside of 0 to 1")
            }
            Self::Rrf { k } if !(k.is_finite() && k >= 0.0) => {
                refuse("the k of a blend is negative or no number: give 0 or more")
            }
            _ => Ok(()),
        }
    }

    /// A score for each candidate, of those before, best first, and the reranker's.
    pub(super) fn scores(&self, before: &[Option<f32>], rerank: &[f32]) -> Vec<f64> {
        match *self {
            Self::Replace => rerank.iter().map(|&score| f64::from(score)).collect(),
            Self::Weighted { rerank: weight, normalization } => {
                let lowest = before.iter().flatten().copied().reduce(f32::min).unwrap_or(0.0);
                let before: Vec<f32> = before.iter().map(|score| score.unwrap_or(lowest)).collect();
                let fusion = Fusion::Weighted(normalization);
                let ours = fusion.shares(weight, rerank).present;
                let theirs = fusion.shares(1.0 - weight, &before).present;
                ours.into_iter().zip(theirs).map(|(ours, theirs)| ours + theirs).collect()
            }
            Self::Rrf { k } => {
                let share = |place| reciprocal(1.0, k, place);
                let mut order: Vec<usize> = (0..rerank.len()).collect();
                order.sort_by(|&a, &b| rerank[b].total_cmp(&rerank[a]));
                let mut scores: Vec<f64> = (0..rerank.len()).map(share).collect();
                for (place, at) in order.into_iter().enumerate() {
                    scores[at] += share(place);
                }
                scores
            }
        }
    }
}
