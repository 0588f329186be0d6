//! A client of NVIDIA NeMo Retriever NIMs, hosted or local: embeddings and ranking over HTTP. Other
//! servers speak through the same calls (see [`Api`]). It knows nothing of collections. Layer:
//! beside the engine; it imports nothing of it.
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
mod builder;
mod client;
mod components;
mod embed;
mod embed_call;
mod endpoint;
mod error;
mod image;
mod input;
mod lane;
mod models;
mod models_table;
mod rank;
mod rank_call;
mod reply;
mod retry;
mod secret;
mod transport;
mod wire;

pub use api::Api;
pub use builder::NimBuilder;
pub use client::{CallOptions, Nim};
pub use embed::{EmbeddingModel, EmbeddingType, Encoding, InputType, Truncate};
pub use embed_call::{Embeddings, Norms, Quantization, QuantizedEmbeddings, QuantizedVectors};
pub use endpoint::Service;
pub use error::{ConfigFault, NimError, Reply, ResponseFault};
pub use image::Image;
pub use input::Input;
pub use models::{ModelFacts, Task};
pub use rank::{RankTruncate, Ranked, RankingModel, Rankings};
pub use retry::RetryPolicy;
pub use secrecy::SecretString;
