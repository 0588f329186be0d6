//! A batch on its way through the model: sent whole, and if the model refuses it because of a
//! text, sent again without that text. Not the order of commits (see `engine`).

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::patience::{ALONE_MAX, Learned, WAITS_MAX, wait};
use super::progress::Rejected;
use super::seen::Seen;
use super::sort::{Item, Parcel, Work};
use crate::error::Error;
use crate::pipeline::cost::Cost;
use crate::pipeline::stage::{Blame, BoxFuture, Embedded, Embedder, Finished, Role, StageError};
use crate::record::RecordId;

/// So many texts in a row, refused one by one without being named, are not the texts' fault.
pub(super) const ALL_REFUSED: usize = 8;

/// A batch between its reading and its commit.
pub(super) struct Flight<'e> {
    pub(super) ids: Vec<RecordId>,
    /// Of texts that are with the model, or were.
    pub(super) bytes: usize,
    /// About how many bytes those records take that need no model.
    pub(super) held: usize,
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
    /// Texts that the model has probably cut.
    pub(super) likely_truncated: usize,
    /// Records whose text another record of the run has.
    pub(super) repeated: usize,
    /// The model that answered, if that is another than was asked.
    pub(super) served_model: Option<String>,
    /// Time with the model, if it was there.
    pub(super) took: Option<Duration>,
}

impl<'e> Flight<'e> {
    /// Sends a batch to the model.
    pub(super) fn start(
        ids: Vec<RecordId>,
        (bytes, held): (usize, usize),
        call: BoxFuture<'e, Landed>,
    ) -> Self {
        Self { ids, bytes, held, state: State::Flying(call) }
    }

