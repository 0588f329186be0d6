//! How a batch is sent to the model: whole, and if the model refuses it because of a text, again
//! without that text; after a call that came to no answer in time with fewer texts, and later.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::flight::Landed;
use super::patience::{Learned, wait};
use super::queue::{Next, Queue};
use super::seen::Seen;
use super::sort::Parcel;
use super::turns::Turn;
use crate::error::Error;
use crate::pipeline::stage::{Blame, Embedded, Embedder, Finished, Role, StageError};

/// Embeds a batch, without the texts that the model refuses. What the run has embedded before is
/// not sent again.
///
/// What an error tells is finished, or refused, is not sent again. Of the rest, a text that the
/// error names costs one call more. Otherwise the batch is halved until the text is found, in about
/// `2 log2 n` calls more for one bad text among `n`. Calls have as many texts as the run has
/// learned: a document that has more takes several. After a call that came to no answer in time it
/// waits, then goes on with halves, and so do later batches; a single text is sent again after all
/// others. A service that has answered before, or was too slow, is waited for while it is out of
/// order or wants fewer requests.
pub(super) async fn embed(
    embedder: &dyn Embedder,
    parcel: Parcel,
    learned: Arc<Learned>,
    seen: Arc<Seen>,
) -> Landed {
    let begin = Instant::now();
    let mut sending = Sending::new(Batch::new(parcel, seen), &learned);
    let passages = sending.batch.passages();
    while !sending.queue.is_empty() {
        // How many texts there may be is known when it is its turn.
        let turn = learned.turn().await;
        if learned.is_given_up() {
            // By a batch that tells why.
            break;
        }
        let Some(next) = sending.queue.next(&mut sending.batch, &learned) else { break };
        let texts: Vec<&str> = match &next {
            Next::Texts(part) => part.iter().map(|&at| passages[at].as_str()).collect(),
            Next::Probe(text) => vec![text.as_str()],
        };
        let called = embedder.embed_past_refusals(&texts, Role::Passage, None).await;
        let pause = match called {
            Ok(answer) => sending.answered(&next, answer),
            Err(error) => sending.failed(next.part(), error, &turn),
        };
        drop(turn);
        if sending.batch.landed.failure.is_some() {
            break;
        }
        if let Some(time) = pause {
            learned.pause(time).await;
        }
    }
    let Sending { mut batch, queue, .. } = sending;
    batch.landed.is_cut = !queue.is_empty();
    let missing = batch.missing();
    batch.landed.work.without_documents_of(&missing);
    batch.landed.took = Some(begin.elapsed());
    batch.landed
}

/// Whether anything came of a call that failed.
fn is_something(finished: Finished) -> bool {
    !(finished.embedded.is_empty() && finished.refused.is_empty())
}

/// A batch between two calls.
struct Sending<'l> {
    batch: Batch,
    queue: Queue,
    learned: &'l Learned,
    /// Waits since the last answer.
    waits: u32,
    /// When the failures since then began.
    since: Option<Instant>,
}

/// How long the service is left alone, if it is.
type Pause = Option<Duration>;

impl<'l> Sending<'l> {
    fn new(mut batch: Batch, learned: &'l Learned) -> Self {
        let queue = Queue::of(batch.unknown());
        Self { batch, queue, learned, waits: 0, since: None }
    }

    fn answered(&mut self, next: &Next, answer: Embedded) -> Pause {
        if answer.vectors.len() != next.len() {
            let reason = "the embedder did not return one vector per text: check the model";
            self.batch.landed.failure = Some(Error::Query { reason });
            return None;
        }
        match next {
            Next::Texts(part) => {
                self.alive(part.first());
                self.batch.answered(part, answer);
            }
            Next::Probe(_) => {
                self.alive(None);
                self.batch.landed.cost.add(answer.cost);
            }
        }
        None
    }

