//! Options of `eval`. Does no work.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use portolan::Fusion;
use portolan::eval::measure::Measure;
use portolan::eval::set::SetForm;

use crate::agent_args::LimitArgs;
use crate::args::count;
use crate::chat_args::ChatArgs;
use crate::eval_mode::EvalMode;
use crate::model_args::{EmbedArgs, RerankArgs};

/// What `eval --help` says below the options.
const HELP: &str = "\
Forms of sets, one JSON object a line:
  beir    queries {\"_id\", \"text\"}; judgments query-id TAB corpus-id TAB score, or TREC's columns
  bright  queries {\"id\", \"query\", \"gold_ids\", \"excluded_ids\"}, no --qrels;
          what is excluded is taken out of the results before they are cut
  vidore  queries {\"query_id\", \"query\", \"language\"};
          judgments {\"query_id\", \"corpus_id\", \"score\"}

Two tables, what is found and what it costs:
  portolan eval kb.portolan --queries queries.jsonl --qrels qrels.tsv --query-vectors queries.npy \\
      --modes dense,lexical,hybrid --compare --runs runs --report report.html
Rows for a reranker over hybrid search, and for an agent that searches in many steps:
  portolan eval kb.portolan --queries queries.jsonl --qrels qrels.tsv --embed-model MODEL \\
      --rerank-model MODEL --chat-model MODEL --modes hybrid,reranked,agentic --traces traces";

#[derive(Args)]
#[command(group(ArgGroup::new("source").args(["query_vectors", "embed_model"])), after_help = HELP)]
pub struct EvalArgs {
    /// The database file
    pub db: PathBuf,
    /// The queries, one JSON object a line
    #[arg(long, value_name = "Q.jsonl")]
    pub queries: PathBuf,
    /// The judgments; with queries in BRIGHT's form they are there already
    #[arg(long, value_name = "R.tsv")]
    pub qrels: Option<PathBuf>,
    /// Form of the set: beir, bright or vidore [default: what the first query looks like]
    #[arg(long)]
    pub form: Option<SetForm>,
    /// Only queries of this language, such as english; of sets in ViDoRe's form
    #[arg(long, value_name = "NAME")]
    pub language: Option<String>,
    /// Only the first N judged queries
    #[arg(long, value_name = "N", value_parser = count)]
    pub first: Option<usize>,
    /// Take the document with the id of the query out of its results, as ArguAna wants it
    #[arg(long)]
    pub exclude_self: bool,
    /// Vectors of the queries, instead of an embedding model
    #[arg(long, value_name = "Q.npy")]
    pub query_vectors: Option<PathBuf>,
    /// Query ids, one a line, in the order of the rows [default: the order of the queries file]
    #[arg(long, value_name = "IDS.txt", requires = "query_vectors")]
    pub query_ids: Option<PathBuf>,
    /// How documents are found; a row for each, in this order. With --rerank-model and no mode
    /// that reranks, a row +rerank is added for each [default: dense with --query-vectors or
    /// --embed-model, lexical with an index of words, hybrid with both, reranked with
    /// --rerank-model]
    #[arg(long, visible_alias = "mode", value_enum, value_name = "MODE,..", value_delimiter = ',')]
    pub modes: Vec<EvalMode>,
    /// Add a row for exact search, the best that any index can do; the same as a mode exact
    #[arg(long)]
    pub exact: bool,
    /// How the lists of hybrid search become one: rrf, rrf:K for another K than 60, minmax, zscore,
    /// or sum of the scores as they are
    #[arg(long, value_name = "FUSION", default_value = "rrf")]
    pub fusion: Fusion,
    /// What is computed: ndcg@K, recall@K, mrr@K, map@K, p@K, as trec_eval does
    /// [default: ndcg@10,recall@10,recall@100,mrr@10,map@100,p@10]
    #[arg(long, value_name = "NAME@K,..", value_delimiter = ',')]
    pub metrics: Vec<Measure>,
    /// Candidates the graph walk keeps [default: the library's]
    #[arg(long, value_name = "N", value_parser = count)]
    pub ef: Option<usize>,
    /// Share of the true neighbors to find, above 0 and up to 1, instead of --ef
    #[arg(long, value_name = "R", conflicts_with = "ef")]
    pub recall: Option<f32>,
    /// Also measure dense search with these numbers of candidates [default: 10 to 400]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = count)]
    #[arg(num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "10,16,24,32,48,64,96,128,200,400")]
    pub ef_curve: Vec<usize>,
    /// Compare each mode with the first, query by query, by this metric [default: ndcg@10]
    #[arg(long, value_name = "NAME@K", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "ndcg@10")]
    pub compare: Option<Measure>,
    /// Fixes what the comparison draws
    #[arg(long, value_name = "S", default_value = "0")]
    pub seed: u64,
    /// Write a TREC run of each mode into this folder, and the judgments as qrels.txt
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,
    /// Write tables and plots into this HTML file, which needs no other
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub embed: EmbedArgs,
    #[command(flatten)]
    pub rerank: RerankArgs,
    #[command(flatten)]
    pub chat: ChatArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Keep a trace of each query of the agent in this folder, and take those that are there from
    /// it; their times and calls are those of when they were made
    #[arg(long, value_name = "DIR", requires = "chat_model")]
    pub traces: Option<PathBuf>,
    /// Queries of the agent that are under way at once; the time of each grows with it
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub parallel: usize,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
}

impl EvalArgs {
    /// What is computed.
    pub fn measures(&self) -> Vec<Measure> {
        match self.metrics.is_empty() {
            true => Measure::defaults(),
            false => self.metrics.clone(),
        }
    }

    /// What two modes are compared by, also where the report alone asks for it.
    pub fn compared(&self) -> Option<Measure> {
        self.compare.or_else(|| self.report.as_ref().and(self.measures().first().copied()))
    }

    /// Results of each query that count in any figure, 100 at least.
    pub fn depth(&self) -> usize {
        let compared = self.compare.iter().copied();
        let cuts = self.measures().into_iter().chain(compared).map(|measure| measure.cut);
        cuts.max().unwrap_or(0).max(100)
    }
}
