//! The loop of an ingest: chunks are read, batches are with the model, and one commit is under
//! way, all at once; commits come in the order of the records.
//!
//! Everything is polled by the one future that the application waits for, so dropping it ends it
//! all, but for the commit under way, which ends by itself on its thread.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tracing::Instrument;

use super::batch::ALL_REFUSED;
use super::commit::{Committed, commit};
use super::embed::embed;
use super::flight::{Flight, Landed};
use super::patience::Learned;
use super::progress::{IngestProgress, IngestReport, Rejected};
use super::seen::Seen;
use super::sort::{Parcel, Sorted, Work};
use super::source::{Next, Reading, Source};
use crate::db::Collection;
use crate::error::{Error, Result};
use crate::pipeline::cost::{CostMeter, Ended};
use crate::pipeline::joined;
use crate::pipeline::stage::Embedder;
use crate::record::{ModelContract, RecordId};

/// Rejected records that a report holds.
const REJECTED_MAX: usize = 1_000;

/// How much is on its way at once.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Records of a batch.
    pub(super) batch: usize,
    /// Batches that are with the model or wait for their commit.
    pub(super) in_flight: usize,
    /// Bytes of their texts; about as many of records that wait for their commit alone.
    pub(super) bytes: usize,
}

/// Told of each record that is set aside.
pub(super) type OnReject<'e> = Box<dyn FnMut(&Rejected) + Send + 'e>;

/// Who is told of what.
#[derive(Default)]
pub(super) struct Listeners<'e> {
    pub(super) progress: Option<Box<dyn FnMut(IngestProgress) + Send + 'e>>,
    pub(super) reject: Option<OnReject<'e>>,
    pub(super) meter: Option<CostMeter>,
}

pub(super) struct Engine<'e> {
    collection: Collection,
    embedder: Option<&'e dyn Embedder>,
    contract: Option<ModelContract>,
    bounds: Bounds,
    listeners: Listeners<'e>,
    begin: Instant,
    pub(super) report: IngestReport,
    /// Sorted, and not sent yet.
    batches: VecDeque<Parcel>,
    /// Sent, and not committed yet, in the order of the records.
    line: VecDeque<Flight<'e>>,
    commit: Option<Commit>,
    on_way: HashSet<RecordId>,
    failed: Option<Error>,
    /// Texts that the model refused one by one without naming them.
    unnamed: usize,
    model_busy_since: Option<Instant>,
    learned: Arc<Learned>,
    seen: Arc<Seen>,
}

struct Commit {
    handle: JoinHandle<Result<Committed>>,
    ids: Vec<RecordId>,
    failure: Option<Error>,
    embeds: usize,
}

/// What has happened.
#[derive(Default)]
struct Events {
    read: Option<Result<Sorted>>,
    committed: Option<Result<Committed>>,
    landed: bool,
}

impl<'e> Engine<'e> {
    pub(super) fn new(
        collection: Collection,
        embedder: Option<&'e dyn Embedder>,
        bounds: Bounds,
        listeners: Listeners<'e>,
    ) -> Self {
        Self {
            collection,
            embedder,
            contract: embedder.map(Embedder::contract),
            learned: Arc::new(Learned::new(bounds.batch, bounds.in_flight)),
            seen: Arc::new(Seen::new()),
            bounds,
            listeners,
            begin: Instant::now(),
            report: IngestReport::default(),
            batches: VecDeque::new(),
            line: VecDeque::new(),
            commit: None,
            on_way: HashSet::new(),
            failed: None,
            unnamed: 0,
            model_busy_since: None,
        }
    }

    /// A text that the model has embedded in an earlier run.
    pub(super) fn knows(&self, text: Option<String>) {
        self.learned.knows(text);
    }

