//! Hits of several collections as one list.

use std::sync::Arc;

use crate::db::{Hit, Origin};
use crate::error::{Error, Result};
use crate::fusion::{RRF_K, reciprocal};

/// How the lists of several collections become one, before rerankers put them on one scale.
///
/// ```
/// use portolan::Merge;
///
/// assert_eq!(Merge::default(), Merge::Rrf { k: 60.0 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Merge {
    /// By rank: the first of each collection, then the second of each, collections in the order
    /// they were given. Safe whatever their metrics and models.
    Rrf {
        /// The constant of reciprocal rank fusion. It decides no order here, but the scores that
        /// a [`Blend`](crate::Blend) gets.
        k: f64,
    },
    /// By the scores of the searches: for collections of one metric and one model.
    Score,
}

impl Merge {
    /// Refuses what gives no order.
    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Self::Rrf { k } if !(k.is_finite() && k >= 0.0) => {
                let reason = "the k of its merge is negative or no number: give 0 or more";
                Err(Error::Query { reason })
            }
            _ => Ok(()),
        }
    }
}

impl Default for Merge {
    fn default() -> Self {
        Self::Rrf { k: RRF_K }
    }
}

/// A hit in its place.
#[derive(Debug)]
pub(super) struct Ranked {
    pub(super) hit: Hit,
    /// What it is ordered by; none for a hit that a reranker did not rank.
    pub(super) by: Option<f32>,
    /// Which collection it is from.
    pub(super) from: usize,
}

/// The hits of the only collection, best first.
pub(super) fn single(hits: Vec<Hit>) -> Vec<Ranked> {
    hits.into_iter().map(|hit| Ranked { by: Some(hit.score), hit, from: 0 }).collect()
}

/// The best hits of all collections, best first; each list comes with which it is and where it
/// lies. Equal scores in the order of the collections.
pub(super) fn merge(by: Merge, lists: Vec<(usize, Origin, Vec<Hit>)>, most: usize) -> Vec<Ranked> {
    let mut ranked = Vec::new();
    for (from, origin, hits) in lists {
        let origin = Arc::new(origin);
        for (rank, mut hit) in hits.into_iter().enumerate() {
            hit.origin = Some(Arc::clone(&origin));
            let score = match by {
                Merge::Rrf { k } => reciprocal(1.0, k, rank) as f32,
                Merge::Score => hit.score,
            };
            ranked.push((rank, Ranked { hit, by: Some(score), from }));
        }
    }
    match by {
        Merge::Rrf { .. } => ranked.sort_by_key(|(rank, _)| *rank),
        Merge::Score => ranked.sort_by(|(_, a), (_, b)| b.hit.score.total_cmp(&a.hit.score)),
    }
    ranked.truncate(most);
    ranked.into_iter().map(|(_, one)| one).collect()
}
