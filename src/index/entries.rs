//! The entries of a graph: positions a walk may start at, and the small graph over them that
//! finds the best ones for a query.
//!
//! Links lead from near to nearer; between clusters there may be none, and a walk that starts in
//! a large cluster fills its pool there and never leaves. So every position is searched for once,
//! with a short walk, and one that is not found becomes an entry itself: about 1 in 70 at
//! 100,000 embedding-like vectors, and the share falls as a set grows denser.

use std::collections::HashSet;

use rayon::prelude::*;

use super::layer::Layer;
use super::nav::NavRows;
use super::pool::Scored;
use super::scratch::ScratchPool;
use super::space::Space;
use super::walk::{Scorer, walk};
use crate::kernels::NavQuery;
use crate::vectors::Random;

/// One in so many positions is an entry from the start.
const SHARE: u32 = 256;
/// At least one position in so many is not an entry, whatever is not found.
const MAX_SHARE: usize = 16;
/// Candidates of the walk that looks for a position: as few as a fast search would have.
const EF: usize = 12;
/// Positions looked for before the entries found missing are added.
const BATCH: u32 = 8_192;
/// Positions of one task.
const TASK: usize = 128;

/// The entries for a finished base level, in the order they were found.
pub fn entries(space: &Space<'_>, nav: &NavRows<'_>, base: &Layer, seed: u64) -> Vec<u32> {
    let len = space.len();
    let mut entries = some_entries(len, seed);
    let mut known: HashSet<u32> = entries.iter().copied().collect();
    let scratches = ScratchPool::default();
    let most = len as usize / MAX_SHARE;
    for first in (0..len).step_by(BATCH as usize) {
        let batch: Vec<u32> = (first..(first + BATCH).min(len)).collect();
        let missed: Vec<u32> = batch
            .par_chunks(TASK)
            .flat_map_iter(|task| missed(space, nav, base, &entries, task, &scratches))
            .collect();
        // A position next to one that was just added would be found from there.
        let mut added = HashSet::new();
        for position in missed {
            let near = base.linked(position).iter().any(|link| added.contains(link));
            if !near && entries.len() < most && known.insert(position) {
                added.insert(position);
                entries.push(position);
            }
        }
    }
    entries
}

/// One position in 256, drawn at random.
pub fn some_entries(len: u32, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut known = HashSet::new();
    let mut entries = Vec::new();
    while entries.len() < len.div_ceil(SHARE) as usize {
        let position = (random.next_u64() % u64::from(len.max(1))) as u32;
        if known.insert(position) {
            entries.push(position);
        }
    }
    entries
}

/// The positions of a task that a walk from the best entry does not find.
fn missed(
    space: &Space<'_>,
    nav: &NavRows<'_>,
    base: &Layer,
    entries: &[u32],
    task: &[u32],
    scratches: &ScratchPool,
) -> Vec<u32> {
    let mut missed = Vec::new();
    scratches.with(|scratch| {
        nav.each_query(space, task, |position, query| {
            let Some(start) = nearest(nav, query, entries, position) else { return };
            let scorer = nav.scorer(query);
            walk(&scorer, base, &[start], EF, scratch, |_| {});
            if scratch.pool.iter().all(|found| found.id != position) {
                missed.push(position);
            }
        });
    });
    missed
}

/// The best of the entries for a query, but for the position that is looked for.
fn nearest(nav: &NavRows<'_>, query: &NavQuery, entries: &[u32], but: u32) -> Option<u32> {
    let mut best: Option<Scored> = None;
    let scorer = nav.scorer(query);
    for ids in entries.chunks(TASK) {
        let rows: Vec<&[u8]> = ids.iter().map(|&id| nav.row(id)).collect();
        let mut scores = [f32::MIN; TASK];
        scorer.score_all(&rows, &mut scores);
        for (&id, score) in ids.iter().zip(scores) {
            let scored = Scored { score, id };
            if id != but && best.is_none_or(|best| scored.rank(&best).is_lt()) {
                best = Some(scored);
            }
        }
    }
    best.map(|best| best.id)
}
