//! Options that say how a question finds its records: modes, models, filter. Does no work.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::mode::Mode;
use crate::model_args::{EmbedArgs, RerankArgs};

/// The syntax of `--filter`, as `portolan::Filter` reads it.
pub const FILTER_HELP: &str = "\
Filters:
  lang = \"en\"   year != 1900   price < 10.5   1990 <= year < 2010
  lang in [\"en\", \"de\"]   lang not in [\"fr\"]   contains(tags, \"map\")
  starts_with(path, \"docs/\")   exists(draft)   note is null   note is not null
  added >= 2024-01-31   added < 2024-01-31T10:00:00Z
  id = \"a\"   id != 7   id in (\"a\", 7)   for the ids of records; `id` = 7 for a field
  joined by: and, or, not, ( )
  Texts stand in double quotes, escaped as in JSON; names with blanks, and those that are
  keywords, in `backquotes`.";

#[derive(Args)]
#[command(group(ArgGroup::new("source").args(["vector", "embed_model"])))]
pub struct FindArgs {
    /// How candidates are found [default: by vector and words; by words without a vector or model,
    /// by vector without a text index]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
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
    /// Share of the true neighbors to find, above 0 and up to 1 [default: 0.98]
    #[arg(long, value_name = "R")]
    pub recall: Option<f32>,
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
