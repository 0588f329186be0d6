//! What a model must do to take part: embed texts, or order passages.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

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
}

impl StageError {
    /// Wraps the model's own error.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: source.into(), retryable: false }
    }

    /// Says whether the same call can succeed later.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
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
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One vector per text, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens the model read, if it tells.
    pub tokens: Option<u64>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Reranked {
    /// Every passage once, best first.
    pub ranking: Vec<RankedPassage>,
    /// Tokens the model read, if it tells.
    pub tokens: Option<u64>,
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
}
