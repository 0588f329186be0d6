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
        let count = matching.delta.as_ref().map_or(self.delta.len(), Vec::len);
        let place = |at: usize| match &matching.delta {
            None => at as u32,
            Some(places) => places.get(at).copied().unwrap_or(u32::MAX),
        };
        let best: Vec<u32> = match keep.filter(|&keep| keep < count) {
            None => (0..count).map(place).collect(),
            Some(keep) => self.best_by_code(query, (count, &place), keep),
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
        (count, place): (usize, &dyn Fn(usize) -> u32),
        keep: usize,
    ) -> Vec<u32> {
        let mut top = TopK::new(keep);
        for first in (0..count).step_by(4) {
            let four = first..(first + 4).min(count);
            let mut codes = [&[][..]; 4];
            for (code, at) in codes.iter_mut().zip(four.clone()) {
                let row = self.delta.get(place(at) as usize);
                *code = row.map_or(&[], |(_, row)| row.code());
            }
            for (at, score) in four.zip(query.score_code4(codes)) {
                top.push(place(at), score);
            }
        }
        top.into_sorted().into_iter().map(|(place, _)| place).collect()
    }
}
