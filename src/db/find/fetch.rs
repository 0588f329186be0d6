//! What is read of a record that is returned: itself, its vector, its neighbors, its places.

use std::collections::HashMap;

use super::Find;
use super::list::{Given, Ranking};
use super::records::Records;
use super::run::Candidate;
use super::text::Highlighter;
use crate::db::search::{Hit, ListPlace};
use crate::error::Result;
use crate::record::{Record, Slot};
use crate::storage::tables;

impl Find {
    /// The hits of a page, in its order. A record of two groups is read once.
    pub(super) fn hits(
        &self,
        given: Given<'_>,
        records: &mut Records<'_>,
        rankings: &[Ranking],
        shown: &[Candidate],
    ) -> Result<Vec<Hit>> {
        let repeats = self.group_by.is_some();
        let mut places = match self.with_places {
            false => HashMap::new(),
            true => self.places(rankings, shown),
        };
        let highlighter =
            if self.highlights { Highlighter::new(given, &self.lists)? } else { None };
        let named = if self.with_vectors {
            Some(given.collection.named_reader(given.snapshot)?)
        } else {
            None
        };
        let mut hits = Vec::with_capacity(shown.len());
        for candidate in shown {
            let slot = candidate.slot;
            let record =
                if repeats { records.with(slot, Record::clone)? } else { records.take(slot)? };
            let mut hit = Hit::new(candidate.score as f32, record);
            if self.with_vectors && given.view.has_vector(Slot(slot)) {
                hit.record.vector = Some(given.view.vector(Slot(slot))?);
            }
            if let Some(named) = &named {
                hit.record.named_vectors = named.vectors(Slot(slot))?;
            }
            if let Some(highlighter) = &highlighter {
                hit.highlights = highlighter.of(&hit.record);
            }
            if self.neighbors > 0 {
                (hit.before, hit.after) = around(given, &hit.record, self.neighbors)?;
            }
            if self.with_places {
                hit.places = match repeats {
                    true => places.get(&slot).cloned(),
                    false => places.remove(&slot),
                }
                .unwrap_or_default();
            }
            hits.push(hit);
        }
        Ok(hits)
    }

    /// Where each list that found a shown slot had it: one pass over what the lists found.
    fn places(&self, rankings: &[Ranking], shown: &[Candidate]) -> HashMap<u32, Vec<ListPlace>> {
        let mut places: HashMap<u32, Vec<ListPlace>> =
            shown.iter().map(|candidate| (candidate.slot, Vec::new())).collect();
        for (list, ranking) in rankings.iter().enumerate() {
            let found = ranking.found.iter().zip(ranking.shares(&self.fusion));
            for (rank, (found, share)) in (1..).zip(found) {
                if let Some(of_slot) = places.get_mut(&found.slot) {
                    // Alone, a list is not fused.
                    let share = if rankings.len() > 1 { share } else { f64::from(found.score) };
                    of_slot.push(ListPlace::new(list, rank, found.score, share));
                }
            }
        }
        places
    }
}

/// The chunks before and after a record in its document, up to so many on each side and up to the
/// first that is missing. None of a record that is no chunk.
fn around(given: Given<'_>, record: &Record, most: usize) -> Result<(Vec<Record>, Vec<Record>)> {
    let Some((document, position)) = record.chunk_place() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let read = |position: usize| -> Result<Option<Record>> {
        let (snapshot, collection) = (given.snapshot, given.collection.id);
        let at = document.chunk(position);
        let Some(slot) = tables::slot(snapshot, collection, &at)? else { return Ok(None) };
        let found = tables::record(snapshot, collection, slot)?.record;
        Ok(Some(found).filter(|found| found.is_chunk_of(&document)))
    };
    let side = |step: isize| -> Result<Vec<Record>> {
        let mut found = Vec::new();
        let mut place = position.checked_add_signed(step);
        while let Some(at) = place.filter(|_| found.len() < most) {
            let Some(record) = read(at)? else { break };
            found.push(record);
            place = at.checked_add_signed(step);
        }
        Ok(found)
    };
    let mut before = side(-1)?;
    before.reverse();
    Ok((before, side(1)?))
}
