//! Rewrites the lists of terms, one after the other, in the same buffers: takes postings out where
//! they are, appends new ones at the end, and cuts off runs that are full.

use super::keys;
use super::lengths::Lengths;
use super::list::{List, SHORT_MAX};
use super::packing::put_varint;
use super::run::{Decoded, Posting, RunWriter, WHAT, read_run, short_list};
use super::text_error::TextError;
use crate::format::{SEAL_BYTES, seal_checksum, unseal};
use crate::storage::{Snapshot, StorageError, Table, WriteTxn};

/// See the module.
pub(super) struct Editor {
    collection: u32,
    lengths: Lengths,
    /// Whether the list at hand is short.
    is_short: bool,
    /// All of a short list; scratch for a run that loses postings.
    postings: Vec<Posting>,
    /// The last run of a long list.
    tail: RunWriter,
    decoded: Decoded,
    value: Vec<u8>,
}

impl Editor {
    pub(super) fn new(collection: u32, lengths: Lengths) -> Self {
        Self {
            collection,
            lengths,
            is_short: true,
            postings: Vec::new(),
            tail: RunWriter::default(),
            decoded: Decoded::new(),
            value: Vec::new(),
        }
    }

    /// Writes the lengths that were changed.
    pub(super) fn finish(self, txn: &mut WriteTxn<'_>) -> Result<(), StorageError> {
        self.lengths.write(txn)
    }

    /// Takes postings from the list of a term and appends others; both ascend.
    ///
    /// # Errors
    /// [`TextError::Disagrees`] if one of `gone` is not there; storage; damage.
    pub(super) fn change(
        &mut self,
        txn: &mut WriteTxn<'_>,
        term: &[u8],
        gone: &[Posting],
        new: impl Iterator<Item = Posting>,
    ) -> Result<(), TextError> {
        let at = keys::term(self.collection, term);
        let before = self.load(txn, &at)?;
        self.remove(txn, term, gone)?;
        let mut texts = before.saturating_sub(gone.len() as u32);
        for posting in new {
            self.append(txn, term, posting)?;
            texts = texts.saturating_add(1);
        }
        if texts == 0 {
            if before > 0 {
                txn.delete(Table::Postings, &at)?;
            }
            return Ok(());
        }
        self.store(txn, &at, texts)
    }

    /// Loads the list under a key; how many texts have the term.
    fn load(&mut self, txn: &WriteTxn<'_>, at: &[u8]) -> Result<u32, TextError> {
        self.is_short = true;
        self.postings.clear();
        self.tail.clear();
        let Some(sealed) = txn.get(Table::Postings, at)? else { return Ok(0) };
        let list = List::read(unseal(WHAT, Table::Postings as u8, at, sealed)?)?;
        match list {
            List::Short { postings, bytes } => {
                short_list(postings, bytes, &mut self.decoded)?;
                self.postings.extend(self.decoded.postings());
            }
            List::Long { run, .. } => {
                self.is_short = false;
                self.tail.load(run)?;
            }
        }
        Ok(list.texts())
    }

    fn remove(
        &mut self,
        txn: &mut WriteTxn<'_>,
        term: &[u8],
        gone: &[Posting],
    ) -> Result<(), TextError> {
        if gone.is_empty() {
            return Ok(());
        }
        if self.is_short {
            return take_out(&mut self.postings, gone);
        }
        // Slots of the last run are above those of the runs before it.
        let is_earlier =
            |posting: &Posting| self.tail.is_empty() || posting.slot < self.tail.base();
        let (of_runs, of_tail) = gone.split_at(gone.partition_point(is_earlier));
        if !of_tail.is_empty() {
            self.value.clear();
            self.tail.write(&mut self.value);
            self.postings.clear();
            read_run(&self.value, &mut self.decoded, &mut self.postings)?;
            take_out(&mut self.postings, of_tail)?;
            self.rebuild(txn)?;
        }
        if of_runs.is_empty() { Ok(()) } else { self.remove_from_runs(txn, term, of_runs) }
    }

