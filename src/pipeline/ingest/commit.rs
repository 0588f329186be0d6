//! One commit of an ingest. Vectors that the collection refuses are set aside, unless all of a
//! model's would be.

use std::collections::HashSet;

use super::progress::{IngestProgress, Rejected};
use super::sort::{Replaced, Work};
use crate::db::{Batch, Collection};
use crate::error::{Error, Result};
use crate::record::{ModelContract, Record, RecordId};
use crate::vectors::VectorError;

/// What a commit did.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) counts: IngestProgress,
    pub(super) rejected: Vec<Rejected>,
    stored: HashSet<RecordId>,
}

/// Commits all of it in one transaction. Blocks.
pub(super) fn commit(
    collection: &Collection,
    work: Work,
    contract: Option<&ModelContract>,
) -> Result<Committed> {
    let mut done = Committed::default();
    if work.is_empty() {
        return Ok(done);
    }
    let mut batch: Batch = collection.batch();
    if let Some(contract) = contract {
        batch = batch.model(contract);
    }
    for record in work.ready {
        let (id, has_vector) = (record.id.clone(), record.vector.is_some());
        if done.accepts(id, batch.upsert(record))? {
            done.counts.with_vector += usize::from(has_vector);
            done.counts.without_text += usize::from(!has_vector);
        }
    }
    for record in work.kept {
        let id = record.id.clone();
        done.counts.updated += usize::from(done.accepts(id, batch.upsert_stored(record))?);
    }
    for record in work.pending {
        let id = record.id.clone();
        done.counts.pending += usize::from(done.accepts(id, batch.upsert_pending(record))?);
    }
    for item in work.embedded {
        let id = item.record.id.clone();
        let added = match (item.slot, item.record) {
            (Some(slot), Record { id, vector: Some(vector), .. }) => {
                batch.complete(id, slot, &vector)
            }
            (_, record) => batch.upsert(record),
        };
        done.counts.embedded += usize::from(done.accepts(id, added)?);
    }
    for Replaced { document, unchanged, changed } in work.replaced {
        // What the model refused is not stored, and an older chunk in its place is stale.
        let stored = changed.into_iter().filter(|id| done.stored.contains(id));
        batch.prune(document, unchanged.into_iter().chain(stored).collect());
        done.counts.documents += 1;
    }
    done.counts.removed += batch.commit()?.deleted;
    Ok(done)
}

impl Committed {
    /// Whether a change was taken; one that was refused for what it is, is set aside.
    fn accepts(&mut self, id: RecordId, added: Result<()>) -> Result<bool> {
        match added {
            Ok(()) => {
                self.stored.insert(id);
                Ok(true)
            }
            // Of the model or the collection, not of the record.
            Err(error @ Error::Vector { source: VectorError::WrongDimensions { .. }, .. }) => {
                Err(error)
            }
            Err(error @ (Error::Vector { .. } | Error::Record { .. })) => {
                self.rejected.push(Rejected { id, reason: error.to_string() });
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
