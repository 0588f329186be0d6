//! An agent that searches: a chat model is given the search as a function, asks again and again in
//! other words, and names the documents that matter. For questions whose answer stands in several
//! documents, of which the first search finds some. It costs a call of the model a step.
//!
//! The loop is NVIDIA's NeMo Retriever agentic pipeline (Apache-2.0, `retrieval-bench` of
//! NVIDIA/NeMo-Retriever), in process and with limits; `docs/agent.md` tells its rules one by one.
//!
//! ```
//! use portolan::agent::{Agent, ResultSource};
//! use portolan::nim::{ChatAnswer, ChatRequest, ToolCall};
//! use portolan::{BoxFuture, ChatFailure, ChatModel, CollectionOptions, Database, Language};
//! use portolan::{Metric, Record, TextIndex};
//!
//! /// Stands for a chat model, such as `nim.chat("nvidia/llama-3.3-nemotron-super-49b-v1.5")`:
//! /// searches once more, then ends.
//! struct Script;
//!
//! impl ChatModel for Script {
//!     fn model(&self) -> &str {
//!         "script"
//!     }
//!
//!     fn chat<'a>(
//!         &'a self,
//!         request: ChatRequest<'a>,
//!         _deadline: Option<std::time::Instant>,
//!     ) -> BoxFuture<'a, Result<ChatAnswer, ChatFailure>> {
//!         let mut answer = ChatAnswer::default();
//!         answer.tool_calls.push(match request.messages().len() {
//!             2 => ToolCall::new("1", "retrieve", r#"{"query": "Pisa", "top_k": 1}"#),
//!             _ => ToolCall::new(
//!                 "2",
//!                 "final_results",
//!                 r#"{"doc_ids": ["chart", "pisa"], "search_successful": "true"}"#,
//!             ),
//!         });
//!         Box::pin(async move { Ok(answer) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> portolan::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! let db = Database::open(dir.path().join("kb.portolan"))?;
//! let words = TextIndex::new(Language::English);
//! let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine).text(words))?;
//! docs.upsert(Record::new("chart").text("The Carta Pisana is a sea chart, found in Pisa."))?;
//! docs.upsert(Record::new("pisa").text("Pisa was a maritime republic."))?;
//!
//! let agent = Agent::new(&docs, &Script).limit(2).max_steps(8);
//! let result = agent.run("Which kind of state did the oldest sea chart come from?").await?;
//! assert_eq!(result.source, ResultSource::FinalResults);
//! assert_eq!(result.ids, ["chart".into(), "pisa".into()]);
//! assert_eq!(result.trace.retrievals[1].query, "Pisa");
//! # Ok(()) }
//! ```

mod cancel;
mod conversation;
mod course;
mod export;
mod many;
mod outcome;
mod prompts;
mod run;
mod seen;
mod selection;
mod settings;
mod store;
mod tools;
mod trace;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use cancel::Cancel;
pub use export::{AgentExport, ExportReport};
pub use outcome::{AgentFailure, FailureKind, ParseResultSourceError, ResultSource, SearchSuccess};
pub use prompts::AgentPrompts;
pub use run::{AgentResult, TraceUse};
pub use settings::{AgentSettings, Price};
pub use store::TraceError;
pub use trace::{
    AgentTrace, CallTrace, CollectionTrace, OutcomeTrace, QueryTrace, RetrievalTrace,
    RetrievedTrace, SelectionTrace, StepTrace, TRACE_VERSION,
};

use super::chat_model::ChatModel;
use super::cost::CostMeter;
use super::query::{Mode, Query};
use super::stage::{Embedder, Reranker};
use crate::db::Collection;
use crate::filter::Filter;
use crate::record::RecordId;

/// Sets up each search of an agent.
type Shaping<'a> = Box<dyn Fn(Query<'a>) -> Query<'a> + Send + Sync + 'a>;

/// What an agent is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct AgentQuery {
    id: Option<String>,
    text: String,
    exclude: Vec<RecordId>,
}

