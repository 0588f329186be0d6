//! The command line as types: commands, options, their limits and defaults. Does no work.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgGroup, Args, Parser, Subcommand};
use portolan::{Language, Metric, StopWords};

use crate::agent_args::AgentArgs;
use crate::ask_args::AskArgs;
use crate::bench_args::{BenchChurnArgs, BenchGrowthArgs, BenchOpenArgs};
use crate::eval_args::EvalArgs;
use crate::find_args::FindArgs;
use crate::model_args::EmbedArgs;
use crate::nim_args::NimArgs;
use crate::text_language::TextLanguage;

/// Largest number of hits, candidates or ef that is taken.
const COUNT_MAX: usize = 100_000;
/// Largest number of dimensions of a collection.
const DIMENSIONS_MAX: usize = 65_536;

/// An embedded vector database with a built-in rerank stage, in one file.
#[derive(Parser)]
#[command(name = "portolan", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// Print JSON for scripts instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Make an empty collection, and the file if it is absent
    Create(CreateArgs),
    /// Store the documents of a JSON lines file, with their vectors, embedded by a model, or to be
    /// found by their words alone
    Ingest(IngestArgs),
    /// Embed the documents that `ingest --pending` stored without their vectors
    EmbedPending(EmbedPendingArgs),
    /// Index the words of the documents, so that `search` and `eval` can go by them
    IndexText(IndexTextArgs),
    /// Index a metadata field, so that filters on it read no records
    IndexField(IndexFieldArgs),
    /// Find documents by text or by vector, and rerank them
    Search(SearchArgs),
    /// Let a chat model search in many steps, or export such searches as training examples
    Agent(AgentArgs),
    /// Answer a question by a chat model from what is found, with citations
    Ask(AskArgs),
    /// Measure what modes of search find and cost over judged queries: nDCG, recall, MRR, MAP, time
    /// and calls; compare them, and write runs for trec_eval and a report with plots
    Eval(Box<EvalArgs>),
    /// Tell counts, shapes and where the bytes are
    Info(FileArgs),
    /// Read everything and check every checksum
    Verify(VerifyArgs),
    /// Save what is whole of a damaged file into a new one, and tell what is lost; code 1 if it
    /// cannot be said that nothing is (--json: complete)
    Repair(RepairArgs),
    /// Fold the collections and shrink the file; no byte of what was deleted is left in it
    Compact(CompactArgs),
    /// Measure vector search: recall, throughput and latency by ef
    BenchAnn(BenchAnnArgs),
    /// Measure what inserting and deleting costs, and what it does to recall
    BenchChurn(BenchChurnArgs),
    /// Measure opening a file: time, first hit, searches per second from then on
    BenchOpen(BenchOpenArgs),
    /// Measure how steps and time per query grow with the size of a collection
    BenchGrowth(BenchGrowthArgs),
    /// Measure filtered search: recall and speed by the share of records that pass
    BenchFilter(BenchFilterArgs),
    /// Ask the model services how they are
    Nim(NimArgs),
    /// Write embedding-like vectors from a seed, to measure with
    GenerateVectors(GenerateArgs),
}

impl Command {
    /// The database file that the command is about.
    pub fn database(&self) -> Option<&Path> {
        Some(match self {
            Self::Create(args) => &args.db,
            Self::Ingest(args) => &args.db,
            Self::EmbedPending(args) => &args.db,
            Self::IndexText(args) => &args.db,
            Self::IndexField(args) => &args.db,
            Self::Search(args) => &args.db,
            Self::Ask(args) => &args.db,
            Self::Eval(args) => &args.db,
            Self::Info(args) => &args.db,
            Self::Verify(args) => &args.file.db,
            Self::Repair(args) => &args.db,
            Self::Compact(args) => &args.db,
            Self::Agent(args) => return args.database(),
            _ => return None,
        })
    }
}

