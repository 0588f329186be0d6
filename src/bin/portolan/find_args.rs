//! Options that say how a question finds its records: modes, models, filter. Does no work.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use portolan::{Fusion, TextQuery};

use crate::args::count;
use crate::mode::Mode;
use crate::model_args::{EmbedArgs, RerankArgs};

/// Not as text becomes a query by itself, which is to look for words alone.
fn words(text: &str) -> Result<TextQuery, Infallible> {
    Ok(TextQuery::parse(text))
}

#[derive(Args)]
#[command(group(ArgGroup::new("source").args(["vector", "embed_model"])))]
pub struct FindArgs {
    /// How candidates are found [default: by vector and words; by words without a vector or model,
    /// by vector without a text index]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// What is searched by words, instead of the words of the question: word, "a phrase", begin*,
    /// +required, -excluded; signs can stand before phrases and begins as well
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    #[arg(value_parser = words)]
    pub words: Option<TextQuery>,
    /// File with the vector of the question, instead of an embedding model
    #[arg(long, value_name = "V.npy")]
    pub vector: Option<PathBuf>,
    /// Row of that file, from 0
    #[arg(long, value_name = "I", default_value = "0", requires = "vector")]
    pub row: usize,
    #[command(flatten)]
    pub embed: EmbedArgs,
    #[command(flatten)]
    pub rerank: RerankArgs,
    /// Only records whose metadata match, such as 'lang = "en" and year >= 1900'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// How the lists of hybrid search become one: rrf, rrf:K for another K than 60, minmax, zscore,
    /// or sum of the scores as they are
    #[arg(long, value_name = "FUSION", default_value = "rrf")]
    pub fusion: Fusion,
    /// Share of the true neighbors to find, above 0 and up to 1 [default: 0.98]
    #[arg(long, value_name = "R")]
    pub recall: Option<f32>,
    /// Candidates that a walk of the graph keeps, instead of a share to find
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "recall")]
    pub ef: Option<usize>,
    /// Time for all stages together; a reranker that is late is left out
    #[arg(long, value_name = "N")]
    pub deadline_ms: Option<u64>,
    /// Take vectors and logits from the cache in the file, and keep them there
    #[arg(long)]
    pub cache: bool,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
}
