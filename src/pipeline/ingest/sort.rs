//! What is to be done for each record: nothing, a commit, or a call of the model first.

use std::collections::{HashMap, HashSet};

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

/// About how many bytes a record holds.
pub(super) fn bytes_of(record: &Record) -> usize {
    let title = record.title.as_ref().map_or(0, String::len);
    let vector = record.vector.as_ref().map_or(0, |vector| vector.len() * 4);
    record.text.len() + title + vector + record.metadata.len() * 32
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
    /// Documents whose chunks are among these, or are to go.
    pub(super) replaced: Vec<Replaced>,
}

/// A document whose chunks are replaced.
pub(super) struct Replaced {
    pub(super) document: RecordId,
    /// Chunks that stay as they are.
    pub(super) unchanged: Vec<RecordId>,
    /// Chunks that are stored with it, unless they are refused.
    pub(super) changed: Vec<RecordId>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.records() == 0 && self.replaced.is_empty()
    }

    pub(super) fn records(&self) -> usize {
        self.embedded.len() + self.ready.len() + self.kept.len() + self.pending.len()
    }

    /// About how many bytes its records take.
    pub(super) fn bytes(&self) -> usize {
        let records = self.ready.iter().chain(&self.kept).chain(&self.pending);
        let embedded = self.embedded.iter().map(|item| &item.record);
        records.chain(embedded).map(|record| size_of::<Record>() + bytes_of(record)).sum()
    }

    pub(super) fn ids(&self) -> Vec<RecordId> {
        let records = self.ready.iter().chain(&self.kept).chain(&self.pending);
        let embedded = self.embedded.iter().map(|item| &item.record);
        let documents = self.replaced.iter().map(|replaced| &replaced.document);
        records.chain(embedded).map(|record| &record.id).chain(documents).cloned().collect()
    }

    fn append(&mut self, mut other: Self) {
        self.embedded.append(&mut other.embedded);
        self.ready.append(&mut other.ready);
        self.kept.append(&mut other.kept);
        self.pending.append(&mut other.pending);
        self.replaced.append(&mut other.replaced);
    }

    /// Leaves out the documents of which one of these records is: they are stored whole.
    pub(super) fn without_documents_of(&mut self, missing: &HashSet<RecordId>) {
        let is_whole = |one: &Replaced| !one.changed.iter().any(|id| missing.contains(id));
        let (whole, broken): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.replaced).into_iter().partition(is_whole);
        self.replaced = whole;
        let out: HashSet<RecordId> = broken.into_iter().flat_map(|one| one.changed).collect();
        if !out.is_empty() {
            self.embedded.retain(|item| !out.contains(&item.record.id));
            for records in [&mut self.ready, &mut self.kept, &mut self.pending] {
                records.retain(|record| !out.contains(&record.id));
            }
        }
    }
}

/// What is sent to the model at once, and what is committed with it.
#[derive(Default)]
pub(super) struct Parcel {
    pub(super) new: Vec<Item>,
    pub(super) work: Work,
}

impl Parcel {
    pub(super) fn records(&self) -> usize {
        self.new.len() + self.work.records()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.work.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<RecordId> {
        let mut ids = self.work.ids();
        ids.extend(self.new.iter().map(|item| item.record.id.clone()));
        ids
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.new.append(&mut other.new);
        self.work.append(other.work);
    }
}

/// A chunk of records, sorted.
#[derive(Default)]
pub(super) struct Sorted {
    /// To be embedded.
    pub(super) new: Vec<Item>,
    /// To be committed at once.
    pub(super) work: Work,
    /// Documents with what is to be done for each.
    pub(super) documents: Vec<Parcel>,
    pub(super) rejected: Vec<Rejected>,
    /// Counts of what needs no commit.
    pub(super) counts: IngestProgress,
}

/// Compares records with what is stored. With `pending`, texts are stored before their vectors.
pub(super) fn sort(collection: &Collection, chunk: Vec<Record>, pending: bool) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    sorted.counts.read = chunk.len();
    for record in last_of_each_id(chunk) {
        let Some(record) = sorted.checked(record) else { continue };
        let known =
            if record.vector.is_none() { collection.get_without_vector(&record.id)? } else { None };
        let mut parcel = Parcel::default();
        let place = place(collection, record, known, pending)?;
        place.put(&mut parcel, &mut sorted.counts);
        sorted.new.append(&mut parcel.new);
        sorted.work.append(parcel.work);
    }
    Ok(sorted)
}