    /// Takes a source to its end, or to the first failure; what is with the model by then is
    /// waited for and committed, since it is paid.
    pub(super) async fn drain(&mut self, source: &mut dyn Source) -> Result<()> {
        let mut reading: Option<Reading> = None;
        let mut dry = false;
        loop {
            dry |= self.is_failing();
            if !dry && reading.is_none() && self.wants_more() {
                match source.next(&self.collection, &|id| self.on_way.contains(id)) {
                    Next::Reading(handle) => reading = Some(handle),
                    Next::NotYet => {}
                    Next::Dry => dry = true,
                }
            }
            self.send();
            self.begin_commit();
            let is_idle = self.line.is_empty() && self.commit.is_none() && reading.is_none();
            if is_idle && (self.failed.is_some() || (dry && self.batches.is_empty())) {
                break;
            }
            if is_idle && !self.batches.is_empty() {
                continue;
            }
            let events = self.event(&mut reading).await;
            if let Some(read) = events.read {
                match read {
                    Ok(sorted) => self.sorted(sorted),
                    Err(error) => self.fail(error),
                }
            }
            if let Some(committed) = events.committed {
                self.committed(committed);
            }
        }
        self.batches.clear();
        self.on_way.clear();
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Whether there is room for another chunk. Commits are slower than reading, so what needs no
    /// model is bounded as well; a commit makes room for it.
    fn wants_more(&self) -> bool {
        let held: usize = self.line.iter().map(|flight| flight.held).sum();
        self.batches.len() < self.bounds.in_flight && (held == 0 || held < self.bounds.bytes)
    }

    /// Whether nothing more is to be sent, though its turn to fail may not have come.
    fn is_failing(&self) -> bool {
        let under_way = self.commit.as_ref().is_some_and(|commit| commit.failure.is_some());
        self.failed.is_some() || under_way || self.line.iter().any(Flight::has_failed)
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// Queues a chunk: what needs no model first, as one commit.
    fn sorted(&mut self, sorted: Sorted) {
        let Sorted { new, work, documents, rejected, counts } = sorted;
        self.report.progress.add(&counts);
        self.reject(rejected);
        if !work.is_empty() {
            self.land(work);
        } else if documents.is_empty() && (counts.unchanged > 0 || counts.documents > 0) {
            self.tell();
        }
        let mut new = new.into_iter().peekable();
        while new.peek().is_some() {
            let new = new.by_ref().take(self.bounds.batch).collect();
            self.queue(Parcel { new, ..Parcel::default() });
        }
        // Documents are sent and committed whole, several together while a batch has room.
        let mut parcel = Parcel::default();
        for document in documents {
            let both = parcel.records() + document.records();
            if !parcel.is_empty() && both > self.bounds.batch {
                self.queue(std::mem::take(&mut parcel));
            }
            parcel.append(document);
        }
        if !parcel.is_empty() {
            self.queue(parcel);
        }
    }

    fn queue(&mut self, parcel: Parcel) {
        self.on_way.extend(parcel.ids());
        self.batches.push_back(parcel);
    }

    /// Puts work that needs no model in line.
    fn land(&mut self, work: Work) {
        let flight = Flight::landed(Landed { work, ..Landed::default() });
        self.on_way.extend(flight.ids.iter().cloned());
        self.line.push_back(flight);
    }

    /// Sends batches to the model while the bounds allow it.
    fn send(&mut self) {
        while !self.is_failing() {
            let Some(parcel) = self.batches.pop_front() else { return };
            if parcel.new.is_empty() {
                self.land(parcel.work);
                continue;
            }
            let Some(embedder) = self.embedder else {
                let reason = "a record has no vector and there is no embedder: add one of them";
                return self.fail(Error::Query { reason });
            };
            let bytes = parcel.new.iter().map(|item| item.record.passage().len()).sum::<usize>();
            let sent: usize = self.line.iter().map(|flight| flight.bytes).sum();
            let sent_batches = self.line.iter().filter(|flight| flight.bytes > 0).count();
            let is_full = sent_batches >= self.bounds.in_flight
                || (sent_batches > 0 && sent.saturating_add(bytes) > self.bounds.bytes);
            if is_full {
                self.batches.push_front(parcel);
                return;
            }
            let (ids, held) = (parcel.ids(), parcel.work.bytes());
            let texts = parcel.new.len();
            let model = self.contract.as_ref().map(|contract| contract.model.as_str());
            let span = tracing::debug_span!("embed", model, texts, bytes);
            let (learned, seen) = (Arc::clone(&self.learned), Arc::clone(&self.seen));
            let call = Box::pin(embed(embedder, parcel, learned, seen).instrument(span));
            self.line.push_back(Flight::start(ids, (bytes.max(1), held), call));
            self.model_busy_since.get_or_insert_with(Instant::now);
        }
    }

    /// Commits what is first in line, once it has landed.
    fn begin_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let Some(landed) = self.line.front_mut().and_then(Flight::take) else { return };
        let Some(flight) = self.line.pop_front() else { return };
        self.note(&landed);
        let Landed { work, rejected, unnamed, failure, .. } = landed;
        self.unnamed += unnamed;
        self.reject(rejected);
        let (collection, contract) = (self.collection.clone(), self.contract.clone());
        let embeds = work.embedded.len();
        let span = tracing::debug_span!("commit", records = flight.ids.len(), embedded = embeds);
        let handle =
            spawn_blocking(move || span.in_scope(|| commit(&collection, work, contract.as_ref())));
        self.commit = Some(Commit { handle, ids: flight.ids, failure, embeds });
    }

    /// Notes what a batch took.
    fn note(&mut self, landed: &Landed) {
        self.report.cost.add(landed.cost);
        self.report.likely_truncated += landed.likely_truncated;
        self.report.repeated += landed.repeated;
        if landed.served_model.is_some() {
            self.report.served_model.clone_from(&landed.served_model);
        }
        if let (Some(meter), Some(took)) = (&self.listeners.meter, landed.took) {
            let has_failed = landed.failure.is_some() || landed.is_cut;
            let ended = if has_failed { Ended::Failed } else { Ended::Done };
            meter.note("embed", ended, took, landed.cost);
        }
    }

    fn committed(&mut self, committed: Result<Committed>) {
        let Some(commit) = self.commit.take() else { return };
        for id in &commit.ids {
            self.on_way.remove(id);
        }
        match committed {
            Ok(Committed { counts, rejected, .. }) => {
                self.report.progress.add(&counts);
                self.reject(rejected);
                let pending = &mut self.report.progress.pending;
                *pending = pending.saturating_sub(commit.embeds.min(*pending));
                self.tell();
            }
            // What comes after it could not be stored either. What has come of it is paid.
            Err(error) => {
                let paid: Vec<Landed> = self.line.iter_mut().filter_map(Flight::take).collect();
                paid.iter().for_each(|landed| self.note(landed));
                self.line.clear();
                self.fail(error);
            }
        }
        if let Some(failure) = commit.failure {
            self.fail(failure);
        }
        if self.report.progress.embedded == 0 && self.unnamed >= ALL_REFUSED {
            let reason = "the model refuses every text, one by one: check how it is called";
            self.fail(Error::Query { reason });
        }
    }

    fn reject(&mut self, rejected: Vec<Rejected>) {
        self.report.progress.rejected += rejected.len();
        for one in rejected {
            // Not the reason: a server's words may repeat the text.
            tracing::debug!("record set aside");
            if let Some(listener) = &mut self.listeners.reject {
                listener(&one);
            }
            if self.report.rejected.len() < REJECTED_MAX {
                self.report.rejected.push(one);
            }
        }
    }

    fn tell(&mut self) {
        self.report.progress.elapsed = self.begin.elapsed();
        if let Some(listener) = &mut self.listeners.progress {
            listener(self.report.progress);
        }
    }

    /// Waits until something has happened.
    async fn event(&mut self, reading: &mut Option<Reading>) -> Events {
        let events = poll_fn(|cx| self.poll_events(cx, reading)).await;
        if events.landed && !self.line.iter().any(Flight::is_flying) {
            let since = self.model_busy_since.take();
            self.report.embedding += since.map_or(Duration::ZERO, |since| since.elapsed());
        }
        events
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, reading: &mut Option<Reading>) -> Poll<Events> {
        let mut events = Events::default();
        for flight in &mut self.line {
            events.landed |= flight.poll(cx);
        }
        if self.report.progress.waiting != self.learned.waiting() {
            self.report.progress.waiting = self.learned.waiting();
            self.tell();
        }
        if let Some(commit) = &mut self.commit
            && let Poll::Ready(ended) = Pin::new(&mut commit.handle).poll(cx)
        {
            events.committed = Some(joined(ended));
        }
        if let Some(handle) = reading
            && let Poll::Ready(ended) = Pin::new(handle).poll(cx)
        {
            events.read = Some(joined(ended));
            *reading = None;
        }
        let something = events.landed || events.committed.is_some() || events.read.is_some();
        if something { Poll::Ready(events) } else { Poll::Pending }
    }

    /// The report of the whole.
    pub(super) fn finish(mut self) -> IngestReport {
        self.report.took = self.begin.elapsed();
        self.report.progress.elapsed = self.report.took;
        self.report.progress.waiting = 0;
        self.report
    }
}
