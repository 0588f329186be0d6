//! The walk: best-first search over any adjacency with any scorer (Malkov and Yashunin,
//! algorithm 2). Building and searching run the same loop, monomorphized for each.
//!
//! The walk is one step behind itself: it asks for the rows of a node's links while it scores
//! those of the node before, which have arrived meanwhile. That costs a few percent more steps
//! and hides most of what a step spends waiting for memory.

use super::pool::{Pool, Scored};
use super::scratch::Scratch;
use crate::kernels::prefetch;
use crate::vectors::finite;

/// Scores ids against something fixed: a query, or a node being linked.
pub trait Scorer {
    /// The bytes that scoring `id` reads; empty when there is no such id.
    fn row(&self, id: u32) -> &[u8];

    /// The score of each row, into `out` of the same length. Higher is better; an empty row
    /// scores worst.
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]);

    /// Asks for the rows of ids to be brought into the cache.
    #[inline]
    fn ask(&self, ids: &[u32]) {
        ids.iter().for_each(|&id| prefetch(self.row(id)));
    }

    /// The scores of at most [`GROUP`] ids, one for each place in `out`.
    #[inline]
    fn score_ids(&self, ids: &[u32], out: &mut [f32]) {
        score_rows(self, ids.iter().copied(), out);
    }

    /// The scores of the ids from `first` on, one for each place in `out`, at most [`WIDTH`].
    fn score_run(&self, first: u32, out: &mut [f32]) {
        score_rows(self, first.., out);
    }

    /// Rows that are asked for together and scored together: at most [`GROUP`].
    #[inline]
    fn group(&self) -> usize {
        GROUP
    }

    /// What a row equal to the query would score, where no row can score more.
    fn best(&self) -> Option<f32> {
        None
    }
}

/// The scores of ids, row by row.
#[inline]
pub fn score_rows<S: Scorer + ?Sized>(
    scorer: &S,
    mut ids: impl Iterator<Item = u32>,
    out: &mut [f32],
) {
    for out in out.chunks_mut(GROUP) {
        let mut rows = [&[][..]; GROUP];
        let rows = &mut rows[..out.len()];
        rows.iter_mut().zip(&mut ids).for_each(|(row, id)| *row = scorer.row(id));
        scorer.score_all(rows, out);
    }
}

/// When a walk may end before its pool is expanded: when the next candidate is further from the
/// query than the last one wanted by more than a share of that one's distance. The share grows
/// with `ef`, so that wider walks are also more patient ones (the rule of Al-Jazzazi et al.,
/// 2025, "Distance adaptive beam search", for squared distances).
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    best: f32,
    wanted: usize,
    share: f32,
}

/// Candidates for which the share is one.
const EF_PER_SHARE: f32 = 1_000.0;

impl Stop {
    /// The rule for a walk with `ef` candidates of which the first `wanted` count; none where
    /// scores do not tell distances.
    pub fn new(scorer: &impl Scorer, wanted: usize, ef: usize) -> Option<Self> {
        Some(Self { best: scorer.best()?, wanted, share: ef as f32 / EF_PER_SHARE })
    }

    /// Whether what was taken from the pool last is not worth expanding. The last one wanted
    /// only gets better, so what is not worth it once never is.
    #[inline]
    pub fn is_due(&self, pool: &Pool) -> bool {
        let last_wanted = pool.score_at(self.wanted.saturating_sub(1));
        let (Some(next), Some(last)) = (pool.last_score(), last_wanted) else { return false };
        next < last - self.share * (self.best - last).max(0.0)
    }
}

/// Who is linked to whom.
pub trait Adjacency {
    /// Number of ids; links out of range are ignored.
    fn len(&self) -> u32;
    /// Visits the links of `id`. May give padding (the id itself) and repetitions.
    fn each_link(&self, id: u32, visit: impl FnMut(u32));
    /// Asks for the links of `id` to be brought into the cache.
    fn prefetch(&self, id: u32);
}

/// Ids that a batch holds, at most.
pub const WIDTH: usize = 64;

/// Links a node has at most: twice the largest `m`.
pub const MAX_LINKS: usize = 128;

/// Ids whose rows are asked for together, and scored together, at most.
pub const GROUP: usize = 8;

