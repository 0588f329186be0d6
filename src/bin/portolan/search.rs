//! `portolan search`: a question in words or as a vector, to hits.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use portolan::{Answer, Hit, QueryReport};
use serde::Serialize;
use serde_json::Map;

use crate::args::SearchArgs;
use crate::failure::{Failure, Result, in_commands};
use crate::models::runtime;
use crate::open;
use crate::output::{Output, metadata_json, printable, snippet};
use crate::question::{self, Question};
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
    /// Records that match the filter, or all.
    passing: u64,
    /// How each segment was searched.
    paths: Vec<&'static str>,
    reranked: bool,
    /// What made the query slower than it has to be.
    warnings: Vec<String>,
    cached_logits: CachedLogits,
    took_ms: f64,
}

/// What the cache did for the ranking: passages whose logit it had, and for which the model was
/// asked.
#[derive(Default, Serialize)]
struct CachedLogits {
    found: usize,
    asked: usize,
}

/// Runs the stages and prints the hits.
pub fn run(args: &SearchArgs, out: &Output) -> Result<()> {
    let find = &args.find;
    if args.text.is_none() && find.vector.is_none() && find.words.is_none() {
        return listed(args, out);
    }
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

/// The records that match the filter, as they are stored.
fn listed(args: &SearchArgs, out: &Output) -> Result<()> {
    let (find, begin) = (&args.find, Instant::now());
    let asks = find.embed.embed_model.is_some() || find.rerank.rerank_model.is_some();
    let times = find.deadline_ms.is_some() || find.recall.is_some() || find.ef.is_some();
    if asks || times || find.mode.is_some() || find.cache {
        let reason = "there is no question for --mode, --recall, --ef, --deadline-ms, --cache or \
                      a model: give TEXT, --words or --vector, or leave them out";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let filter = find.filter.as_deref().map(question::filter).transpose()?;
    let collection = open::read_collection(&args.db, &find.collection)?;
    let listing = filter.into_iter().fold(collection.find(), portolan::Find::filter);
    let found = listing.limit(args.k).run()?;
    let plan = args.explain.then(|| found.explain());
    let report = Report {
        stages: Vec::new(),
        candidates: found.report.candidates,
        passing: found.report.records,
        paths: Vec::new(),
        reranked: false,
        warnings: found.report.warnings.iter().map(|warning| in_commands(warning)).collect(),
        cached_logits: CachedLogits::default(),
        took_ms: millis(begin.elapsed()),
    };
    report.warnings.iter().for_each(|warning| out.warning(warning));
    let words = plan.as_ref().map(ToString::to_string);
    let explain = plan.map(|plan| plan.to_json());
    let hits = found.hits.into_iter().map(hit).collect();
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
        passing: report.collections.iter().map(|one| one.find.records).sum(),
        paths: report.search.paths.iter().map(|path| path.name()).collect(),
        reranked: report.reranked,
        warnings,
        cached_logits: CachedLogits {
            found: report.cache.rerank_hits,
            asked: report.cache.rerank_misses,
        },
        took_ms: millis(report.took),
    }
}

fn text(found: &Found) -> String {
    let mut text = String::new();
    for (at, hit) in found.hits.iter().enumerate() {
        let reranked = hit.rerank_score.map(|score| format!("  rerank {score:.3}"));
        let title = hit.title.as_deref().unwrap_or_default();
        // What is only listed has no score.
        let score = match found.report.stages.is_empty() {
            true => String::new(),
            false => format!("{:.4}{}  ", hit.score, reranked.unwrap_or_default()),
        };
        // writing to a string cannot fail
        let _ =
            writeln!(text, "{:>3}.  {score}{}  {}", at + 1, printable(&hit.id), snippet(title, 80));
        let _ = writeln!(text, "      {}", snippet(&hit.text, 160));
    }
    if found.hits.is_empty() {
        text.push_str("nothing found\n");
    }
    if found.report.stages.is_empty() {
        let (hits, passing) = (found.hits.len(), found.report.passing);
        // writing to a string cannot fail
        let _ = write!(text, "{hits} of {passing} that match, {:.1} ms", found.report.took_ms);
    }
    text.push_str(&stages_line(&found.report.stages));
    if let Some(words) = &found.words {
        text.push_str("\n\n");
        text.push_str(words);
    }
    text
}
