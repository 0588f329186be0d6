//! Which slots stand in an extent of slots whose checksum is wrong.
//!
//! Slots ascend, and each row is the slot of a vector: of a record that has one, or of a deleted
//! one. A row that says otherwise is wrong. What it was is known where so many slots without a
//! place lie between its neighbors as there are wrong rows.

use roaring::RoaringBitmap;

use super::repair_vectors::Placed;
use super::space::Space;
use super::suspects::{self, Segments};
use crate::error::Result;
use crate::format::{ExtentHeader, SectionKind};
use crate::record::Slot;
use crate::storage::extents;
use crate::storage::keys as key;
use crate::storage::{Salvage, Snapshot, Table, slot_sets, tables};

/// An extent of slots, row by row; none where a row is wrong and nothing tells what it was.
pub(super) struct SuspectSlots {
    pub(super) key: Vec<u8>,
    pub(super) header: ExtentHeader,
    pub(super) rows: Vec<Option<u32>>,
}

impl SuspectSlots {
    /// Where each slot that is known stands.
    pub(super) fn places(&self) -> impl Iterator<Item = (Slot, (u32, u32))> {
        let per_extent = crate::format::rows_per_extent(size_of::<u32>()) as u64;
        let first = u64::from(self.header.index).saturating_mul(per_extent);
        let rows = self.rows.iter().enumerate();
        rows.filter_map(move |(at, row)| {
            let position = u32::try_from(first.checked_add(at as u64)?).ok()?;
            Some((Slot((*row)?), (self.header.segment, position)))
        })
    }
}

/// The extents of slots of a space whose checksum is wrong.
pub(super) fn read(salvage: &Salvage, space: Space, placed: Placed) -> Result<Vec<SuspectSlots>> {
    let keys: Vec<&[u8]> = suspects::of(salvage, space.id, SectionKind::Slots).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let expected = Expected::new(salvage, space, placed)?;
    let segments = Segments::new(salvage, space);
    let mut found = Vec::new();
    for key in keys {
        let Some(header) = suspects::header(salvage, space, &segments, key) else { continue };
        let Some(value) = salvage.suspect(key) else { continue };
        let slots = extents::slots_of(value, header.rows as usize);
        let mut rows: Vec<Option<u32>> = slots.map(Some).collect();
        for row in &mut rows {
            *row = row.filter(|slot| expected.slots.contains(*slot));
        }
        keep_certain(&mut rows);
        expected.fill(&mut rows);
        found.push(SuspectSlots { key: key.to_vec(), header, rows });
    }
    Ok(found)
}

/// The slots that may have a vector, and have no place that is known.
struct Expected {
    slots: RoaringBitmap,
    /// Whether no other slot can have one.
    is_complete: bool,
}

impl Expected {
    fn new(salvage: &Salvage, space: Space, placed: Placed) -> Result<Self> {
        let (mut slots, mut is_complete) = (RoaringBitmap::new(), true);
        match slot_sets::tombstones(salvage, space.id) {
            Ok(dead) => slots |= dead,
            Err(_) => is_complete = false,
        }
        let prefix = key::collection(placed.collection);
        for entry in salvage.range(Table::Records, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let Some(slot) = key::slot_of(at) else { continue };
            let stored = tables::decode_record(sealed, at);
            // Of a named field nothing else tells whether a record has a vector.
            if placed.is_named || stored.is_ok_and(|stored| stored.has_vector) {
                slots.insert(slot.0);
            }
        }
        // Records that cannot be read may have one.
        for entry in salvage.range(Table::Ids, &prefix, &prefix)? {
            let (at, sealed) = entry?;
            let Ok(slot) = tables::decode_slot(sealed, at) else { continue };
            if salvage.get(Table::Records, &key::slot(placed.collection, slot))?.is_none() {
                slots.insert(slot.0);
            }
        }
        let lost = salvage.lost.iter().filter(|lost| lost.table == Some(Table::Records));
        for at in lost.filter_map(|lost| lost.key.as_deref()) {
            if key::collection_of(at) == Some(placed.collection) {
                slots.extend(key::slot_of(at).map(|slot| slot.0));
            }
        }
        let prefix = key::collection(space.id);
        for entry in salvage.range(Table::Delta, &prefix, &prefix)? {
            if let Some(slot) = key::slot_of(entry?.0) {
                slots.remove(slot.0);
            }
        }
        for slot in extents::places(salvage, space.id)?.into_keys() {
            slots.remove(slot.0);
        }
        // An id still tells the slot of a record that is lost, if no page of them is.
        is_complete &= salvage.lost.iter().all(|lost| {
            let is_entry = lost.key.is_some() && lost.table.is_some();
            lost.is_mended || (is_entry && lost.table != Some(Table::Tombstones))
        });
        Ok(Self { slots, is_complete })
    }

    /// Puts slots where rows are wrong, if no more numbers lie between their neighbors than there
    /// are rows, or no more slots that can stand there. Where fewer do a neighbor is wrong as well:
    /// then neither is believed.
    fn fill(&self, rows: &mut [Option<u32>]) {
        let mut begin = 0;
        while let Some(first) = rows.iter().skip(begin).position(Option::is_none) {
            let mut first = begin + first;
            let mut end = first + rows[first..].iter().take_while(|row| row.is_none()).count();
            loop {
                let before = first.checked_sub(1).and_then(|before| rows[before]);
                let behind = rows.get(end).copied().flatten();
                match self.between(before, behind, end - first) {
                    Gap::One(slots) => {
                        rows[first..end]
                            .iter_mut()
                            .zip(slots)
                            .for_each(|(row, of)| *row = Some(of));
                        break;
                    }
                    Gap::Many => break,
                    Gap::TooFew if before.is_none() && behind.is_none() => break,
                    Gap::TooFew => {}
                }
                widen(rows, &mut first, &mut end);
            }
            begin = end;
        }
    }

