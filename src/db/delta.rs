//! Scoring the vectors that no segment holds yet: they wait as rows until they are folded.

use super::matching::Matching;
use super::view::{DeltaRow, View};
use crate::index::{Effort, Neighbor, SearchParams, TopK};
use crate::record::Slot;
use crate::vectors::{Metric, Originals, PreparedQuery};

/// Unsealed vectors that are scored at full precision: at least so many ...
const KEPT: usize = 256;
/// ... and so many for each that could be returned. Codes put many near ties in another order.
const KEPT_EACH: usize = 4;

/// Unsealed vectors that are scored at full precision; all of them for an exact search.
pub(super) fn delta_keep(limit: usize, effort: Effort, exact: bool) -> Option<usize> {
    let is_exact = exact || matches!(effort, Effort::Recall(target) if target >= 1.0);
    let rescored = SearchParams::new(limit, 0).rescored();
    (!is_exact).then(|| rescored.saturating_mul(KEPT_EACH).max(KEPT))
}

impl View {
    /// The unsealed vectors that pass, or the best `keep` of them by their codes: half the bytes
    /// of reading all at full precision.
    pub(super) fn scan_delta(
        &self,
        query: &PreparedQuery,
        matching: &Matching,
        keep: Option<usize>,
    ) -> Vec<Neighbor> {
        let all = matching.delta.is_none().then_some(0..self.delta.len() as u32);
        let some = matching.delta.iter().flatten().copied();
        let count = matching.delta.as_ref().map_or(self.delta.len(), Vec::len);
        let passing = all.into_iter().flatten().chain(some);
        let best: Vec<u32> = match keep.filter(|&keep| keep < count) {
            None => passing.collect(),
            Some(keep) => self.best_by_code(query, passing, keep),
        };
        let originals = self.encoding.originals();
        let mut scratch = Vec::new();
        let rows = best.into_iter().filter_map(|place| self.delta.get(place as usize));
        let score = |(slot, row): &(Slot, DeltaRow)| {
            let score = if originals == Originals::None {
                query.score_code(row.code())
            } else {
                query.score_raw(row.raw(), originals, &mut scratch)
            };
            // As in a segment: rounded codes can put a squared distance slightly below zero.
            let score = if query.metric() == Metric::L2 { score.min(0.0) } else { score };
            Neighbor { slot: slot.0, score }
        };
        rows.map(score).collect()
    }

    fn best_by_code(
        &self,
        query: &PreparedQuery,
        mut places: impl Iterator<Item = u32>,
        keep: usize,
    ) -> Vec<u32> {
        let mut top = TopK::new(keep);
        let mut four = [0; 4];
        loop {
            let mut count = 0;
            for (slot, place) in four.iter_mut().zip(&mut places) {
                *slot = place;
                count += 1;
            }
            let mut codes = [&[][..]; 4];
            for (code, &place) in codes.iter_mut().zip(&four[..count]) {
                *code = self.delta.get(place as usize).map_or(&[], |(_, row)| row.code());
            }
            for (&place, score) in four[..count].iter().zip(query.score_code4(codes)) {
                top.push(place, score);
            }
            if count < four.len() {
                return top.into_sorted().into_iter().map(|(place, _)| place).collect();
            }
        }
    }
}
