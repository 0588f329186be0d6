//! A batch on its way through the model: sent whole, and if the model refuses it because of a
//! text, sent again without that text. Not the order of commits (see `engine`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::progress::Rejected;
use super::sort::{Item, Parcel, Work};
use crate::error::Error;
use crate::pipeline::cost::Cost;
use crate::pipeline::stage::{Blame, BoxFuture, Embedder, Role, StageError};
use crate::record::RecordId;

/// So many texts in a row, refused one by one without being named, are not the texts' fault.
pub(super) const ALL_REFUSED: usize = 8;

/// So many calls in a row that came to no answer in time end the run.
const TIMEOUTS_MAX: u32 = 8;
/// Waits after a call that came to no answer in time: the first, and the longest of those that
/// double. The model may still be at work on what was given up.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The most texts that a model takes in its time, as far as the run has learned.
#[derive(Debug, Clone)]
pub(super) struct Ceiling(Arc<AtomicUsize>);

impl Ceiling {
    /// To begin with.
    pub(super) fn new(texts: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(texts.max(1))))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn lower(&self, texts: usize) {
        self.0.fetch_min(texts.max(1), Ordering::Relaxed);
    }
}

/// A batch between its reading and its commit.
pub(super) struct Flight<'e> {
    pub(super) ids: Vec<RecordId>,
    pub(super) bytes: usize,
    state: State<'e>,
}

enum State<'e> {
    Flying(BoxFuture<'e, Landed>),
    Landed(Box<Landed>),
    Taken,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Landed {
    pub(super) work: Work,
    pub(super) rejected: Vec<Rejected>,
    /// How many of them the model did not name.
    pub(super) unnamed: usize,
    pub(super) failure: Option<Error>,
    pub(super) cost: Cost,
    /// Time with the model, if it was there.
    pub(super) took: Option<Duration>,
}

impl<'e> Flight<'e> {
    /// Sends a batch to the model.
    pub(super) fn start(ids: Vec<RecordId>, bytes: usize, call: BoxFuture<'e, Landed>) -> Self {
        Self { ids, bytes, state: State::Flying(call) }
    }

    /// Work that needs no model, in its place among the others.
    pub(super) fn landed(landed: Landed) -> Self {
        Self { ids: landed.work.ids(), bytes: 0, state: State::Landed(Box::new(landed)) }
    }

    pub(super) fn is_flying(&self) -> bool {
        matches!(self.state, State::Flying(_))
    }

    /// Whether it has landed just now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let State::Flying(call) = &mut self.state else { return false };
        match call.as_mut().poll(cx) {
            Poll::Ready(landed) => {
                self.state = State::Landed(Box::new(landed));
                true
            }
            Poll::Pending => false,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(&self.state, State::Landed(landed) if landed.failure.is_some())
    }

    /// What became of it, once it has landed.
    pub(super) fn take(&mut self) -> Option<Landed> {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Landed(landed) => Some(*landed),
            other => {
                self.state = other;
                None
            }
        }
    }
}

/// Embeds a batch, without the texts that the model refuses.
///
/// A text that the error names costs one call more. Otherwise the batch is halved until the text
/// is found, in about `2 log2 n` calls more for one bad text among `n`. Calls have as many texts as
/// the ceiling allows: a document that has more takes several. After a call that came to no
/// answer in time it waits, then goes on with halves, and so do later batches.
pub(super) async fn embed(embedder: &dyn Embedder, parcel: Parcel, ceiling: Ceiling) -> Landed {
    let begin = Instant::now();
    let Parcel { new, work } = parcel;
    let passages: Vec<String> = new.iter().map(|item| item.record.passage()).collect();
    let landed = Landed { work, ..Landed::default() };
    let mut batch = Batch { landed, slots: new.into_iter().map(Some).collect() };
    let mut rest: Vec<Vec<usize>> = vec![(0..passages.len()).collect()];
    let mut late = 0;
    while let Some(mut part) = rest.pop() {
        if part.len() > ceiling.get() {
            rest.push(part.split_off(ceiling.get()));
        }
        let texts: Vec<&str> = part.iter().map(|&at| passages[at].as_str()).collect();
        if texts.is_empty() {
            continue;
        }
        match embedder.embed(&texts, Role::Passage, None).await {
            Ok(answer) if answer.vectors.len() == part.len() => {
                batch.landed.cost.add(answer.cost);
                late = 0;
                for (&at, vector) in part.iter().zip(answer.vectors) {
                    batch.embedded(at, vector);
                }
            }
            Ok(_) => {
                let reason = "the embedder did not return one vector per text: check the model";
                batch.landed.failure = Some(Error::Query { reason });
                break;
            }
            Err(error) if error.blame() == Blame::Size && late < TIMEOUTS_MAX => {
                batch.landed.cost.add(error.spent());
                ceiling.lower(part.len() / 2);
                rest.push(part);
                tokio::time::sleep(WAITS.0.saturating_mul(1 << late).min(WAITS.1)).await;
                late += 1;
            }
            Err(error) => {
                batch.landed.cost.add(error.spent());
                match (error.blame(), part.as_slice()) {
                    (Blame::Input(named), _) if named < part.len() => {
                        let mut others = part;
                        batch.refused(others.remove(named), &error);
                        rest.push(others);
                    }
                    (Blame::SomeInput, [only]) => {
                        batch.landed.unnamed += 1;
                        let unnamed = batch.landed.unnamed;
                        if batch.landed.work.embedded.is_empty() && unnamed >= ALL_REFUSED {
                            batch.landed.rejected.clear();
                            batch.landed.failure = Some(error.into_error("embed"));
                            break;
                        }
                        batch.refused(*only, &error);
                    }
                    (Blame::SomeInput, part) => {
                        let (left, right) = part.split_at(part.len() / 2);
                        rest.push(right.to_vec());
                        rest.push(left.to_vec());
                    }
                    _ => {
                        batch.landed.failure = Some(error.into_error("embed"));
                        break;
                    }
                }
            }
        }
    }
    if batch.landed.failure.is_some() {
        let missing = batch.slots.iter().flatten().map(|item| item.record.id.clone()).collect();
        batch.landed.work.without_documents_of(&missing);
    }
    batch.landed.took = Some(begin.elapsed());
    batch.landed
}

struct Batch {
    landed: Landed,
    /// Items that nothing is known of yet.
    slots: Vec<Option<Item>>,
}

impl Batch {
    fn take(&mut self, at: usize) -> Option<Item> {
        self.slots.get_mut(at).and_then(Option::take)
    }

    fn embedded(&mut self, at: usize, vector: Vec<f32>) {
        if let Some(mut item) = self.take(at) {
            item.record.vector = Some(vector);
            self.landed.work.embedded.push(item);
        }
    }

    fn refused(&mut self, at: usize, error: &StageError) {
        if let Some(item) = self.take(at) {
            let reason = error.to_string();
            self.landed.rejected.push(Rejected { id: item.record.id, reason });
        }
    }
}
