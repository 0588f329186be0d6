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
        let mut dots = Vec::new();
        let mut best = Vec::new();
        for first in (0..leaf.len()).step_by(BLOCK) {
            let last = (first + BLOCK).min(leaf.len());
            all.dots(level(), (first, last), &all, &mut dots);
            for (at, dots) in (first..last).zip(dots.chunks(leaf.len())) {
                nearest(at, dots, leaf, &points, &mut best);
                let position = leaf[at] as usize;
                if let Some(part) = parts.get(position / PART) {
                    let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
                    best.iter().for_each(|&link| part.offer(position % PART, link));
                }
            }
        }
    });
    drop(parts);
    selected
}

/// The best of a leaf for the position at `own`, by the products of its code.
fn nearest(own: usize, dots: &[i32], leaf: &[u32], points: &[Point<'_>], best: &mut Vec<Scored>) {
    best.clear();
    let mut limit = f32::NEG_INFINITY;
    for (at, (point, dot)) in points.iter().zip(dots).enumerate() {
        let score = points[own].score(point, *dot);
        if score <= limit || at == own {
            continue;
        }
        best.push(Scored { score, id: leaf[at] });
        if best.len() == 2 * PER_LEAF {
            limit = cut(best);
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