impl AgentQuery {
    /// A question in words.
    pub fn new(text: impl Into<String>) -> Self {
        Self { id: None, text: text.into(), exclude: Vec::new() }
    }

    /// Its name, for its trace.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Records, or documents, that are not to be found: a filter leaves them out of every search,
    /// beside that of the application.
    pub fn exclude<I: Into<RecordId>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.exclude = ids.into_iter().map(Into::into).collect();
        self
    }
}

impl From<&str> for AgentQuery {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for AgentQuery {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// An agent over a collection: see the [module](self). It holds no state of a run: one agent
/// serves any number of queries, one after the other or at once.
#[must_use]
pub struct Agent<'a> {
    collection: Collection,
    chat: &'a dyn ChatModel,
    shapes: Vec<Shaping<'a>>,
    settings: AgentSettings,
    prompts: AgentPrompts,
    traces: Option<PathBuf>,
    /// Whether the folder of traces was looked through for what killed programs left.
    swept: AtomicBool,
    reuse: bool,
    cancel: Option<Cancel>,
    meter: Option<CostMeter>,
}

impl<'a> Agent<'a> {
    /// An agent of that model. It searches by words, if there is an index of them, until it has an
    /// embedder.
    pub fn new(collection: &Collection, chat: &'a dyn ChatModel) -> Self {
        Self {
            collection: collection.clone(),
            chat,
            shapes: Vec::new(),
            settings: AgentSettings::default(),
            prompts: AgentPrompts::default(),
            traces: None,
            swept: AtomicBool::new(false),
            reuse: true,
            cancel: None,
            meter: None,
        }
    }

    /// The model that encodes questions: see [`Query::embedder`].
    pub fn embedder(self, embedder: &'a dyn Embedder) -> Self {
        self.query(move |query| query.embedder(embedder))
    }

    /// The model that orders what a search finds: see [`Query::reranker`]. Each search has it read
    /// the candidates of the query (50 unless it says), or `top_k` and as many as were shown before
    /// if that is more, at most 1,000: in a long run late searches cost more than the first.
    pub fn reranker(self, reranker: &'a dyn Reranker) -> Self {
        self.query(move |query| query.reranker(reranker))
    }

    /// By what is searched: see [`Query::mode`].
    pub fn mode(self, mode: Mode) -> Self {
        self.query(move |query| query.mode(mode))
    }

    /// Finds only records that match.
    pub fn filter(self, filter: Filter) -> Self {
        self.query(move |query| query.filter(filter.clone()))
    }

