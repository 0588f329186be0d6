//! Scans of one segment: every row that passes is scored, in the order of positions.

use std::ops::Range;

use super::pool::Pool;
use super::walk::{Scorer, WIDTH, score_asking};
use super::{Passing, TopK};

/// Rows asked for before the first of them is scored.
const BLOCK: usize = 16;

/// Offers all positions that pass.
pub fn scan<S: Scorer>(scorer: &S, passing: &Passing, top: &mut TopK) {
    if most_pass(passing) {
        return scan_runs(scorer, passing, top);
    }
    // The positions whose rows were asked for before, and those that are collected.
    let [waiting, asked] = &mut [[0; BLOCK]; 2];
    let (mut waiting, mut asked) = (waiting, asked);
    let (mut left, mut new, mut scores) = (0, 0, [0.0; BLOCK]);
    passing.for_each(|position| {
        asked[new] = position;
        new += 1;
        if new == BLOCK {
            score_asking(scorer, &waiting[..left], &asked[..], &mut scores);
            top.push_all(&waiting[..left], &scores[..left]);
            std::mem::swap(&mut asked, &mut waiting);
            (left, new) = (BLOCK, 0);
        }
    });
    score_asking(scorer, &waiting[..left], &asked[..new], &mut scores);
    top.push_all(&waiting[..left], &scores[..left]);
    score_asking(scorer, &asked[..new], &[], &mut scores);
    top.push_all(&asked[..new], &scores[..new]);
}

/// Whether so many pass that scoring all rows where they lie is cheaper than finding those that do.
fn most_pass(passing: &Passing) -> bool {
    passing.count() / 2 >= passing.len() - passing.count()
}

/// Scores all positions, one run after another, and offers those that pass.
fn scan_runs<S: Scorer>(scorer: &S, passing: &Passing, top: &mut TopK) {
    let len = passing.len();
    let mut scores = [0.0; WIDTH];
    for first in (0..len).step_by(WIDTH) {
        let scores = &mut scores[..(len - first).min(WIDTH as u32) as usize];
        scorer.score_run(first, scores);
        for (id, &score) in (first..).zip(&*scores) {
            if !top.refuses(score) && passing.contains(id) {
                top.push(id, score);
            }
        }
    }
}

/// Pushes the rows of ranges, which lie one after another.
pub fn scan_ranges<S: Scorer>(
    scorer: &S,
    ranges: impl Iterator<Item = Range<u32>>,
    pool: &mut Pool,
) {
    let (mut ids, mut scores) = ([0; WIDTH], [0.0; WIDTH]);
    for range in ranges {
        for first in range.clone().step_by(WIDTH) {
            let count = (range.end - first).min(WIDTH as u32) as usize;
            ids.iter_mut().zip(first..).for_each(|(id, at)| *id = at);
            scorer.score_run(first, &mut scores[..count]);
            pool.push_all(&ids[..count], &scores[..count], |_| {});
        }
    }
}

/// Offers the rows of a copy, which lie one after another, under the positions they are copies of.
pub fn scan_copy<S: Scorer>(copy: &S, positions: &[u32], top: &mut TopK) {
    let mut scores = [0.0; WIDTH];
    for (first, positions) in (0..).step_by(WIDTH).zip(positions.chunks(WIDTH)) {
        let scores = &mut scores[..positions.len()];
        copy.score_run(first, scores);
        top.push_all(positions, scores);
    }
}