    /// Takes postings from runs that stand under keys of their own.
    fn remove_from_runs(
        &mut self,
        txn: &mut WriteTxn<'_>,
        term: &[u8],
        mut gone: &[Posting],
    ) -> Result<(), TextError> {
        let tail = std::mem::take(&mut self.tail);
        let prefix = keys::runs(self.collection, term);
        while let Some(&Posting { slot, .. }) = gone.first() {
            let disagrees = TextError::Disagrees { slot };
            let Some(after) = slot.checked_add(1) else { return Err(disagrees) };
            let after = keys::run(self.collection, term, after);
            let found = txn.before(Table::Postings, &after)?;
            let Some((at, sealed)) = found.filter(|(at, _)| at.starts_with(&prefix)) else {
                return Err(disagrees);
            };
            let at = at.to_vec();
            let run = unseal(WHAT, Table::Postings as u8, &at, sealed)?;
            self.postings.clear();
            read_run(run, &mut self.decoded, &mut self.postings)?;
            let last = self.postings.last().map_or(0, |posting| posting.slot);
            let (here, rest) = gone.split_at(gone.partition_point(|posting| posting.slot <= last));
            if here.is_empty() {
                return Err(disagrees);
            }
            take_out(&mut self.postings, here)?;
            self.rebuild(txn)?;
            if self.tail.is_empty() {
                txn.delete(Table::Postings, &at)?;
            } else {
                self.put(txn, &at, |tail, out| tail.write(out))?;
            }
            gone = rest;
        }
        self.tail = tail;
        Ok(())
    }

    /// Makes the run at hand of the postings at hand.
    fn rebuild(&mut self, txn: &WriteTxn<'_>) -> Result<(), TextError> {
        self.tail.clear();
        for &posting in &self.postings {
            let length = self.lengths.get(txn, posting.slot)?;
            self.tail.push(posting, length)?;
        }
        Ok(())
    }

    fn append(
        &mut self,
        txn: &mut WriteTxn<'_>,
        term: &[u8],
        posting: Posting,
    ) -> Result<(), TextError> {
        if self.is_short && self.postings.len() < SHORT_MAX {
            self.postings.push(posting);
            return Ok(());
        }
        if self.is_short {
            self.is_short = false;
            self.rebuild(txn)?;
        }
        let length = self.lengths.get(txn, posting.slot)?;
        self.tail.push(posting, length)?;
        if self.tail.is_full() {
            let at = keys::run(self.collection, term, self.tail.base());
            self.put(txn, &at, |tail, out| tail.write(out))?;
            self.tail.clear();
        }
        Ok(())
    }

    /// Writes the list at hand.
    fn store(&mut self, txn: &mut WriteTxn<'_>, at: &[u8], texts: u32) -> Result<(), TextError> {
        if self.is_short {
            let postings = std::mem::take(&mut self.postings);
            let stored = self.put(txn, at, |_, out| {
                out.push(postings.len() as u8);
                let mut last = 0;
                for posting in &postings {
                    put_varint(posting.slot.wrapping_sub(last), out);
                    put_varint(posting.count, out);
                    last = posting.slot;
                }
            });
            self.postings = postings;
            return stored;
        }
        self.put(txn, at, |tail, out| {
            out.push(0);
            out.extend(texts.to_le_bytes());
            tail.write(out);
        })
    }

    /// Seals what `write` appends, without another copy.
    fn put(
        &mut self,
        txn: &mut WriteTxn<'_>,
        at: &[u8],
        write: impl FnOnce(&RunWriter, &mut Vec<u8>),
    ) -> Result<(), TextError> {
        self.value.clear();
        self.value.extend([0; SEAL_BYTES]);
        write(&self.tail, &mut self.value);
        if let Some((seal, payload)) = self.value.split_first_chunk_mut::<SEAL_BYTES>() {
            *seal = seal_checksum(Table::Postings as u8, at, payload).to_le_bytes();
        }
        Ok(txn.put(Table::Postings, at, &self.value)?)
    }
}

/// Takes `gone` from `postings`; both ascend.
fn take_out(postings: &mut Vec<Posting>, gone: &[Posting]) -> Result<(), TextError> {
    let mut gone = gone.iter().peekable();
    postings.retain(|posting| gone.next_if(|gone| *gone == posting).is_none());
    match gone.next() {
        Some(posting) => Err(TextError::Disagrees { slot: posting.slot }),
        None => Ok(()),
    }
}
