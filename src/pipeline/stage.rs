//! What a model must do to take part: embed texts, or order passages.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::cost::Cost;
use crate::record::ModelContract;

/// A boxed future, so that models can be used as trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a text is to an embedding model. A parameter of each call, never state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A question to search with.
    Query,
    /// A text to be found.
    Passage,
}

/// Why a model did not answer.
#[derive(Debug)]
pub struct StageError {
    source: Box<dyn std::error::Error + Send + Sync>,
    retryable: bool,
    retry_after: Option<Duration>,
    blame: Blame,
    unsent: bool,
    cost: Cost,
    finished: Option<Box<Finished>>,
}

/// What is finished of a call that failed.
#[derive(Default)]
pub(super) struct Finished {
    /// Indices of the texts that have vectors.
    pub(super) embedded: Vec<usize>,
    /// Their vectors, in that order.
    pub(super) answer: Embedded,
    /// Indices of the texts that were refused, each with the reason.
    pub(super) refused: Vec<(usize, String)>,
}

impl fmt::Debug for Finished {
    /// Without the vectors: an error is printed for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Finished");
        shown.field("embedded", &self.embedded.len()).field("refused", &self.refused).finish()
    }
}

/// What a call failed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The service or how it is called: other inputs would fail as well.
    Call,
    /// Some input, but it is not known which.
    SomeInput,
    /// The input of that index.
    Input(usize),
    /// Its size: the model was too slow for it.
    Size,
}

impl StageError {
    /// Wraps the model's own error.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let (retryable, retry_after, finished) = (false, None, None);
        let (blame, unsent, cost) = (Blame::Call, false, Cost::new());
        Self { source: source.into(), retryable, retry_after, blame, unsent, cost, finished }
    }

    /// Says whether the same call can succeed later: an ingest waits for a model that has answered
    /// before, or was too slow, about two minutes.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Says how long to wait before the same call can succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Says that the call failed by the text of that index: an ingest sets its record aside and
    /// goes on with the others.
    #[must_use]
    pub fn input(mut self, index: usize) -> Self {
        self.blame = Blame::Input(index);
        self
    }

    /// Says that the call failed by one or more of its texts, but not by which: an ingest finds
    /// them by halving the batch.
    #[must_use]
    pub fn some_input(mut self) -> Self {
        self.blame = Blame::SomeInput;
        self
    }

    /// Says that the model did not answer in time: an ingest waits, then goes on with smaller
    /// batches.
    #[must_use]
    pub fn timed_out(mut self) -> Self {
        self.blame = Blame::Size;
        self
    }

    /// Says that nothing was sent, since calls before it had failed (an open circuit): an ingest
    /// that gives up tells of those.
    #[must_use]
    pub fn not_sent(mut self) -> Self {
        self.unsent = true;
        self
    }

    /// Tells what the call took although it failed.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Tells that the texts of these indices have the vectors of `answer`, in that order, although
    /// the call failed: an ingest stores them and does not send the texts again. What they took is
    /// part of [`cost`](Self::cost); that of `answer` is ignored. Replaces what was told before.
    #[must_use]
    pub fn finished(mut self, indices: Vec<usize>, answer: Embedded) -> Self {
        let finished = self.finished.get_or_insert_default();
        finished.embedded = indices;
        finished.answer = answer.cost(Cost::new());
        self
    }

    /// Tells that the text of that index was refused, one of several perhaps, and why: an ingest
    /// sets its record aside and does not send the text again.
    #[must_use]
    pub fn refused(mut self, index: usize, reason: impl Into<String>) -> Self {
        self.finished.get_or_insert_default().refused.push((index, reason.into()));
        self
    }

    /// What the call took although it failed.
    #[must_use]
    pub fn spent(&self) -> Cost {
        self.cost
    }

    pub(super) fn can_pass(&self) -> bool {
        self.retryable
    }

    /// Whether the model has looked at the texts and wants one of them not.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.blame, Blame::Input(_) | Blame::SomeInput)
    }

    pub(super) fn is_unsent(&self) -> bool {
        self.unsent
    }

    pub(super) fn asked_wait(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(super) fn take_finished(&mut self) -> Option<Finished> {
        self.finished.take().map(|finished| *finished)
    }

    pub(super) fn blame(&self) -> Blame {
        self.blame
    }

    pub(super) fn into_error(self, stage: &'static str) -> crate::error::Error {
        crate::error::Error::Model { stage, source: self.source, retryable: self.retryable }
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for StageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Vectors of some texts.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Embedded {
    /// One vector per text, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// What it took.
    pub cost: Cost,
    /// Texts that are probably longer than the model reads, so that their ends do not count.
    pub likely_truncated: usize,
    /// The model that answered, if it names itself otherwise than it was asked for.
    pub served_model: Option<String>,
}

impl Embedded {
    /// One vector per text, in the order of the texts.
    #[must_use]
    pub fn new(vectors: Vec<Vec<f32>>) -> Self {
        Self { vectors, ..Self::default() }
    }

    /// Tells how many of the texts are probably longer than the model reads.
    #[must_use]
    pub fn likely_truncated(mut self, texts: usize) -> Self {
        self.likely_truncated = texts;
        self
    }

    /// Tells the model that answered, where it is another than was asked for.
    #[must_use]
    pub fn served_model(mut self, model: Option<String>) -> Self {
        self.served_model = model;
        self
    }

    /// Tells what it took.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }
}

/// A model that turns text into vectors.
pub trait Embedder: Send + Sync {
    /// What the collection remembers of the model; queries by another model are refused.
    fn contract(&self) -> ModelContract;

    /// Encodes texts, none of them empty. Gives up at the deadline, if there is one.
    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        role: Role,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>>;

    /// As [`embed`](Self::embed), but goes on with the others where texts are refused, and fails
    /// by an error that tells which were [`refused`](StageError::refused) and what is
    /// [`finished`](StageError::finished). An ingest calls it, and does not send that again.
    /// Default: calls `embed`, which is all or nothing.
    fn embed_past_refusals<'a>(
        &'a self,
        texts: &'a [&'a str],
        role: Role,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        self.embed(texts, role, deadline)
    }

    /// What the vectors of queries depend on besides role, prefixes and dimensions, which the
    /// cache knows: models with equal keys take each other's vectors from it. Default: the
    /// model's id; add settings that change the vectors.
    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Owned(self.contract().model)
    }

    /// Texts that are best sent in one call.
    fn batch_size(&self) -> usize {
        64
    }
}

