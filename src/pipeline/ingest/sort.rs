//! What is to be done for each record: nothing, a commit, or a call of the model first.

use std::collections::HashMap;

use super::progress::{IngestProgress, Rejected};
use crate::db::Collection;
use crate::error::Result;
use crate::record::{Record, RecordId, Slot};
use crate::vectors::Originals;

/// A record to be embedded; with its slot if it is stored already and pending.
pub(super) struct Item {
    pub(super) record: Record,
    pub(super) slot: Option<Slot>,
}

/// What one commit is to do.
#[derive(Default)]
pub(super) struct Work {
    /// With the vector that the model gave.
    pub(super) embedded: Vec<Item>,
    /// As they are.
    pub(super) ready: Vec<Record>,
    /// With the vector that is stored already.
    pub(super) kept: Vec<Record>,
    /// Without the vector, which is to come.
    pub(super) pending: Vec<Record>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.embedded.is_empty()
            && self.ready.is_empty()
            && self.kept.is_empty()
            && self.pending.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<RecordId> {
        let records = self.ready.iter().chain(&self.kept).chain(&self.pending);
        let embedded = self.embedded.iter().map(|item| &item.record);
        records.chain(embedded).map(|record| record.id.clone()).collect()
    }
}

/// A chunk of records, sorted.
#[derive(Default)]
pub(super) struct Sorted {
    /// To be embedded.
    pub(super) new: Vec<Item>,
    /// To be committed at once.
    pub(super) work: Work,
    pub(super) rejected: Vec<Rejected>,
    /// Counts of what needs no commit.
    pub(super) counts: IngestProgress,
}

/// Compares records with what is stored. With `pending`, texts are stored before their vectors.
pub(super) fn sort(collection: &Collection, chunk: Vec<Record>, pending: bool) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    sorted.counts.read = chunk.len();
    for record in last_of_each_id(chunk) {
        if let Err(refused) = record.check() {
            let reason = refused.to_string();
            sorted.rejected.push(Rejected { id: record.id, reason });
            continue;
        }
        if record.vector.is_some() {
            sorted.work.ready.push(record);
            continue;
        }
        let known = collection.get_without_vector(&record.id)?;
        let same_passage = known.as_ref().is_some_and(|known| known.passage() == record.passage());
        let has_text = !record.passage().trim().is_empty();
        match known {
            Some(known) if same_passage && is_same(&known, &record) => {
                if known.vector.is_some() || !has_text {
                    sorted.counts.unchanged += 1;
                } else if !pending {
                    sorted.new.push(Item { record, slot: None });
                } else if !collection.is_pending(&record.id)? {
                    sorted.work.pending.push(record);
                } else {
                    sorted.counts.pending += 1;
                }
            }
            // A vector that is known only by its code would lose precision each time.
            Some(known)
                if same_passage
                    && known.vector.is_some()
                    && collection.originals() != Originals::None =>
            {
                let vector = collection.get(&record.id)?.and_then(|stored| stored.vector);
                sorted.work.kept.push(Record { vector, ..record });
            }
            _ if !has_text => sorted.work.ready.push(record),
            _ if pending => sorted.work.pending.push(record),
            _ => sorted.new.push(Item { record, slot: None }),
        }
    }
    Ok(sorted)
}

/// Whether all but the vector is as it was. What a record brings to named vector fields is new.
fn is_same(known: &Record, record: &Record) -> bool {
    let same = known.title == record.title && known.metadata == record.metadata;
    same && record.named_vectors.is_empty()
}

fn last_of_each_id(chunk: Vec<Record>) -> Vec<Record> {
    let mut place = HashMap::with_capacity(chunk.len());
    let mut kept: Vec<Record> = Vec::with_capacity(chunk.len());
    for record in chunk {
        match place.get(&record.id) {
            Some(&at) => kept[at] = record,
            None => {
                place.insert(record.id.clone(), kept.len());
                kept.push(record);
            }
        }
    }
    kept
}
