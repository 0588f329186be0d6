//! Ingest by model: embeds what is new, keeps what is known, commits batch by batch. What was
//! committed is never embedded again, so an interrupted ingest is resumed by running it again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::blocking;
use super::stage::{Embedder, Role};
use crate::db::{Batch, Collection};
use crate::error::{Error, Result};
use crate::record::{ModelContract, Record};
use crate::vectors::Originals;

/// How far an ingest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestProgress {
    /// Records read.
    pub read: usize,
    /// Records whose text was embedded and committed.
    pub embedded: usize,
    /// Records that were stored already with the same text, metadata and a vector.
    pub unchanged: usize,
    /// Records whose metadata changed; their vector was kept.
    pub updated: usize,
    /// Records committed without a vector, because they have no text.
    pub without_text: usize,
    /// Records that came with a vector of their own.
    pub with_vector: usize,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct IngestReport {
    /// The counts at the end.
    pub progress: IngestProgress,
    /// Tokens the model read, if it tells.
    pub tokens: Option<u64>,
    /// Wall time.
    pub took: Duration,
    /// Time of it that was spent waiting for the model.
    pub embedding: Duration,
}

/// An ingest. Made by [`Collection::ingest`].
#[must_use]
pub struct Ingest<'e, I> {
    collection: Collection,
    records: I,
    embedder: Option<&'e dyn Embedder>,
    batch_size: Option<usize>,
    progress: Option<Box<dyn FnMut(IngestProgress) + Send + 'e>>,
}

impl Collection {
    /// Stores records and embeds their passages. Records that are stored already are skipped.
    /// Ids should be unique: of two records with one id the later is kept, and both may be
    /// embedded.
    pub fn ingest<'e, I>(&self, records: I) -> Ingest<'e, I::IntoIter>
    where
        I: IntoIterator<Item = Record>,
    {
        Ingest {
            collection: self.clone(),
            records: records.into_iter(),
            embedder: None,
            batch_size: None,
            progress: None,
        }
    }
}

impl<'e, I: Iterator<Item = Record>> Ingest<'e, I> {
    /// The model that encodes the passages. Must be the collection's; a collection without a
    /// model takes this one.
    pub fn embedder(mut self, embedder: &'e dyn Embedder) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// Records per commit, and texts per call of the model. Default: the model's own.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.batch_size = Some(records.max(1));
        self
    }

