//! From a query to the positions worth comparing exactly: a walk or a scan by navigation codes,
//! then the best of what was found by int8 codes.

use super::graph::Graph;
use super::plan::Plan;
use super::pool::Scored;
use super::scratch::Scratch;
use super::segment::Segment;
use super::walk::{Scorer, Stop, walk, walk_until};
use super::{Allow, SearchParams, TopK};
use crate::kernels::{Level, NavQuery, level, prefetch};
use crate::vectors::nav::fill_query;
use crate::vectors::{PreparedQuery, Rows};

/// Rows scored by int8 code without one entering the best `k`, after which the rest, which
/// navigation codes rank lower still, is given up: at least so many ...
const PATIENCE_MIN: usize = 16;
/// ... and at least this part of what was found, as a wider walk asks for more recall.
const PATIENCE_PART: usize = 2;
/// Rows that a scan scores at a time.
const BLOCK: usize = 16;
/// Rows asked for ahead of the one being scored.
const AHEAD: usize = 8;
/// Candidates of a filtered walk that are scored by int8 code, at least.
const REFINED: usize = 100;
/// Candidates of a scan by navigation codes that are scored by int8 code: at least so many ...
const SCAN_REFINED: usize = 200;
/// ... and so many for each that is kept.
const SCAN_REFINED_EACH: usize = 4;

