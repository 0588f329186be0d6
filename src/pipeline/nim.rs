//! The NIM client as an [`Embedder`] and a [`Reranker`].

use std::borrow::Cow;
use std::time::Instant;

use super::cost::Cost;
use super::stage::{
    BoxFuture, Embedded, Embedder, RankedPassage, Reranked, Reranker, Role, StageError,
};
use crate::nim::{
    CallCost, CallOptions, EmbeddingModel, Embeddings, InputType, NimError, RankingModel,
    ResponseFault,
};
use crate::record::{ModelContract, Roles};

/// The options of a call that gives up at a deadline.
pub(super) fn options(deadline: Option<Instant>) -> CallOptions {
    let options = CallOptions::new();
    deadline.map_or(options, |at| options.deadline(at))
}

fn failed(error: NimError, spent: CallCost) -> StageError {
    let is_slow = matches!(error, NimError::Timeout { .. });
    let is_unsent = matches!(error, NimError::CircuitOpen { .. });
    let (retryable, wait) = (error.is_retryable(), error.retry_after());
    let (named, unnamed) = match &error {
        NimError::EmptyInput { index }
        | NimError::InputTooLong { index, .. }
        | NimError::InvalidResponse {
            what: ResponseFault::NotFinite { index } | ResponseFault::ZeroVector { index },
            ..
        } => (Some(*index), false),
        // A refusal of what was sent. Which of it the server points at is not relied on: one that
        // refuses everything points at the first.
        NimError::BadRequest(reply) => (None, matches!(reply.status, 400 | 413 | 422)),
        _ => (None, false),
    };
    let failed = StageError::new(error).retryable(retryable).retry_after(wait);
    let failed = failed.cost(cost(spent, None));
    let failed = if is_unsent { failed.not_sent() } else { failed };
    match named {
        Some(index) => failed.input(index),
        None if unnamed => failed.some_input(),
        None if is_slow => failed.timed_out(),
        None => failed,
    }
}

pub(super) fn cost(of: CallCost, tokens: Option<u64>) -> Cost {
    let counted = Cost::new().requests(of.requests.into(), of.retries.into()).tokens(tokens);
    counted.bytes(of.bytes_sent, of.bytes_received)
}

fn input_type(role: Role) -> InputType {
    match role {
        Role::Query => InputType::Query,
        Role::Passage => InputType::Passage,
    }
}

fn embedded(answer: Embeddings, cost: Cost) -> Embedded {
    let embedded = Embedded::new(answer.vectors).cost(cost);
    let embedded = embedded.likely_truncated(answer.likely_truncated);
    embedded.served_model(answer.served_model)
}

impl Embedder for EmbeddingModel {
    fn contract(&self) -> ModelContract {
        let roles = match self.role_prefixes() {
            Some((query, passage)) => {
                Roles::Prefix { query: query.to_owned(), passage: passage.to_owned() }
            }
            None if self.sends_input_type() => Roles::InputType,
            None => Roles::Same,
        };
        ModelContract::new(self.model()).roles(roles)
    }

    /// The family of the server, how it cuts long texts, whether vectors are scaled, and further
    /// fields.
    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Owned(EmbeddingModel::cache_key(self))
    }

    /// One request.
    fn batch_size(&self) -> usize {
        self.texts_per_request()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        role: Role,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        let role = input_type(role);
        Box::pin(async move {
            let mut spent = CallCost::default();
            let answer = self.embed_counted(texts, role, options(deadline), &mut spent).await;
            let answer = answer.map_err(|error| failed(error, spent))?;
            let cost = cost(answer.cost, answer.prompt_tokens);
            Ok(embedded(answer, cost))
        })
    }

    fn embed_past_refusals<'a>(
        &'a self,
        texts: &'a [&'a str],
        role: Role,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        let role = input_type(role);
        Box::pin(async move {
            let mut spent = CallCost::default();
            let kept = self.embed_kept(texts, role, options(deadline), &mut spent).await;
            let kept = kept.map_err(|error| failed(error, spent))?;
            let (answer, refused) = (kept.answer, kept.refused);
            let tokens = answer.prompt_tokens;
            let first = || refused.first().map(|(_, error)| error.clone());
            let Some(error) = kept.failure.or_else(first) else {
                let cost = cost(answer.cost, tokens);
                return Ok(embedded(answer, cost));
            };
            let error = failed(error, spent).cost(cost(spent, tokens));
            let error = error.finished(kept.positions, embedded(answer, Cost::new()));
            let tell = |told: StageError, (index, error): (usize, NimError)| {
                told.refused(index, error.to_string())
            };
            Err(refused.into_iter().fold(error, tell))
        })
    }
}

impl Reranker for RankingModel {
    fn model(&self) -> &str {
        RankingModel::model(self)
    }

    fn rank<'a>(
        &'a self,
        query: &'a str,
        passages: &'a [&'a str],
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>> {
        Box::pin(async move {
            let mut spent = CallCost::default();
            let answer = self.rank_counted(query, passages, options(deadline), &mut spent).await;
            let answer = answer.map_err(|error| failed(error, spent))?;
            let ranking = answer.scores.iter();
            let ranking = ranking.map(|at| RankedPassage { index: at.index, score: at.logit });
            let cost = cost(answer.cost, answer.prompt_tokens);
            Ok(Reranked::new(ranking.collect()).cost(cost))
        })
    }

    /// The family of the server, which sets the scale of scores, how it cuts long texts, and
    /// further fields.
    fn cache_key(&self) -> Cow<'_, str> {
        Cow::Owned(RankingModel::cache_key(self))
    }

    /// Each passage is scored with the query alone.
    fn is_pointwise(&self) -> bool {
        true
    }
}
