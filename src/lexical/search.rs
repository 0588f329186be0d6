//! The best texts for a query, window by window of 4,096 slots.
//!
//! In each window terms are taken apart by what they can still add (MaxScore; Turtle and Flood
//! 1995, with bounds of blocks as in Lucene): those that together cannot lift a text among the
//! best are only looked up for texts that the others found. Blocks whose bound is too low are not
//! decoded. The result is that of scoring every text: points add up to the same in any order, and
//! of those with one score the lower slot comes first.

use super::analysis::Analyzer;
use super::best::Best;
use super::bm25::rank;
use super::config::TextIndex;
use super::lengths::{self, CHUNK};
use super::mask::{Mask, Passing, passing};
use super::plan::Plan;
use super::query::TextQuery;
use super::text_error::TextError;
use super::vain::PHRASE_LEFT_OUT;
use crate::filter::Slots;
use crate::format::read_u16;
use crate::record::Slot;
use crate::storage::{Snapshot, StorageError, tables};

/// A text that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    pub(crate) slot: Slot,
    /// BM25, higher is better.
    pub(crate) score: f32,
}

/// What a search found and did.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Searched {
    /// Best first; of equal ones the lower slot first.
    pub(crate) best: Vec<Scored>,
    /// Terms of the query that texts have.
    pub(crate) terms: usize,
    /// Texts whose score was summed up.
    pub(crate) scored: u64,
    /// What of the query is in vain, whatever the texts: why it finds nothing, or what decides
    /// nothing.
    pub(crate) vain: Option<&'static str>,
}

/// The best `limit` texts of those that pass.
///
/// # Errors
/// Storage; damage.
pub(crate) fn search(
    snapshot: &dyn Snapshot,
    collection: u32,
    index: &TextIndex,
    query: &TextQuery,
    limit: usize,
    passes: &Slots,
) -> Result<Searched, TextError> {
    if limit == 0 {
        return Ok(Searched::default());
    }
    let run = |whole| -> Result<Option<Search<'_>>, TextError> {
        let Some(plan) = Plan::new(snapshot, collection, index, query, whole)? else {
            return Ok(None);
        };
        let bounds = Vec::with_capacity(plan.cursors.len());
        let mut search = Search {
            snapshot,
            collection,
            index,
            passes,
            plan,
            analyzer: index.analyzer(),
            points: vec![0; CHUNK as usize],
            touched: Mask::none(),
            bounds,
            best: Best::new(limit),
            scored: 0,
        };
        search.run()?;
        Ok(Some(search))
    };
    let Some(mut search) = run(false)? else {
        return Ok(Searched { vain: query.in_vain(index), ..Searched::default() });
    };
    // What the rare words of a prefix alone find has no points. To read their postings is worth it
    // only where such texts are among the best.
    if search.plan.is_partial
        && search.best.threshold().is_none_or(|least| least == 0)
        && let Some(whole) = run(true)?
    {
        search = Search { scored: search.scored + whole.scored, ..whole };
    }
    Ok(search.finish())
}

