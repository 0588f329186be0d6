//! Scans of one segment: every row that passes is scored, in the order of positions.

use std::ops::Range;

use super::copied::Copy;
use super::pool::Pool;
use super::walk::{Batch, Scorer, WIDTH};
use super::{Passing, TopK};
use crate::kernels::prefetch;

/// Rows asked for before the first of them is scored.
const BLOCK: usize = 16;

/// Offers all positions that pass.
pub fn scan<S: Scorer>(scorer: &S, passing: &Passing, top: &mut TopK) {
    if most_pass(passing) {
        return scan_runs(scorer, passing, top);
    }
    let (mut batches, mut now) = ([Batch::new(), Batch::new()], 0);
    passing.for_each(|position| {
        let row = scorer.row(position);
        prefetch(row);
        batches[now].push(position, row);
        if batches[now].len() == BLOCK {
            now = 1 - now;
            batches[now].score(scorer, |scored| top.push(scored.id, scored.score));
        }
    });
    for mut batch in batches {
        batch.score(scorer, |scored| top.push(scored.id, scored.score));
    }
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

/// Offers what was copied.
pub fn scan_copy<S: Scorer>(scorer: &S, copy: &Copy, top: &mut TopK) {
    let blocks = copy.codes.chunks(BLOCK * copy.stride).zip(copy.positions.chunks(BLOCK));
    for (codes, positions) in blocks {
        let mut rows = [&[][..]; BLOCK];
        rows.iter_mut().zip(codes.chunks(copy.stride)).for_each(|(row, codes)| *row = codes);
        offer(scorer, &rows[..positions.len()], positions.iter().copied(), top);
    }
}

/// Offers at most [`WIDTH`] rows under their ids.
#[inline]
fn offer<S: Scorer>(scorer: &S, rows: &[&[u8]], ids: impl Iterator<Item = u32>, top: &mut TopK) {
    let mut scores = [f32::MIN; WIDTH];
    scorer.score_all(rows, &mut scores[..rows.len()]);
    for (id, &score) in ids.zip(&scores[..rows.len()]) {
        if !top.refuses(score) {
            top.push(id, score);
        }
    }
}
