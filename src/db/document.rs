//! Documents that are stored as chunks: replaced and removed as a whole, in one commit.
//!
//! Which records are chunks of a document shows in their ids and in their field `document`
//! (`record::chunk`); nothing else is stored.

use std::collections::BTreeSet;

use super::batch::{Apply, Batch, Change, Committed};
use super::collection::Collection;
use crate::error::{Error, Result};
use crate::record::{Record, RecordId, check_id, chunk_position};
use crate::storage::keys as key;
use crate::storage::tables::{self, StoredRecord};
use crate::storage::{Snapshot, Table};

/// What [`Batch::replace_document`] and [`Batch::delete_document`] leave of a document.
pub(super) struct Prune {
    document: RecordId,
    keep: BTreeSet<RecordId>,
}

impl Batch {
    /// Replaces all chunks of a document by these, in their order: the n-th, from 0, gets the id
    /// `<document>#<n>` and the fields `document` and `chunk`, whatever it had. Chunks of the
    /// document that are stored and not among them are removed. A reader sees the old chunks or
    /// the new ones, never both.
    ///
    /// A chunk without a vector that is stored already with the same title, text and metadata
    /// stays as it is, with its vector. Otherwise it is stored as by [`Batch::upsert`].
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Metric, Record};
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("kb.portolan");
    /// let docs = Database::open(&path)?
    ///     .create_collection("docs", CollectionOptions::new(2, Metric::Cosine))?;
    /// let chunk = |text: &str| Record::new("").text(text).vector([1.0, 0.0]);
    /// docs.replace_document("guide", ["Winds.", "Tides.", "Stars."].map(chunk))?;
    /// let replaced = docs.replace_document("guide", ["Winds and currents."].map(chunk))?;
    /// assert_eq!((replaced.upserted, replaced.deleted), (1, 2));
    /// assert_eq!(docs.document("guide")?[0].text, "Winds and currents.");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Batch::upsert`], an id of the document that is too long for those of chunks
    /// among them. The batch is unchanged then.
    pub fn replace_document(
        &mut self,
        document: impl Into<RecordId>,
        chunks: impl IntoIterator<Item = Record>,
    ) -> Result<()> {
        let document = document.into();
        let before = self.changes.len();
        let mut keep = BTreeSet::new();
        for (position, chunk) in chunks.into_iter().enumerate() {
            let chunk = chunk.into_chunk(&document, position);
            let id = chunk.id.clone();
            if let Err(error) = self.upsert(chunk) {
                self.changes.truncate(before);
                return Err(error);
            }
            if let Some(Change::Upsert { encoded: None, unless_same, .. }) = self.changes.last_mut()
            {
                *unless_same = true;
            }
            keep.insert(id);
        }
        self.prune(document, keep);
        Ok(())
    }

    /// Adds the removal of all chunks of a document; one without chunks is no error.
    pub fn delete_document(&mut self, document: impl Into<RecordId>) {
        self.prune(document.into(), BTreeSet::new());
    }

    /// Adds the removal of all chunks of a document but those.
    pub(crate) fn prune(&mut self, document: RecordId, keep: BTreeSet<RecordId>) {
        self.changes.push(Change::Prune(Prune { document, keep }));
    }
}

impl Collection {
    /// Replaces all chunks of a document, in one durable commit: see
    /// [`Batch::replace_document`].
    ///
    /// # Errors
    /// Those of [`Batch::replace_document`] and [`Batch::commit`].
    pub fn replace_document(
        &self,
        document: impl Into<RecordId>,
        chunks: impl IntoIterator<Item = Record>,
    ) -> Result<Committed> {
        let mut batch = self.batch();
        batch.replace_document(document, chunks)?;
        batch.commit()
    }

    /// Removes all chunks of a document; how many there were. One durable commit.
    ///
    /// # Errors
    /// Those of [`Batch::commit`].
    pub fn delete_document(&self, document: impl Into<RecordId>) -> Result<usize> {
        let mut batch = self.batch();
        batch.delete_document(document);
        Ok(batch.commit()?.deleted)
    }

    /// The chunks of a document in their order, without their vectors; none if it has no chunks.
    ///
    /// # Errors
    /// Storage.
    pub fn document(&self, document: impl Into<RecordId>) -> Result<Vec<Record>> {
        let mut chunks = self.chunks_without_vectors(&document.into())?;
        chunks.iter_mut().for_each(|chunk| chunk.vector = None);
        Ok(chunks)
    }

    /// The chunks of a document, their vectors only marked by empty ones.
    pub(crate) fn chunks_without_vectors(&self, document: &RecordId) -> Result<Vec<Record>> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        chunks(snapshot.as_ref(), self.id, document)
    }
}

impl Apply<'_, '_> {
    /// Removes the chunks of a document that are not to be kept; how many.
    pub(super) fn prune(&mut self, prune: &Prune) -> Result<usize> {
        let stale = chunks(self.txn, self.collection.id, &prune.document)?;
        let mut removed = 0;
        for chunk in stale.iter().filter(|chunk| !prune.keep.contains(&chunk.id)) {
            removed += usize::from(self.remove(&chunk.id)?);
        }
        Ok(removed)
    }

    /// Whether the record is stored with the same title, text and metadata.
    pub(super) fn has_same(&self, record: &Record) -> Result<bool> {
        let collection = self.collection.id;
        let Some(slot) = tables::slot(self.txn, collection, &record.id)? else { return Ok(false) };
        let known = tables::record(self.txn, collection, slot)?.record;
        let same_text = known.text == record.text && known.title == record.title;
        Ok(same_text && known.metadata == record.metadata)
    }
}

/// The chunks of a document in their order, vectors marked by empty ones. Reads the ids that begin
/// as theirs do, alone.
fn chunks(snapshot: &dyn Snapshot, collection: u32, document: &RecordId) -> Result<Vec<Record>> {
    let first = document.chunk(0);
    if check_id(&first).is_err() {
        return Ok(Vec::new());
    }
    let mut prefix = key::id(collection, &first);
    // Without the number: what all chunks begin with.
    prefix.pop();
    let mut found = Vec::new();
    for entry in snapshot.range(Table::Ids, &prefix, &prefix)? {
        let (at, sealed) = entry?;
        let id = key::id_of(at);
        let Some(position) = id.and_then(|id| chunk_position(document, &id)) else { continue };
        let slot = tables::decode_slot(sealed, at).map_err(Error::from)?;
        let StoredRecord { mut record, has_vector } = tables::record(snapshot, collection, slot)?;
        record.vector = has_vector.then(Vec::new);
        if record.is_chunk_of(document) {
            found.push((position, record));
        }
    }
    found.sort_by_key(|(position, _)| *position);
    Ok(found.into_iter().map(|(_, record)| record).collect())
}
