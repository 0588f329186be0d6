//! The filter-first walk: only rows that pass are scored and kept, and rows that do not are
//! crossed to reach the ones behind them (Patel and others, ACORN, 2024). A step then sees as
//! many rows that pass as it would see rows without a filter.
//!
//! A walk starts from a sample of what passes as well as from the usual entries, so that rows
//! that pass far from the query, or in several places that no links join, are found too.

use super::Passing;
use super::pool::Pool;
use super::scratch::{Scratch, Visited};
use super::walk::{Adjacency, MAX_LINKS, Scorer, Stop, score_asking};

/// Rows that pass that a step wants to see, scored before or not: as many as a row has links.
/// With half as many, one to eight of a hundred neighbors more were lost.
const WANTED: usize = 32;

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
    let Scratch { visited, pool, steps, .. } = scratch;
    let reach = Reach::new(graph, passing);
    visited.reset(reach.len);
    pool.reset(ef.min(reach.len as usize));
    let take = |pool: &mut Pool, ids: &[u32], scores: &[f32]| {
        pool.push_all(ids, scores, |id| graph.prefetch(id));
    };
    let mut scores = [0.0; ASKED_MAX];
    // The rows asked for by this step, and by the one before.
    let [asked, waiting] = &mut [[0; ASKED_MAX]; 2];
    let (mut asked, mut waiting) = (asked, waiting);
    let sample = passing.sample();
    let mut left = sample.len().min(ASKED_MAX);
    waiting[..left].copy_from_slice(&sample[..left]);
    left = visited.insert_all(&mut waiting[..left], reach.len);
    scorer.ask(&waiting[..left]);
    score_asking(scorer, &waiting[..left], &[], &mut scores);
    // Not all of the sample is near enough to be expanded soon.
    pool.push_all(&waiting[..left], &scores[..left], |_| ());
    left = 0;
    let mut roots = starts.iter().copied().filter(|&start| start < reach.len);
    let mut crossings = [0; MAX_LINKS];
    loop {
        // What a walk usually starts from is expanded whether it passes or not.
        let root = roots.next();
        let next = root.or_else(|| pool.expand_next());
        let is_over = root.is_none() && stop.is_some_and(|stop| stop.is_due(pool));
        let Some(id) = next.filter(|_| !is_over) else {
            if left == 0 {
                return;
            }
            // What was asked for already is scored in any case.
            score_asking(scorer, &waiting[..left], &[], &mut scores);
            take(pool, &waiting[..left], &scores[..left]);
            left = 0;
            continue;
        };
        *steps += 1;
        let mut new = 0;
        if root.is_some_and(|root| passing.contains(root)) {
            asked[0] = id;
            new = visited.insert_all(&mut asked[..1], reach.len);
        }
        let Step { seen, new: found, cross } =
            reach.ask(id, visited, &mut asked[new..], &mut crossings);
        new += found;
        if let Some(next) = pool.peek_next() {
            graph.prefetch(next);
        }
        // Scored while the links of the rows to cross arrive.
        score_asking(scorer, &waiting[..left], &asked[..new], &mut scores);
        take(pool, &waiting[..left], &scores[..left]);
        let behind = reach.cross(seen, &crossings[..cross], visited, &mut asked[new..]);
        scorer.ask(&asked[new..new + behind]);
        left = new + behind;
        std::mem::swap(&mut asked, &mut waiting);
    }
}

/// Ids that a step asks for, at most: a root, its links, or those of the rows that it crosses, of
/// which the last is crossed while fewer than [`WANTED`] were seen.
const ASKED_MAX: usize = 1 + WANTED + MAX_LINKS;

/// What a step sees of the links of a row.
struct Step {
    /// Those that pass.
    seen: usize,
    /// Of these, those that are new.
    new: usize,
    /// Rows to cross.
    cross: usize,
}

/// How a step gets from a row to those that pass.
struct Reach<'w, A> {
    graph: &'w A,
    passing: &'w Passing,
    len: u32,
    /// Share of all rows that pass.
    share: f64,
}

impl<'w, A: Adjacency> Reach<'w, A> {
    fn new(graph: &'w A, passing: &'w Passing) -> Self {
        let len = graph.len().min(passing.len());
        let share = f64::from(passing.count()) / f64::from(len.max(1));
        Self { graph, passing, len, share }
    }

    /// Splits the links of a row into those that pass, of which the new ones are collected in
    /// `asked`, and those to cross, whose links are asked for.
    #[inline]
    fn ask(
        &self,
        id: u32,
        visited: &mut Visited,
        asked: &mut [u32],
        crossings: &mut [u32; MAX_LINKS],
    ) -> Step {
        let (mut seen, mut cross, mut links) = (0, 0, 0);
        // Without branches: which of them pass cannot be foreseen.
        self.graph.each_link(id, |link| {
            let passes = self.passing.contains(link) & (link < self.len);
            let places = asked.get_mut(seen).zip(crossings.get_mut(cross));
            if let Some((ask, crossing)) = places.filter(|_| links < MAX_LINKS) {
                (*ask, *crossing) = (link, link);
                seen += usize::from(passes);
                cross += usize::from(!passes & !visited.contains(link));
                links += 1;
            }
        });
        let new = visited.insert_all(&mut asked[..seen], self.len);
        // Crossing a row shows about as many as this one did, or as is usual.
        let each = (self.share * links as f64).max(seen as f64);
        let missing = WANTED.saturating_sub(seen) as f64;
        cross = cross.min((missing / each).ceil() as usize);
        crossings[..cross].iter().for_each(|&row| self.graph.prefetch(row));
        Step { seen, new, cross }
    }

    /// Collects what passes and is new behind the rows to cross, until enough was seen; how many.
    #[inline]
    fn cross(
        &self,
        mut seen: usize,
        crossings: &[u32],
        visited: &mut Visited,
        asked: &mut [u32],
    ) -> usize {
        let mut new = 0;
        for &id in crossings {
            if seen >= WANTED {
                break;
            }
            visited.insert(id);
            let mut end = new;
            self.graph.each_link(id, |link| {
                if let Some(place) = asked.get_mut(end) {
                    *place = link;
                    end += usize::from(self.passing.contains(link) & (link < self.len));
                }
            });
            seen += end - new;
            new += visited.insert_all(&mut asked[new..end], self.len);
        }
        new
    }
}