/// The place of one passage in a reranker's order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedPassage {
    /// Index of the passage in the call.
    pub index: usize,
    /// The model's score, a logit: higher is better, comparable within the call only.
    pub score: f32,
}

/// A reranker's answer.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Reranked {
    /// Every passage once, best first.
    pub ranking: Vec<RankedPassage>,
    /// What it took.
    pub cost: Cost,
}

impl Reranked {
    /// Every passage once, best first.
    #[must_use]
    pub fn new(ranking: Vec<RankedPassage>) -> Self {
        Self { ranking, cost: Cost::default() }
    }

    /// Tells what it took.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }
}

/// A model that orders passages by how well they answer a query.
pub trait Reranker: Send + Sync {
    /// The model's id.
    fn model(&self) -> &str;

    /// Orders passages, none of them empty. Gives up at the deadline, if there is one.
    fn rank<'a>(
        &'a self,
        query: &'a str,
        passages: &'a [&'a str],
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>>;

    /// What scores depend on besides query and passages: models with equal keys take each other's
    /// scores from the cache, beside their own. Default: the model's id; add settings that change
    /// the scores, and whatever sets their scale.
    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.model())
    }

    /// Whether the score of a passage depends on query and passage alone, but for rounding, not
    /// on the other passages of the call. Then scores that a cache has are used beside new ones;
    /// otherwise only if it has those of all passages, by one call. Default: no.
    fn is_pointwise(&self) -> bool {
        false
    }

    /// Whether its id tells what it will say, so that its scores can be kept in a cache. Default:
    /// yes.
    fn is_cacheable(&self) -> bool {
        true
    }
}