/// Cache lines that are asked for together: more wait for one another (`docs/index-performance.md`,
/// "What is asked for ahead").
const LINES_TOGETHER: usize = 16;

/// Rows of so many cache lines that are asked for together.
#[inline]
pub const fn together(lines: usize) -> usize {
    if lines * GROUP > LINES_TOGETHER { GROUP / 2 } else { GROUP }
}

/// Scores the ids that wait. Asks for the rows of the next ones between those of these: a core has
/// room for a dozen lines on their way, and waits when it asks for more at once.
#[inline]
pub fn score_asking<S: Scorer>(scorer: &S, waiting: &[u32], next: &[u32], scores: &mut [f32]) {
    let size = scorer.group().clamp(1, GROUP);
    for first in (0..waiting.len().max(next.len())).step_by(size) {
        let group = |len: usize| first.min(len)..(first + size).min(len);
        scorer.ask(&next[group(next.len())]);
        let group = group(waiting.len());
        scorer.score_ids(&waiting[group.clone()], &mut scores[group]);
    }
}

/// Climbs from `start` to a node whose links are all no better; the start of the level below.
/// Ends because the score rises strictly with every step, whatever the links say.
pub fn climb<S: Scorer, A: Adjacency>(scorer: &S, graph: &A, start: u32) -> u32 {
    let score = |id: u32| {
        let mut score = [f32::MIN];
        scorer.score_all(&[scorer.row(id)], &mut score);
        finite(score[0])
    };
    let mut best = Scored { score: score(start), id: start };
    loop {
        let from = best.id;
        graph.each_link(from, |id| {
            if id < graph.len() && id != from {
                let score = score(id);
                if score > best.score {
                    best = Scored { score, id };
                }
            }
        });
        if best.id == from {
            return from;
        }
    }
}

/// Walks from `starts` keeping the `ef` best in `scratch.pool` and the expanded ids in
/// `scratch.trail`. Each id is looked at once, so the walk ends.
pub fn walk<S: Scorer, A: Adjacency>(
    scorer: &S,
    graph: &A,
    starts: &[u32],
    ef: usize,
    scratch: &mut Scratch,
) {
    walk_until(scorer, graph, starts, (ef, None), scratch);
}

/// [`walk`] that may end early.
pub fn walk_until<S: Scorer, A: Adjacency>(
    scorer: &S,
    graph: &A,
    starts: &[u32],
    (ef, stop): (usize, Option<Stop>),
    scratch: &mut Scratch,
) {
    let Scratch { visited, pool, trail, steps, .. } = scratch;
    let len = graph.len();
    visited.reset(len);
    pool.reset(ef.min(len as usize));
    trail.clear();
    let take = |pool: &mut Pool, ids: &[u32], scores: &[f32]| {
        pool.push_all(ids, scores, |id| graph.prefetch(id));
    };
    let (mut links, mut scores) = ([[0; MAX_LINKS]; 2], [0.0; MAX_LINKS]);
    // The ids whose rows were asked for by the step before, and by this one.
    let [waiting, asked] = &mut links;
    let (mut waiting, mut asked) = (waiting, asked);
    let count = starts.len().min(MAX_LINKS);
    waiting[..count].copy_from_slice(&starts[..count]);
    let mut left = visited.insert_all(&mut waiting[..count], len);
    scorer.ask(&waiting[..left]);
    score_asking(scorer, &waiting[..left], &[], &mut scores);
    take(pool, &waiting[..left], &scores[..left]);
    left = 0;
    loop {
        let next = pool.expand_next();
        // What was asked for already is scored in any case.
        let next = next.filter(|_| !stop.is_some_and(|stop| stop.is_due(pool)));
        let mut new = 0;
        if let Some(id) = next {
            trail.push(id);
            if let Some(next) = pool.peek_next() {
                graph.prefetch(next);
            }
            let mut count = 0;
            graph.each_link(id, |link| {
                if let Some(place) = asked.get_mut(count) {
                    *place = link;
                    count += 1;
                }
            });
            new = visited.insert_all(&mut asked[..count], len);
        } else if left == 0 {
            *steps += trail.len();
            return;
        }
        score_asking(scorer, &waiting[..left], &asked[..new], &mut scores);
        take(pool, &waiting[..left], &scores[..left]);
        std::mem::swap(&mut asked, &mut waiting);
        left = new;
    }
}