impl Segment {
    /// At most `params.rescored()` positions that pass, best first by int8 code. The query is
    /// projected here unless its coordinates are given.
    pub(super) fn candidates(
        &self,
        (query, coordinates): (&PreparedQuery, &[f32]),
        params: &SearchParams,
        allow: Allow<'_>,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        let resident = self.resident.get();
        let codes = CodeScorer { query, codes: resident.map_or(&self.codes, |copy| &copy.codes) };
        let Some(nav) = &self.nav else {
            return self.found(&codes, None::<&NavScorer<'_>>, params, allow, scratch);
        };
        let mut nav_query = std::mem::take(&mut scratch.nav_query);
        if coordinates.len() == nav.projection.len() {
            fill_query(coordinates, nav.lines, &mut nav_query);
        } else {
            nav.projection.project(query.codes(), query.scale(), &mut scratch.coordinates);
            fill_query(&scratch.coordinates, nav.lines, &mut nav_query);
        }
        let level = level();
        let rows = resident.and_then(|copy| copy.nav.as_ref()).unwrap_or(&nav.rows);
        let best = nav.projection.best_score(query.codes(), query.scale(), query.metric());
        let scorer = NavScorer { query: &nav_query, rows, level, best };
        let upper = NavScorer { query: &nav_query, rows: &nav.upper, level, best };
        let found = self.found(&scorer, Some(&upper), params, allow, scratch);
        scratch.nav_query = nav_query;
        self.refine(&codes, &found, params)
    }

    /// Candidates by one scorer, best first.
    fn found<S: Scorer>(
        &self,
        scorer: &S,
        upper: Option<&impl Scorer>,
        params: &SearchParams,
        allow: Allow<'_>,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        let keep = params.rescored().min(self.len() as usize);
        let wide = if upper.is_some() { keep.max(REFINED) } else { keep };
        if let Some(graph) = &self.graph {
            let passing = self.slots.passing(allow);
            if let Plan::Walk { ef } = Plan::choose(self.len(), passing, params.ef, keep) {
                let found = self.walk(graph, (scorer, upper), (ef, keep, wide), allow, scratch);
                if found.len() >= params.k.min(self.len() as usize) {
                    return found;
                }
            }
        }
        let all = if upper.is_some() {
            keep.saturating_mul(SCAN_REFINED_EACH).max(SCAN_REFINED)
        } else {
            keep
        };
        self.scan(all, allow, scorer)
    }

    fn walk<S: Scorer>(
        &self,
        graph: &Graph,
        (scorer, upper): (&S, Option<&impl Scorer>),
        (ef, wanted, wide): (usize, usize, usize),
        allow: Allow<'_>,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        let starts = graph.starts(scorer, upper);
        let resident = self.resident.get().and_then(|copy| copy.links.as_ref());
        let base = resident.unwrap_or(graph.base());
        if matches!(allow, Allow::All) {
            let stop = Stop::new(scorer, wanted, ef);
            walk_until(scorer, base, &starts, (ef, stop), scratch, |_| {});
            return scratch.pool.iter().collect();
        }
        let mut accepted = std::mem::take(&mut scratch.accepted);
        accepted.reset(wide);
        walk(scorer, base, &starts, ef, scratch, |scored| {
            // The bitmap is asked only about what could be returned.
            if accepted.admits(scored)
                && self.slots.slot(scored.id).is_some_and(|slot| allow.contains(slot))
            {
                accepted.push(scored);
            }
        });
        let found = accepted.iter().collect();
        scratch.accepted = accepted;
        found
    }

    /// The best of all positions that pass.
    fn scan<S: Scorer>(&self, keep: usize, allow: Allow<'_>, scorer: &S) -> Vec<Scored> {
        let mut top = TopK::new(keep);
        let mut waiting = ([0; BLOCK], 0);
        let mut flush = |ids: [u32; BLOCK], count: usize| {
            let mut scores = [f32::MIN; BLOCK];
            let rows = ids.map(|id| scorer.row(id));
            scorer.score_all(&rows[..count], &mut scores[..count]);
            ids.into_iter().zip(scores).take(count).for_each(|(id, score)| top.push(id, score));
        };
        self.slots.for_each(allow, |position| {
            let (ids, count) = &mut waiting;
            prefetch(scorer.row(position));
            ids[*count] = position;
            *count += 1;
            if *count == ids.len() {
                flush(*ids, *count);
                *count = 0;
            }
        });
        flush(waiting.0, waiting.1);
        top.into_sorted().into_iter().map(|(id, score)| Scored { score, id }).collect()
    }

    /// Orders what was found by int8 code, as far down as it pays.
    pub(super) fn refine(
        &self,
        codes: &CodeScorer<'_>,
        found: &[Scored],
        params: &SearchParams,
    ) -> Vec<Scored> {
        let keep = params.rescored();
        if found.len() <= keep {
            return score_all_of(codes, found);
        }
        let patience = (found.len() / PATIENCE_PART).max(PATIENCE_MIN);
        let mut best: Vec<Scored> = Vec::with_capacity(keep + 1);
        let mut idle = 0;
        found.iter().take(AHEAD).for_each(|next| prefetch(codes.row(next.id)));
        for (at, group) in found.chunks(4).enumerate() {
            let ahead = found.iter().skip(4 * at + AHEAD).take(4);
            ahead.for_each(|next| prefetch(codes.row(next.id)));
            let mut rows = [&[][..]; 4];
            rows.iter_mut().zip(group).for_each(|(row, of)| *row = codes.row(of.id));
            for (candidate, score) in group.iter().zip(codes.query.score_code4(rows)) {
                let scored = Scored { score, id: candidate.id };
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
        best
    }
}

/// Scores everything that was found by int8 code, best first.
fn score_all_of(codes: &CodeScorer<'_>, found: &[Scored]) -> Vec<Scored> {
    let rows: Vec<&[u8]> = found.iter().map(|of| codes.row(of.id)).collect();
    let mut scores = vec![f32::MIN; rows.len()];
    codes.score_all(&rows, &mut scores);
    let mut scored: Vec<Scored> =
        found.iter().zip(scores).map(|(of, score)| Scored { score, id: of.id }).collect();
    scored.sort_unstable_by(Scored::rank);
    scored
}

/// Scores positions by their navigation codes against a query.
pub(super) struct NavScorer<'a> {
    pub(super) query: &'a NavQuery,
    pub(super) rows: &'a Rows,
    pub(super) level: Level,
    pub(super) best: Option<f32>,
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
    fn best(&self) -> Option<f32> {
        self.best
    }
}

/// Scores positions by their int8 codes against a query.
pub(super) struct CodeScorer<'a> {
    pub(super) query: &'a PreparedQuery,
    pub(super) codes: &'a Rows,
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
