//! Scans of one segment: every row that passes is scored, in the order of positions.

use std::ops::Range;

use super::copied::Copy;
use super::pool::Scored;
use super::walk::{Batch, Scorer};
use super::{Passing, TopK};
use crate::kernels::{Level, NavQuery};

/// Rows asked for before the first of them is scored.
const BLOCK: usize = 16;

/// The `keep` best of all positions that pass, best first.
pub fn scan<S: Scorer>(scorer: &S, passing: &Passing, keep: usize) -> Vec<Scored> {
    let mut top = TopK::new(keep);
    let (mut batches, mut now) = ([Batch::new(), Batch::new()], 0);
    passing.for_each(|position| {
        batches[now].push(position, scorer.row(position));
        if batches[now].len() == BLOCK {
            batches[now].ask_all(scorer);
            now = 1 - now;
            batches[now].score(scorer, top.floor(), |scored| top.push(scored.id, scored.score));
        }
    });
    for mut batch in batches {
        batch.score(scorer, top.floor(), |scored| top.push(scored.id, scored.score));
    }
    top.into_sorted().into_iter().map(|(id, score)| Scored { score, id }).collect()
}

/// Offers the rows of ranges, which lie one after another.
pub fn scan_ranges<S: Scorer>(
    scorer: &S,
    ranges: impl Iterator<Item = Range<u32>>,
    top: &mut TopK,
) {
    let mut batch = Batch::new();
    for row in ranges.flatten() {
        batch.push(row, scorer.row(row));
        if batch.is_full() {
            batch.score(scorer, top.floor(), |scored| top.push(scored.id, scored.score));
        }
    }
    batch.score(scorer, top.floor(), |scored| top.push(scored.id, scored.score));
}

/// The `keep` best of what was copied, best first.
pub fn scan_copy(query: &NavQuery, level: Level, copy: &Copy, keep: usize) -> Vec<Scored> {
    let mut top = TopK::new(keep);
    let mut scores = [f32::MIN; BLOCK];
    let blocks = copy.codes.chunks(BLOCK * copy.stride).zip(copy.positions.chunks(BLOCK));
    for (codes, positions) in blocks {
        let mut rows = [&[][..]; BLOCK];
        rows.iter_mut().zip(codes.chunks(copy.stride)).for_each(|(row, codes)| *row = codes);
        query.score_all(level, &rows[..positions.len()], &mut scores);
        for (&position, &score) in positions.iter().zip(&scores) {
            if !top.refuses(score) {
                top.push(position, score);
            }
        }
    }
    top.into_sorted().into_iter().map(|(id, score)| Scored { score, id }).collect()
}