/// The syntax of `--filter`, as `portolan::Filter` reads it.
pub const FILTER_HELP: &str = "\
Filters:
  lang = \"en\"   year != 1900   price < 10.5   1990 <= year < 2010
  lang in [\"en\", \"de\"]   lang not in [\"fr\"]   contains(tags, \"map\")
  starts_with(path, \"docs/\")   exists(draft)   note is null   note is not null
  added >= 2024-01-31   added < 2024-01-31T10:00:00Z   of times: {\"$timestamp\": MICROS}
  id = \"a\"   id != 7   id in (\"a\", 7)   for the ids of records; `id` = 7 for a field
  (`ingest` stores ids as texts, also those that look like numbers: id = \"7\")
  joined by: and, or, not, ( )
  Texts stand in double quotes, escaped as in JSON; names with blanks, and those that are
  keywords, in `backquotes`.
  As JSON: {\"field\": \"year\", \"gte\": 1990, \"lt\": 2010}   {\"and\": [...]}
  (eq, ne, in, not_in, contains, exists, starts_with, gt, gte, lt, lte; and, or, not)";

/// Options of `verify`.
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Also searches for N stored vectors of each vector field, compares with exact search, and
    /// fails if no link of a graph leads to some vector
    #[arg(long, value_name = "N", value_parser = count)]
    pub recall: Option<usize>,
}

/// Options of `repair`.
#[derive(Args)]
pub struct RepairArgs {
    /// The damaged file, which is left as it is
    pub db: PathBuf,
    /// The file to make
    #[arg(value_name = "NEW")]
    pub target: PathBuf,
}

/// Options of `compact`.
#[derive(Args)]
pub struct CompactArgs {
    /// The database file
    pub db: PathBuf,
    /// Leave the file in place and write the compacted one here, to be shipped
    #[arg(long, value_name = "NEW")]
    pub to: Option<PathBuf>,
    /// Leave out the cache, which holds the questions that were asked
    #[arg(long)]
    pub drop_cache: bool,
}

#[derive(Args)]
pub struct FileArgs {
    /// The database file
    pub db: PathBuf,
}

#[derive(Args)]
pub struct CreateArgs {
    /// The database file
    pub db: PathBuf,
    /// Components of a vector
    #[arg(long, value_name = "N", value_parser = dimensions)]
    #[arg(required_unless_present = "no_vectors")]
    pub dim: Option<usize>,
    /// Keep no vectors: the documents are found by their words
    #[arg(long, conflicts_with_all = ["dim", "metric", "leading"])]
    pub no_vectors: bool,
    /// How vectors are compared: cosine, dot or l2
    #[arg(long, default_value = "cosine")]
    pub metric: Metric,
    /// Make codes and graphs of the leading N components alone, as embeddings with Matryoshka
    /// training allow; full vectors still give the scores [default: all]
    #[arg(long, value_name = "N")]
    pub leading: Option<usize>,
    /// Index this metadata field alone, so that filters on it read no records; can be repeated
    /// [default: all fields]
    #[arg(long, value_name = "NAME")]
    pub index_field: Vec<String>,
    /// Index words for searches by words, in this language: en, de, ...; none for words as they
    /// are; off for no index
    #[arg(long, value_name = "CODE", default_value = "en")]
    pub language: TextLanguage,
    /// Common words that the text index leaves out: short (33 of English), full (a list of the
    /// language) or none
    #[arg(long, value_name = "LIST", default_value = "short")]
    pub stop_words: StopWords,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
}

#[derive(Args)]
#[command(group(
    ArgGroup::new("source").required(true).args(["vectors", "embed_model", "no_vectors"])
))]
pub struct IngestArgs {
    /// The database file; made if it is absent
    pub db: PathBuf,
    /// One JSON object a line: _id, title, text; every other field is metadata, a time as
    /// {"$timestamp": MICROS} or as --timestamp-field says
    #[arg(value_name = "DOCS.jsonl")]
    pub docs: PathBuf,
    /// Vectors (.npy, .fvecs or .bvecs), row i belongs to document i
    #[arg(long, value_name = "V.npy")]
    pub vectors: Option<PathBuf>,
    /// Store no vectors: the documents are found by their words
    #[arg(long, conflicts_with_all = ["metric", "pending", "in_flight"])]
    pub no_vectors: bool,
    #[command(flatten)]
    pub embed: EmbedArgs,
    /// The texts of this metadata field are times, such as 2024-01-31 or 2024-01-31T10:00:00Z; can
    /// be repeated
    #[arg(long, value_name = "NAME")]
    pub timestamp_field: Vec<String>,
    /// Name of the collection; made if it is absent
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
    /// Metric of a new collection: cosine, dot or l2 [default: cosine]
    #[arg(long)]
    pub metric: Option<Metric>,
    /// Index this metadata field of a new collection alone; can be repeated [default: all fields]
    #[arg(long, value_name = "NAME")]
    pub index_field: Vec<String>,
    /// Language of the text index of a new collection: en or english, de, ...; none for words as
    /// they are; off for no index [default: en]
    #[arg(long, value_name = "CODE")]
    pub language: Option<TextLanguage>,
    /// Common words that the text index of a new collection leaves out: short (33 of English),
    /// full (a list of the language) or none [default: short]
    #[arg(long, value_name = "LIST")]
    pub stop_words: Option<StopWords>,
    /// Documents per commit, and texts per request [default: 1000 without a model, 50 by model, 32
    /// for TEI]
    #[arg(long, value_name = "N", value_parser = count)]
    pub batch_size: Option<usize>,
    /// Batches that are with the model at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    pub in_flight: usize,
    /// Store all texts first, then embed; what is stored stays when the model fails
    #[arg(long, conflicts_with = "vectors")]
    pub pending: bool,
    /// Cut documents into chunks of at most so many tokens, by estimate; ids become ID#0, ID#1, ...
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "vectors")]
    pub chunk_tokens: Option<usize>,
    /// Tokens that a chunk repeats of the one before, at most half of its own
    #[arg(long, value_name = "N", default_value = "32", requires = "chunk_tokens")]
    pub chunk_overlap: usize,
    /// Cut at headings and blocks of Markdown first
    #[arg(long, requires = "chunk_tokens")]
    pub chunk_markdown: bool,
    /// Write documents that are refused here, one JSON object a line, and lines that make no
    /// document as they are; without it the first make the command fail at its end, the others at
    /// its beginning
    #[arg(long, value_name = "BAD.jsonl")]
    pub rejects: Option<PathBuf>,
}

