//! The options of `portolan nim`. Does no work.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::model_args::{EmbedArgs, RerankArgs};

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

/// The services to check; the base URL comes from `NVIDIA_BASE_URL`, keys from `NVIDIA_API_KEY`
/// unless an option names another variable.
#[derive(Args)]
#[command(group(ArgGroup::new("service").required(true).multiple(true)
    .args(["embed_model", "rerank_model", "chat_model"])))]
pub struct DoctorArgs {
    #[command(flatten)]
    pub embed: EmbedArgs,
    /// A database file: do the vectors of the model fit its collection?
    #[arg(long, value_name = "FILE", requires = "embed_model")]
    pub db: Option<PathBuf>,
    /// Name of the collection in that file
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
    #[command(flatten)]
    pub rerank: RerankArgs,
    /// URL of the chat service; without it NVIDIA_BASE_URL or the hosted catalog
    #[arg(long, value_name = "URL", requires = "chat_model")]
    pub chat_url: Option<String>,
    /// Chat model to check, with a tool call
    #[arg(long, value_name = "MODEL")]
    pub chat_model: Option<String>,
    /// Variable of the environment that holds the key of the chat service, or "none" to send none
    /// [default: NVIDIA_API_KEY]
    #[arg(long, value_name = "NAME", requires = "chat_model")]
    pub chat_key_env: Option<String>,
}