    /// Called after each commit.
    pub fn progress(mut self, progress: impl FnMut(IngestProgress) + Send + 'e) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Runs the ingest. Must be called in a tokio runtime.
    ///
    /// When it fails, what was committed before stays: run it again with the same records, and
    /// it goes on where it was.
    ///
    /// # Errors
    /// [`Error::ModelMismatch`], before the model is asked; [`Error::Query`] without an embedder
    /// when a record needs one; [`Error::Model`];
    /// those of [`Batch::upsert`] and [`Batch::commit`].
    pub async fn run(self) -> Result<IngestReport> {
        let Self { collection, mut records, embedder, batch_size, mut progress } = self;
        let begin = Instant::now();
        let size = batch_size.or_else(|| embedder.map(Embedder::batch_size)).unwrap_or(64).max(1);
        let contract = embedder.map(|embedder| embedder.contract());
        if let Some(known) = contract.clone() {
            // Before the model is paid for vectors that would be refused.
            let collection = collection.clone();
            blocking(move || collection.refuse_other_model(&known)).await?;
        }
        let mut report = IngestReport::default();
        loop {
            let chunk: Vec<Record> = records.by_ref().take(READ_AHEAD * size).collect();
            if chunk.is_empty() {
                break;
            }
            report.progress.read += chunk.len();
            let reader = collection.clone();
            let sorted = blocking(move || sort(&reader, chunk)).await?;
            report.progress.unchanged += sorted.unchanged;
            report.progress.updated += sorted.updated;
            report.progress.without_text += sorted.without_text;
            report.progress.with_vector += sorted.with_vector;
            commit(&collection, sorted.ready, sorted.kept, contract.as_ref()).await?;
            let mut new = sorted.new.into_iter();
            loop {
                let batch: Vec<Record> = new.by_ref().take(size).collect();
                if batch.is_empty() {
                    break;
                }
                let count = batch.len();
                let batch = embed(&mut report, embedder, batch).await?;
                commit(&collection, batch, Vec::new(), contract.as_ref()).await?;
                report.progress.embedded += count;
                if let Some(progress) = &mut progress {
                    progress(report.progress);
                }
            }
            if let Some(progress) = &mut progress {
                progress(report.progress);
            }
        }
        report.took = begin.elapsed();
        Ok(report)
    }
}

/// Records are compared with what is stored this many batches at a time, so that batches are
/// full even when most records are known.
const READ_AHEAD: usize = 8;

#[derive(Default)]
struct Sorted {
    /// To be embedded.
    new: Vec<Record>,
    /// To be committed as they are.
    ready: Vec<Record>,
    /// To be committed with the vector that is stored already.
    kept: Vec<Record>,
    unchanged: usize,
    updated: usize,
    without_text: usize,
    with_vector: usize,
}

/// Tells what is to be done for each record.
fn sort(collection: &Collection, chunk: Vec<Record>) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    for record in last_of_each_id(chunk) {
        if let Err(source) = record.check() {
            return Err(Error::Record { id: record.id, source });
        }
        if record.vector.is_some() {
            sorted.with_vector += 1;
            sorted.ready.push(record);
            continue;
        }
        let known = collection.get_without_vector(&record.id)?;
        let same_passage = known.as_ref().is_some_and(|known| known.passage() == record.passage());
        match known {
            Some(known) if same_passage && is_same(&known, &record) => sorted.unchanged += 1,
            // A vector that is known only by its code would lose precision each time.
            Some(known)
                if same_passage
                    && known.vector.is_some()
                    && collection.originals() != Originals::None =>
            {
                sorted.updated += 1;
                let vector = collection.get(&record.id)?.and_then(|stored| stored.vector);
                sorted.kept.push(Record { vector, ..record });
            }
            _ if record.passage().trim().is_empty() => {
                sorted.without_text += 1;
                sorted.ready.push(record);
            }
            _ => sorted.new.push(record),
        }
    }
    Ok(sorted)
}

fn is_same(known: &Record, record: &Record) -> bool {
    let complete = known.vector.is_some() || record.passage().trim().is_empty();
    complete && known.title == record.title && known.metadata == record.metadata
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

async fn embed(
    report: &mut IngestReport,
    embedder: Option<&dyn Embedder>,
    mut batch: Vec<Record>,
) -> Result<Vec<Record>> {
    let reason = "a record has no vector and there is no embedder: add one of them";
    let embedder = embedder.ok_or(Error::Query { reason })?;
    let passages: Vec<String> = batch.iter().map(Record::passage).collect();
    let texts: Vec<&str> = passages.iter().map(String::as_str).collect();
    let begin = Instant::now();
    let embedded = embedder.embed(&texts, Role::Passage, None).await;
    let embedded = embedded.map_err(|error| error.into_error("embed"))?;
    report.embedding += begin.elapsed();
    if embedded.vectors.len() != batch.len() {
        let reason = "the embedder did not return one vector per text: check the model";
        return Err(Error::Query { reason });
    }
    if let Some(tokens) = embedded.tokens {
        *report.tokens.get_or_insert(0) += tokens;
    }
    for (record, vector) in batch.iter_mut().zip(embedded.vectors) {
        record.vector = Some(vector);
    }
    Ok(batch)
}

async fn commit(
    collection: &Collection,
    records: Vec<Record>,
    kept: Vec<Record>,
    contract: Option<&ModelContract>,
) -> Result<()> {
    if records.is_empty() && kept.is_empty() {
        return Ok(());
    }
    let mut batch: Batch = collection.batch();
    if let Some(contract) = contract {
        batch = batch.model(contract);
    }
    blocking(move || {
        for record in records {
            batch.upsert(record)?;
        }
        for record in kept {
            batch.upsert_stored(record)?;
        }
        batch.commit()
    })
    .await?;
    Ok(())
}