/// Options of `embed-pending`.
#[derive(Args)]
pub struct EmbedPendingArgs {
    /// The database file
    pub db: PathBuf,
    #[command(flatten)]
    pub embed: EmbedArgs,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
    /// Texts per request and commit [default: 50, for TEI 32]
    #[arg(long, value_name = "N", value_parser = count)]
    pub batch_size: Option<usize>,
    /// Batches that are with the model at once
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    pub in_flight: usize,
    /// Write documents that are refused here, one JSON object a line
    #[arg(long, value_name = "BAD.jsonl")]
    pub rejects: Option<PathBuf>,
}

/// Options of `index-text`.
#[derive(Args)]
pub struct IndexTextArgs {
    /// The database file
    pub db: PathBuf,
    /// Language of the words: en, de, ...; none for words as they are
    #[arg(long, value_name = "CODE", default_value = "en")]
    pub language: Language,
    /// Common words to leave out: short (33 of English), full (a list of the language) or none
    #[arg(long, value_name = "LIST", default_value = "short")]
    pub stop_words: StopWords,
    /// How much a word of the title counts, to one of the text
    #[arg(long, value_name = "N", default_value = "1")]
    pub title_weight: u8,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
}

/// Options of `index-field`.
#[derive(Args)]
pub struct IndexFieldArgs {
    /// The database file
    pub db: PathBuf,
    /// The metadata field
    #[arg(value_name = "NAME")]
    pub field: String,
    /// Name of the collection
    #[arg(long, value_name = "NAME", default_value = "docs")]
    pub collection: String,
}

#[derive(Args)]
#[command(after_help = FILTER_HELP)]
pub struct SearchArgs {
    /// The database file
    pub db: PathBuf,
    /// The question; its words are searched as they are, without signs such as + or quotes, which
    /// --words knows. With --filter alone the records that match are listed, as they are stored
    #[arg(required_unless_present_any = ["vector", "words", "filter"])]
    pub text: Option<String>,
    /// Hits to print
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Tell how the candidates were found
    #[arg(long, conflicts_with_all = ["deadline_ms", "cache"])]
    pub explain: bool,
    #[command(flatten)]
    pub find: FindArgs,
}