    /// What can stand in so many rows between two that are known.
    fn between(&self, before: Option<u32>, behind: Option<u32>, length: usize) -> Gap {
        let low = before.map_or(0, |of| u64::from(of) + 1);
        let high = behind.map_or(1 << 32, u64::from);
        let numbers = high.saturating_sub(low);
        let (Ok(low), Ok(last)) = (u32::try_from(low), u32::try_from(high.wrapping_sub(1))) else {
            return Gap::TooFew;
        };
        let length = length as u64;
        let slots = if low <= last { self.slots.range_cardinality(low..=last) } else { 0 };
        if numbers < length || self.is_complete && slots < length {
            Gap::TooFew
        } else if numbers == length {
            Gap::One((low..=last).collect())
        } else if self.is_complete && slots == length {
            Gap::One(self.slots.range(low..=last).collect())
        } else {
            Gap::Many
        }
    }
}

/// Takes the known rows beside a run of unknown ones into it, and the unknown ones behind those.
fn widen(rows: &mut [Option<u32>], first: &mut usize, end: &mut usize) {
    if *first > 0 {
        *first -= 1;
        rows[*first] = None;
    }
    while *first > 0 && rows[*first - 1].is_none() {
        *first -= 1;
    }
    if *end < rows.len() {
        rows[*end] = None;
        *end += 1;
    }
    while *end < rows.len() && rows[*end].is_none() {
        *end += 1;
    }
}

/// The answers that are left for rows whose slots are unknown.
enum Gap {
    One(Vec<u32>),
    Many,
    /// One of the rows beside them is wrong.
    TooFew,
}

/// Keeps the rows that stand in every longest ascending sequence.
fn keep_certain(rows: &mut [Option<u32>]) {
    let of: Vec<(usize, i64)> =
        rows.iter().enumerate().filter_map(|(at, row)| Some((at, i64::from((*row)?)))).collect();
    let before = longest(of.iter().map(|(_, slot)| *slot));
    let mut behind = longest(of.iter().rev().map(|(_, slot)| -*slot));
    behind.reverse();
    let most = before.iter().max().copied().unwrap_or(0);
    let is_in_one = |at: usize| before[at] + behind[at] == most + 1;
    let mut on_level = vec![0_u32; most + 1];
    (0..of.len()).filter(|at| is_in_one(*at)).for_each(|at| on_level[before[at]] += 1);
    for (at, (row, _)) in of.iter().enumerate() {
        if !is_in_one(at) || on_level[before[at]] != 1 {
            rows[*row] = None;
        }
    }
}

/// The length of the longest ascending sequence that ends at each item.
fn longest(items: impl Iterator<Item = i64>) -> Vec<usize> {
    // The least last item of a sequence of each length.
    let mut least: Vec<i64> = Vec::new();
    let lengths = items.map(|item| {
        let at = least.partition_point(|last| *last < item);
        match least.get_mut(at) {
            Some(last) => *last = item,
            None => least.push(item),
        }
        at + 1
    });
    lengths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rows: &[u32]) -> Vec<Option<u32>> {
        let mut rows: Vec<Option<u32>> = rows.iter().copied().map(Some).collect();
        keep_certain(&mut rows);
        rows
    }

    #[test]
    fn a_row_out_of_order_is_wrong_and_of_two_that_might_be_neither_is_kept() {
        assert_eq!(kept(&[1, 2, 3]), [Some(1), Some(2), Some(3)]);
        assert_eq!(kept(&[1, 9, 3, 4]), [Some(1), None, Some(3), Some(4)]);
        assert_eq!(kept(&[7, 2, 3]), [None, Some(2), Some(3)]);
        assert_eq!(kept(&[1, 5, 3]), [Some(1), None, None]);
        assert_eq!(kept(&[4, 4]), [None, None]);
        assert_eq!(kept(&[]), []);
    }

    #[test]
    fn wrong_rows_are_filled_only_where_one_answer_is_left() {
        let filled = |rows: &[Option<u32>], slots: &[u32], is_complete| {
            let mut rows = rows.to_vec();
            Expected { slots: slots.iter().copied().collect(), is_complete }.fill(&mut rows);
            rows
        };
        let rows = [Some(1), None, Some(5), None];
        assert_eq!(filled(&rows, &[1, 3, 5, 8], true), [Some(1), Some(3), Some(5), Some(8)]);
        let one = [Some(1), None, Some(5), Some(8)];
        assert_eq!(filled(&rows, &[1, 3, 4, 5, 8], true), one);
        assert_eq!(filled(&rows, &[1, 3, 5, 8], false), rows);
        let rows = [None, None, Some(2), None, Some(4)];
        let all = [Some(0), Some(1), Some(2), Some(3), Some(4)];
        assert_eq!(filled(&rows, &[], false), all);
    }

    #[test]
    fn rows_beside_a_gap_that_is_too_small_are_not_believed() {
        let filled = |rows: &[Option<u32>], slots: std::ops::RangeInclusive<u32>| {
            let mut rows = rows.to_vec();
            Expected { slots: slots.collect(), is_complete: true }.fill(&mut rows);
            rows
        };
        // Of 5 6 7 8 the second became 7, and the third none.
        let all = [Some(5), Some(6), Some(7), Some(8)];
        assert_eq!(filled(&[Some(5), Some(7), None, Some(8)], 5..=8), all);
        // Without a bound behind it is open which of them is there.
        let open = filled(&[Some(5), Some(7), None, Some(8)], 5..=9);
        assert_eq!(open, [Some(5), None, None, None]);
        assert_eq!(filled(&[None, Some(1), Some(2), Some(3)], 1..=3), [None; 4]);
    }
}
