//! Where the records of an ingest come from: the application's iterator, or those of the
//! collection whose vector is pending. Read in chunks, compared on blocking threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{JoinHandle, spawn_blocking};

use super::sort::{Item, Sorted, Split, bytes_of, sort, sort_documents};
use crate::db::Collection;
use crate::error::Result;
use crate::record::{Record, RecordId};

/// A chunk that is being sorted.
pub(super) type Reading = JoinHandle<Result<Sorted>>;

/// What a source has next.
pub(super) enum Next {
    Reading(Reading),
    /// A record of the next chunk is on its way already: what is to be done for it shows when
    /// that is committed.
    NotYet,
    Dry,
}

/// Bounds of a chunk.
#[derive(Clone, Copy)]
pub(super) struct ChunkBounds {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Gives chunks of records.
pub(super) trait Source: Send {
    fn next(&mut self, collection: &Collection, on_way: &dyn Fn(&RecordId) -> bool) -> Next;
}

/// The application's records.
pub(super) struct Records<I> {
    records: I,
    bounds: ChunkBounds,
    pending: bool,
    /// How they are cut, if they are documents.
    split: Option<Arc<Split>>,
    /// Waits for records that are on their way.
    held: Option<Vec<Record>>,
}

impl<I: Iterator<Item = Record>> Records<I> {
    /// With `pending`, texts are stored before their vectors; with `split`, records are documents.
    pub(super) fn new(
        records: I,
        bounds: ChunkBounds,
        pending: bool,
        split: Option<Arc<Split>>,
    ) -> Self {
        Self { records, bounds, pending, split, held: None }
    }

    fn chunk(&mut self) -> Vec<Record> {
        let (mut chunk, mut bytes) = (Vec::new(), 0_usize);
        while chunk.len() < self.bounds.records && bytes < self.bounds.bytes {
            let Some(record) = self.records.next() else { break };
            bytes = bytes.saturating_add(bytes_of(&record));
            chunk.push(record);
        }
        chunk
    }
}

impl<I: Iterator<Item = Record> + Send> Source for Records<I> {
    fn next(&mut self, collection: &Collection, on_way: &dyn Fn(&RecordId) -> bool) -> Next {
        let chunk = self.held.take().unwrap_or_else(|| self.chunk());
        if chunk.is_empty() {
            return Next::Dry;
        }
        if chunk.iter().any(|record| on_way(&record.id)) {
            self.held = Some(chunk);
            return Next::NotYet;
        }
        let (collection, pending, split) = (collection.clone(), self.pending, self.split.clone());
        Next::Reading(spawn_blocking(move || match split {
            Some(split) => sort_documents(&collection, chunk, &*split, pending),
            None => sort(&collection, chunk, pending),
        }))
    }
}

/// The records that were pending when it was made.
pub(super) struct Pending {
    /// Those that were not read yet.
    slots: Arc<Mutex<roaring::RoaringBitmap>>,
    bounds: ChunkBounds,
}

impl Pending {
    pub(super) fn new(slots: roaring::RoaringBitmap, bounds: ChunkBounds) -> Self {
        Self { slots: Arc::new(Mutex::new(slots)), bounds }
    }
}

impl Source for Pending {
    fn next(&mut self, collection: &Collection, _on_way: &dyn Fn(&RecordId) -> bool) -> Next {
        let asked: Vec<u32> = locked(&self.slots).iter().take(self.bounds.records).collect();
        if asked.is_empty() {
            return Next::Dry;
        }
        let (collection, most) = (collection.clone(), self.bounds.bytes);
        let slots = Arc::clone(&self.slots);
        Next::Reading(spawn_blocking(move || {
            let mut bytes = 0_usize;
            let (records, done) = collection.pending_records(&asked, |record| {
                bytes = bytes.saturating_add(bytes_of(record));
                bytes >= most
            })?;
            // The next chunk is asked for once this one is there.
            locked(&slots).remove_range(..=done);
            let new = records
                .into_iter()
                .map(|(slot, record)| Item { record, slot: Some(slot) })
                .collect();
            Ok(Sorted { new, ..Sorted::default() })
        }))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;
    use crate::db::{CollectionOptions, DatabaseOptions};

    #[tokio::test]
    async fn pending_records_are_read_until_their_bytes_are_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let db = DatabaseOptions::new().open(dir.path().join("p.portolan")).expect("a file");
        let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::L2));
        let docs = docs.expect("a collection");
        let mut batch = docs.batch();
        for (id, length) in [900, 900, 900, 90_000, 1, 1, 1, 1].into_iter().enumerate() {
            let record = Record::new(id as i64).text("x".repeat(length));
            batch.upsert_pending(record).expect("a record");
        }
        batch.commit().expect("a commit");
        let slots = docs.pending_slots().expect("the slots");
        let mut source = Pending::new(slots, ChunkBounds { records: 3, bytes: 1_000 });
        let mut sizes = Vec::new();
        while let Next::Reading(reading) = source.next(&docs, &|_| false) {
            let sorted = reading.await.expect("a thread").expect("records");
            sizes.push(sorted.new.iter().map(|item| item.record.text.len()).collect::<Vec<_>>());
        }
        let expected: [&[usize]; 4] = [&[900, 900], &[900, 90_000], &[1, 1, 1], &[1]];
        assert_eq!(sizes, expected);
    }
}