    /// The service has answered, among others the text at this place.
    fn alive(&mut self, at: Option<&usize>) {
        let text = at.and_then(|&at| self.batch.passage(at));
        self.learned.answer(text);
        (self.waits, self.since) = (0, None);
    }

    /// The service has refused a text, and so is there.
    fn refused(&mut self) {
        self.learned.refused();
        (self.waits, self.since) = (0, None);
    }

    /// Decides about a call that failed; `part` is what it had of the batch, none of a probe.
    fn failed(
        &mut self,
        part: Option<Vec<usize>>,
        mut error: StageError,
        turn: &Turn<'_>,
    ) -> Pause {
        self.batch.landed.cost.add(error.spent());
        let texts = part.as_ref().map_or(1, Vec::len);
        let part = match part {
            Some(part) => self.without_finished(part, &mut error)?,
            None if error.is_refusal() || error.take_finished().is_some_and(is_something) => {
                self.alive(None);
                return None;
            }
            None => Vec::new(),
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        match error.blame() {
            Blame::Size => {
                self.late(part, texts, &error, turn);
                if self.learned.is_silent(since) {
                    return self.give_up(error);
                }
                self.pause(error)
            }
            // What has never answered may be the wrong address, or closed: that is told at once.
            // What is too slow is there.
            Blame::Call if error.can_pass() => {
                self.queue.push(part);
                let waits = (!error.is_unsent()).then_some(self.waits);
                match self.learned.may_come_back(waits, since) {
                    true => self.pause(error),
                    false => self.give_up(error),
                }
            }
            _ => {
                if error.is_refusal() {
                    self.refused();
                }
                let refused = self.batch.without(part, error, &mut self.queue);
                self.batch.landed.failure = refused.err();
                None
            }
        }
    }

    /// What is still to be decided of a part after a call that may have finished some of it, or
    /// none if that is clear already.
    fn without_finished(
        &mut self,
        mut part: Vec<usize>,
        error: &mut StageError,
    ) -> Option<Vec<usize>> {
        let Some(finished) = error.take_finished() else { return Some(part) };
        let (answered, has_refused) = self.batch.finished(&part, finished);
        // Also this shows that others come to an answer.
        if answered.is_some() {
            self.alive(answered.as_ref());
        }
        // The error names a text by its place among all of the call, not among those left.
        let named = match error.blame() {
            Blame::Input(named) => part.get(named).copied(),
            _ => None,
        };
        if has_refused || named.is_some() {
            self.refused();
        }
        if let Some(named) = named {
            self.batch.set_aside(named, error.to_string());
        }
        part.retain(|&at| self.batch.is_open(at));
        // An error that tells of nothing but what it has refused leaves the others to be sent.
        let only_refused = has_refused && error.blame() == Blame::Call && !error.can_pass();
        if named.is_some() || only_refused || part.is_empty() {
            self.queue.push(part);
            return None;
        }
        Some(part)
    }

    /// A call of so many texts came to no answer in time, and left these.
    fn late(&mut self, part: Vec<usize>, texts: usize, error: &StageError, turn: &Turn<'_>) {
        match part.as_slice() {
            [] => self.learned.unanswered(texts),
            &[only] if texts == 1 => match self.queue.push_alone(only, self.learned, error) {
                true => self.learned.late(texts, turn),
                // That says nothing new of how many texts there may be.
                false => self.learned.unanswered(texts),
            },
            _ => {
                self.learned.late(texts, turn);
                self.queue.push(part);
            }
        }
    }

    /// The next call comes later.
    fn pause(&mut self, error: StageError) -> Pause {
        let time = wait(self.waits, error.asked_wait());
        self.waits += u32::from(!error.is_unsent());
        self.learned.failed(error);
        Some(time)
    }

    fn give_up(&mut self, error: StageError) -> Pause {
        let error = self.learned.give_up(error);
        self.batch.landed.failure = error.map(|error| error.into_error("embed"));
        None
    }
}
