//! Slots of a window as bits: which may be hits.

use super::lengths::CHUNK;
use super::plan::{Any, Plan};
use crate::filter::Slots;
use crate::format::FormatError;

const WORDS: usize = CHUNK as usize / 64;
/// Above so many slots of a filter in a window, each candidate is looked up instead.
const LISTED: u64 = 512;

/// A bit for each slot of a window.
#[derive(Clone)]
pub(super) struct Mask([u64; WORDS]);

impl Mask {
    pub(super) fn none() -> Self {
        Self([0; WORDS])
    }

    fn all() -> Self {
        Self([u64::MAX; WORDS])
    }

    pub(super) fn set(&mut self, at: u32) {
        if let Some(word) = self.0.get_mut(at as usize / 64) {
            *word |= 1 << (at % 64);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    pub(super) fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
    }

    /// The places of its bits, ascending.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.0).flat_map(|(at, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit)
            })
        })
    }
}

/// Marks the texts of a window that have any of some terms.
fn mark(any: &mut Any<'_>, (first, last): (u32, u32), mask: &mut Mask) -> Result<(), FormatError> {
    match any {
        Any::Terms(cursors) => {
            for cursor in cursors {
                cursor.each_to(first, last, 0, |slots, _| {
                    slots.iter().for_each(|slot| mask.set(slot - first))
                })?;
            }
        }
        Any::Slots(slots) => slots.range(first..=last).for_each(|slot| mask.set(slot - first)),
    }
    Ok(())
}

/// What a filter lets pass.
pub(super) enum Passing {
    /// All.
    All,
    /// Nothing.
    None,
    /// These.
    These(Box<Mask>),
    /// Each slot is to be looked up.
    Ask,
}

/// What a filter lets pass of a window.
pub(super) fn passing(passes: &Slots, (first, last): (u32, u32)) -> Passing {
    match passes {
        Slots::Except(none) if none.is_empty() => Passing::All,
        Slots::Except(others) => match others.range_cardinality(first..=last) {
            0 => Passing::All,
            all if all == u64::from(CHUNK) => Passing::None,
            _ => Passing::Ask,
        },
        Slots::Only(some) => match some.range_cardinality(first..=last) {
            0 => Passing::None,
            1..=LISTED => {
                let mut mask = Mask::none();
                some.range(first..=last).for_each(|slot| mask.set(slot - first));
                Passing::These(Box::new(mask))
            }
            _ => Passing::Ask,
        },
    }
}

impl Plan<'_> {
    /// The first slot from `from` on that may be that of a hit.
    pub(super) fn next_slot(&self, from: u32) -> Option<u32> {
        let scored = self.cursors.iter().filter_map(|cursor| cursor.next_slot());
        let others = self.deciding().filter_map(|any| match any {
            Any::Slots(slots) => slots.range(from..).next(),
            Any::Terms(_) => None,
        });
        scored.chain(others).min()
    }

    /// What hits must have.
    fn deciding(&self) -> impl Iterator<Item = &Any<'_>> {
        self.required.iter().chain(self.optional.iter().flat_map(|(_, groups)| groups))
    }

    /// Whether texts can be hits that have none of the terms that texts are scored by. All that
    /// meet the conditions are hits then.
    pub(super) fn has_unscored(&self) -> bool {
        self.deciding().any(|any| matches!(any, Any::Slots(_)))
    }

    /// Whether hits must have more than any of the terms.
    pub(super) fn has_conditions(&self) -> bool {
        !self.required.is_empty() || !self.excluded.is_empty() || self.optional.is_some()
    }

    /// The slots of a window that have what is required and nothing that is excluded; none if
    /// there are no such slots.
    pub(super) fn meeting(&mut self, window: (u32, u32)) -> Result<Option<Mask>, FormatError> {
        let mut mask = Mask::all();
        for group in &mut self.required {
            let mut one = Mask::none();
            mark(group, window, &mut one)?;
            mask.and(&one);
        }
        if !self.excluded.is_empty() {
            let mut any = Mask::none();
            for group in &mut self.excluded {
                mark(group, window, &mut any)?;
            }
            any.0.iter_mut().for_each(|word| *word = !*word);
            mask.and(&any);
        }
        if let Some((least, groups)) = &mut self.optional {
            let mut counts = vec![0_usize; CHUNK as usize];
            for group in groups {
                let mut one = Mask::none();
                mark(group, window, &mut one)?;
                one.places().for_each(|at| counts[at as usize] += 1);
            }
            let mut enough = Mask::none();
            let places = (0..).zip(&counts).filter(|(_, count)| **count >= *least);
            places.for_each(|(at, _)| enough.set(at));
            mask.and(&enough);
        }
        Ok(if mask.is_empty() { None } else { Some(mask) })
    }
}
