//! The postings of one term, read forward: blocks in place, decoded when one of their slots is
//! asked for.

use super::keys;
use super::list::List;
use super::run::{Block, Decoded, Peak, Run, WHAT, short_list};
use crate::format::{FormatError, unseal};
use crate::storage::{Snapshot, StorageError, Table};

/// The blocks of a term.
#[derive(Clone)]
pub(super) struct Postings<'s> {
    pub(super) blocks: Vec<Block<'s>>,
    /// How many texts have the term.
    pub(super) texts: u32,
    /// Runs that stand under keys of their own.
    pub(super) runs: u64,
}

impl<'s> Postings<'s> {
    /// Finds the blocks of a term; none if no text has it.
    ///
    /// # Errors
    /// Storage; damage.
    pub(super) fn of(
        snapshot: &'s dyn Snapshot,
        collection: u32,
        term: &[u8],
    ) -> Result<Option<Self>, StorageError> {
        let at = keys::term(collection, term);
        let Some(sealed) = snapshot.get(Table::Postings, &at)? else { return Ok(None) };
        let list = List::read(unseal(WHAT, Table::Postings as u8, &at, sealed)?)?;
        let (mut blocks, mut runs) = (Vec::new(), 0);
        match list {
            List::Short { postings, bytes } => {
                let mut decoded = Decoded::new();
                let block = short_list(postings, bytes, &mut decoded)?;
                let counts = decoded.postings().map(|posting| posting.count);
                let count = u16::try_from(counts.max().unwrap_or(0)).unwrap_or(u16::MAX);
                // No text is shorter than the count of its term.
                let peak = Peak { count, length: count, other: 1 };
                blocks.push(block.with_peak(peak));
            }
            List::Long { run, .. } => {
                let prefix = keys::runs(collection, term);
                let mut next = 0;
                for entry in snapshot.range(Table::Postings, &prefix, &prefix)? {
                    let (at, sealed) = entry?;
                    let run = unseal(WHAT, Table::Postings as u8, at, sealed)?;
                    read(run, &mut next, &mut blocks)?;
                    runs += 1;
                }
                read(run, &mut next, &mut blocks)?;
            }
        }
        Ok(Some(Self { blocks, texts: list.texts(), runs }))
    }
}

/// Appends the blocks of a run, whose slots must be from `next` on.
fn read<'s>(run: &'s [u8], next: &mut u32, blocks: &mut Vec<Block<'s>>) -> Result<(), FormatError> {
    let from = blocks.len();
    Run::read(run)?.blocks(|block| blocks.push(block))?;
    let added = blocks.get(from..).unwrap_or_default();
    if let [first, ..] = added
        && first.first < *next
    {
        let (what, field, value) = (WHAT, "order of runs", u64::from(first.first));
        return Err(FormatError::Field { what, field, value });
    }
    *next = added.last().map_or(*next, |block| block.last.saturating_add(1));
    Ok(())
}

/// A place in the postings of a term; moves forward only. `P` is what scores are summed up in.
pub(super) struct Cursor<'s, P> {
    blocks: Vec<Block<'s>>,
    /// The most that a posting of each block can add to a score.
    bounds: Vec<P>,
    pub(super) weight: f32,
    /// The block, and in it the place, if it is decoded.
    at: usize,
    place: usize,
    is_decoded: bool,
    decoded: Box<Decoded>,
}

impl<'s, P: Copy + Default + PartialOrd> Cursor<'s, P> {
    /// At the first posting. `bound` tells the most that a posting of that peak can add; of a
    /// block that has none, anything.
    pub(super) fn new(
        postings: Postings<'s>,
        weight: f32,
        bound: impl Fn(Option<Peak>) -> P,
    ) -> Self {
        let Postings { blocks, .. } = postings;
        let bounds = blocks.iter().map(|block| bound(block.peak)).collect();
        let decoded = Box::new(Decoded::new());
        Self { blocks, bounds, weight, at: 0, place: 0, is_decoded: false, decoded }
    }

    /// No posting is left below this slot, which may be one that was passed; none if none is left.
    pub(super) fn next_slot(&self) -> Option<u32> {
        self.blocks.get(self.at).map(|block| block.first)
    }

    /// Leaves blocks that end below `slot`.
    pub(super) fn seek(&mut self, slot: u32) {
        while self.blocks.get(self.at).is_some_and(|block| block.last < slot) {
            self.at += 1;
            (self.place, self.is_decoded) = (0, false);
        }
    }

    /// The most that a posting up to `last` can add, from where the cursor is.
    pub(super) fn bound_to(&self, last: u32) -> P {
        let rest = self.blocks.iter().zip(&self.bounds).skip(self.at);
        let inside = rest.take_while(|(block, _)| block.first <= last);
        inside.fold(P::default(), |most, (_, bound)| if *bound > most { *bound } else { most })
    }

    /// The bound of the block at hand.
    fn bound(&self) -> P {
        self.bounds.get(self.at).copied().unwrap_or_default()
    }

    fn decode(&mut self) -> Result<(), FormatError> {
        if !self.is_decoded
            && let Some(block) = self.blocks.get(self.at)
        {
            block.decode(&mut self.decoded)?;
            (self.place, self.is_decoded) = (0, true);
        }
        Ok(())
    }

    /// The count of the term in the text of a slot, if it is there. Slots must ascend.
    pub(super) fn count_at(&mut self, slot: u32) -> Result<Option<u32>, FormatError> {
        self.seek(slot);
        if self.blocks.get(self.at).is_none_or(|block| block.first > slot) {
            return Ok(None);
        }
        self.decode()?;
        let slots = self.decoded.slots.get(self.place..self.decoded.len).unwrap_or_default();
        self.place += slots.partition_point(|&known| known < slot);
        let found = self.decoded.slots.get(self.place).filter(|&&known| known == slot);
        Ok(found.and_then(|_| self.decoded.counts.get(self.place)).copied())
    }

    /// Calls `each` with the slots and counts of postings up to `last`, block by block, but for
    /// blocks whose bound is at most `skip`. Moves to behind `last`.
    pub(super) fn each_to(
        &mut self,
        from: u32,
        last: u32,
        skip: P,
        mut each: impl FnMut(&[u32], &[u32]),
    ) -> Result<(), FormatError> {
        self.seek(from);
        while let Some(block) = self.blocks.get(self.at).filter(|block| block.first <= last) {
            let ends_here = block.last <= last;
            if self.bound() > skip {
                self.decode()?;
                let Decoded { slots, counts, len } = self.decoded.as_ref();
                let slots = slots.get(..*len).unwrap_or_default();
                let begin = if slots.first().is_some_and(|&first| first < from) {
                    slots.partition_point(|&slot| slot < from)
                } else {
                    0
                };
                let end =
                    if ends_here { *len } else { slots.partition_point(|&slot| slot <= last) };
                if let (Some(slots), Some(counts)) = (slots.get(begin..end), counts.get(begin..end))
                {
                    each(slots, counts);
                }
            }
            if !ends_here {
                break;
            }
            self.at += 1;
            (self.place, self.is_decoded) = (0, false);
        }
        Ok(())
    }
}
