//! A client of NVIDIA NeMo Retriever NIMs, hosted or local: embeddings, ranking and chat over HTTP.
//! Other servers speak through the same calls (see [`Api`]). It knows nothing of collections.
//! Layer: beside the engine; it imports nothing of it.
//!
//! ```no_run
//! use portolan::nim::{InputType, Nim};
//!
//! # async fn example() -> Result<(), portolan::nim::NimError> {
//! let nim = Nim::from_env()?;
//! let embedder = nim.embedder("nvidia/llama-nemotron-embed-1b-v2");
//! let passages = embedder.embed(&["two roads diverged"], InputType::Passage).await?;
//! let reranker = nim.reranker("nvidia/llama-nemotron-rerank-1b-v2");
//! let ranked = reranker.rank("which way?", &["two roads", "one road"]).await?;
//! println!("{} dimensions, best is {:?}", passages.vectors[0].len(), ranked.top(1));
//! # Ok(())
//! # }
//! ```

mod answer;
mod api;
mod base64;
mod batch;
mod breaker;
mod budget;
mod builder;
pub(crate) mod chat;
mod client;
mod components;
mod distinct;
mod document;
mod embed;
mod embed_call;
mod endpoint;
mod error;
pub(crate) mod events;
mod exchange;
mod extra;
mod fault;
mod float;
mod image;
mod input;
mod lane;
mod meter;
mod models;
mod models_table;
mod pace;
mod polling;
mod proxy;
mod rank;
mod rank_call;
mod reply;
mod retry;
mod secret;
mod spans;
mod target;
mod tls;
mod transport;
mod wire;

pub use api::Api;
pub use breaker::CircuitBreaker;
pub use budget::RetryBudget;
pub use builder::NimBuilder;
pub use chat::{
    ArgumentsError, Chat, ChatAnswer, ChatDelta, ChatRequest, ChatStream, ChatUsage, FinishReason,
    Message, Tool, ToolCall, ToolChoice,
};
pub use client::{CallOptions, Nim};
pub use embed::{EmbeddingModel, EmbeddingType, Encoding, InputType, Truncate};
pub use embed_call::{Embeddings, Norms, Quantization, QuantizedEmbeddings, QuantizedVectors};
pub use error::{NimError, Reply};
pub use fault::{ConfigFault, ResponseFault};
pub use image::Image;
pub use input::Input;
pub use meter::{CallCost, MeterSnapshot};
pub use models::{ModelFacts, Task};
pub use rank::{RankTruncate, Ranked, RankingModel, Rankings};
pub use retry::RetryPolicy;
pub use secrecy::SecretString;
pub use target::Service;
