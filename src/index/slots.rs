//! The slots of a segment: position to slot by reading, slot to position by searching, and the
//! positions that pass a filter by merging ascending sequences.
//!
//! Slots ascend strictly in a sound file. In a damaged one lookups may miss, nothing worse.

use std::sync::OnceLock;

use roaring::RoaringBitmap;

use super::passing::Words;
use super::{Allow, Passing, bitmap_words};
use crate::vectors::Rows;

/// Fewer slots are found one by one.
const SHIFT_FROM: u64 = 1_024;

/// An ascending array of slots.
#[derive(Debug)]
pub struct Slots {
    rows: Rows,
    /// First and last slot; `None` when there are no rows.
    ends: Option<(u32, u32)>,
    /// Whether each slot follows the one before; looked at once it matters.
    consecutive: OnceLock<bool>,
}

impl Slots {
    pub fn new(rows: Rows) -> Self {
        let last = rows.len().checked_sub(1).and_then(|last| rows.u32_at(last));
        let ends = rows.u32_at(0).zip(last).map(|(first, last)| (first, last.max(first)));
        Self { rows, ends, consecutive: OnceLock::new() }
    }

    pub fn len(&self) -> u32 {
        self.rows.len()
    }

    #[inline]
    pub fn slot(&self, position: u32) -> Option<u32> {
        self.rows.u32_at(position)
    }

    /// One look where slots are consecutive, a binary search over their gaps otherwise.
    pub fn position_of(&self, slot: u32) -> Option<u32> {
        let (first, last) = self.ends.filter(|&(first, last)| (first..=last).contains(&slot))?;
        // Every position before this one has a slot below, as slots ascend by at least one.
        let from = (self.len() - 1).saturating_sub(last - slot);
        let guess = slot - first;
        if self.slot(guess) == Some(slot) {
            return Some(guess);
        }
        let at = self.lower_bound(slot, from);
        (self.slot(at) == Some(slot)).then_some(at)
    }

