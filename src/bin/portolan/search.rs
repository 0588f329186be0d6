//! `portolan search`: a question in words or as a vector, to hits.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use portolan::{Answer, Hit, QueryReport};
use serde::Serialize;
use serde_json::Map;

use crate::args::SearchArgs;
use crate::failure::{Result, in_commands};
use crate::models::runtime;
use crate::output::{Output, metadata_json, printable, snippet};
use crate::question::Question;
use crate::stages::{Stage, stages, stages_line};
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

/// Runs the stages and prints the hits.
pub fn run(args: &SearchArgs, out: &Output) -> Result<()> {
    let question = Question::new(&args.db, args.text.as_deref(), &args.find)?;
    let query = question.query()?.limit(args.k);
    let answer: Answer = runtime()?.block_on(query.run())?;
    let plan = answer.report.collections.first().filter(|_| args.explain);
    let words = plan.map(|plan| plan.explain().to_string());
    let explain = plan.map(|plan| plan.explain().to_json());
    let report = report(answer.report);
    report.warnings.iter().for_each(|warning| out.warning(warning));
    let hits = answer.hits.into_iter().map(hit).collect();
    out.result(&Found { hits, report, explain, words }, text)
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
    once.into_iter().map(|warning| in_commands(warning)).collect()
}

fn report(report: QueryReport) -> Report {
    let warnings = warnings(&report);
    Report {
        stages: stages(report.stages),
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
    text.push_str(&stages_line(&found.report.stages));
    if let Some(words) = &found.words {
        text.push_str("\n\n");
        text.push_str(words);
    }
    text
}