    /// Work that needs no model, in its place among the others.
    pub(super) fn landed(landed: Landed) -> Self {
        let (ids, held) = (landed.work.ids(), landed.work.bytes());
        Self { ids, bytes: 0, held, state: State::Landed(Box::new(landed)) }
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

/// Embeds a batch, without the texts that the model refuses. What the run has embedded before is
/// not sent again.
///
/// What an error tells is finished, or refused, is not sent again. Of the rest, a text that the
/// error names costs one call more. Otherwise the batch is halved until the text is found, in about
/// `2 log2 n` calls more for one bad text among `n`. Calls have as many texts as the run has
/// learned: a document that has more takes several. After a call that came to no answer in time it
/// waits, then goes on with halves, and so do later batches. A single text that never comes to an
/// answer is set aside if others do. A service that has answered before and is out of order, or
/// wants fewer requests, is waited for.
pub(super) async fn embed(
    embedder: &dyn Embedder,
    parcel: Parcel,
    learned: Arc<Learned>,
    seen: Arc<Seen>,
) -> Landed {
    let begin = Instant::now();
    let Parcel { new, work } = parcel;
    let passages: Arc<[String]> = new.iter().map(|item| item.record.passage()).collect();
    let landed = Landed { work, ..Landed::default() };
    let slots = new.into_iter().map(Some).collect();
    let mut batch = Batch { landed, slots, passages: Arc::clone(&passages), seen };
    let mut rest: Vec<Vec<usize>> = vec![batch.unknown()];
    let mut stalled = Stalled::default();
    let mut waits = 0;
    // When the failures in a row began, and the last of them that came to no answer in time.
    let (mut since, mut late) = (None, None);
    while let Some(mut part) = rest.pop() {
        if part.len() > learned.ceiling() {
            rest.push(part.split_off(learned.ceiling()));
        }
        let texts: Vec<&str> = part.iter().map(|&at| passages[at].as_str()).collect();
        if texts.is_empty() {
            continue;
        }
        let turn = learned.turn().await;
        let mut error = match embedder.embed_past_refusals(&texts, Role::Passage, None).await {
            Ok(answer) if answer.vectors.len() == part.len() => {
                learned.answer();
                (waits, since, late) = (0, None, None);
                batch.answered(&part, answer);
                continue;
            }
            Ok(_) => {
                let reason = "the embedder did not return one vector per text: check the model";
                batch.landed.failure = Some(Error::Query { reason });
                break;
            }
            Err(error) => error,
        };
        batch.landed.cost.add(error.spent());
        // Also what this call has finished shows that others come to an answer.
        let answered_before = learned.answered();
        if let Some(finished) = error.take_finished() {
            let (has_answered, has_refused) = batch.finished(&part, finished);
            if has_answered {
                learned.answer();
                (waits, since, late) = (0, None, None);
            }
            // The error names a text by its place among all of the call, not among those left.
            let named = match error.blame() {
                Blame::Input(named) => part.get(named).copied(),
                _ => None,
            };
            if let Some(named) = named {
                batch.refused(named, &error);
            }
            part.retain(|&at| batch.is_open(at));
            // An error that tells of nothing but what it has refused leaves the others to be sent.
            let only_refused = has_refused && error.blame() == Blame::Call && !error.can_pass();
            if named.is_some() || only_refused || part.is_empty() {
                rest.push(part);
                continue;
            }
        }
        if error.blame() == Blame::Size {
            stalled.before.get_or_insert(answered_before);
        }
        match (error.blame(), part.as_slice()) {
            (Blame::Size, &[only]) if waits + 1 >= ALONE_MAX => {
                stalled.texts.push((only, error));
                waits = 0;
            }
            (Blame::Size, _) if waits < WAITS_MAX => {
                learned.late(texts.len(), &turn);
                drop(turn);
                rest.push(part);
                late = Some(error);
                learned.pause(wait(waits, None)).await;
                waits += 1;
            }
            // What has never answered may be the wrong address, or closed: that is told at once.
            // What is too slow is there.
            (Blame::Call, _)
                if error.can_pass()
                    && (late.is_some() && waits < WAITS_MAX
                        || learned
                            .may_come_back(waits, *since.get_or_insert_with(Instant::now))) =>
            {
                drop(turn);
                rest.push(part);
                learned.pause(wait(waits, error.asked_wait())).await;
                waits += 1;
            }
            _ => {
                // That it was too slow is why it is left alone now.
                let is_away = error.blame() == Blame::Call && error.can_pass();
                let error = late.take().filter(|_| is_away).unwrap_or(error);
                if let Err(failure) = batch.without(part, error, &mut rest) {
                    batch.landed.failure = Some(failure);
                    break;
                }
            }
        }
    }
    batch.settle(stalled, &learned);
    if batch.landed.failure.is_some() {
        let missing = batch.slots.iter().flatten().map(|item| item.record.id.clone()).collect();
        batch.landed.work.without_documents_of(&missing);
    }
    batch.landed.took = Some(begin.elapsed());
    batch.landed
}

/// Single texts that came to no answer in time.
#[derive(Default)]
struct Stalled {
    texts: Vec<(usize, StageError)>,
    /// Answers of the run when the batch first came to no answer.
    before: Option<u64>,
}

struct Batch {
    landed: Landed,
    /// Items that nothing is known of yet.
    slots: Vec<Option<Item>>,
    passages: Arc<[String]>,
    seen: Arc<Seen>,
}

impl Batch {
    /// Whether it is still to be embedded or refused.
    fn is_open(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(Option::is_some)
    }

    fn take(&mut self, at: usize) -> Option<Item> {
        self.slots.get_mut(at).and_then(Option::take)
    }

    /// The texts that the model is to embed. The others have their vectors.
    fn unknown(&mut self) -> Vec<usize> {
        let mut unknown = Vec::with_capacity(self.passages.len());
        for (at, passage) in Arc::clone(&self.passages).iter().enumerate() {
            match self.seen.vector(passage) {
                Some(vector) => {
                    self.embedded(at, vector);
                    self.landed.repeated += 1;
                }
                None => unknown.push(at),
            }
        }
        unknown
    }

    fn answered(&mut self, part: &[usize], answer: Embedded) {
        self.landed.cost.add(answer.cost);
        self.landed.likely_truncated += answer.likely_truncated;
        if answer.served_model.is_some() {
            self.landed.served_model = answer.served_model;
        }
        for (&at, vector) in part.iter().zip(answer.vectors) {
            if let Some(passage) = self.passages.get(at) {
                self.seen.keep(passage, &vector);
            }
            self.embedded(at, vector);
        }
    }

    /// Takes what is finished of a part although its call failed. Whether a text has a vector now,
    /// and whether one was set aside.
    fn finished(&mut self, part: &[usize], finished: Finished) -> (bool, bool) {
        let Finished { embedded, answer, refused } = finished;
        let texts: Option<Vec<usize>> =
            embedded.iter().map(|&index| part.get(index).copied()).collect();
        // Where they do not fit each other, any vector could be another text's.
        let texts = texts.filter(|texts| texts.len() == answer.vectors.len()).unwrap_or_default();
        let has_answered = !texts.is_empty();
        if has_answered {
            self.answered(&texts, answer);
        }
        let mut has_refused = false;
        for (index, reason) in refused {
            if let Some(&at) = part.get(index) {
                has_refused |= self.set_aside(at, reason);
            }
        }
        (has_answered, has_refused)
    }

    /// What is left of a part of which a text was refused.
    ///
    /// # Errors
    /// It was not the texts' fault.
    fn without(
        &mut self,
        part: Vec<usize>,
        error: StageError,
        rest: &mut Vec<Vec<usize>>,
    ) -> Result<(), Error> {
        match (error.blame(), part.as_slice()) {
            (Blame::Input(named), _) if named < part.len() => {
                let mut others = part;
                self.refused(others.remove(named), &error);
                rest.push(others);
            }
            (Blame::SomeInput, [only]) => {
                self.landed.unnamed += 1;
                if self.landed.work.embedded.is_empty() && self.landed.unnamed >= ALL_REFUSED {
                    self.landed.rejected.clear();
                    return Err(error.into_error("embed"));
                }
                self.refused(*only, &error);
            }
            (Blame::SomeInput, part) => {
                let (left, right) = part.split_at(part.len() / 2);
                rest.push(right.to_vec());
                rest.push(left.to_vec());
            }
            _ => return Err(error.into_error("embed")),
        }
        Ok(())
    }

    /// Sets aside the texts that came to no answer, if the model has answered others since; else it
    /// is the model that does not answer.
    fn settle(&mut self, stalled: Stalled, learned: &Learned) {
        let has_answered = stalled.before.is_some_and(|before| learned.answered() > before);
        if self.landed.failure.is_some() {
            return;
        }
        for (at, error) in stalled.texts {
            if has_answered {
                self.refused(at, &error);
            } else {
                self.landed.failure = Some(error.into_error("embed"));
                return;
            }
        }
    }

    fn embedded(&mut self, at: usize, vector: Vec<f32>) {
        if let Some(mut item) = self.take(at) {
            item.record.vector = Some(vector);
            self.landed.work.embedded.push(item);
        }
    }

    fn refused(&mut self, at: usize, error: &StageError) {
        self.set_aside(at, error.to_string());
    }

    /// Unless it is known already what becomes of it. Whether it was set aside.
    fn set_aside(&mut self, at: usize, reason: String) -> bool {
        let item = self.take(at);
        let rejected = item.map(|item| Rejected { id: item.record.id, reason });
        let is_new = rejected.is_some();
        self.landed.rejected.extend(rejected);
        is_new
    }
}
