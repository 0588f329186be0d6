//! Ingest by model: embeds what is new, keeps what is known, commits batch by batch. What was
//! committed is never embedded again, so an interrupted ingest is resumed by running it again.

mod batch;
mod commit;
mod embed;
mod engine;
mod flight;
mod patience;
mod progress;
mod queue;
mod seen;
mod sort;
mod source;
mod turns;

use std::sync::Arc;

use tracing::Instrument;

pub use progress::{IngestProgress, IngestReport, Rejected};

use super::blocking;
use super::cost::CostMeter;
use super::stage::Embedder;
use crate::db::Collection;
use crate::error::{Error, Result};
use crate::record::Record;
use engine::{Bounds, Engine, Listeners};
use sort::Split;
use source::{ChunkBounds, Pending, Records};

/// Records are compared with what is stored this many batches at a time, so that batches are
/// full even when most records are known.
const READ_AHEAD: usize = 8;
/// Stored records that are looked at for a text that a model has embedded.
const LOOKED_AT: usize = 16;

/// An ingest. Made by [`Collection::ingest`] and [`Collection::embed_pending`].
#[must_use]
pub struct Ingest<'e, I> {
    collection: Collection,
    records: I,
    embedder: Option<&'e dyn Embedder>,
    batch_size: Option<usize>,
    in_flight: usize,
    in_flight_bytes: usize,
    pending: bool,
    split: Option<Arc<Split>>,
    listeners: Listeners<'e>,
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
            in_flight: 4,
            in_flight_bytes: 16 << 20,
            pending: false,
            split: None,
            listeners: Listeners::default(),
        }
    }

    /// Embeds the records whose vector is pending ([`Collection::pending`]): the same as an ingest
    /// of no records with [`Ingest::pending`].
    pub fn embed_pending<'e>(&self) -> Ingest<'e, std::iter::Empty<Record>> {
        self.ingest(std::iter::empty()).pending(true)
    }
}

impl<'e, I: Iterator<Item = Record> + Send> Ingest<'e, I> {
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

    /// Batches that are with the model at once, or wait for the commit of those before them: the
    /// model has work while the file is written. At least 1; default 4.
    pub fn in_flight(mut self, batches: usize) -> Self {
        self.in_flight = batches.max(1);
        self
    }

