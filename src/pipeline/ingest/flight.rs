//! A batch on its way through the model, and what became of it. Not how it is sent (see `embed`),
//! nor the order of commits (see `engine`).

use std::task::{Context, Poll};
use std::time::Duration;

use super::progress::Rejected;
use super::sort::Work;
use crate::error::Error;
use crate::pipeline::cost::Cost;
use crate::pipeline::stage::BoxFuture;
use crate::record::RecordId;

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
    /// Whether texts of it were not sent any more, since another batch has given the service up.
    pub(super) is_cut: bool,
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