    /// The first position at or after `from` whose slot is not below `slot`.
    fn lower_bound(&self, slot: u32, from: u32) -> u32 {
        let below = |position| self.slot(position).is_some_and(|found| found < slot);
        // Gallop from where the last search ended: slots asked for in order are mostly near.
        let mut step = 1_u32;
        let (mut low, mut high) = (from, from);
        while below(high) {
            low = high + 1;
            high = high.saturating_add(step).min(self.len());
            step = step.saturating_mul(2);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if below(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The positions that pass. Costs a step per slot of the bitmaps and a bit per position.
    pub fn passing(&self, allow: Allow<'_>) -> Passing {
        let (allowed, dead) = (allow.allowed(), allow.dead());
        if allowed.is_none() && dead.is_none_or(RoaringBitmap::is_empty) {
            return Passing::all(self.len());
        }
        let mut words = match allowed {
            Some(allowed) => {
                let mut words = Words::none(self.len());
                if !self.each_word(allowed, |at, bits, first| words.insert_bits(at, bits, first)) {
                    self.each_position(allowed, |position| words.insert(position));
                }
                words
            }
            None => Words::all(self.len()),
        };
        if let Some(dead) = dead
            && !self.each_word(dead, |at, bits, first| words.remove_bits(at, bits, first))
        {
            self.each_position(dead, |position| words.remove(position));
        }
        words.finish()
    }

    /// Visits slots by words of 64, with the first slot of the array, where positions are slots
    /// less that one and there are enough slots to be worth it; tells whether it did.
    fn each_word(&self, slots: &RoaringBitmap, mut visit: impl FnMut(u64, u64, u32)) -> bool {
        let Some((first, last)) = self.ends else { return false };
        let is_dense = last - first == self.len() - 1;
        is_dense
            && slots.range_cardinality(first..=last) >= SHIFT_FROM
            && self.is_consecutive()
            && bitmap_words::each_word(slots, |at, bits| visit(at, bits, first)).is_some()
    }

    fn is_consecutive(&self) -> bool {
        let follow = |first: u32| (0..self.len()).all(|at| self.slot(at) == first.checked_add(at));
        *self.consecutive.get_or_init(|| self.ends.is_some_and(|(first, _)| follow(first)))
    }

    /// Visits the positions of the slots that are here, ascending.
    fn each_position(&self, slots: &RoaringBitmap, mut visit: impl FnMut(u32)) {
        let Some((first, last)) = self.ends else { return };
        // Slots mostly follow one another, so the distance to the position mostly stays.
        let (mut from, mut distance) = (0, first);
        for slot in slots.range(first..=last) {
            let mut at = slot.wrapping_sub(distance);
            if self.slot(at) != Some(slot) {
                at = self.lower_bound(slot, from);
                from = at;
                if self.slot(at) != Some(slot) {
                    continue;
                }
                distance = slot.wrapping_sub(at);
            }
            from = from.max(at.saturating_add(1));
            visit(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn slots(values: &BTreeSet<u32>) -> Slots {
        let bytes: Vec<u8> = values.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        Slots::new(Rows::contiguous(bytes.into(), 4).unwrap())
    }

    proptest! {
        #[test]
        fn merging_agrees_with_asking_one_by_one(
            values in proptest::collection::btree_set(0_u32..300, 0..120),
            allowed in proptest::collection::btree_set(0_u32..320, 0..120),
            dead in proptest::collection::btree_set(0_u32..320, 0..60),
        ) {
            let array = slots(&values);
            let allowed: RoaringBitmap = allowed.into_iter().collect();
            let dead: RoaringBitmap = dead.into_iter().collect();
            for allow in [
                Allow::All,
                Allow::Dead(&dead),
                Allow::Only(&allowed),
                Allow::OnlyLive { allowed: &allowed, dead: &dead },
            ] {
                let expected: Vec<u32> = (0_u32..)
                    .zip(&values)
                    .filter(|(_, slot)| allow.contains(**slot))
                    .map(|(position, _)| position)
                    .collect();
                let mut found = Vec::new();
                array.passing(allow).for_each(|position| found.push(position));
                prop_assert_eq!(found, expected);
            }
            for slot in 0..310 {
                let expected = values.iter().position(|&value| value == slot);
                prop_assert_eq!(array.position_of(slot).map(|at| at as usize), expected);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn consecutive_slots_are_shifted_as_they_are_found_one_by_one(
            first in prop_oneof![0_u32..300, 65_400..66_000_u32, Just(u32::MAX - 9_000)],
            len in 1_u32..9_000,
            step in 1_u32..5,
            gap in proptest::option::of(0_u32..9_000),
            dead in proptest::collection::btree_set(0_u32..9_300, 0..60),
            stripe in proptest::option::of(1_u32..4),
        ) {
            let mut values: BTreeSet<u32> = (first..=first.saturating_add(len)).collect();
            if let Some(gap) = gap {
                values.remove(&(first + gap % len));
            }
            let array = slots(&values);
            let around = first.saturating_sub(200)..=first.saturating_add(9_400);
            let allowed: RoaringBitmap = around.step_by(step as usize).collect();
            let stripe = stripe.map(|step| (0..9_300).step_by(2 * step as usize));
            let dead = dead.into_iter().chain(stripe.into_iter().flatten());
            let dead: RoaringBitmap = dead.map(|slot| first.saturating_add(slot)).collect();
            for allow in [
                Allow::Only(&allowed),
                Allow::Dead(&dead),
                Allow::OnlyLive { allowed: &allowed, dead: &dead },
            ] {
                let passes = |slot: &u32| allow.contains(*slot);
                let expected: Vec<u32> =
                    (0..).zip(&values).filter(|(_, slot)| passes(slot)).map(|(at, _)| at).collect();
                let mut found = Vec::new();
                let passing = array.passing(allow);
                passing.for_each(|position| found.push(position));
                prop_assert_eq!(passing.count() as usize, expected.len());
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn unordered_slots_of_a_damaged_file_do_no_harm() {
        let bytes: Vec<u8> = [9_u32, 3, 3, 1].iter().flat_map(|slot| slot.to_le_bytes()).collect();
        let array = Slots::new(Rows::contiguous(bytes.into(), 4).unwrap());
        let all: RoaringBitmap = (0..20).collect();
        for allow in [Allow::Only(&all), Allow::Dead(&all)] {
            assert!(array.passing(allow).count() <= 4);
        }
    }
}