struct Search<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
    index: &'s TextIndex,
    passes: &'s Slots,
    plan: Plan<'s>,
    analyzer: Analyzer,
    /// Points of each slot of the window, zeros between windows.
    points: Vec<u32>,
    touched: Mask,
    /// Bound and place of each cursor that has something in the window, ascending.
    bounds: Vec<(u32, usize)>,
    best: Best,
    scored: u64,
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), TextError> {
        let mut after = 0;
        while let Some(next) = self.plan.next_slot(after) {
            // A block may have begun in the window before.
            let first = next.max(after) / CHUNK * CHUNK;
            let last = first + (CHUNK - 1);
            self.window(first, last)?;
            let Some(from) = last.checked_add(1) else { break };
            self.plan.cursors.iter_mut().for_each(|cursor| cursor.seek(from));
            after = from;
        }
        Ok(())
    }

    fn window(&mut self, first: u32, last: u32) -> Result<(), TextError> {
        self.bounds.clear();
        for (at, cursor) in self.plan.cursors.iter().enumerate() {
            let bound = cursor.bound_to(last);
            if bound > 0 {
                self.bounds.push((bound, at));
            }
        }
        self.bounds.sort_unstable();
        let all: u64 = self.bounds.iter().map(|(bound, _)| u64::from(*bound)).sum();
        let threshold = self.best.threshold();
        if threshold.is_some_and(|threshold| all <= u64::from(threshold)) {
            return Ok(());
        }
        let filter = passing(self.passes, (first, last));
        let mut allowed = match &filter {
            Passing::None => return Ok(()),
            Passing::These(mask) => Some((**mask).clone()),
            Passing::All | Passing::Ask => None,
        };
        if self.plan.has_conditions() {
            let Some(meeting) = self.plan.meeting((first, last))? else { return Ok(()) };
            match &mut allowed {
                Some(mask) => mask.and(&meeting),
                None => allowed = Some(meeting),
            }
        }
        if allowed.as_ref().is_some_and(Mask::is_empty) {
            return Ok(());
        }
        let lengths = lengths::chunk(self.snapshot, self.collection, first / CHUNK)?;
        let others = self.add_essential(first, last, all, lengths)?;
        if let Some(allowed) = &allowed {
            let mut kept = self.touched.clone();
            if self.plan.has_unscored() {
                kept = allowed.clone();
            } else {
                kept.and(allowed);
            }
            let touched = std::mem::replace(&mut self.touched, kept);
            let done = self.collect(first, others, lengths, matches!(filter, Passing::Ask));
            touched.places().for_each(|at| self.points[at as usize] = 0);
            done
        } else {
            self.collect(first, others, lengths, matches!(filter, Passing::Ask))
        }
    }

    /// Sums up the points of the terms that can lift a text among the best; how many, the weakest,
    /// cannot.
    fn add_essential(
        &mut self,
        first: u32,
        last: u32,
        all: u64,
        lengths: &[[u8; 2]],
    ) -> Result<usize, StorageError> {
        let threshold = self.best.threshold();
        let (mut others, mut sum) = (0, 0);
        if let Some(threshold) = threshold {
            for (bound, _) in &self.bounds {
                sum += u64::from(*bound);
                if sum > u64::from(threshold) {
                    break;
                }
                others += 1;
            }
        }
        let Self { plan, points, touched, bounds, .. } = self;
        let Plan { cursors, scoring, .. } = plan;
        for (bound, at) in bounds.iter().skip(others) {
            let Some(cursor) = cursors.get_mut(*at) else { continue };
            // A block that with the most of all others is not enough.
            let rest = all - u64::from(*bound);
            let skip = threshold.map_or(0, |threshold| u64::from(threshold).saturating_sub(rest));
            let weight = cursor.weight;
            let mut of_block = [0_u32; super::packing::BLOCK];
            cursor.each_to(
                first,
                last,
                u32::try_from(skip).unwrap_or(u32::MAX),
                |slots, counts| {
                    let both = of_block.iter_mut().zip(slots).zip(counts);
                    for ((points, slot), count) in both {
                        let length = lengths.get((slot - first) as usize);
                        let length = length.map_or(0, |length| u16::from_le_bytes(*length));
                        *points = scoring.points(weight, *count, length);
                    }
                    for (slot, new) in slots.iter().zip(&of_block) {
                        let at = slot - first;
                        if let Some(points) = points.get_mut(at as usize) {
                            *points += new;
                        }
                        touched.set(at);
                    }
                },
            )?;
        }
        Ok(others)
    }

    /// Takes the texts of the window that are among the best, and empties the window.
    fn collect(
        &mut self,
        first: u32,
        others: usize,
        lengths: &[[u8; 2]],
        ask: bool,
    ) -> Result<(), TextError> {
        let touched = std::mem::replace(&mut self.touched, Mask::none());
        let weak: Vec<(u32, usize)> = self.bounds.iter().take(others).copied().collect();
        let weak_sum: u64 = weak.iter().map(|(bound, _)| u64::from(*bound)).sum();
        for at in touched.places() {
            let mut points = std::mem::take(&mut self.points[at as usize]);
            self.scored += 1;
            let enough = |points: u32, more: u64, best: &Best| {
                best.threshold().is_none_or(|least| u64::from(points) + more > u64::from(least))
            };
            if !enough(points, weak_sum, &self.best) {
                continue;
            }
            let slot = first + at;
            if ask && !self.passes.contains(slot) {
                continue;
            }
            let mut more = weak_sum;
            for (bound, of) in weak.iter().rev() {
                if !enough(points, more, &self.best) {
                    break;
                }
                more -= u64::from(*bound);
                let Some(cursor) = self.plan.cursors.get_mut(*of) else { continue };
                if let Some(count) = cursor.count_at(slot).map_err(StorageError::from)? {
                    let length = lengths.get(at as usize).map_or(0, |length| read_u16(length, 0));
                    points += self.plan.scoring.points(cursor.weight, count, length);
                }
            }
            // The last says whether the score itself is better, not the points alone.
            let rank = rank(points);
            if enough(points, more, &self.best)
                && enough(rank, 0, &self.best)
                && self.has_phrases(slot)?
            {
                self.best.push(rank, slot);
            }
        }
        Ok(())
    }

    /// Whether the text of a slot has the phrases, and none of those that are excluded.
    fn has_phrases(&mut self, slot: u32) -> Result<bool, StorageError> {
        if self.plan.phrases.is_empty() {
            return Ok(true);
        }
        let record = tables::record(self.snapshot, self.collection, Slot(slot))?.record;
        let Self { index, plan, analyzer, .. } = self;
        Ok(plan.phrases.are_met(&record, index, analyzer))
    }

    fn finish(self) -> Searched {
        let scoring = self.plan.scoring;
        let scored = |(points, slot)| Scored { slot: Slot(slot), score: scoring.score(points) };
        let best = self.best.into_sorted().map(scored);
        let (terms, scored) = (self.plan.terms, self.scored);
        // It has a term to look for, so no more can be wrong.
        let vain = self.plan.lacks_phrase.then_some(PHRASE_LEFT_OUT);
        Searched { best: best.collect(), terms, scored, vain }
    }
}
