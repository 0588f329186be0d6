//! `portolan ingest --no-vectors`: documents that are found by their words alone.

use std::collections::HashSet;

use portolan::{Batch, Collection, CollectionOptions, Maintenance, Record, RecordId};

use crate::args::IngestArgs;
use crate::documents::{Line, Survey};
use crate::failure::{Failure, Result};
use crate::ingest::{BATCH_WITHOUT_MODEL, Ingested, create, existing};
use crate::progress::Progress;
use crate::rejects::Rejects;

/// Stores the documents that are not stored as they are already.
pub fn store(args: &IngestArgs, survey: &Survey) -> Result<(Collection, Ingested)> {
    let rejects = Rejects::new(args.rejects.as_deref())?;
    let collection = match existing(args, Maintenance::Manual)? {
        Some(collection) if collection.info()?.vectors > 0 => {
            return Err(Failure::new(format!(
                "collection {:?} has vectors, and a document whose text has changed would lose \
                 its own: use --vectors or --embed-model, or another --collection",
                args.collection
            )));
        }
        Some(collection) => collection,
        None => create(args, Maintenance::Manual, CollectionOptions::without_vectors())?,
    };
    let course = Course {
        args,
        // What is not there cannot be unchanged.
        compares: collection.count()? > 0,
        batch: collection.batch(),
        batched: 0,
        batched_ids: HashSet::new(),
        chunks: 0,
        collection: &collection,
        rejects,
        done: Ingested::default(),
    };
    let done = course.run(survey)?;
    Ok((collection, done))
}

struct Course<'c> {
    args: &'c IngestArgs,
    collection: &'c Collection,
    /// Whether records are compared with those that are stored.
    compares: bool,
    batch: Batch,
    /// Records in the batch; chunks are counted, others are told by their ids.
    batched: usize,
    batched_ids: HashSet<RecordId>,
    /// Chunks of all documents.
    chunks: usize,
    rejects: Rejects,
    done: Ingested,
}

impl Course<'_> {
    fn run(mut self, survey: &Survey) -> Result<Ingested> {
        let size = self.args.batch_size.unwrap_or(BATCH_WITHOUT_MODEL);
        let progress = Progress::new("storing", survey.documents);
        for (at, line) in self.args.documents().lines()?.enumerate() {
            match line? {
                Line::Record(record) => self.add(record)?,
                Line::Bad(bad) if self.args.rejects.is_some() => {
                    self.rejects.add_line(&bad);
                    self.done.rejected += 1;
                    self.done.read += 1;
                }
                Line::Bad(bad) => return Err(Failure::new(bad.problem)),
            }
            if self.batched >= size {
                self.commit()?;
                progress.at(at + 1);
            }
        }
        self.commit()?;
        self.rejects.close()?;
        if self.done.chunked > 0 {
            self.done.read = self.chunks;
            self.done.unchanged = self.chunks.saturating_sub(self.done.without_vector);
        }
        Ok(self.done)
    }

    fn add(&mut self, record: Record) -> Result<()> {
        let id = record.id.clone();
        self.done.read += 1;
        let added = match self.args.chunker() {
            Some(chunker) => self.add_chunks(id.clone(), chunker.split(&record)),
            None if self.is_unchanged(&record)? => {
                self.done.unchanged += 1;
                Ok(())
            }
            None => self.batch.upsert(record).map(|()| {
                self.batched += 1;
                self.batched_ids.insert(id.clone());
            }),
        };
        match added {
            Err(error) if error.is_invalid_input() && self.args.rejects.is_some() => {
                self.rejects.add_document(&id, &error.to_string());
                self.done.rejected += 1;
                Ok(())
            }
            added => Ok(added?),
        }
    }

    fn add_chunks(&mut self, id: RecordId, chunks: Vec<Record>) -> portolan::Result<()> {
        let count = chunks.len();
        self.batch.replace_document(id, chunks)?;
        self.done.chunked += 1;
        self.chunks += count;
        self.batched += count.max(1);
        Ok(())
    }

    /// Whether the record is stored with all that it has.
    fn is_unchanged(&self, record: &Record) -> Result<bool> {
        // One that is in the batch is no longer what is stored.
        let stored = match self.compares && !self.batched_ids.contains(&record.id) {
            true => self.collection.get(record.id.clone())?,
            false => None,
        };
        Ok(stored.is_some_and(|stored| {
            (&stored.title, &stored.text, &stored.metadata)
                == (&record.title, &record.text, &record.metadata)
        }))
    }

    fn commit(&mut self) -> Result<()> {
        let batch = std::mem::replace(&mut self.batch, self.collection.batch());
        self.batched = 0;
        self.batched_ids.clear();
        let committed = batch.commit()?;
        self.done.without_vector += committed.upserted;
        self.done.removed += committed.deleted;
        Ok(())
    }
}
