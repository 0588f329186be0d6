//! From a query to the positions worth comparing exactly: a walk or a scan by navigation codes,
//! then the best of what was found by int8 codes.

use super::filtered::{filtered_walk, local_share};
use super::graph::STARTS_MAX;
use super::plan::{Plan, Scanned, SearchPath};
use super::pool::Scored;
use super::scan::{scan, scan_copy};
use super::scratch::Scratch;
use super::segment::Segment;
use super::walk::{Scorer, Stop, WIDTH, score_rows, together, walk_until};
use super::{Passing, SearchParams, copied};
use crate::kernels::nav::LINE;
use crate::kernels::{Level, NavQuery, level, prefetch};
use crate::vectors::nav::fill_query;
use crate::vectors::{PreparedQuery, Rows};

/// Rows scored by int8 code without one entering the best `k`, after which the rest, which
/// navigation codes rank lower still, is given up: at least so many ...
const PATIENCE_MIN: usize = 16;
/// ... and at least this part of what was found, as a wider walk asks for more recall.
const PATIENCE_PART: usize = 2;
/// Rows asked for ahead of the one being scored.
const AHEAD: usize = 8;
/// Candidates of a filtered scan that are scored by int8 code, at least.
const REFINED: usize = 100;
/// Candidates of a scan by navigation codes that are scored by int8 code: at least so many ...
const SCAN_REFINED: usize = 200;
/// ... and so many for each that is kept.
const SCAN_REFINED_EACH: usize = 4;

/// Candidates for each that is kept whose originals are read without a look at their codes.
const UNREFINED_EACH: usize = 2;

