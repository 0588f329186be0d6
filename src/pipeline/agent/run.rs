//! A run from query to result: looked up among the traces, or done and traced.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::cancel::Patience;
use super::conversation::{Calls, Conversation};
use super::course::{Course, Ended};
use super::outcome::{AgentFailure, ResultSource, SearchSuccess};
use super::settings::{AgentSettings, hash, hash_of};
use super::store::{file_name, sweep};
use super::tools::Toolbox;
use super::trace::{
    AgentTrace, CollectionTrace, OutcomeTrace, QueryTrace, RetrievalTrace, TRACE_VERSION,
};
use super::{Agent, AgentQuery};
use crate::db::{Collection, Contents};
use crate::error::{Error, Result};
use crate::pipeline::blocking;
use crate::record::RecordId;

/// What became of the trace of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceUse {
    /// None was asked for.
    Off,
    /// The run was done, and its trace is in this file.
    Written(PathBuf),
    /// The result is that of this trace: no model was asked, nothing was searched.
    Reused(PathBuf),
    /// The run was done, and its trace could not be written; the reason.
    Failed(String),
}

/// What an agent found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AgentResult {
    /// The documents, best first: record ids, or what
    /// [`Agent::documents_by`] tells documents by.
    pub ids: Vec<RecordId>,
    /// Where they come from.
    pub source: ResultSource,
    /// What kept the model from ending in order; none after [`ResultSource::FinalResults`].
    pub failure: Option<AgentFailure>,
    /// What the model said of them.
    pub message: String,
    /// Whether the search was successful, in the model's own view.
    pub success: Option<SearchSuccess>,
    /// Time of the run; that of the first, if it comes from a trace.
    pub took: Duration,
    /// Whether it comes from a trace.
    pub trace_use: TraceUse,
    /// The whole course.
    pub trace: AgentTrace,
}

impl AgentResult {
    fn new(trace: AgentTrace, trace_use: TraceUse) -> Self {
        let outcome = &trace.outcome;
        // Whatever stands in a file, it is a time.
        let took = Duration::try_from_secs_f64(outcome.took_ms / 1e3).unwrap_or_default();
        Self {
            ids: outcome.ids.clone(),
            source: outcome.result_source,
            failure: outcome.failure.clone(),
            message: outcome.message.clone(),
            success: outcome.search_successful,
            took,
            trace_use,
            trace,
        }
    }

    /// Whether it comes from a trace: no model was asked.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        matches!(self.trace_use, TraceUse::Reused(_))
    }

    /// Calls of the chat model.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.trace.steps.len()
    }

    /// Searches, the first one counted.
    #[must_use]
    pub fn retrievals(&self) -> usize {
        self.trace.retrievals.len()
    }

    /// Tokens of the chat model: sent, and answered.
    #[must_use]
    pub fn tokens(&self) -> (u64, u64) {
        (self.trace.outcome.prompt_tokens, self.trace.outcome.completion_tokens)
    }

    /// What they cost, if there is a price.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        self.trace.outcome.cost
    }

    /// The documents with scores for a run file: as many as there are for the first, 1 for the
    /// last.
    pub fn scored(&self) -> impl Iterator<Item = (&RecordId, f64)> {
        let count = self.ids.len();
        self.ids.iter().enumerate().map(move |(rank, id)| (id, (count - rank) as f64))
    }
}

/// A run as it is known before it begins.
struct Plan {
    settings: AgentSettings,
    contents: Contents,
    file: String,
    key: String,
    /// Whether its key tells all that decides on it.
    is_told: bool,
}

