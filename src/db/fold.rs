//! Which rows are folded into a new segment, and where they are.

use super::maintenance::has_many_dead;
use super::view::View;
use crate::index::{Basis, GONE, GraphCopy, Segment};
use crate::record::{RecordId, Slot};
use crate::storage::Snapshot;
use crate::storage::tables::{self, Manifest};

/// Where a row of the new segment comes from.
pub(super) struct FoldRow {
    pub(super) slot: Slot,
    /// Segment (by place in [`Fold::replaced`]) and position; none for the delta.
    pub(super) from: Option<(u32, u32)>,
}

/// The segments that are folded and the delta, as one view has them.
pub(super) struct Sources<'v> {
    view: &'v View,
    segments: Vec<&'v Segment>,
}

impl<'v> Sources<'v> {
    /// None if the view lacks one of the segments.
    pub(super) fn new(view: &'v View, replaced: &[u32]) -> Option<Self> {
        let find = |id: &u32| {
            let place = view.manifest.segments.iter().position(|entry| entry.id == *id)?;
            view.segments.get(place)
        };
        let segments = replaced.iter().map(find).collect::<Option<Vec<_>>>()?;
        Some(Self { view, segments })
    }

    /// The graph that most rows of the fold are in already, and where its rows are in the fold;
    /// none if half of them or more are not in any one.
    pub(super) fn graph_of(&self, fold: &Fold) -> Option<(GraphCopy, Vec<u32>)> {
        let mut counts = vec![0_usize; self.segments.len()];
        for (source, _) in fold.rows.iter().filter_map(|row| row.from) {
            counts[source as usize] += 1;
        }
        let (source, &count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
        if count * 2 <= fold.rows.len() {
            return None;
        }
        let segment = self.segments.get(source)?;
        let graph = segment.graph_copy()?;
        let mut places = vec![GONE; segment.len() as usize];
        for (place, row) in (0_u32..).zip(&fold.rows) {
            if let Some((of, position)) = row.from
                && of as usize == source
            {
                places[position as usize] = place;
            }
        }
        Some((graph, places))
    }

    /// The projection of the largest segment there is, with the navigation codes of those of its
    /// rows that are folded.
    pub(super) fn basis(&self, fold: &Fold) -> Option<Basis> {
        let largest = self.view.segments.iter().max_by_key(|segment| segment.len())?;
        let mut basis = largest.basis()?;
        let own = self.segments.iter().position(|segment| std::ptr::eq(*segment, largest));
        for (place, row) in (0_u32..).zip(&fold.rows) {
            if let Some((source, position)) = row.from
                && own == Some(source as usize)
            {
                basis.carry(place, largest.nav_row(position)?);
            }
        }
        Some(basis)
    }

    /// The ids of all rows, if all are integers and can be read: a search then finds them beside
    /// the codes. Costs a record for each row that comes from no segment with ids of its own.
    pub(super) fn int_ids(
        &self,
        fold: &Fold,
        snapshot: &dyn Snapshot,
        collection: u32,
    ) -> Option<Vec<i64>> {
        let id = |row: &FoldRow| {
            let beside = row.from.and_then(|(segment, position)| {
                self.segments.get(segment as usize)?.int_id_at(position)
            });
            let stored = || match tables::record(snapshot, collection, row.slot).ok()?.record.id {
                RecordId::Int(id) => Some(id),
                RecordId::Text(_) => None,
            };
            beside.or_else(stored)
        };
        fold.rows.iter().map(id).collect()
    }

    pub(super) fn code(&self, row: &FoldRow) -> Option<&'v [u8]> {
        match row.from {
            Some((segment, position)) => self.segments.get(segment as usize)?.code_row(position),
            None => Some(self.view.unsealed(row.slot)?.code()),
        }
    }
}

/// What is folded: rows in order of slot, and the segments they replace.
pub(super) struct Fold {
    pub(super) rows: Vec<FoldRow>,
    /// Numbers of the segments that go.
    pub(super) replaced: Vec<u32>,
    /// Dead slots that go with them.
    pub(super) dropped: Vec<Slot>,
    /// Ids of the rows, if all are integers.
    pub(super) ids: Option<Vec<i64>>,
    /// The next segment number when the rows were collected: unchanged while nobody else folds.
    pub(super) next_segment: u32,
}

impl Fold {
    /// None if there is nothing to do.
    pub(super) fn plan(
        view: &View,
        (only_due, rebuild): (bool, bool),
        needs_graph: impl Fn(u32) -> bool,
    ) -> Option<Self> {
        let manifest = &view.manifest;
        let chosen = if only_due { due_segments(view) } else { all_segments(manifest) };
        if chosen.is_empty() && manifest.delta == 0 {
            return None;
        }
        let clean = manifest.delta == 0 && manifest.dead == 0;
        let alone = match chosen.as_slice() {
            [] => true,
            [only] => {
                let entry = &manifest.segments[*only];
                !needs_graph(entry.rows) || entry.graph.is_some() && !rebuild
            }
            _ => false,
        };
        if clean && alone {
            return None;
        }
        let mut fold = Self {
            rows: Vec::new(),
            replaced: Vec::new(),
            dropped: Vec::new(),
            ids: None,
            next_segment: manifest.next_segment,
        };
        for place in chosen {
            let source = fold.replaced.len() as u32;
            fold.replaced.push(manifest.segments.get(place)?.id);
            let segment = view.segments.get(place)?;
            for position in 0..segment.len() {
                let slot = Slot(segment.slot(position)?);
                if view.dead.contains(slot.0) {
                    fold.dropped.push(slot);
                } else {
                    fold.rows.push(FoldRow { slot, from: Some((source, position)) });
                }
            }
        }
        let unsealed = view.delta.iter().map(|&(slot, _)| FoldRow { slot, from: None });
        fold.rows.extend(unsealed);
        fold.rows.sort_unstable_by_key(|row| row.slot);
        Some(fold)
    }
}

fn all_segments(manifest: &Manifest) -> Vec<usize> {
    (0..manifest.segments.len()).collect()
}

/// How many times as many rows as were collected a segment with a graph may have to take them
/// in: they are inserted one by one, but all its rows are written anew.
const GROWTH: u64 = 5;

/// Segments of which more than 30 % is dead; and, like a binary counter: what is collected so far
/// takes in a segment of no more than its size, or goes into a graph of no more than
/// [`GROWTH`] times its size.
fn due_segments(view: &View) -> Vec<usize> {
    let manifest = &view.manifest;
    let mostly_dead = |place: &usize| {
        view.segments.get(*place).is_some_and(|segment| {
            let dead = view.dead.iter().filter(|&slot| segment.position_of(slot).is_some());
            dead.count() as u64 * 10 > u64::from(segment.len()) * 3
        })
    };
    let mut by_size = all_segments(manifest);
    by_size.sort_by_key(|&place| manifest.segments[place].rows);
    let mut chosen = Vec::new();
    if has_many_dead(manifest) {
        chosen = by_size.iter().copied().filter(mostly_dead).collect();
        by_size.retain(|place| !chosen.contains(place));
    }
    let mut rows = manifest.delta;
    for place in by_size {
        let more = u64::from(manifest.segments[place].rows);
        let has_graph = manifest.segments[place].graph.is_some();
        if more > if has_graph { rows.saturating_mul(GROWTH) } else { rows } {
            break;
        }
        rows += more;
        chosen.push(place);
    }
    chosen
}
