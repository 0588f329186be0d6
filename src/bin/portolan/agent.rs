//! `portolan agent run`: a chat model searches for the documents of questions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use portolan::agent::{Agent, AgentPrompts, AgentQuery, AgentResult, Price, TraceUse};
use portolan::eval::{beir, trec_run};
use portolan::{Collection, RecordId};
use serde::Serialize;

use crate::agent_args::{AgentArgs, AgentCommand, AgentRunArgs, LimitArgs};
use crate::chat_args::chat;
use crate::failure::{Failure, Result, in_commands};
use crate::models::{Models, runtime};
use crate::open;
use crate::output::{Output, printable, snippet, writable};
use crate::progress::Progress;
use crate::question::filter;
use crate::timing::millis;

/// The name of our runs in files of TREC form.
const TAG: &str = "portolan-agent";

#[derive(Serialize)]
struct Report {
    results: Vec<One>,
    queries: usize,
    /// Results by their source.
    sources: BTreeMap<&'static str, usize>,
    /// Runs without an end in order, by what happened.
    failures: BTreeMap<&'static str, usize>,
    /// Queries without a result.
    errors: usize,
    /// Results that were taken from traces.
    reused: usize,
    steps: usize,
    retrievals: usize,
    /// Stages that searches went without, with the reason, and how many searches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    left_out: BTreeMap<String, usize>,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    took_ms: f64,
}

#[derive(Serialize)]
struct One {
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    found: Option<Found>,
}

#[derive(Serialize)]
struct Found {
    ids: Vec<String>,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    message: String,
    reused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    steps: usize,
    retrievals: usize,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    took_ms: f64,
}

/// Runs `agent run` or `agent export`.
pub fn run(args: &AgentArgs, out: &Output) -> Result<()> {
    match &args.command {
        AgentCommand::Run(args) => run_all(args, out),
        AgentCommand::Export(args) => crate::agent_export::run(args, out),
    }
}

fn run_all(args: &AgentRunArgs, out: &Output) -> Result<()> {
    let asked = asked(args)?;
    let filter = args.filter.as_deref().map(filter).transpose()?;
    let chat = chat(&args.chat, &args.embed.reach)?;
    let models = Models::new(&args.embed, Some(&args.rerank))?;
    if args.mode.is_some_and(|mode| mode.needs_vector()) && models.embedder.is_none() {
        return Err(Failure::Usage("--embed-model is missing".to_owned()));
    }
    let collection = open::read_collection(&args.db, &args.collection)?;
    let models = models.suited(&args.embed, &collection)?;
    if models.embedder.is_none() && collection.text_index()?.is_none() {
        let reason = "the collection has no index of words: give --embed-model, or make one with \
                      `portolan index-text`";
        return Err(Failure::new(reason));
    }
    let mut agent = limited(Agent::new(&collection, &chat), &args.limits);
    agent = shaped(agent, args)?;
    if let Some(embedder) = &models.embedder {
        agent = agent.embedder(embedder);
    }
    if let Some(reranker) = &models.reranker {
        let candidates = args.rerank.candidates;
        agent = agent.query(move |query| query.reranker(reranker).candidates(candidates));
    }
    if let Some(mode) = args.mode {
        agent = agent.mode(mode.of_query());
    }
    if let Some(filter) = filter {
        agent = agent.filter(filter);
    }
    if let Some(path) = &args.run {
        writable(path)?;
    }
    let begin = Instant::now();
    let progress = Progress::new("asking", asked.len());
    let queries = asked.iter().map(|(id, text)| {
        let query = AgentQuery::new(text);
        id.iter().fold(query, |query, id| query.id(id))
    });
    let ended = |_: usize, result: &portolan::Result<AgentResult>| {
        if let Ok(AgentResult { trace_use: TraceUse::Failed(reason), .. }) = result {
            out.warning(reason);
        }
        progress.step();
    };
    let results = runtime()?.block_on(agent.run_many(queries, args.parallel, ended));
    drop(progress);
    let report = report(&asked, &results, begin.elapsed());
    out.result(&report, |report| text(report, &collection, &results))?;
    if let Some(path) = &args.run {
        write_run(path, &asked, &results)?;
    }
    judge(&results)
}

