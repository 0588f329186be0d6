//! From text to reranked hits: async stages over a synchronous database. No transaction is open
//! while a model is asked; work on the processor goes to blocking threads.

pub mod agent;
mod answer;
mod chat_model;
mod closure;
mod cost;
mod ingest;
mod maxsim;
mod nim;
mod query;
mod stage;
mod template_tokens;

pub use answer::{
    AnswerDelta, AnswerOutcome, AnswerPrompt, AnswerReport, AnswerStream, Ask, Citation,
    CitedAnswer, LeftOut, LeftOutReason, OnNoPassages, OnOverlong, Source, UnknownCitation,
};
pub use chat_model::{ChatFailure, ChatModel, ChatSteps};
pub use closure::{Candidate, FnReranker, RecordReranker, rerank_fn};
pub use cost::{Cost, CostMeter, CostTotals, StageTotal};
pub use ingest::{Ingest, IngestProgress, IngestReport, Rejected};
pub use maxsim::MaxSimReranker;
pub use query::{
    Answer, Blend, CacheUse, CollectionReport, Merge, Mode, OnCollectionFailure, OnEmbedFailure,
    OnRerankFailure, Query, QueryExplanation, QueryReport, Rerank, StageOutcome, StageReport,
    query_all,
};
pub use stage::{
    BoxFuture, Embedded, Embedder, RankedPassage, Reranked, Reranker, Role, StageError,
};

use crate::error::{Error, Result};

/// Runs `work` on a thread that may block, and hands a panic in it on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// What a thread left, or the panic that ended it.
fn joined<T>(ended: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match ended {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Error::Cancelled),
        },
    }
}
