//! Ingest by model: embeds what is new, keeps what is known, commits batch by batch. What was
//! committed is never embedded again, so an interrupted ingest is resumed by running it again.

mod commit;
mod engine;
mod flight;
mod progress;
mod sort;
mod source;

use tracing::Instrument;

pub use progress::{IngestProgress, IngestReport, Rejected};

use super::blocking;
use super::cost::CostMeter;
use super::stage::Embedder;
use crate::db::Collection;
use crate::error::{Error, Result};
use crate::record::Record;
use engine::{Bounds, Engine, Listeners};
use source::{ChunkBounds, Pending, Records};

/// Records are compared with what is stored this many batches at a time, so that batches are
/// full even when most records are known.
const READ_AHEAD: usize = 8;

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
    /// ahead of them. Default: 16 MiB.
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

    /// Called after each commit.
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
    /// time, it is left alone for a while, then asked with half as many texts, eight times at most
    /// for a batch. When it fails otherwise
    /// nothing more is sent; what it has by then is waited for and committed. What was committed
    /// stays: run it again with the same records, and it goes on where it was. The future can be
    /// dropped at any point: a commit under way ends by itself.
    ///
    /// # Errors
    /// [`Error::ModelMismatch`], before the model is asked; [`Error::Query`] without an embedder
    /// when a record needs one, or when the model refuses all texts; [`Error::Model`], but for
    /// [`Ingest::pending`]; [`Error::Vector`] for vectors of another length than the
    /// collection's; those of [`Batch::commit`](crate::Batch::commit).
    pub async fn run(self) -> Result<IngestReport> {
        let name = self.collection.name();
        let span = tracing::debug_span!("ingest", collection = name, pending = self.pending);
        self.all().instrument(span).await
    }

    async fn all(self) -> Result<IngestReport> {
        let Self { collection, records, embedder, batch_size, pending, listeners, .. } = self;
        let size = batch_size.or_else(|| embedder.map(Embedder::batch_size)).unwrap_or(64).max(1);
        if let Some(known) = embedder.map(Embedder::contract) {
            // Before the model is paid for vectors that would be refused.
            let collection = collection.clone();
            blocking(move || collection.refuse_other_model(&known)).await?;
        }
        let (in_flight, bytes) = (self.in_flight, self.in_flight_bytes.max(1));
        let chunk = ChunkBounds { records: READ_AHEAD.saturating_mul(size), bytes };
        let bounds = Bounds { batch: size, in_flight, bytes };
        let mut engine = Engine::new(collection.clone(), embedder, bounds, listeners);
        engine.report.progress.total = match records.size_hint() {
            (least, Some(most)) if least == most => Some(least),
            _ => None,
        };
        engine.drain(&mut Records::new(records, chunk, pending)).await?;
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
