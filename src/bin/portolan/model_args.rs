//! Options that name model services: where they are, what they speak, which model; and how a
//! client reaches them.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portolan::nim::{Api, Nim, NimBuilder, Truncate};

use crate::args::{count, dimensions};
use crate::failure::{Failure, Result};
use crate::timing::parse_millis;

/// The embedding service.
#[derive(Args)]
pub struct EmbedArgs {
    /// URL of the embedding service; without it NVIDIA_BASE_URL or the hosted catalog
    #[arg(long, value_name = "URL", requires = "embed_model")]
    pub embed_url: Option<String>,
    /// Embedding model, such as nvidia/llama-nemotron-embed-1b-v2
    #[arg(long, value_name = "MODEL")]
    pub embed_model: Option<String>,
    /// Variable of the environment that holds the key of the embedding service, or "none" to send
    /// none [default: NVIDIA_API_KEY]
    #[arg(long, value_name = "NAME", requires = "embed_model")]
    pub embed_key_env: Option<String>,
    /// What the embedding service speaks
    #[arg(long, visible_alias = "api", value_enum, default_value = "nim")]
    pub embed_api: EmbedApiArg,
    /// Ask for vectors of so many components; for models with Matryoshka training
    #[arg(long, alias = "dimensions", value_name = "N", requires = "embed_model")]
    #[arg(value_parser = dimensions)]
    pub embed_dim: Option<usize>,
    /// Put this text in front of each question, such as "query: ", for services that do not do it
    /// [default: what the collection was filled with]
    #[arg(long, value_name = "TEXT", requires = "embed_model")]
    pub query_prefix: Option<String>,
    /// Put this text in front of each document [default: what the collection was filled with]
    #[arg(long, value_name = "TEXT", requires = "embed_model")]
    pub passage_prefix: Option<String>,
    /// What the service does with a text that is too long: refuse it, or drop its start or end
    #[arg(long, value_enum, default_value = "end")]
    pub truncate: TruncateArg,
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// How services are reached.
#[derive(Args)]
pub struct ReachArgs {
    /// Allow plain http to other machines: texts and key travel unencrypted
    #[arg(long)]
    pub allow_http: bool,
    /// Trust the certificates of this PEM file too, for services with an authority of their own
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Send all requests through this proxy, such as https://user:password@host:3128; none without
    /// it, whatever the environment names. A login for a proxy of http takes --allow-http
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Most requests in any minute; calls wait for their turn. The hosted trial is said to allow 40
    #[arg(long, value_name = "N", value_parser = count)]
    pub requests_per_minute: Option<usize>,
    /// Time for each request to embed or to rank [default: 60000, of it 30000 of silence]
    #[arg(long, value_name = "N", value_parser = parse_millis)]
    pub timeout_ms: Option<u64>,
    /// What the options make, once: the clients of a command share the limit of requests.
    #[arg(skip)]
    made: OnceLock<NimBuilder>,
}

impl ReachArgs {
    /// A client that reaches services so, but for its time. Key and base URL come from the
    /// environment.
    pub fn builder(&self) -> Result<NimBuilder> {
        if let Some(made) = self.made.get() {
            return Ok(made.clone());
        }
        let mut builder = Nim::builder().env()?.allow_insecure_http(self.allow_http);
        if let Some(path) = &self.ca_file {
            let unread = |error| Failure::new(format!("--ca-file {}: {error}", path.display()));
            builder = builder.add_root_certificates(&fs::read(path).map_err(unread)?);
        }
        if let Some(url) = &self.proxy {
            builder = builder.proxy(url);
        }
        let limit = self.requests_per_minute.and_then(|limit| u32::try_from(limit).ok());
        if let Some(limit) = limit {
            builder = builder.requests_per_minute(limit);
        }
        Ok(self.made.get_or_init(|| builder).clone())
    }

    /// The time for a request, if it was set.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// The reranking service.
#[derive(Args)]
pub struct RerankArgs {
    /// URL of the reranking service; without it NVIDIA_BASE_URL or the hosted catalog
    #[arg(long, value_name = "URL", requires = "rerank_model")]
    pub rerank_url: Option<String>,
    /// Reranking model, such as nvidia/llama-nemotron-rerank-1b-v2
    #[arg(long, value_name = "MODEL")]
    pub rerank_model: Option<String>,
    /// Variable of the environment that holds the key of the reranking service, or "none" to send
    /// none [default: NVIDIA_API_KEY]
    #[arg(long, value_name = "NAME", requires = "rerank_model")]
    pub rerank_key_env: Option<String>,
    /// What the reranking service speaks [default: cohere if its URL ends in /rerank, else nim]
    #[arg(long, value_enum, requires = "rerank_model")]
    pub rerank_api: Option<RerankApiArg>,
    /// Candidates of the search that are reranked
    #[arg(long, value_name = "N", default_value = "50", value_parser = count)]
    pub candidates: usize,
}

/// [`Api`] of an embedding service.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum EmbedApiArg {
    /// NVIDIA NIM, hosted or local
    Nim,
    /// /v1/embeddings as of vLLM, llama.cpp and many others
    #[value(name = "openai")]
    OpenAi,
    /// Text Embeddings Inference
    Tei,
    /// Ollama
    Ollama,
}

impl From<EmbedApiArg> for Api {
    fn from(api: EmbedApiArg) -> Self {
        match api {
            EmbedApiArg::Nim => Self::Nim,
            EmbedApiArg::OpenAi => Self::OpenAi,
            EmbedApiArg::Tei => Self::Tei,
            EmbedApiArg::Ollama => Self::Ollama,
        }
    }
}

/// [`Api`] of a reranking service.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum RerankApiArg {
    /// NVIDIA NIM, hosted or local
    Nim,
    /// /v1/rerank as of Cohere, Jina, vLLM and llama.cpp
    #[value(alias = "jina", alias = "openai")]
    Cohere,
    /// Text Embeddings Inference
    Tei,
}

impl From<RerankApiArg> for Api {
    fn from(api: RerankApiArg) -> Self {
        match api {
            RerankApiArg::Nim => Self::Nim,
            RerankApiArg::Cohere => Self::Cohere,
            RerankApiArg::Tei => Self::Tei,
        }
    }
}

/// [`Truncate`] as an option.
#[derive(Clone, Copy, ValueEnum)]
pub enum TruncateArg {
    /// Refuse the text
    None,
    /// Drop its start
    Start,
    /// Drop its end
    End,
}

impl From<TruncateArg> for Truncate {
    fn from(truncate: TruncateArg) -> Self {
        match truncate {
            TruncateArg::None => Self::None,
            TruncateArg::Start => Self::Start,
            TruncateArg::End => Self::End,
        }
    }
}
