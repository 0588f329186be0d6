//! The walk: best-first search over any adjacency with any scorer (Malkov and Yashunin,
//! algorithm 2). Building and searching run the same loop, monomorphized for each.

use std::hint::black_box;

use super::pool::Scored;
use super::scratch::Scratch;

/// Scores ids against something fixed: a query, or a node being inserted.
pub trait Scorer {
    /// The score of `id`; finite, and higher is better.
    fn score(&self, id: u32) -> f32;

    /// Reads what scoring `id` will need, so that it is in the cache by then; the result means
    /// nothing but must be used. Loads of several ids overlap, which is what a walk over more
    /// rows than the cache holds spends its time on.
    fn touch(&self, id: u32) -> u8;
}

/// Who is linked to whom.
pub trait Adjacency {
    /// Number of ids; links out of range are ignored.
    fn len(&self) -> u32;
    /// Appends the links of `id` to `out`. May give padding (the id itself) and repetitions.
    fn links(&self, id: u32, out: &mut Vec<u32>);
}

/// Climbs from `start` to a node whose links are all no better; the start of the level below.
/// Ends because the score rises strictly with every step, whatever the links say.
pub fn climb<S: Scorer, A: Adjacency>(
    scorer: &S,
    graph: &A,
    start: u32,
    links: &mut Vec<u32>,
) -> u32 {
    let mut best = Scored { score: scorer.score(start), id: start };
    loop {
        let from = best.id;
        links.clear();
        graph.links(from, links);
        for &id in links.iter().filter(|&&id| id < graph.len() && id != from) {
            let score = scorer.score(id);
            if score > best.score {
                best = Scored { score, id };
            }
        }
        if best.id == from {
            return from;
        }
    }
}

/// Walks from `start` keeping the `ef` best in `scratch.pool`, and hands every scored id to
/// `seen` once. Each id is scored at most once, so the walk ends.
pub fn walk<S: Scorer, A: Adjacency>(
    scorer: &S,
    graph: &A,
    start: u32,
    ef: usize,
    scratch: &mut Scratch,
    mut seen: impl FnMut(Scored),
) {
    let Scratch { visited, pool, links, .. } = scratch;
    let len = graph.len();
    visited.reset(len);
    pool.reset(ef.min(len as usize));
    if start < len && visited.insert(start) {
        let scored = Scored { score: scorer.score(start), id: start };
        pool.push(scored);
        seen(scored);
    }
    while let Some(id) = pool.expand_next() {
        links.clear();
        graph.links(id, links);
        links.retain(|&id| id < len && visited.insert(id));
        black_box(links.iter().fold(0, |sum, &id| sum ^ scorer.touch(id)));
        for &id in links.iter() {
            let scored = Scored { score: scorer.score(id), id };
            pool.push(scored);
            seen(scored);
        }
    }
}

/// Reads one byte of every cache line of a row.
#[inline]
pub fn touch_row(row: Option<&[u8]>) -> u8 {
    row.map_or(0, |row| row.iter().step_by(64).fold(0, |sum, byte| sum ^ byte))
}