impl Agent<'_> {
    /// Runs a query. Must be called in a tokio runtime with time enabled.
    ///
    /// However the run ends, there is a result if the first search was done: by what the model
    /// named, selected, or the fusion of what was found ([`AgentResult::source`]), and
    /// [`AgentResult::failure`] says why it is no better one.
    ///
    /// The future can be dropped at any point: a request in flight is closed, and a trace is there
    /// whole or not at all.
    ///
    /// # Errors
    /// Those of the first search, as of [`Query::run`](crate::Query::run);
    /// [`Error::Query`] for an empty query and for settings that no run can go by;
    /// [`Error::Cancelled`] and [`Error::DeadlineExceeded`] when the first search was not done.
    pub async fn run(&self, query: impl Into<AgentQuery>) -> Result<AgentResult> {
        let query = query.into();
        let span = tracing::debug_span!(
            "agent",
            collection = self.collection.name(),
            model = self.chat.model(),
            query_bytes = query.text.len(),
        );
        self.answered(&query).instrument(span).await
    }

    async fn answered(&self, query: &AgentQuery) -> Result<AgentResult> {
        let begin = Instant::now();
        let plan = self.plan(query).await?;
        let path = self.traces.as_ref().map(|folder| {
            let name = query.id.as_deref().unwrap_or(&query.text);
            folder.join(file_name(name, &plan.key))
        });
        if let Some(path) = path.as_ref().filter(|_| self.reuse && plan.is_told)
            && let Some(trace) = found(path.clone(), &plan, self.collection.name()).await?
        {
            tracing::debug!(source = trace.outcome.result_source.name(), "agent reused a trace");
            return Ok(AgentResult::new(trace, TraceUse::Reused(path.clone())));
        }
        let trace = self.done(query, &plan, begin).await?;
        let Some(path) = path else { return Ok(AgentResult::new(trace, TraceUse::Off)) };
        let is_first = !self.swept.swap(true, Ordering::Relaxed);
        let (trace, trace_use) = blocking(move || {
            if let Some(folder) = path.parent().filter(|_| is_first) {
                sweep(folder);
            }
            let trace_use = match trace.write(&path) {
                Ok(()) => TraceUse::Written(path),
                Err(error) => TraceUse::Failed(error.to_string()),
            };
            Ok((trace, trace_use))
        })
        .await?;
        Ok(AgentResult::new(trace, trace_use))
    }

    async fn plan(&self, query: &AgentQuery) -> Result<Plan> {
        if query.text.trim().is_empty() {
            return Err(Error::Query { reason: "an agent is asked with an empty text" });
        }
        let asking = self.asking(&query.text);
        asking.check_repeatable()?;
        let (described, is_all) = asking.describe();
        drop(asking);
        let prompts = hash_of(&self.prompts);
        let settings = AgentSettings { prompts, query: described, ..self.settings.clone() };
        settings.check()?;
        let collection = self.collection.clone();
        let contents = blocking(move || collection.contents()).await?;
        let file = file_of(&self.collection);
        // What the model reads of the functions decides on what it does, as the prompts do.
        let tools = [Toolbox::of(&settings), Toolbox::selection(&settings.count())];
        let tools = tools.map(|toolbox| toolbox.hash());
        let all = serde_json::json!({
            "version": TRACE_VERSION,
            "id": query.id,
            "query": query.text,
            "exclude": query.exclude.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>(),
            "file": file,
            "collection": self.collection.name(),
            "model": self.chat.model(),
            "chat": self.chat.cache_key(),
            "settings": settings,
            "tools": tools,
        });
        let key = hash(&all.to_string());
        let is_told = is_all || settings.label.is_some();
        Ok(Plan { settings, contents, file, key, is_told })
    }

    async fn done(&self, query: &AgentQuery, plan: &Plan, begin: Instant) -> Result<AgentTrace> {
        let settings = &plan.settings;
        let until = settings.deadline().and_then(|time| begin.checked_add(time));
        let patience = Patience { until, cancel: self.cancel.as_ref() };
        let toolbox = Toolbox::of(settings);
        let mut course = Course::new(self, query, settings, patience);
        let mut conversation = course.begin(&toolbox).await?;
        let (steps, served_model, meter) = (Vec::new(), None, self.meter.as_ref());
        let mut calls = Calls { chat: self.chat, settings, patience, steps, served_model, meter };
        let ended = course.finish(&mut calls, &mut conversation, &toolbox).await;
        let retrievals = course.retrievals;
        let collection = self.collection.clone();
        let now = blocking(move || collection.contents()).await;
        // A collection that is gone meanwhile has changed, and its run is still a run.
        let changed = now.map_or(true, |now| now.mark != plan.contents.mark);
        let took_ms = begin.elapsed().as_secs_f64() * 1e3;
        let mut trace = self.trace(query, plan, calls, &conversation, (retrievals, ended));
        (trace.collection.changed, trace.outcome.took_ms) = (changed, took_ms);
        tracing::debug!(
            source = trace.outcome.result_source.name(),
            failure = trace.outcome.failure.as_ref().map(|failure| failure.kind.name()),
            steps = trace.steps.len(),
            retrievals = trace.retrievals.len(),
            took_ms,
            "agent ended"
        );
        Ok(trace)
    }

    fn trace(
        &self,
        query: &AgentQuery,
        plan: &Plan,
        calls: Calls<'_>,
        conversation: &Conversation,
        (retrievals, ended): (Vec<RetrievalTrace>, Ended),
    ) -> AgentTrace {
        let (prompt_tokens, completion_tokens) = calls.tokens();
        let AgentQuery { id, text, exclude } = query.clone();
        let price = plan.settings.price;
        AgentTrace {
            trace_version: TRACE_VERSION,
            query: QueryTrace { id, text, exclude },
            collection: CollectionTrace {
                file: plan.file.clone(),
                name: self.collection.name().to_owned(),
                commit: plan.contents.commit,
                records: plan.contents.records,
                contents: mark(&plan.contents),
                changed: false,
            },
            model: self.chat.model().to_owned(),
            served_model: calls.served_model,
            settings: plan.settings.clone(),
            key: plan.key.clone(),
            tools: conversation.tools_json(),
            messages: conversation.messages_json(),
            retrievals,
            selection: ended.selection,
            outcome: OutcomeTrace {
                ids: ended.chosen.ids,
                result_source: ended.source,
                failure: ended.failure,
                message: ended.chosen.message,
                search_successful: ended.chosen.success,
                prompt_tokens,
                completion_tokens,
                tokens_estimated: calls.steps.iter().any(|step| step.estimated),
                cost: price.map(|price| price.of(prompt_tokens, completion_tokens)),
                took_ms: 0.0,
            },
            steps: calls.steps,
        }
    }
}

/// The trace in a file, if it is of this plan and of an end that would come again.
async fn found(path: PathBuf, plan: &Plan, name: &str) -> Result<Option<AgentTrace>> {
    let read = blocking(move || Ok(AgentTrace::read(path).ok())).await?;
    let lasts = |trace: &AgentTrace| {
        let selection = trace.selection.as_ref().and_then(|selection| selection.failure.as_ref());
        let failures = trace.outcome.failure.iter().chain(selection);
        failures.into_iter().all(|failure| failure.kind.is_lasting())
    };
    Ok(read.filter(|trace| {
        let of = &trace.collection;
        trace.key == plan.key
            && of.contents == mark(&plan.contents)
            && (of.name.as_str(), of.file.as_str()) == (name, plan.file.as_str())
            && !of.changed
            && trace.retrievals.iter().all(|one| one.left_out.is_empty())
            && lasts(trace)
    }))
}

fn mark(contents: &Contents) -> String {
    format!("{:016x}", contents.mark)
}

/// The name of the collection's file, without its folder.
fn file_of(collection: &Collection) -> String {
    let path = collection.origin().path;
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
