//! The filter-first walk: only rows that pass are scored and kept, and rows that do not are
//! crossed to reach the ones behind them (Patel and others, ACORN, 2024). A filter that lets few
//! pass then costs a walk less, not more, as long as what passes is linked within two links.
//!
//! A walk starts from a sample of what passes as well as from the usual entries, so that rows
//! that pass far from the query, or in several places that no links join, are found too.

use super::Passing;
use super::pool::{Pool, Scored};
use super::scratch::{Scratch, Visited};
use super::walk::{Adjacency, Batch, Scorer};

/// New rows that pass of one step, after which it crosses no more rows that do not.
pub fn env(name: &'static str, default: usize) -> usize {
    use std::sync::OnceLock; use std::collections::HashMap;
    static VALUES: OnceLock<HashMap<String, usize>> = OnceLock::new();
    let values = VALUES.get_or_init(|| std::env::vars().filter(|(k, _)| k.starts_with("P_")).filter_map(|(k, v)| Some((k, v.parse().ok()?))).collect());
    values.get(name).copied().unwrap_or(default)
}
/// Links of a row, about.
const LINKS: f64 = 32.0;
/// Rows of the sample that are scored at a time.
const BLOCK: usize = 32;

/// The share of what is linked from `starts` that passes, and of the starts themselves.
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
    ef: usize,
    scratch: &mut Scratch,
) {
    let Scratch { visited, pool, crossings, .. } = scratch;
    let len = graph.len().min(passing.len());
    visited.reset(len);
    pool.reset(ef.min(len as usize));
    let share = f64::from(passing.count()) / f64::from(len.max(1));
    let wanted = env("P_WANTED", 32);
    let crossed = env("P_CROSSED", 32);
    let each = LINKS * share;
    let reach = Reach { graph, scorer, passing, len, wanted, crossed, each };
    let mut batches = [Batch::new(), Batch::new()];
    let mut now = 0;
    let sample = env("P_SAMPLE", 64);
    for &id in passing.sample().iter().step_by((256 / sample).max(1)) {
        if id < len && visited.insert(id) {
            if batches[now].len() == BLOCK {
                now = 1 - now;
                batches[now].score(scorer, |scored| _ = pool.push(scored));
            }
            batches[now].push(id, scorer.row(id));
        }
    }
    batches.iter_mut().for_each(|batch| batch.score(scorer, |scored| _ = pool.push(scored)));
    let mut roots = starts.iter().copied().filter(|&start| start < len);
    let mut steps = 0;
    loop {
        let (asked, waiting) = {
            let [a, b] = &mut batches;
            if now == 0 { (b, a) } else { (a, b) }
        };
        // What a walk usually starts from is expanded whether it passes or not.
        let root = roots.next();
        if let Some(root) = root.filter(|&root| passing.contains(root) && visited.insert(root)) {
            asked.push(root, scorer.row(root));
        }
        let next = root.or_else(|| pool.expand_next());
        let mut seen = usize::MAX;
        if let Some(id) = next {
            steps += 1;
            seen = reach.links(id, visited, asked, crossings);
            if let Some(next) = pool.peek_next() {
                graph.prefetch(next);
            }
        } else if waiting.len() == 0 {
            break;
        }
        // Scored while the links of the rows to cross arrive.
        waiting.score(scorer, |scored| take(pool, graph, scored));
        reach.cross(visited, pool, asked, crossings, seen);
        now = 1 - now;
    }
    let _ = steps;
}

#[inline]
fn take(pool: &mut Pool, graph: &impl Adjacency, scored: Scored) {
    if pool.push(scored) {
        graph.prefetch(scored.id);
    }
}

/// How a step gets from a row to those that pass.
struct Reach<'w, S, A> {
    graph: &'w A,
    scorer: &'w S,
    passing: &'w Passing,
    len: u32,
    wanted: usize,
    /// Rows that a step crosses, at most.
    crossed: usize,
    /// Links of a row that pass, on average over the segment.
    each: f64,
}

impl<'w, S: Scorer, A: Adjacency> Reach<'w, S, A> {
    /// Asks for the linked rows that pass, and for the links of those that do not.
    #[inline]
    fn links(
        &self,
        id: u32,
        visited: &mut Visited,
        asked: &mut Batch<'w>,
        crossings: &mut Vec<u32>,
    ) -> usize {
        crossings.clear();
        let mut seen = 0;
        self.graph.each_link(id, |link| {
            if link >= self.len {
                return;
            }
            if self.passing.contains(link) {
                seen += 1;
                if !asked.is_full() && visited.insert(link) {
                    asked.push(link, self.scorer.row(link));
                }
            } else if !visited.contains(link) {
                crossings.push(link);
            }
        });
        // Crossing a row finds about as much as this one did.
        let missing = self.wanted.saturating_sub(seen) as f64;
        let each = self.each.max(seen as f64);
        crossings.truncate(((missing / each).ceil() as usize).min(self.crossed));
        crossings.iter().for_each(|&row| self.graph.prefetch(row));
        seen
    }

    /// Asks for what passes behind the rows to cross, until it is enough.
    #[inline]
    fn cross(
        &self,
        visited: &mut Visited,
        pool: &mut Pool,
        asked: &mut Batch<'w>,
        crossings: &[u32],
        mut seen: usize,
    ) {
        for &id in crossings {
            if seen >= self.wanted {
                return;
            }
            visited.insert(id);
            self.graph.each_link(id, |link| {
                if !self.passing.contains(link) {
                    return;
                }
                seen += 1;
                if link < self.len && visited.insert(link) {
                    if asked.is_full() {
                        asked.score(self.scorer, |scored| take(pool, self.graph, scored));
                    }
                    asked.push(link, self.scorer.row(link));
                }
            });
        }
    }
}