    /// Bytes of text of these batches together, unless one alone has more; also how much is read
    /// ahead of them, and how much may wait that needs no model, but for one chunk of records in
    /// each case. Default: 16 MiB.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes;
        self
    }

    /// Stores every text first, marked as pending, then embeds all pending records of the
    /// collection, those of earlier runs too. What is stored can be read and filtered at once,
    /// and stays when the model fails: the run ends without an error then, and
    /// [`IngestReport::model_failure`] tells. Without an embedder texts are stored, and wait for
    /// [`Collection::embed_pending`]. Costs a second commit of each record. Default: off, a record
    /// is stored with its vector.
    pub fn pending(mut self, pending: bool) -> Self {
        self.pending = pending;
        self
    }

    /// Takes the records for documents and stores their chunks
    /// ([`Batch::replace_document`](crate::Batch::replace_document)): each document whole, in one
    /// commit that also removes chunks it does not have any more. Chunks whose title and text some
    /// chunk of the document has already, wherever it stood, are not embedded again. A document of
    /// which the model gives no vector to some chunk because it fails is not stored, and keeps its
    /// old chunks; one whose text is refused is stored without that chunk.
    ///
    /// Bounds of batches hold for chunks, but a document is never cut by them.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Metric};
    /// use portolan::{Chunker, Record};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine))?;
    /// let guide = Record::new("guide").text("Winds blow. Tides follow the moon. Stars stay.");
    /// let chunker = Chunker::new().tokens(6).overlap(0);
    /// // With an embedder, `pending` can be left out.
    /// let report = docs.ingest([guide]).chunker(chunker).pending(true).run().await?;
    /// assert_eq!(report.progress.documents, 1);
    /// assert_eq!(docs.document("guide")?[0].text, "Winds blow.");
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "chunk")]
    pub fn chunker(self, chunker: crate::chunk::Chunker) -> Self {
        self.split(move |document| chunker.split(document))
    }

    /// As `chunker`, by a function of the application: the n-th record that it makes of a
    /// document, from 0, becomes the n-th chunk, under the id and with the fields of that.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Metric, Record};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine))?;
    /// let poem = Record::new("poem").text("first line\nsecond line");
    /// let lines = |document: &Record| {
    ///     document.text.lines().map(|line| Record::new("").text(line)).collect()
    /// };
    /// docs.ingest([poem]).split(lines).pending(true).run().await?;
    /// assert_eq!(docs.document("poem")?[1].id, "poem#1".into());
    /// # Ok(()) }
    /// ```
    pub fn split(mut self, split: impl Fn(&Record) -> Vec<Record> + Send + Sync + 'static) -> Self {
        self.split = Some(Arc::new(split));
        self
    }

    /// Called after each commit, when records turn out to be stored already, and when
    /// [`IngestProgress::waiting`](crate::IngestProgress::waiting) changes.
    pub fn progress(mut self, progress: impl FnMut(IngestProgress) + Send + 'e) -> Self {
        self.listeners.progress = Some(Box::new(progress));
        self
    }

    /// Called for each record that is set aside.
    pub fn on_reject(mut self, reject: impl FnMut(&Rejected) + Send + 'e) -> Self {
        self.listeners.reject = Some(Box::new(reject));
        self
    }

    /// Adds what this ingest costs to a meter.
    pub fn meter(mut self, meter: &CostMeter) -> Self {
        self.listeners.meter = Some(meter.clone());
        self
    }

    /// Runs the ingest. Must be called in a tokio runtime with time enabled.
    ///
    /// A record that cannot be stored, or whose text the model refuses, is set aside with the
    /// reason ([`IngestReport::rejected`]) and the others go on. When the model gives no answer in
    /// time, it is left alone for a while, then asked with half as many texts; a single text that
    /// comes to no answer three times, while others do in between, is set aside. A model that
    /// answers nothing, not even eight single texts in a row, for two minutes, is given up, and so
    /// is one that was out of order for two minutes. When it fails otherwise nothing more is sent;
    /// what it has by then is waited for and committed. What was committed stays: run it again
    /// with the same records, and it goes on where it was. The future can be
    /// dropped at any point: a commit under way ends by itself.
    ///
    /// # Errors
    /// [`Error::ModelMismatch`], before the model is asked; [`Error::Query`] without an embedder
    /// when a record needs one, or when the model refuses all texts without naming one (those that
    /// it names are set aside, be it all); [`Error::Model`], but for [`Ingest::pending`];
    /// [`Error::Vector`] for vectors of another length than the collection's; those of
    /// [`Batch::commit`](crate::Batch::commit).
    pub async fn run(self) -> Result<IngestReport> {
        let name = self.collection.name();
        let span = tracing::debug_span!("ingest", collection = name, pending = self.pending);
        self.all().instrument(span).await
    }

    async fn all(self) -> Result<IngestReport> {
        let Self { collection, records, embedder, batch_size, pending, split, listeners, .. } =
            self;
        let size = batch_size.or_else(|| embedder.map(Embedder::batch_size)).unwrap_or(64).max(1);
        if let Some(known) = embedder.map(Embedder::contract) {
            // Before the model is paid for vectors that would be refused.
            let collection = collection.clone();
            blocking(move || collection.refuse_other_model(&known)).await?;
        }
        let stored = collection.clone();
        let known =
            if embedder.is_some() { blocking(move || Ok(passage(&stored))).await? } else { None };
        let (in_flight, bytes) = (self.in_flight, self.in_flight_bytes.max(1));
        let chunk = ChunkBounds { records: READ_AHEAD.saturating_mul(size), bytes };
        let bounds = Bounds { batch: size, in_flight, bytes };
        let mut engine = Engine::new(collection.clone(), embedder, bounds, listeners);
        engine.knows(known);
        engine.report.progress.total = match records.size_hint() {
            (least, Some(most)) if least == most && split.is_none() => Some(least),
            _ => None,
        };
        engine.drain(&mut Records::new(records, chunk, pending, split)).await?;
        if pending && embedder.is_some() {
            let slots = blocking(move || collection.pending_slots()).await?;
            let progress = &mut engine.report.progress;
            progress.pending = usize::try_from(slots.len()).unwrap_or(usize::MAX);
            progress.total = Some(progress.done().saturating_add(progress.pending));
            match engine.drain(&mut Pending::new(slots, chunk)).await {
                Err(error @ Error::Model { .. }) => {
                    engine.report.model_failure = Some(error.to_string());
                }
                ended => ended?,
            }
        }
        Ok(engine.finish())
    }
}

/// A text that a model has embedded before, to see later whether it answers anything. Damage is
/// for others to tell of.
fn passage(collection: &Collection) -> Option<String> {
    let page = collection.scan().limit(LOOKED_AT).with_vectors().run().ok()?;
    let embedded = page.records.iter().filter(|record| record.vector.is_some());
    embedded.map(Record::passage).find(|passage| !passage.trim().is_empty())
}
