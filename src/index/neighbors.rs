//! First candidates for the links of every position: the nearest it meets in its leaves.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::partition::panel;
use super::pool::Scored;
use super::space::{Point, Space};
use crate::kernels::level;

/// Candidates of a position, over all its leaves.
const KEPT: usize = 48;
/// Candidates it takes from one leaf.
const PER_LEAF: usize = 20;
/// Rows whose products with a whole leaf are computed at a time.
const BLOCK: usize = 64;

/// The best candidates of each position, best first; the same in any order of the leaves.
pub fn candidates(space: &Space<'_>, leaves: &[Vec<u32>]) -> Vec<Vec<Scored>> {
    let lists: Vec<Mutex<Vec<Scored>>> = (0..space.len()).map(|_| Mutex::default()).collect();
    leaves.par_iter().for_each(|leaf| {
        let (all, points) = panel(space, leaf);
        let mut dots = Vec::new();
        let mut best = Vec::new();
        for first in (0..leaf.len()).step_by(BLOCK) {
            let last = (first + BLOCK).min(leaf.len());
            all.dots(level(), (first, last), &all, &mut dots);
            for (at, dots) in (first..last).zip(dots.chunks(leaf.len())) {
                nearest(at, dots, leaf, &points, &mut best);
                if let Some(list) = lists.get(leaf[at] as usize) {
                    merge(&mut list.lock().unwrap_or_else(PoisonError::into_inner), &best);
                }
            }
        }
    });
    let take = |list: Mutex<Vec<Scored>>| {
        let mut list = list.into_inner().unwrap_or_else(PoisonError::into_inner);
        list.sort_unstable_by(Scored::rank);
        list.truncate(KEPT);
        list
    };
    lists.into_par_iter().map(take).collect()
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

/// Takes new candidates into a list; an id stands once, as its score is always the same.
fn merge(list: &mut Vec<Scored>, new: &[Scored]) {
    for scored in new {
        if !list.iter().any(|known| known.id == scored.id) {
            list.push(*scored);
        }
    }
    if list.len() > KEPT {
        list.sort_unstable_by(Scored::rank);
        list.truncate(KEPT);
    }
}