#[derive(Args)]
pub struct BenchAnnArgs {
    /// Vectors to search in (.npy, .fvecs or .bvecs)
    #[arg(long, value_name = "B.npy")]
    pub base: PathBuf,
    /// Vectors to search for
    #[arg(long, value_name = "Q.npy")]
    pub query: PathBuf,
    /// Row numbers of the true neighbors, best first, one row a query [default: exact search]
    #[arg(long, value_name = "T.ivecs")]
    pub truth: Option<PathBuf>,
    /// How vectors are compared: cosine, dot or l2
    #[arg(long, default_value = "cosine")]
    pub metric: Metric,
    /// Make codes and graph of the leading N components alone [default: all]
    #[arg(long, value_name = "N", conflicts_with = "reuse")]
    pub leading: Option<usize>,
    /// Working memory of the build in MiB, at least 8 [default: 256]
    #[arg(long, value_name = "MIB", value_parser = count, conflicts_with = "reuse")]
    pub build_memory: Option<usize>,
    /// Neighbors to find
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Candidates the graph walk keeps; the library takes a few more than k at least
    /// [default: 10,16,24,32,48,64,96,128,200,300,400 unless --recall is given]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = count)]
    pub ef: Vec<usize>,
    /// Recall targets: lines with the candidates the library takes and the recall it reaches
    #[arg(long, value_name = "R,..", value_delimiter = ',', value_parser = share::<f32>)]
    pub recall: Vec<f32>,
    /// Threads that search
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// Keep the database in this new file [default: a temporary file]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// Searches for all queries in one call, for ids and scores without records; there are no
    /// latencies of single queries then
    #[arg(long)]
    pub batch: bool,
    /// Copies codes and links into memory before measuring
    #[arg(long)]
    pub resident: bool,
    /// Measures the file that an earlier run left at --db instead of building it
    #[arg(long, requires = "db")]
    pub reuse: bool,
    /// Build no graph: scan all codes
    #[arg(long)]
    pub flat: bool,
}

#[derive(Args)]
pub struct BenchFilterArgs {
    /// Vectors to search in (.npy, .fvecs or .bvecs)
    #[arg(long, value_name = "B.npy")]
    pub base: PathBuf,
    /// Vectors to search for, at least 10
    #[arg(long, value_name = "Q.npy")]
    pub query: PathBuf,
    /// How vectors are compared: cosine, dot or l2
    #[arg(long, default_value = "cosine")]
    pub metric: Metric,
    /// Neighbors to find
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Candidates the graph walk keeps, with and without a filter [default: as few as find 0.99
    /// of the neighbors without a filter]
    #[arg(long, value_name = "N", value_parser = count)]
    pub ef: Option<usize>,
    /// Keep the database in this new file [default: a temporary file]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// Measures the file that an earlier run left at --db instead of building it
    #[arg(long, requires = "db")]
    pub reuse: bool,
}

#[derive(Args)]
pub struct GenerateArgs {
    /// The new file to write
    #[arg(value_name = "OUT.npy")]
    pub out: PathBuf,
    /// Vectors
    #[arg(long, value_name = "N", value_parser = rows)]
    pub rows: usize,
    /// Components of a vector
    #[arg(long, value_name = "D", value_parser = dimensions)]
    pub dim: usize,
    /// Fixes every number
    #[arg(long, value_name = "S", default_value = "0")]
    pub seed: u64,
    /// Write queries of the same distribution, which are other vectors
    #[arg(long)]
    pub queries: bool,
    /// Standard deviation of the logarithms of lengths, up to 4; with 0 all are of unit length
    #[arg(long, value_name = "S", default_value = "0", value_parser = length_spread)]
    pub length_spread: f32,
}

fn length_spread(text: &str) -> Result<f32, String> {
    let spread = text.parse().ok().filter(|spread| (0.0..=4.0).contains(spread));
    spread.ok_or_else(|| "expected a number from 0 to 4".to_owned())
}

/// A part of something, of all of it at most.
pub fn share<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    let is_share = |share: &T| *share > T::from(0) && *share <= T::from(1);
    let share = text.parse().ok().filter(is_share);
    share.ok_or_else(|| "expected a share above 0, at most 1, such as 0.95".to_owned())
}

fn bounded(text: &str, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {max}"))
}

pub fn count(text: &str) -> Result<usize, String> {
    bounded(text, COUNT_MAX)
}

pub fn dimensions(text: &str) -> Result<usize, String> {
    bounded(text, DIMENSIONS_MAX)
}

fn threads(text: &str) -> Result<usize, String> {
    bounded(text, 1024)
}

pub fn rows(text: &str) -> Result<usize, String> {
    bounded(text, u32::MAX as usize)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
