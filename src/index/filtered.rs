//! The filter-first walk: only rows that pass are scored and kept, and rows that do not are
//! crossed to reach the ones behind them (Patel and others, ACORN, 2024). A step then sees as
//! many rows that pass as it would see rows without a filter.
//!
//! A walk starts from a sample of what passes as well as from the usual entries, so that rows
//! that pass far from the query, or in several places that no links join, are found too.

use super::Passing;
use super::pool::{Pool, Scored};
use super::scratch::{Scratch, Visited};
use super::walk::{Adjacency, Batch, Scorer, Stop};

/// Rows that pass that a step wants to see, scored before or not: as many as a row has links.
/// With half as many, one to eight of a hundred neighbors more were lost.
const WANTED: usize = 32;
/// Rows of the sample that are scored at a time.
const BLOCK: usize = 32;

/// The share of what is linked from `starts` that passes.
pub fn local_share<A: Adjacency>(graph: &A, starts: &[u32], passing: &Passing) -> f64 {
    let (mut all, mut pass) = (0_u32, 0_u32);
    for &start in starts {
        graph.each_link(start, |link| {
            all += 1;
            pass += u32::from(passing.contains(link));
        });
    }
    f64::from(pass) / f64::from(all.max(1))
}

/// Walks from `starts` and the sample of what passes, keeping the `ef` best that pass in
/// `scratch.pool`. Each id is scored and crossed at most once, so the walk ends.
pub fn filtered_walk<S: Scorer, A: Adjacency>(
    scorer: &S,
    graph: &A,
    passing: &Passing,
    starts: &[u32],
    (ef, stop): (usize, Option<Stop>),
    scratch: &mut Scratch,
) {
    let Scratch { visited, pool, crossings, steps, .. } = scratch;
    let reach = Reach::new(scorer, graph, passing);
    visited.reset(reach.len);
    pool.reset(ef.min(reach.len as usize));
    reach.score_sample(visited, pool);
    let mut roots = starts.iter().copied().filter(|&start| start < reach.len);
    // The rows asked for by this step, and by the one before.
    let (mut asked, mut waiting) = (&mut Batch::new(), &mut Batch::new());
    loop {
        // What a walk usually starts from is expanded whether it passes or not.
        let root = roots.next();
        if let Some(root) = root.filter(|&root| passing.contains(root) && visited.insert(root)) {
            asked.push(root, scorer.row(root));
        }
        let next = root.or_else(|| pool.expand_next());
        let is_over = root.is_none() && stop.is_some_and(|stop| stop.is_due(pool));
        let Some(id) = next.filter(|_| !is_over) else {
            if waiting.len() == 0 {
                return;
            }
            waiting.score(scorer, |scored| reach.keep(pool, scored));
            continue;
        };
        *steps += 1;
        let seen = reach.ask(id, visited, asked, crossings, pool);
        if let Some(next) = pool.peek_next() {
            graph.prefetch(next);
        }
        // Scored while the links of the rows to cross arrive.
        waiting.score(scorer, |scored| reach.keep(pool, scored));
        reach.cross(seen, crossings, visited, asked, pool);
        asked.ask_all();
        std::mem::swap(&mut asked, &mut waiting);
    }
}

/// How a step gets from a row to those that pass.
struct Reach<'w, S, A> {
    scorer: &'w S,
    graph: &'w A,
    passing: &'w Passing,
    len: u32,
    /// Share of all rows that pass.
    share: f64,
}

impl<'w, S: Scorer, A: Adjacency> Reach<'w, S, A> {
    fn new(scorer: &'w S, graph: &'w A, passing: &'w Passing) -> Self {
        let len = graph.len().min(passing.len());
        let share = f64::from(passing.count()) / f64::from(len.max(1));
        Self { scorer, graph, passing, len, share }
    }

    fn score_sample(&self, visited: &mut Visited, pool: &mut Pool) {
        let mut batch = Batch::new();
        for sample in self.passing.sample().chunks(BLOCK) {
            for &id in sample {
                if visited.insert(id) {
                    batch.push(id, self.scorer.row(id));
                }
            }
            batch.ask_all();
            batch.score(self.scorer, |scored| _ = pool.push(scored));
        }
    }

    #[inline]
    fn keep(&self, pool: &mut Pool, scored: Scored) {
        if pool.push(scored) {
            self.graph.prefetch(scored.id);
        }
    }

    /// Collects a row that passes, unless it was before. A full batch is scored at once.
    #[inline]
    fn take(&self, id: u32, visited: &mut Visited, asked: &mut Batch<'w>, pool: &mut Pool) {
        if visited.insert(id) {
            if asked.is_full() {
                asked.ask_all();
                asked.score(self.scorer, |scored| self.keep(pool, scored));
            }
            asked.push(id, self.scorer.row(id));
        }
    }

    /// Collects the linked rows that pass, and asks for the links of the rows to cross; how many of
    /// the linked rows pass.
    #[inline]
    fn ask(
        &self,
        id: u32,
        visited: &mut Visited,
        asked: &mut Batch<'w>,
        crossings: &mut Vec<u32>,
        pool: &mut Pool,
    ) -> usize {
        crossings.clear();
        let (mut seen, mut links) = (0, 0);
        self.graph.each_link(id, |link| {
            links += 1;
            if self.passing.contains(link) && link < self.len {
                seen += 1;
                self.take(link, visited, asked, pool);
            } else if !visited.contains(link) {
                crossings.push(link);
            }
        });
        // Crossing a row shows about as many as this one did, or as is usual.
        let each = (self.share * f64::from(links)).max(seen as f64);
        let missing = WANTED.saturating_sub(seen) as f64;
        crossings.truncate((missing / each).ceil() as usize);
        crossings.iter().for_each(|&row| self.graph.prefetch(row));
        seen
    }

    /// Collects what passes behind the rows to cross, until enough was seen.
    #[inline]
    fn cross(
        &self,
        mut seen: usize,
        crossings: &[u32],
        visited: &mut Visited,
        asked: &mut Batch<'w>,
        pool: &mut Pool,
    ) {
        for &id in crossings {
            if seen >= WANTED {
                return;
            }
            visited.insert(id);
            self.graph.each_link(id, |link| {
                if self.passing.contains(link) && link < self.len {
                    seen += 1;
                    self.take(link, visited, asked, pool);
                }
            });
        }
    }
}