/// Cuts documents into chunks and compares these with what is stored.
pub(super) fn sort_documents(
    collection: &Collection,
    documents: Vec<Record>,
    split: &Split,
    pending: bool,
) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    for document in last_of_each_id(documents) {
        let known = collection.chunks_without_vectors(&document.id)?;
        let vectors = vectors_of(collection, &known);
        let mut stale: HashMap<RecordId, Record> =
            known.into_iter().map(|chunk| (chunk.id.clone(), chunk)).collect();
        let mut parcel = Parcel::default();
        let mut replaced =
            Replaced { document: document.id.clone(), unchanged: vec![], changed: vec![] };
        for (position, chunk) in split(&document).into_iter().enumerate() {
            sorted.counts.read += 1;
            let chunk = chunk.into_chunk(&document.id, position);
            let Some(chunk) = sorted.checked(chunk) else { continue };
            let id = chunk.id.clone();
            let mut place = place(collection, chunk, stale.remove(&id), pending)?;
            place.reuse(collection, &vectors)?;
            let is_unchanged = matches!(place, Place::Unchanged | Place::Waits);
            place.put(&mut parcel, &mut sorted.counts);
            if is_unchanged { &mut replaced.unchanged } else { &mut replaced.changed }.push(id);
        }
        if parcel.is_empty() && stale.is_empty() {
            sorted.counts.documents += 1;
        } else {
            parcel.work.replaced.push(replaced);
            sorted.documents.push(parcel);
        }
    }
    Ok(sorted)
}

/// Chunks that have a vector to be used again, by what a model would read of them.
fn vectors_of(collection: &Collection, chunks: &[Record]) -> HashMap<String, RecordId> {
    if collection.originals() == Originals::None {
        return HashMap::new();
    }
    let with_vector = chunks.iter().filter(|chunk| chunk.vector.is_some());
    with_vector.map(|chunk| (chunk.passage(), chunk.id.clone())).collect()
}

/// Cuts a document.
pub(super) type Split = dyn Fn(&Record) -> Vec<Record> + Send + Sync;

/// What is to be done for a record.
enum Place {
    Unchanged,
    /// It is stored, and its vector is still to come.
    Waits,
    New(Record),
    Kept(Record),
    Ready(Record),
    Pending(Record),
}

impl Place {
    /// Takes the vector of a chunk that reads the same and stood elsewhere in the document.
    fn reuse(
        &mut self,
        collection: &Collection,
        vectors: &HashMap<String, RecordId>,
    ) -> Result<()> {
        if let Self::New(record) | Self::Pending(record) = self
            && let Some(id) = vectors.get(&record.passage())
            && let Some(vector) = collection.get(id)?.and_then(|stored| stored.vector)
        {
            let mut record = std::mem::replace(record, Record::new(""));
            record.vector = Some(vector);
            *self = Self::Kept(record);
        }
        Ok(())
    }

    fn put(self, parcel: &mut Parcel, counts: &mut IngestProgress) {
        match self {
            Self::Unchanged => counts.unchanged += 1,
            Self::Waits => counts.pending += 1,
            Self::New(record) => parcel.new.push(Item { record, slot: None }),
            Self::Kept(record) => parcel.work.kept.push(record),
            Self::Ready(record) => parcel.work.ready.push(record),
            Self::Pending(record) => parcel.work.pending.push(record),
        }
    }
}

impl Sorted {
    /// The record, if it can be stored.
    fn checked(&mut self, record: Record) -> Option<Record> {
        let Err(refused) = record.check() else { return Some(record) };
        let reason = refused.to_string();
        self.rejected.push(Rejected { id: record.id, reason });
        None
    }
}

/// Where a record goes, given what is stored under its id.
fn place(
    collection: &Collection,
    record: Record,
    known: Option<Record>,
    pending: bool,
) -> Result<Place> {
    if record.vector.is_some() {
        return Ok(Place::Ready(record));
    }
    let passage = record.passage();
    let has_text = !passage.trim().is_empty();
    let same_passage = known.as_ref().is_some_and(|known| known.passage() == passage);
    Ok(match known {
        Some(known) if same_passage && is_same(&known, &record) => {
            if known.vector.is_some() || !has_text {
                Place::Unchanged
            } else if !pending {
                Place::New(record)
            } else if !collection.is_pending(&record.id)? {
                Place::Pending(record)
            } else {
                Place::Waits
            }
        }
        // A vector that is known only by its code would lose precision each time.
        Some(known)
            if same_passage
                && known.vector.is_some()
                && collection.originals() != Originals::None =>
        {
            let vector = collection.get(&record.id)?.and_then(|stored| stored.vector);
            Place::Kept(Record { vector, ..record })
        }
        _ if !has_text => Place::Ready(record),
        _ if pending => Place::Pending(record),
        _ => Place::New(record),
    })
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
