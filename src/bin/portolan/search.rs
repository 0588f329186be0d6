//! `portolan search`: a question in words or as a vector, to hits.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use portolan::eval::vector_file::VectorFile;
use portolan::{Answer, Filter, FilterError, Hit, QueryReport, StageOutcome};
use serde::Serialize;
use serde_json::Map;

use crate::args::SearchArgs;
use crate::failure::{Failure, Result};
use crate::mode::Mode;
use crate::models::{Models, runtime};
use crate::open;
use crate::output::{Output, metadata_json, printable, snippet};
use crate::timing::millis;

#[derive(Serialize)]
struct Found {
    hits: Vec<FoundHit>,
    report: Report,
    /// How the candidates were found, if that was asked for: JSON, and the same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<serde_json::Value>,
    #[serde(skip)]
    words: Option<String>,
}

#[derive(Serialize)]
struct FoundHit {
    id: String,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank_score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    text: String,
    metadata: Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Report {
    stages: Vec<Stage>,
    candidates: usize,
    /// Records with a vector that could be found.
    passing: u64,
    /// How each segment was searched.
    paths: Vec<&'static str>,
    reranked: bool,
    /// What made the query slower than it has to be.
    warnings: Vec<String>,
    /// Passages whose logit came from the cache, and for which the model was asked.
    cached_logits: (usize, usize),
    took_ms: f64,
}

#[derive(Serialize)]
struct Stage {
    stage: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    took_ms: f64,
    requests: u64,
    retries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
}

/// Runs the stages and prints the hits.
pub fn run(args: &SearchArgs, out: &Output) -> Result<()> {
    if args.rerank.rerank_model.is_some() && args.text.is_none() {
        return Err(Failure::Usage("a reranker needs the question: give TEXT too".to_owned()));
    }
    let has_vector = args.vector.is_some() || args.embed.embed_model.is_some();
    if args.mode.is_some_and(Mode::needs_vector) && !has_vector {
        return Err(Failure::Usage("--vector or --embed-model is missing".to_owned()));
    }
    let passing = args.filter.as_deref().map(filter).transpose()?;
    let models = Models::new(&args.embed, Some(&args.rerank))?;
    let collection = if args.cache {
        open::write_collection(&args.db, &args.collection)?
    } else {
        open::read_collection(&args.db, &args.collection)?
    };
    let has_text = args.text.as_deref().is_some_and(|text| !text.trim().is_empty());
    if args.mode.map_or(!has_vector, Mode::needs_words) && !has_text {
        return Err(Failure::Usage("words are searched for: give TEXT".to_owned()));
    }
    if args.mode.is_none() && !has_vector && collection.text_index()?.is_none() {
        let reason = "the collection has no index of words: give --vector or --embed-model, or \
                      make one with `portolan index-text`";
        return Err(Failure::new(reason));
    }
    let mut query = collection.query(args.text.as_deref().unwrap_or_default()).limit(args.k);
    if let Some(mode) = args.mode {
        query = query.mode(mode.of_query());
    }
    if let Some(path) = &args.vector {
        query = query.vector(VectorFile::open(path)?.row(args.row)?);
    }
    if let Some(embedder) = &models.embedder {
        query = query.embedder(embedder);
    }
    if let Some(reranker) = &models.reranker {
        query = query.reranker(reranker).candidates(args.rerank.candidates);
    }
    if let Some(passing) = passing {
        query = query.filter(passing);
    }
    if let Some(recall) = args.recall {
        query = query.recall(recall);
    }
    if let Some(deadline) = args.deadline_ms {
        query = query.deadline(Duration::from_millis(deadline));
    }
    if args.cache {
        query = query.cache(true);
    }
    let answer: Answer = runtime()?.block_on(query.run())?;
    let plan = answer.report.collections.first().filter(|_| args.explain);
    let words = plan.map(|plan| plan.explain().to_string());
    let explain = plan.map(|plan| plan.explain().to_json());
    let report = report(answer.report);
    report.warnings.iter().for_each(|warning| out.warning(warning));
    let hits = answer.hits.into_iter().map(hit).collect();
    out.result(&Found { hits, report, explain, words }, text)
}

/// Reads a filter, as JSON if it begins like that; an error shows the place.
fn filter(text: &str) -> Result<Filter> {
    if text.trim_start().starts_with(['{', '[']) {
        let usage = |error: &dyn std::fmt::Display| Failure::Usage(format!("--filter: {error}"));
        let json = serde_json::from_str(text).map_err(|error| usage(&error))?;
        return Filter::from_json(&json).map_err(|error| usage(&error));
    }
    text.parse().map_err(|error: FilterError| {
        let before = error.place().and_then(|at| text.get(..at));
        let place = before.map(|before| before.chars().count());
        let shown = place.map(|at| format!("\n  {}\n  {}^", printable(text), " ".repeat(at)));
        Failure::Usage(format!("--filter: {error}{}", shown.unwrap_or_default()))
    })
}

fn hit(hit: Hit) -> FoundHit {
    FoundHit {
        id: hit.id.to_string(),
        score: hit.score,
        rerank_score: hit.rerank_score,
        metadata: metadata_json(hit.metadata()),
        title: hit.record.title,
        text: hit.record.text,
    }
}

/// What any of the searches warns of, each once.
fn warnings(report: &QueryReport) -> Vec<String> {
    let of_lists = report.collections.iter().flat_map(|one| &one.find.warnings);
    let once: BTreeSet<&String> = report.search.warnings.iter().chain(of_lists).collect();
    once.into_iter().cloned().collect()
}

fn report(report: QueryReport) -> Report {
    let warnings = warnings(&report);
    let stages = report.stages.into_iter().map(|stage| {
        let (outcome, reason) = match stage.outcome {
            StageOutcome::Done => ("done", None),
            StageOutcome::Cached => ("cached", None),
            StageOutcome::Skipped => ("skipped", None),
            StageOutcome::Failed(reason) => ("failed", Some(reason)),
            _ => ("unknown", None),
        };
        let took_ms = millis(stage.took);
        let (requests, retries) = (stage.cost.requests, stage.cost.retries);
        let tokens = stage.cost.tokens;
        Stage { stage: stage.stage, outcome, reason, took_ms, requests, retries, tokens }
    });
    Report {
        stages: stages.collect(),
        candidates: report.candidates,
        passing: report.search.passing,
        paths: report.search.paths.iter().map(|path| path.name()).collect(),
        reranked: report.reranked,
        warnings,
        cached_logits: (report.cache.rerank_hits, report.cache.rerank_misses),
        took_ms: millis(report.took),
    }
}

fn text(found: &Found) -> String {
    let mut text = String::new();
    for (at, hit) in found.hits.iter().enumerate() {
        let reranked = hit.rerank_score.map(|score| format!("  rerank {score:.3}"));
        let title = hit.title.as_deref().unwrap_or_default();
        // writing to a string cannot fail
        let _ = writeln!(
            text,
            "{:>3}.  {:.4}{}  {}  {}",
            at + 1,
            hit.score,
            reranked.unwrap_or_default(),
            printable(&hit.id),
            snippet(title, 80)
        );
        let _ = writeln!(text, "      {}", snippet(&hit.text, 160));
    }
    if found.hits.is_empty() {
        text.push_str("nothing found\n");
    }
    let stages = found.report.stages.iter().filter(|stage| stage.outcome != "skipped");
    let stages = stages.map(|stage| match &stage.reason {
        Some(reason) => format!("{} failed ({})", stage.stage, printable(reason)),
        None if stage.outcome == "cached" => format!("{} from the cache", stage.stage),
        None => format!("{} {:.1} ms", stage.stage, stage.took_ms),
    });
    let stages: Vec<String> = stages.collect();
    text.push_str(&stages.join(", "));
    if let Some(words) = &found.words {
        text.push_str("\n\n");
        text.push_str(words);
    }
    text
}