/// Ids and texts; one question has no id.
fn asked(args: &AgentRunArgs) -> Result<Vec<(Option<String>, String)>> {
    let asked: Vec<(Option<String>, String)> = match (&args.queries, &args.query) {
        (Some(path), _) => {
            beir::queries(path)?.into_iter().map(|query| (Some(query.id), query.text)).collect()
        }
        (None, query) => query.iter().map(|text| (None, text.clone())).collect(),
    };
    let without_words = |(_, text): &&(Option<String>, String)| text.trim().is_empty();
    match asked.iter().find(without_words) {
        Some((id, _)) => Err(Failure::Usage(format!("the question {id:?} is empty"))),
        None if args.run.is_some() && args.queries.is_none() => {
            Err(Failure::Usage("--run needs the ids of --queries".to_owned()))
        }
        None => Ok(asked),
    }
}

/// The agent within the limits of the options.
pub fn limited<'a>(mut agent: Agent<'a>, limits: &LimitArgs) -> Agent<'a> {
    agent = agent.max_steps(limits.max_steps);
    if let Some(tokens) = limits.max_tokens {
        agent = agent.max_tokens(tokens);
    }
    if let Some(tokens) = limits.context_tokens {
        agent = agent.context_tokens(tokens);
    }
    if let Some(time) = limits.deadline_ms {
        agent = agent.deadline(Duration::from_millis(time));
    }
    if let (Some(prompt), Some(completion)) = (limits.prompt_price, limits.completion_price) {
        agent = agent.price(Price::per_million(prompt, completion));
    }
    match limits.max_cost {
        Some(cost) => agent.max_cost(cost),
        None => agent,
    }
}

fn shaped<'a>(mut agent: Agent<'a>, args: &AgentRunArgs) -> Result<Agent<'a>> {
    agent = agent.limit(args.k).top_k(args.top_k).exact(!args.up_to).text_chars(args.text_chars);
    agent = agent.think(!args.no_think).selection(!args.no_selection);
    if let Some(field) = &args.documents_by {
        agent = agent.documents_by(field);
    }
    if let Some(text) = &args.instruction {
        agent = agent.instruction(text);
    }
    if let Some(path) = &args.system_prompt {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Failure::of_file(path, &error))?;
        agent = agent.prompts(AgentPrompts::default().system(text));
    }
    Ok(match &args.traces {
        Some(folder) => agent.traces(folder).reuse(!args.no_reuse),
        None => agent,
    })
}

type Results = [portolan::Result<AgentResult>];

fn report(asked: &[(Option<String>, String)], results: &Results, took: Duration) -> Report {
    let mut report = Report {
        results: Vec::with_capacity(results.len()),
        queries: results.len(),
        sources: BTreeMap::new(),
        failures: BTreeMap::new(),
        errors: 0,
        reused: 0,
        steps: 0,
        retrievals: 0,
        left_out: BTreeMap::new(),
        prompt_tokens: 0,
        completion_tokens: 0,
        cost: None,
        took_ms: millis(took),
    };
    for ((id, _), result) in asked.iter().zip(results) {
        let (error, found) = match result {
            Ok(result) => (None, Some(found(result))),
            Err(error) => (Some(error.to_string()), None),
        };
        report.errors += usize::from(error.is_some());
        if let Ok(result) = result {
            *report.sources.entry(result.source.name()).or_default() += 1;
            if let Some(failure) = &result.failure {
                *report.failures.entry(failure.kind.name()).or_default() += 1;
            }
            report.reused += usize::from(result.is_reused());
            report.steps += result.steps();
            report.retrievals += result.retrievals();
            for reason in result.trace.retrievals.iter().flat_map(|one| &one.left_out) {
                *report.left_out.entry(in_commands(reason)).or_default() += 1;
            }
            let (prompt, completion) = result.tokens();
            report.prompt_tokens = report.prompt_tokens.saturating_add(prompt);
            report.completion_tokens = report.completion_tokens.saturating_add(completion);
            if let Some(cost) = result.cost() {
                report.cost = Some(report.cost.unwrap_or(0.0) + cost);
            }
        }
        report.results.push(One { query_id: id.clone(), error, found });
    }
    report
}

