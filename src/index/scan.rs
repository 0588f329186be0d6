//! Scans of one segment: every row that passes is scored, in the order of positions.

use super::copied::Copy;
use super::pool::Scored;
use super::walk::{Batch, Scorer};
use super::{Passing, TopK};

/// Rows asked for before the first of them is scored.
const BLOCK: usize = 16;

/// The `keep` best of all positions that pass, best first.
pub fn scan<S: Scorer>(scorer: &S, passing: &Passing, keep: usize) -> Vec<Scored> {
    let mut top = TopK::new(keep);
    let (mut batches, mut now) = ([Batch::new(), Batch::new()], 0);
    passing.for_each(|position| {
        batches[now].push(position, scorer.row(position));
        if batches[now].len() == BLOCK {
            now = 1 - now;
            batches[now].score(scorer, |scored| top.push(scored.id, scored.score));
        }
    });
    for mut batch in batches {
        batch.score(scorer, |scored| top.push(scored.id, scored.score));
    }
    top.into_sorted().into_iter().map(|(id, score)| Scored { score, id }).collect()
}

/// [`scan`] over the copied rows of what passes.
pub fn scan_copy<S: Scorer>(scorer: &S, copy: &Copy, keep: usize) -> Vec<Scored> {
    let mut found = scan(scorer, &Passing::all(copy.rows.len()), keep);
    for scored in &mut found {
        scored.id = copy.positions.get(scored.id as usize).copied().unwrap_or(u32::MAX);
    }
    found
}
