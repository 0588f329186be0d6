//! The slots of a segment: position to slot by reading, slot to position by searching, and the
//! positions that pass a filter by merging ascending sequences.
//!
//! Slots ascend strictly in a sound file. In a damaged one lookups may miss, nothing worse.

use super::Allow;
use crate::vectors::Rows;

/// An ascending array of slots.
#[derive(Debug)]
pub struct Slots {
    rows: Rows,
    /// First and last slot; `None` when there are no rows.
    ends: Option<(u32, u32)>,
}

impl Slots {
    pub fn new(rows: Rows) -> Self {
        let last = rows.len().checked_sub(1).and_then(|last| rows.u32_at(last));
        let ends = rows.u32_at(0).zip(last).map(|(first, last)| (first, last.max(first)));
        Self { rows, ends }
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

    /// About how many positions pass, at most; exact when slots are consecutive. Costs a look
    /// at the containers of the bitmaps.
    pub fn passing(&self, allow: Allow<'_>) -> u32 {
        let Some((first, last)) = self.ends else { return 0 };
        let within = |bitmap: &roaring::RoaringBitmap| bitmap.range_cardinality(first..=last);
        let len = u64::from(self.len());
        let consecutive = u64::from(last - first) + 1 == len;
        let upper = match (allow.allowed(), allow.dead()) {
            (Some(allowed), _) => within(allowed).min(len),
            // A dead slot may belong to another segment unless slots are consecutive.
            (None, Some(dead)) if consecutive => len - within(dead).min(len),
            (None, _) => len,
        };
        u32::try_from(upper).unwrap_or(u32::MAX)
    }

    /// Visits the positions that pass, ascending.
    pub fn for_each(&self, allow: Allow<'_>, visit: impl FnMut(u32)) {
        match allow.allowed() {
            Some(_) => self.for_each_allowed(allow, visit),
            None => self.for_each_live(allow, visit),
        }
    }

    fn for_each_live(&self, allow: Allow<'_>, mut visit: impl FnMut(u32)) {
        let Some(dead) = allow.dead() else {
            return (0..self.len()).for_each(visit);
        };
        let Some((first, last)) = self.ends else { return };
        let mut dead = dead.range(first..=last).peekable();
        for position in 0..self.len() {
            let Some(slot) = self.slot(position) else { return };
            while dead.next_if(|&next| next < slot).is_some() {}
            if dead.peek() != Some(&slot) {
                visit(position);
            }
        }
    }

    fn for_each_allowed(&self, allow: Allow<'_>, mut visit: impl FnMut(u32)) {
        let (Some(allowed), Some((first, last))) = (allow.allowed(), self.ends) else { return };
        let mut from = 0;
        for slot in allowed.range(first..=last) {
            let at = self.lower_bound(slot, from);
            from = at;
            if self.slot(at) == Some(slot) {
                from = at + 1;
                if allow.dead().is_none_or(|dead| !dead.contains(slot)) {
                    visit(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use roaring::RoaringBitmap;

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
                array.for_each(allow, |position| found.push(position));
                prop_assert!(array.passing(allow) as usize >= expected.len());
                prop_assert_eq!(found, expected);
            }
            for slot in 0..310 {
                let expected = values.iter().position(|&value| value == slot);
                prop_assert_eq!(array.position_of(slot).map(|at| at as usize), expected);
            }
        }
    }

    #[test]
    fn unordered_slots_of_a_damaged_file_do_no_harm() {
        let bytes: Vec<u8> = [9_u32, 3, 3, 1].iter().flat_map(|slot| slot.to_le_bytes()).collect();
        let array = Slots::new(Rows::contiguous(bytes.into(), 4).unwrap());
        let all: RoaringBitmap = (0..20).collect();
        let mut count = 0;
        array.for_each(Allow::Only(&all), |_| count += 1);
        array.for_each(Allow::Dead(&all), |_| count += 1);
        assert!(count <= 8);
    }
}