    /// Sets up each search with anything else that a [`Query`] can; its limit is the agent's, and
    /// grows by what was shown, so that rerank stages get more from search to search
    /// ([`reranker`](Self::reranker)). Called again it adds. A run whose searches go by closures
    /// ([`Query::find`]) or by rerankers of records is taken from a trace only if the agent has a
    /// [`label`](Self::label).
    pub fn query(mut self, shape: impl Fn(Query<'a>) -> Query<'a> + Send + Sync + 'a) -> Self {
        self.shapes.push(Box::new(shape));
        self
    }

    /// Documents of a result. Default: 10.
    pub fn limit(mut self, documents: usize) -> Self {
        self.settings.limit = documents;
        self
    }

    /// Whether the model must name so many documents (all that were shown, if they are fewer), or
    /// may name fewer. Default: it must.
    pub fn exact(mut self, exact: bool) -> Self {
        self.settings.exact = exact;
        self
    }

    /// Passages of a search unless the model says. Default: 10. The first search gives as many as
    /// the result has documents, if that is more. A passage is a record: with
    /// [`documents_by`](Self::documents_by) several can be of one document.
    pub fn top_k(mut self, passages: usize) -> Self {
        self.settings.top_k = passages;
        self.settings.top_k_max = self.settings.top_k_max.max(passages);
        self
    }

    /// Most passages that the model can ask a search for. Default: 100, or `top_k` if that is
    /// more.
    pub fn top_k_max(mut self, passages: usize) -> Self {
        self.settings.top_k_max = passages.max(self.settings.top_k);
        self
    }

    /// Tells documents by this field of their records, text or integer, and not by record id: a
    /// result then names documents, of which the model sees chunks. Records without the field are
    /// told by their own id. Chunks of [`Batch::replace_document`](crate::Batch::replace_document)
    /// and of an ingest with a chunker have the field `document`.
    pub fn documents_by(mut self, field: impl Into<String>) -> Self {
        self.settings.documents_by = Some(field.into());
        self
    }

    /// Most characters of a record's text that the model is shown; it is told the whole length of
    /// what was cut. Default: 4,000, about a thousand tokens.
    pub fn text_chars(mut self, characters: usize) -> Self {
        self.settings.text_chars = characters;
        self
    }

    /// What the task is, in words for the model, in front of the query.
    pub fn instruction(mut self, text: impl Into<String>) -> Self {
        self.settings.instruction = Some(text.into());
        self
    }

    /// What the model is told: see [`AgentPrompts`].
    pub fn prompts(mut self, prompts: AgentPrompts) -> Self {
        self.prompts = prompts;
        self
    }

    /// Whether the model has a function to think aloud. Models that reason by themselves need
    /// none. Default: yes.
    pub fn think(mut self, think: bool) -> Self {
        self.settings.think = think;
        self
    }

    /// Whether, after a failure that leaves the model, a second conversation lets it select among
    /// what was found, in at most 10 steps. Default: yes.
    pub fn selection(mut self, selection: bool) -> Self {
        self.settings.selection = selection;
        self
    }

    /// Most calls of the model, those of the selection not counted. Default: 50.
    pub fn max_steps(mut self, steps: usize) -> Self {
        self.settings.max_steps = steps;
        self
    }

    /// Most tokens of a run, sent and answered, each call counted whole. A call that could exceed
    /// it is not made; an answer that is longer than expected can. Default: no limit.
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.settings.max_tokens = Some(tokens);
        self
    }

    /// Most tokens of a conversation: the model's context, less the longest answer. Default: the
    /// model says.
    pub fn context_tokens(mut self, tokens: u64) -> Self {
        self.settings.context_tokens = Some(tokens);
        self
    }

    /// Time for a run. What is under way then is given up. Default: no limit.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.settings.deadline_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// What tokens of the chat model cost; results then say what they cost.
    pub fn price(mut self, price: Price) -> Self {
        self.settings.price = Some(price);
        self
    }

    /// Most money of a run, in the currency of [`price`](Self::price), as
    /// [`max_tokens`](Self::max_tokens) counts. Default: no limit.
    pub fn max_cost(mut self, cost: f64) -> Self {
        self.settings.max_cost = Some(cost);
        self
    }

    /// Ends runs early: see [`Cancel`].
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Adds what calls of the chat model and searches cost to a meter.
    pub fn meter(mut self, meter: &CostMeter) -> Self {
        self.meter = Some(meter.clone());
        self
    }

    /// Keeps a trace of each run in this folder, which is made if it is absent; a run that is
    /// there already, of the same query, settings, models and contents of the collection, is taken
    /// from it, and no model is asked.
    pub fn traces(mut self, folder: impl AsRef<Path>) -> Self {
        self.traces = Some(folder.as_ref().to_path_buf());
        self.swept = AtomicBool::new(false);
        self
    }

    /// Whether results are taken from traces. Default: yes.
    pub fn reuse(mut self, reuse: bool) -> Self {
        self.reuse = reuse;
        self
    }

    /// Names what settings cannot tell: closures, or a model that was changed under its name.
    /// Traces are used again under the same label alone.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.settings.label = Some(label.into());
        self
    }

    /// The search for a text, but for its limit.
    fn asking(&self, text: &str) -> Query<'a> {
        let query = self.collection.query(text);
        let query = match &self.meter {
            Some(meter) => query.meter(meter),
            None => query,
        };
        self.shapes.iter().fold(query, |query, shape| shape(query))
    }
}