fn found(result: &AgentResult) -> Found {
    let (prompt_tokens, completion_tokens) = result.tokens();
    Found {
        ids: result.ids.iter().map(RecordId::to_string).collect(),
        source: result.source.name(),
        failure: result.failure.as_ref().map(ToString::to_string),
        message: result.message.clone(),
        reused: result.is_reused(),
        trace: match &result.trace_use {
            TraceUse::Written(path) | TraceUse::Reused(path) => Some(path.display().to_string()),
            _ => None,
        },
        steps: result.steps(),
        retrievals: result.retrievals(),
        prompt_tokens,
        completion_tokens,
        cost: result.cost(),
        took_ms: millis(result.took),
    }
}

fn text(report: &Report, collection: &Collection, results: &Results) -> String {
    let mut text = String::new();
    if let [Ok(result)] = results {
        for (at, id) in result.ids.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{:>3}.  {}", at + 1, printable(&id.to_string()));
            if let Ok(Some(record)) = collection.get(id) {
                let title = record.title.as_deref().unwrap_or_default();
                let _ = write!(text, "  {}", snippet(&format!("{title} {}", record.text), 100));
            }
            text.push('\n');
        }
        if result.ids.is_empty() {
            text.push_str("nothing found\n");
        }
        if !result.message.is_empty() {
            let _ = writeln!(text, "{}", snippet(&result.message, 500));
        }
        if let Some(failure) = &result.failure {
            let _ = writeln!(text, "{}", printable(&failure.to_string()));
        }
    }
    for (one, result) in report.results.iter().zip(results) {
        if let Err(error) = result {
            let id = one.query_id.as_deref().unwrap_or("the question");
            let _ = writeln!(text, "{}: {}", printable(id), printable(&error.to_string()));
        }
    }
    let counts = |counts: &BTreeMap<&'static str, usize>| {
        let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(text, "{} queries: {}", report.queries, counts(&report.sources));
    if !report.failures.is_empty() {
        let _ = writeln!(text, "ended by: {}", counts(&report.failures));
    }
    for (reason, searches) in &report.left_out {
        let _ = writeln!(text, "left out of {searches} searches: {}", printable(reason));
    }
    let each = |sum: f64| sum / (report.queries - report.errors).max(1) as f64;
    let _ = write!(
        text,
        "per query: {:.1} calls of the model, {:.1} searches, {:.0} tokens sent, {:.0} answered",
        each(report.steps as f64),
        each(report.retrievals as f64),
        each(report.prompt_tokens as f64),
        each(report.completion_tokens as f64),
    );
    if let Some(cost) = report.cost {
        let _ = write!(text, ", cost {:.6}", each(cost));
    }
    let _ = write!(text, "\n{} from traces; {:.1} s in all", report.reused, report.took_ms / 1e3);
    text
}

/// Six columns a line, as trec_eval reads them.
fn write_run(path: &Path, asked: &[(Option<String>, String)], results: &Results) -> Result<()> {
    let mut run = trec_run::Run::new();
    for ((id, _), result) in asked.iter().zip(results) {
        let (Some(query), Ok(result)) = (id, result) else { continue };
        let scored = result.scored().map(|(id, score)| (id.to_string(), score as f32));
        run.insert(query.clone(), scored.collect());
    }
    Ok(trec_run::write(path, &run, TAG)?)
}

/// A run that something broken kept from its end is no success, although it has a result.
fn judge(results: &Results) -> Result<()> {
    let broken = |result: &portolan::Result<AgentResult>| match result {
        Err(error) => Some(error.to_string()),
        Ok(result) => {
            let failure = result.failure.as_ref().filter(|failure| failure.kind.is_fatal());
            failure.map(ToString::to_string)
        }
    };
    let reasons: Vec<String> = results.iter().filter_map(broken).collect();
    match reasons.first() {
        None => Ok(()),
        Some(first) => Err(Failure::new(format!(
            "{} of {} runs broke off; the first: {first}",
            reasons.len(),
            results.len()
        ))),
    }
}
