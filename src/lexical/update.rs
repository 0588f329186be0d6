//! Changes of the postings in the transaction of the records: what a batch adds and removes, term
//! by term in the order of keys, each list read and written once.

use std::collections::HashSet;

use super::config::TextIndex;
use super::editor::Editor;
use super::inverter::Inverter;
use super::lengths::{Lengths, Stats, stored};
use super::text_error::TextError;
use crate::record::{Record, Slot};
use crate::storage::WriteTxn;

/// What a batch does to the text index of a collection.
pub(crate) struct TextChanges {
    collection: u32,
    added: Inverter,
    removed: Inverter,
    /// The first slot that the batch gives out.
    first: u32,
    /// Slots that were added and removed by the same batch.
    undone: HashSet<u32>,
}

impl TextChanges {
    /// No changes yet; slots from `first` on are new.
    pub(crate) fn new(collection: u32, index: &TextIndex, first: u32) -> Self {
        let (added, removed) = (Inverter::new(index), Inverter::new(index));
        Self { collection, added, removed, first, undone: HashSet::new() }
    }

    /// A record under a new slot, higher than all before.
    pub(crate) fn add(&mut self, slot: Slot, record: &Record) {
        self.added.add(slot.0, record);
    }

    /// The record of a slot goes.
    pub(crate) fn remove(&mut self, slot: Slot, record: &Record) {
        if slot.0 >= self.first {
            self.undone.insert(slot.0);
        } else {
            self.removed.add(slot.0, record);
        }
    }

    /// Postings that wait to be written.
    pub(crate) fn len(&self) -> usize {
        self.added.len() + self.removed.len()
    }

    /// Writes the changes.
    ///
    /// # Errors
    /// [`TextError::Disagrees`] if the index does not hold what is to be removed; storage; damage.
    pub(crate) fn write(self, txn: &mut WriteTxn<'_>) -> Result<(), TextError> {
        let Self { collection, added, removed, undone, .. } = self;
        let mut stats = Stats::read(txn, collection)?;
        let mut lengths = Lengths::new(collection);
        let kept = |slot: u32| undone.is_empty() || !undone.contains(&slot);
        for of in &removed.records {
            if lengths.get(txn, of.slot)? != stored(of.length) {
                return Err(TextError::Disagrees { slot: of.slot });
            }
            lengths.set(txn, of.slot, 0)?;
            stats.records = stats.records.saturating_sub(1);
            stats.length = stats.length.saturating_sub(of.length);
        }
        for of in added.records.iter().filter(|of| kept(of.slot)) {
            lengths.set(txn, of.slot, stored(of.length))?;
            stats.records = stats.records.saturating_add(1);
            stats.length = stats.length.saturating_add(of.length);
        }
        let (gone, new) = (removed.by_term(), added.by_term());
        let mut editor = Editor::new(collection, lengths);
        let (mut gone, mut new) = (gone.iter().peekable(), new.iter().peekable());
        loop {
            let term = match (gone.peek(), new.peek()) {
                (Some((gone, _)), Some((new, _))) => *gone.min(new),
                (Some((term, _)), None) | (None, Some((term, _))) => *term,
                (None, None) => break,
            };
            let gone = gone.next_if(|(of, _)| *of == term).map_or(&[][..], |(_, all)| all);
            let new = new.next_if(|(of, _)| *of == term).map_or(&[][..], |(_, all)| all);
            let new = new.iter().copied().filter(|posting| kept(posting.slot));
            editor.change(txn, term, gone, new)?;
        }
        stats.write(txn, collection)?;
        editor.finish(txn)?;
        Ok(())
    }
}