impl Segment {
    /// The positions that pass whose originals are worth reading, best first, into
    /// `scratch.found`: up to `params.rescored()` by int8 code, or twice as many by navigation
    /// code. The query is projected here unless its coordinates are given.
    pub(super) fn candidates(
        &self,
        (query, coordinates): (&PreparedQuery, &[f32]),
        params: &SearchParams,
        passing: &Passing,
        scratch: &mut Scratch,
    ) -> SearchPath {
        let resident = self.resident.get();
        let codes = CodeScorer { query, codes: resident.map_or(&self.codes, |copy| &copy.codes) };
        let Some(nav) = &self.nav else {
            let walked = self.walked(&codes, None::<&NavScorer<'_>>, params, passing, scratch);
            return walked.unwrap_or_else(|| {
                scratch.scan(params.rescored(), |top| scan(&codes, passing, top));
                SearchPath::Scan
            });
        };
        let mut nav_query = std::mem::take(&mut scratch.nav_query);
        if coordinates.len() == nav.projection.len() {
            fill_query(coordinates, nav.lines, &mut nav_query);
        } else {
            let Scratch { dots, coordinates, .. } = scratch;
            nav.projection.project(query.codes(), query.scale(), dots, coordinates);
            fill_query(&scratch.coordinates, nav.lines, &mut nav_query);
        }
        let level = level();
        let rows = resident.and_then(|copy| copy.nav.as_ref()).unwrap_or(&nav.rows);
        let best = nav.projection.best_score(query.codes(), query.scale(), query.metric());
        let scorer = NavScorer::new(&nav_query, rows, level, best);
        let upper = resident.and_then(|copy| copy.upper.as_ref()).unwrap_or(&nav.upper);
        let upper = FirstLines(NavScorer::new(&nav_query, upper, level, best));
        let walked = self.walked(&scorer, Some(&upper), params, passing, scratch);
        let path = walked.unwrap_or_else(|| {
            let keep = if passing.is_all() {
                params.rescored().saturating_mul(SCAN_REFINED_EACH).max(SCAN_REFINED)
            } else {
                params.rescored().max(REFINED)
            };
            scratch.scan(keep, |top| match passing.copied.get(passing, rows) {
                Some(copy) => {
                    let scorer = NavScorer::new(&nav_query, &copy.rows, level, best);
                    scan_copy(&scorer, &copy.positions, top);
                }
                None => scan(&scorer, passing, top),
            });
            SearchPath::Scan
        });
        scratch.nav_query = nav_query;
        // Where most of what was found is ordered by its originals in any case, they cost less
        // than codes and then originals.
        let unrefined = params.rescored().saturating_mul(UNREFINED_EACH);
        if self.raw.is_none() || scratch.found.len() > unrefined {
            self.refine(&codes, &scratch.found, params, &mut scratch.refined);
            std::mem::swap(&mut scratch.found, &mut scratch.refined);
        }
        path
    }

    /// Walks the graph, to `scratch.found`; none where a scan is cheaper, or finds more because
    /// too much of what passes cannot be reached.
    fn walked<S: Scorer>(
        &self,
        scorer: &S,
        upper: Option<&impl Scorer>,
        params: &SearchParams,
        passing: &Passing,
        scratch: &mut Scratch,
    ) -> Option<SearchPath> {
        let keep = params.wanted().min(passing.count() as usize);
        let ef = params.ef.max(params.rescored());
        // Without navigation codes there is nothing to copy.
        let is_copied =
            self.nav.as_ref().is_some_and(|nav| copied::is_worth(passing, nav.rows.stride()));
        let scan = Scanned::new(passing, is_copied);
        let graph = self.graph.as_ref().filter(|_| !scan.is_cheaper(ef))?;
        let least = if passing.is_all() { 0 } else { scan.share_from() };
        let from = graph.start(scorer, upper, (ef, least), &mut scratch.starts);
        let starts = std::mem::take(&mut scratch.starts.positions);
        let walk_starts = starts.get(..from).unwrap_or(&starts);
        let resident = self.resident.get().and_then(|copy| copy.links.as_ref());
        let base = resident.unwrap_or(graph.base());
        let mut plan = Plan { path: SearchPath::Walk, ef, wanted: keep };
        if !passing.is_all() {
            let looked_at = starts.get(..least).unwrap_or(&starts);
            plan = Plan::choose(scan, local_share(base, looked_at, passing), ef, keep);
        }
        if matches!(plan.path, SearchPath::Walk | SearchPath::MaskedWalk) {
            let stop = Stop::new(scorer, plan.wanted, plan.ef);
            walk_until(scorer, base, walk_starts, (plan.ef, stop), scratch);
            scratch.take_found(|id| passing.contains(id));
            if scratch.found.len() < keep {
                plan = Plan::far(scan, ef, keep);
            }
        }
        if plan.path == SearchPath::FilteredWalk {
            let stop = Stop::new(scorer, plan.wanted, plan.ef);
            // It expands them all.
            let roots = walk_starts.get(..STARTS_MAX).unwrap_or(walk_starts);
            filtered_walk(scorer, base, passing, roots, (plan.ef, stop), scratch);
            scratch.take_found(|_| true);
        }
        scratch.starts.positions = starts;
        (plan.path != SearchPath::Scan && scratch.found.len() >= keep).then_some(plan.path)
    }

    /// Orders what was found by int8 code, as far down as it pays, into `best`.
    pub(super) fn refine(
        &self,
        codes: &CodeScorer<'_>,
        found: &[Scored],
        params: &SearchParams,
        best: &mut Vec<Scored>,
    ) {
        let keep = params.rescored();
        best.clear();
        if found.len() <= keep {
            let scored = found.chunks(4).flat_map(|group| codes.scored(group));
            best.extend(scored);
            best.sort_unstable_by(Scored::rank);
            return;
        }
        let patience = (found.len() / PATIENCE_PART).max(PATIENCE_MIN);
        let mut idle = 0;
        found.iter().take(AHEAD).for_each(|next| prefetch(codes.row(next.id)));
        for (at, group) in found.chunks(4).enumerate() {
            let ahead = found.iter().skip(4 * at + AHEAD).take(4);
            ahead.for_each(|next| prefetch(codes.row(next.id)));
            for scored in codes.scored(group) {
                let place = best.partition_point(|other| other.rank(&scored).is_lt());
                idle = if place < params.k { 0 } else { idle + 1 };
                if place < keep {
                    best.insert(place, scored);
                    best.truncate(keep);
                }
            }
            if best.len() == keep && idle >= patience {
                break;
            }
        }
    }
}

/// Scores positions by their navigation codes against a query.
pub(super) struct NavScorer<'a> {
    query: &'a NavQuery,
    rows: &'a Rows,
    /// The lines of all rows, if they lie in one piece.
    whole: Option<&'a [[u8; LINE]]>,
    level: Level,
    best: Option<f32>,
}

