//! What is known of the texts of a batch that is with the model: which have vectors, which are set
//! aside, and which are still to be sent.

use std::collections::HashSet;
use std::sync::Arc;

use super::flight::Landed;
use super::progress::Rejected;
use super::queue::Queue;
use super::seen::Seen;
use super::sort::{Item, Parcel};
use crate::error::Error;
use crate::pipeline::stage::{Blame, Embedded, Finished, StageError};
use crate::record::RecordId;

/// So many texts in a row, refused one by one without being named, are not the texts' fault.
pub(super) const ALL_REFUSED: usize = 8;

/// A batch and what is known of its texts, which are told by their places in it.
pub(super) struct Batch {
    pub(super) landed: Landed,
    /// Items that nothing is known of yet.
    slots: Vec<Option<Item>>,
    passages: Arc<[String]>,
    seen: Arc<Seen>,
}

impl Batch {
    pub(super) fn new(parcel: Parcel, seen: Arc<Seen>) -> Self {
        let Parcel { new, work } = parcel;
        let passages = new.iter().map(|item| item.record.passage()).collect();
        let landed = Landed { work, ..Landed::default() };
        Self { landed, slots: new.into_iter().map(Some).collect(), passages, seen }
    }

    /// Records that nothing is known of.
    pub(super) fn missing(&self) -> HashSet<RecordId> {
        self.slots.iter().flatten().map(|item| item.record.id.clone()).collect()
    }

    /// All texts.
    pub(super) fn passages(&self) -> Arc<[String]> {
        Arc::clone(&self.passages)
    }

    pub(super) fn passage(&self, at: usize) -> Option<&str> {
        self.passages.get(at).map(String::as_str)
    }

    /// Whether it is still to be embedded or refused.
    pub(super) fn is_open(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(Option::is_some)
    }

    fn take(&mut self, at: usize) -> Option<Item> {
        self.slots.get_mut(at).and_then(Option::take)
    }

    /// The texts that the model is to embed. The others have their vectors.
    pub(super) fn unknown(&mut self) -> Vec<usize> {
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

    pub(super) fn answered(&mut self, part: &[usize], answer: Embedded) {
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

    /// Takes what is finished of a part although its call failed. A text that has a vector now, and
    /// whether one was set aside.
    pub(super) fn finished(&mut self, part: &[usize], finished: Finished) -> (Option<usize>, bool) {
        let Finished { embedded, answer, refused } = finished;
        let texts: Option<Vec<usize>> =
            embedded.iter().map(|&index| part.get(index).copied()).collect();
        // Where they do not fit each other, any vector could be another text's.
        let texts = texts.filter(|texts| texts.len() == answer.vectors.len()).unwrap_or_default();
        let answered = texts.first().copied();
        if answered.is_some() {
            self.answered(&texts, answer);
        }
        let mut has_refused = false;
        for (index, reason) in refused {
            if let Some(&at) = part.get(index) {
                has_refused |= self.set_aside(at, reason);
            }
        }
        (answered, has_refused)
    }

    /// What is left of a part of which a text was refused.
    ///
    /// # Errors
    /// It was not the texts' fault.
    pub(super) fn without(
        &mut self,
        part: Vec<usize>,
        error: StageError,
        rest: &mut Queue,
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
    pub(super) fn set_aside(&mut self, at: usize, reason: String) -> bool {
        let item = self.take(at);
        let rejected = item.map(|item| Rejected { id: item.record.id, reason });
        let is_new = rejected.is_some();
        self.landed.rejected.extend(rejected);
        is_new
    }
}
