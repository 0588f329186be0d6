//! What of a batch is to be sent: parts of it, then single texts that came to no answer.

use std::collections::{HashMap, VecDeque};

use super::batch::Batch;
use super::patience::Learned;
use crate::pipeline::stage::StageError;

/// A text that came to no answer so often, alone and each time after the model had answered others,
/// is set aside.
const ALONE_MAX: u32 = 3;
/// Calls of a single text in a row that came to no answer, after which it is looked whether the
/// model answers anything.
const DOUBTED: u32 = 2;

/// Texts of a batch, told by their places in it.
pub(super) struct Queue {
    parts: Vec<Vec<usize>>,
    /// Single texts that came to no answer in time, to be sent again after all others.
    alone: VecDeque<usize>,
    late: HashMap<usize, Late>,
}

/// A text that came to no answer when it was sent alone.
struct Late {
    tries: u32,
    /// Answers of the run when it last came to none.
    before: u64,
    reason: String,
}

/// What a call is to have.
pub(super) enum Next {
    Texts(Vec<usize>),
    /// A text that was answered before, to see whether the model answers anything.
    Probe(String),
}

impl Next {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(part) => part.len(),
            Self::Probe(_) => 1,
        }
    }

    pub(super) fn part(self) -> Option<Vec<usize>> {
        match self {
            Self::Texts(part) => Some(part),
            Self::Probe(_) => None,
        }
    }
}

impl Queue {
    pub(super) fn of(part: Vec<usize>) -> Self {
        let mut queue = Self { parts: Vec::new(), alone: VecDeque::new(), late: HashMap::new() };
        queue.push(part);
        queue
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.alone.is_empty()
    }

    /// A part to be sent before what is there already.
    pub(super) fn push(&mut self, part: Vec<usize>) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// A text that came to no answer, alone. Whether for the first time.
    pub(super) fn push_alone(&mut self, at: usize, learned: &Learned, error: &StageError) -> bool {
        let before = learned.answered();
        // A model that has never answered anything does not fail by its texts.
        let tried = u32::from(before > 0);
        self.alone.push_back(at);
        match self.late.get_mut(&at) {
            Some(late) => {
                (late.tries, late.before) = (late.tries + tried, before);
                false
            }
            None => {
                self.late.insert(at, Late { tries: tried, before, reason: error.to_string() });
                true
            }
        }
    }

    /// The next to be sent. Before a single text is sent again the model must have answered another
    /// since, lest it be blamed for what the model does; one that was tried often enough is set
    /// aside. Nor is the model to be blamed for several such texts in a row.
    pub(super) fn next(&mut self, batch: &mut Batch, learned: &Learned) -> Option<Next> {
        if learned.silent() >= DOUBTED
            && let Some(text) = learned.known()
        {
            return Some(Next::Probe(text));
        }
        if let Some(mut part) = self.parts.pop() {
            if part.len() > learned.ceiling() {
                self.parts.push(part.split_off(learned.ceiling()));
            }
            return Some(Next::Texts(part));
        }
        while let Some(at) = self.alone.pop_front() {
            let late = self.late.get(&at);
            if late.is_some_and(|late| late.before == learned.answered())
                && let Some(text) = learned.known()
            {
                self.alone.push_front(at);
                return Some(Next::Probe(text));
            }
            match late.filter(|late| late.tries >= ALONE_MAX) {
                Some(late) => drop(batch.set_aside(at, late.reason.clone())),
                None => return Some(Next::Texts(vec![at])),
            }
        }
        None
    }
}