impl<'a> NavScorer<'a> {
    pub(super) fn new(
        query: &'a NavQuery,
        rows: &'a Rows,
        level: Level,
        best: Option<f32>,
    ) -> Self {
        let whole = rows.run(0, rows.len() as usize);
        let whole = whole.filter(|_| rows.stride() == query.row_bytes());
        Self { query, rows, whole: whole.map(|bytes| bytes.as_chunks().0), level, best }
    }
}

impl Scorer for NavScorer<'_> {
    #[inline]
    fn row(&self, id: u32) -> &[u8] {
        self.rows.row(id).unwrap_or_default()
    }

    #[inline]
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.query.score_all(self.level, rows, out);
    }

    #[inline]
    fn ask(&self, ids: &[u32]) {
        match self.whole {
            Some(lines) => self.query.prefetch_ids(lines, ids),
            None => ids.iter().for_each(|&id| prefetch(self.row(id))),
        }
    }

    #[inline]
    fn group(&self) -> usize {
        together(self.query.row_bytes() / LINE)
    }

    #[inline]
    fn score_ids(&self, ids: &[u32], out: &mut [f32]) {
        match self.whole {
            Some(lines) => self.query.score_ids(self.level, lines, ids, out),
            None => score_rows(self, ids.iter().copied(), out),
        }
    }

    fn score_run(&self, first: u32, out: &mut [f32]) {
        let is_ours = self.rows.stride() == self.query.row_bytes();
        match self.rows.run(first, out.len()).filter(|_| is_ours) {
            Some(run) => {
                let places = std::array::from_fn::<u32, WIDTH, _>(|place| place as u32);
                self.query.score_ids(self.level, run.as_chunks().0, &places, out);
            }
            None => score_rows(self, first.., out),
        }
    }

    #[inline]
    fn best(&self) -> Option<f32> {
        self.best
    }
}

/// Scores rows by what their first lines let them reach, which is all that there is of entries.
pub(super) struct FirstLines<'a>(pub(super) NavScorer<'a>);

impl Scorer for FirstLines<'_> {
    #[inline]
    fn row(&self, id: u32) -> &[u8] {
        self.0.row(id)
    }

    #[inline]
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.0.query.reach_all(self.0.level, rows, out);
    }

    fn score_run(&self, first: u32, out: &mut [f32]) {
        let NavScorer { query, rows, level, .. } = &self.0;
        match rows.run(first, out.len()).filter(|_| rows.stride() == LINE) {
            Some(run) => query.reach_lines(*level, run.as_chunks().0, out),
            None => score_rows(self, first.., out),
        }
    }
}

/// Scores positions by their int8 codes against a query.
pub(super) struct CodeScorer<'a> {
    pub(super) query: &'a PreparedQuery,
    pub(super) codes: &'a Rows,
}

impl CodeScorer<'_> {
    /// Up to four of what was found, scored.
    #[inline]
    fn scored(&self, found: &[Scored]) -> impl Iterator<Item = Scored> {
        let mut rows = [&[][..]; 4];
        rows.iter_mut().zip(found).for_each(|(row, of)| *row = self.row(of.id));
        let scores = self.query.score_code4(rows);
        found.iter().zip(scores).map(|(of, score)| Scored { score, id: of.id })
    }
}

impl Scorer for CodeScorer<'_> {
    #[inline]
    fn row(&self, id: u32) -> &[u8] {
        self.codes.row(id).unwrap_or_default()
    }

    #[inline]
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        for (rows, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
            let mut four = [&[][..]; 4];
            four[..rows.len()].copy_from_slice(rows);
            out.copy_from_slice(&self.query.score_code4(four)[..out.len()]);
        }
    }
}
