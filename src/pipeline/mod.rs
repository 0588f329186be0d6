//! From text to reranked hits: async stages over a synchronous database. No transaction is open
//! while a model is asked; work on the processor goes to blocking threads.

mod chat_model;
mod ingest;
mod nim;
mod query;
mod stage;

pub use chat_model::{ChatFailure, ChatModel};
pub use ingest::{Ingest, IngestProgress, IngestReport};
pub use query::{Answer, OnRerankFailure, Query, QueryReport, StageOutcome, StageReport};
pub use stage::{
    BoxFuture, Embedded, Embedder, RankedPassage, Reranked, Reranker, Role, StageError,
};

use crate::error::{Error, Result};

/// Runs `work` on a thread that may block, and hands a panic in it on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Error::Cancelled),
        },
    }
}
