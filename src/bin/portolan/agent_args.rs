//! The options of `portolan agent`. Does no work.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use portolan::agent::ResultSource;

use crate::args::{FILTER_HELP, count};
use crate::chat_args::ChatArgs;
use crate::mode::Mode;
use crate::model_args::{EmbedArgs, RerankArgs};

#[derive(Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    pub command: AgentCommand,
}

impl AgentArgs {
    /// The database file that the command is about.
    pub fn database(&self) -> Option<&Path> {
        match &self.command {
            AgentCommand::Run(args) => Some(&args.db),
            AgentCommand::Export(_) => None,
        }
    }
}

/// What to do with the agent.
#[derive(Subcommand)]
pub enum AgentCommand {
    /// Let a chat model search for the documents of one question or of many
    Run(Box<AgentRunArgs>),
    /// Write conversations of traces as examples to train on, one JSON object a line
    Export(AgentExportArgs),
}

#[derive(Args)]
#[command(after_help = FILTER_HELP)]
#[command(group(ArgGroup::new("asked").required(true).args(["query", "queries"])))]
pub struct AgentRunArgs {
    /// The database file
    pub db: PathBuf,
    /// The question
    pub query: Option<String>,
    /// Many questions: one JSON object a line: _id, text
    #[arg(long, value_name = "Q.jsonl")]
    pub queries: Option<PathBuf>,
    #[command(flatten)]
    pub chat: ChatArgs,
    /// Documents of a result
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Keep a trace of each run in this folder, and take runs that are there already from it
    #[arg(long, value_name = "DIR")]
    pub traces: Option<PathBuf>,
    /// Run all questions anew and write their traces over
    #[arg(long, requires = "traces")]
    pub no_reuse: bool,
    /// Write the results in TREC form to this file
    #[arg(long, value_name = "RUN.txt")]
    pub run: Option<PathBuf>,
    /// Questions that are under way at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    pub parallel: usize,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Passages (records) of a search unless the model says
    #[arg(long, value_name = "N", default_value = "10", value_parser = count)]
    pub top_k: usize,
    /// Let the model name fewer than K documents
    #[arg(long)]
    pub up_to: bool,
    /// Tell documents by this field of their records, such as document for chunks
    #[arg(long, value_name = "FIELD")]
    pub documents_by: Option<String>,
    /// Most characters of a text that the model is shown
    #[arg(long, value_name = "N", default_value = "4000", value_parser = count)]
    pub text_chars: usize,
    /// What the task is, in words for the model
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,
    /// File with what the model is told first, in which {count} stands for how many documents
    #[arg(long, value_name = "FILE")]
    pub system_prompt: Option<PathBuf>,
    /// Give the model no function to think aloud
    #[arg(long)]
    pub no_think: bool,
    /// Do not let the model select among what was found when its search fails
    #[arg(long)]
    pub no_selection: bool,
    /// How is searched [default: by vector and words; by words without a model, by vector without
    /// a text index]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    #[command(flatten)]
    pub embed: EmbedArgs,
    #[command(flatten)]
    pub rerank: RerankArgs,
    /// Only records whose metadata match, such as 'lang = "en" and year >= 1900'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
}

/// What a run may take, each question by itself.
#[derive(Args)]
pub struct LimitArgs {
    /// Most calls of the chat model
    #[arg(long, value_name = "N", default_value = "50", value_parser = count)]
    pub max_steps: usize,
    /// Most tokens, sent and answered
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// Most tokens of a conversation: the model's context, less the longest answer
    #[arg(long, value_name = "N")]
    pub context_tokens: Option<u64>,
    /// Time
    #[arg(long, value_name = "N")]
    pub deadline_ms: Option<u64>,
    /// Price of a million tokens sent, in any currency
    #[arg(long, value_name = "P", requires = "completion_price")]
    pub prompt_price: Option<f64>,
    /// Price of a million tokens answered
    #[arg(long, value_name = "P", requires = "prompt_price")]
    pub completion_price: Option<f64>,
    /// Most money, in the same currency
    #[arg(long, value_name = "M", requires = "prompt_price")]
    pub max_cost: Option<f64>,
}

#[derive(Args)]
pub struct AgentExportArgs {
    /// Folder of traces, as `agent run --traces` fills it
    #[arg(value_name = "DIR")]
    pub traces: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUT.jsonl")]
    pub output: PathBuf,
    /// Results from these sources: final_results, salvaged_results, selection_agent, rrf,
    /// first_stage
    #[arg(long, value_name = "SOURCE,..", value_delimiter = ',', default_value = "final_results")]
    pub source: Vec<ResultSource>,
    /// Judgments: query-id, corpus-id, score; or TREC's four columns. Runs of other questions are
    /// left out
    #[arg(long, value_name = "R.tsv")]
    pub qrels: Option<PathBuf>,
    /// Only runs with this nDCG at least
    #[arg(long, value_name = "X", requires = "qrels", value_parser = share)]
    pub min_ndcg: Option<f64>,
    /// Only runs with this recall at least
    #[arg(long, value_name = "X", requires = "qrels", value_parser = share)]
    pub min_recall: Option<f64>,
    /// Depth of nDCG and recall
    #[arg(long, value_name = "K", default_value = "10", value_parser = count)]
    pub at: usize,
    /// Only runs without a refused call and without a reminder to call a function
    #[arg(long)]
    pub clean: bool,
    /// Add what the model thought aloud, as reasoning_content
    #[arg(long)]
    pub reasoning: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}
