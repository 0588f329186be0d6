//! The options of `portolan nim`. Does no work.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{count, dimensions};

#[derive(Args)]
pub struct NimArgs {
    #[command(subcommand)]
    pub command: NimCommand,
}

/// What to do with the services.
#[derive(Subcommand)]
pub enum NimCommand {
    /// Check addresses, key, models and dimensions, and say what is wrong and how to cure it
    Doctor(Box<DoctorArgs>),
}

/// The services to check; key and base URL come from NVIDIA_API_KEY and NVIDIA_BASE_URL.
#[derive(Args)]
pub struct DoctorArgs {
    /// URL of the embedding service; without it NVIDIA_BASE_URL or the hosted catalog
    #[arg(long, value_name = "URL", requires = "embed_model")]
    pub embed_url: Option<String>,
    /// Embedding model to check, such as nvidia/llama-nemotron-embed-1b-v2
    #[arg(long, value_name = "MODEL", required_unless_present_any = ["rerank_model", "chat_model"])]
    pub embed_model: Option<String>,
    /// Length of vectors to ask for, of models that offer several
    #[arg(long, value_name = "N", value_parser = dimensions, requires = "embed_model")]
    pub dimensions: Option<usize>,
    /// A database file: do the vectors of the model fit its collection?
    #[arg(long, value_name = "FILE", requires = "embed_model")]
    pub db: Option<PathBuf>,
    /// Name of the collection in that file
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
    /// URL of the reranking service; without it NVIDIA_BASE_URL or the hosted catalog
    #[arg(long, value_name = "URL", requires = "rerank_model")]
    pub rerank_url: Option<String>,
    /// Reranking model to check, such as nvidia/llama-nemotron-rerank-1b-v2
    #[arg(long, value_name = "MODEL")]
    pub rerank_model: Option<String>,
    /// URL of the chat service; without it NVIDIA_BASE_URL or the hosted catalog
    #[arg(long, value_name = "URL", requires = "chat_model")]
    pub chat_url: Option<String>,
    /// Chat model to check, with a tool call
    #[arg(long, value_name = "MODEL")]
    pub chat_model: Option<String>,
    /// Allow plain http to other machines: texts and key travel unencrypted
    #[arg(long)]
    pub allow_http: bool,
    /// Time for each request
    #[arg(long, value_name = "N", default_value = "30000", value_parser = count)]
    pub timeout_ms: usize,
}
