//! From the rankings and times of a mode to its figures.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use portolan::eval::measure::{Measure, mean};
use portolan::eval::report::{ModeComparison, ModeCost, ModeReport, QueryDifference};
use portolan::eval::set::EvalSet;
use portolan::eval::significance::Comparison;

use crate::eval_course::{ModeRun, Ranked};
use crate::timing::{millis, percentile_us};

/// The ids that were found, by query.
pub fn rankings(run: &ModeRun) -> HashMap<String, Vec<String>> {
    let ids = |ranked: &Ranked| ranked.hits.iter().map(|(id, _)| id.clone()).collect();
    run.queries.iter().map(|(query, ranked)| (query.clone(), ids(ranked))).collect()
}

/// The row of a mode in both tables. Quality is the mean over all judged queries, cost over those
/// that were run.
pub fn mode_report(run: &ModeRun, set: &EvalSet, measures: &[Measure]) -> ModeReport {
    let rankings = rankings(run);
    let figure = |measure: &Measure| (*measure, mean(&measure.per_query(&set.qrels, &rankings)));
    ModeReport {
        mode: run.name.clone(),
        quality: measures.iter().map(figure).collect(),
        cost: cost(run),
        queries: set.qrels.len(),
    }
}

fn cost(run: &ModeRun) -> ModeCost {
    let count = run.queries.len().max(1) as f64;
    let mut sum = run.shared;
    run.queries.values().for_each(|ranked| sum.add(ranked.calls));
    let times = times(run);
    let took = times.iter().fold(Duration::ZERO, |sum, took| sum.saturating_add(*took));
    let mut cost = ModeCost::default();
    cost.ms_per_query = millis(took) / count;
    cost.median_ms = percentile_us(&times, 50) / 1e3;
    cost.p90_ms = percentile_us(&times, 90) / 1e3;
    cost.searches = sum.searches as f64 / count;
    cost.embed_calls = sum.embed as f64 / count;
    cost.rerank_calls = sum.rerank as f64 / count;
    cost.rerank_passages = sum.passages as f64 / count;
    cost.chat_calls = sum.chat as f64 / count;
    cost.fallbacks = run.queries.values().filter(|ranked| ranked.is_fallback).count();
    cost.failed = run.queries.values().filter(|ranked| ranked.has_failed).count();
    cost.tokens = sum.tokens.map(|tokens| tokens as f64 / count);
    cost
}

/// The median time of a query in milliseconds.
pub fn median_ms(run: &ModeRun) -> f64 {
    percentile_us(&times(run), 50) / 1e3
}

/// From the shortest.
fn times(run: &ModeRun) -> Vec<Duration> {
    let mut times: Vec<Duration> = run.queries.values().map(|ranked| ranked.took).collect();
    times.sort_unstable();
    times
}

/// Two modes, query by query.
pub fn comparison(
    first: &ModeRun,
    second: &ModeRun,
    set: &EvalSet,
    measure: Measure,
    seed: u64,
) -> ModeComparison {
    let figures = |run: &ModeRun| measure.per_query(&set.qrels, &rankings(run));
    let pairs: Vec<(f64, f64)> = figures(first).into_iter().zip(figures(second)).collect();
    let texts: BTreeMap<&str, &str> =
        set.queries.iter().map(|query| (query.id.as_str(), query.text.as_str())).collect();
    let of_query = |(id, (first, second)): (&String, &(f64, f64))| QueryDifference {
        query: id.clone(),
        text: texts.get(id.as_str()).copied().unwrap_or_default().to_owned(),
        first: *first,
        second: *second,
    };
    let mut queries: Vec<QueryDifference> = set.qrels.keys().zip(&pairs).map(of_query).collect();
    queries.sort_by(|a, b| b.difference().total_cmp(&a.difference()));
    ModeComparison {
        first: first.name.clone(),
        second: second.name.clone(),
        measure,
        compared: Comparison::of(&pairs, seed),
        seed,
        queries,
    }
}
