//! The NIM client as an [`Embedder`] and a [`Reranker`].

use std::time::Instant;

use super::stage::{
    BoxFuture, Embedded, Embedder, RankedPassage, Reranked, Reranker, Role, StageError,
};
use crate::nim::{CallOptions, EmbeddingModel, InputType, NimError, RankingModel};
use crate::record::{ModelContract, Roles};

fn options(deadline: Option<Instant>) -> CallOptions {
    let options = CallOptions::new();
    deadline.map_or(options, |at| options.deadline(at))
}

fn failed(error: NimError) -> StageError {
    let retryable = error.is_retryable();
    StageError::new(error).retryable(retryable)
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
        let role = match role {
            Role::Query => InputType::Query,
            Role::Passage => InputType::Passage,
        };
        Box::pin(async move {
            let answer = self.embed_with(texts, role, options(deadline)).await.map_err(failed)?;
            Ok(Embedded { vectors: answer.vectors, tokens: answer.prompt_tokens })
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
            let options = options(deadline);
            let answer = self.rank_with(query, passages, options).await.map_err(failed)?;
            let ranking = answer.scores.iter();
            let ranking = ranking.map(|at| RankedPassage { index: at.index, score: at.logit });
            Ok(Reranked { ranking: ranking.collect(), tokens: answer.prompt_tokens })
        })
    }
}
