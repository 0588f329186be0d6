//! First candidates for the links of every position: the nearest it meets in its leaves.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::partition::panel;
use super::pool::Scored;
use super::selected::Selected;
use super::space::{Point, Space};
use crate::kernels::level;

/// Candidates of a position, over all its leaves, if a row is not wider.
const KEPT: usize = 48;
/// Candidates it takes from one leaf.
const PER_LEAF: usize = 20;
/// Rows whose products with a whole leaf are computed at a time.
const BLOCK: usize = 64;

/// Rows that one lock guards.
const PART: usize = 64;

/// The best candidates of each position, best first and at least `width`, as far as there are so
/// many; the same in any order of the leaves.
pub fn candidates(space: &Space<'_>, leaves: &[Vec<u32>], width: usize) -> Selected {
    let mut selected = Selected::new(space.len() as usize, KEPT.max(width));
    let parts: Vec<Mutex<_>> = selected.parts(PART).into_iter().map(Mutex::new).collect();
    leaves.par_iter().for_each(|leaf| {
        let (all, points) = panel(space, leaf);
        let factors = Factors::new(&points);
        let (mut dots, mut scores, mut best) = (Vec::new(), vec![0.0; leaf.len()], Vec::new());
        for first in (0..leaf.len()).step_by(BLOCK) {
            let last = (first + BLOCK).min(leaf.len());
            all.dots(level(), (first, last), &all, &mut dots);
            for (at, dots) in (first..last).zip(dots.chunks(leaf.len())) {
                let position = leaf[at] as usize;
                let Some(part) = parts.get(position / PART) else { continue };
                let lock = || part.lock().unwrap_or_else(PoisonError::into_inner);
                // What the other leaves have found by now is no candidate any more: the result is
                // the same in any order of them, but not the time.
                let limit = lock().limit(position % PART);
                factors.scores(&points[at], dots, &mut scores);
                scores[at] = f32::NAN;
                nearest(&scores, leaf, limit, &mut best);
                let mut part = lock();
                best.iter().for_each(|&link| part.offer(position % PART, link));
            }
        }
    });
    drop(parts);
    selected
}

/// What turns the products of a leaf into scores, one array for each factor: so the compiler
/// scores several at once.
struct Factors {
    scales: Vec<f32>,
    norms_sq: Vec<f32>,
    missing: Vec<f32>,
}

impl Factors {
    fn new(points: &[Point<'_>]) -> Self {
        let of = |at: usize| points.iter().map(|point| point.factors()[at]).collect();
        Self { scales: of(0), norms_sq: of(1), missing: of(2) }
    }

    /// The scores of all points of the leaf with one of them.
    fn scores(&self, own: &Point<'_>, dots: &[i32], out: &mut [f32]) {
        let others = self.scales.iter().zip(&self.norms_sq).zip(&self.missing);
        for ((out, dot), ((&scale, &norm_sq), &missing)) in out.iter_mut().zip(dots).zip(others) {
            *out = own.score_of(*dot, scale, norm_sq, missing);
        }
    }
}

/// Scores compared at once.
const CHUNK: usize = 16;

/// The best of a leaf of `limit` and above, by their scores; NaN is none of them.
fn nearest(scores: &[f32], leaf: &[u32], mut limit: f32, best: &mut Vec<Scored>) {
    best.clear();
    for (scores, ids) in scores.chunks(CHUNK).zip(leaf.chunks(CHUNK)) {
        // Not `any`, which looks at one after the other.
        if !scores.iter().fold(false, |any, score| any | (*score >= limit)) {
            continue;
        }
        for (&score, &id) in scores.iter().zip(ids).filter(|(score, _)| **score >= limit) {
            best.push(Scored { score, id });
        }
        if best.len() >= 2 * PER_LEAF {
            limit = limit.max(cut(best));
        }
    }
    cut(best);
}

/// Keeps the best of a leaf; the worst score among them.
fn cut(best: &mut Vec<Scored>) -> f32 {
    if best.len() > PER_LEAF {
        best.select_nth_unstable_by(PER_LEAF - 1, Scored::rank);
        best.truncate(PER_LEAF);
        return best[PER_LEAF - 1].score;
    }
    f32::NEG_INFINITY
}
