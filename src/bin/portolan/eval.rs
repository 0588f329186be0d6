//! `portolan eval`: judged queries to nDCG@10, recall and MRR, one line per mode. Queries run one
//! after the other, so the time per query is what one caller waits.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use portolan::eval::beir::{self, Query};
use portolan::eval::metrics::{Qrels, mean_scores};
use portolan::eval::report::{EvalReport, ModeReport};
use portolan::eval::vector_file::VectorFile;
use portolan::nim::RankingModel;
use portolan::{Collection, Embedder, Hit, OnRerankFailure, Role, Search};
use tokio::runtime::Runtime;

use crate::args::EvalArgs;
use crate::failure::{Failure, Result};
use crate::models::{Models, runtime};
use crate::open;
use crate::output::Output;
use crate::progress::Progress;
use crate::timing::millis;

/// Results per query, as recall@100 needs them.
const DEPTH: usize = 100;

/// A judged query, ready to search with.
struct Judged {
    query: Query,
    vector: Vec<f32>,
    /// Time that the model took for the vector.
    embedding: Duration,
}

/// Rankings by query id, and the time they took.
struct Runs {
    rankings: HashMap<String, Vec<String>>,
    took: Duration,
}

/// What every first-stage search of an evaluation shares.
struct Settings {
    ef: Option<usize>,
    recall: Option<f32>,
    /// The model of the query vectors, if it is known: another than the collection's is refused.
    model: Option<String>,
}

impl Settings {
    fn of<'q>(&self, search: Search<'q>) -> Search<'q> {
        let search = match self.ef {
            Some(ef) => search.ef(ef),
            None => search,
        };
        let search = match self.recall {
            Some(recall) => search.recall(recall),
            None => search,
        };
        match &self.model {
            Some(model) => search.model(model.as_str()),
            None => search,
        }
    }
}

/// Evaluates each mode that was asked for.
pub fn run(args: &EvalArgs, out: &Output) -> Result<()> {
    let models = Models::new(&args.embed, Some(&args.rerank))?;
    let qrels = beir::qrels(&args.qrels)?;
    let queries = beir::queries(&args.queries)?;
    check_queries(args, &qrels, &queries)?;
    let collection = open::read_collection(&args.db, &args.collection)?;
    if args.mode == "lexical" {
        return lexical(args, &qrels, &queries, &collection, out);
    }
    let runtime = runtime()?;
    let (judged, model) = match (&args.query_vectors, &models.embedder) {
        (Some(path), _) => (with_vectors(args, path, &qrels, queries)?, None),
        (None, Some(embedder)) => {
            let judged = runtime.block_on(embed(embedder, &qrels, queries))?;
            (judged, Some(embedder.contract().model))
        }
        (None, None) => {
            let reason = "--mode dense needs --query-vectors or --embed-model";
            return Err(Failure::Usage(reason.to_owned()));
        }
    };
    let settings = Settings { ef: args.ef, recall: args.recall, model };

    let mut report = EvalReport::default();
    let mut add = |mode: &str, runs: &Runs| {
        let mean = mean_scores(&qrels, &runs.rankings);
        let per_query = millis(runs.took) / judged.len().max(1) as f64;
        report.modes.push(ModeReport::new(mode, mean, per_query, qrels.len()));
    };
    let dense = first_stage("dense", &collection, &judged, |search| settings.of(search))?;
    add("dense", &dense);
    if args.exact {
        add(
            "exact",
            &first_stage("exact", &collection, &judged, |search| settings.of(search).exact())?,
        );
    }
    if let Some(reranker) = &models.reranker {
        let runs = reranked(args, &runtime, &collection, &judged, reranker, &dense)?;
        add("dense+rerank", &runs);
    }
    out.result(&report, ToString::to_string)
}

/// By words alone: no vectors and no models.
fn lexical(
    args: &EvalArgs,
    qrels: &Qrels,
    queries: &[Query],
    collection: &Collection,
    out: &Output,
) -> Result<()> {
    if args.exact || args.rerank.rerank_model.is_some() {
        let reason = "--mode lexical knows no --exact and no reranker: leave them out";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let progress = Progress::new("lexical", qrels.len());
    let mut runs = Runs { rankings: HashMap::new(), took: Duration::ZERO };
    for query in queries.iter().filter(|query| qrels.contains_key(&query.id)) {
        let begin = Instant::now();
        let hits = collection.search_text(&query.text).limit(DEPTH).run()?;
        runs.took += begin.elapsed();
        runs.rankings.insert(query.id.clone(), names(&hits));
        progress.step();
    }
    let mean = mean_scores(qrels, &runs.rankings);
    let per_query = millis(runs.took) / qrels.len().max(1) as f64;
    let mut report = EvalReport::default();
    report.modes.push(ModeReport::new("lexical", mean, per_query, qrels.len()));
    out.result(&report, ToString::to_string)
}

/// A judged query that is not in the queries file would count as 0 in every mean.
fn check_queries(args: &EvalArgs, qrels: &Qrels, queries: &[Query]) -> Result<()> {
    if qrels.is_empty() {
        return Err(Failure::new(format!("{} has no judgments", args.qrels.display())));
    }
    let known: std::collections::HashSet<&str> =
        queries.iter().map(|query| query.id.as_str()).collect();
    match qrels.keys().find(|id| !known.contains(id.as_str())) {
        Some(id) => Err(Failure::new(format!(
            "query {id:?} is judged in {} but is not in {}",
            args.qrels.display(),
            args.queries.display()
        ))),
        None => Ok(()),
    }
}

/// The judged queries with their rows of the vector file.
fn with_vectors(
    args: &EvalArgs,
    path: &Path,
    qrels: &Qrels,
    queries: Vec<Query>,
) -> Result<Vec<Judged>> {
    let vectors = VectorFile::open(path)?;
    let (ids, source) = match &args.query_ids {
        Some(path) => (ids(path)?, path),
        None => (queries.iter().map(|query| query.id.clone()).collect(), &args.queries),
    };
    if ids.len() != vectors.len() {
        return Err(Failure::new(format!(
            "{} has {} rows but {} has {} queries: give their ids in row order with --query-ids",
            path.display(),
            vectors.len(),
            source.display(),
            ids.len()
        )));
    }
    let rows: HashMap<String, usize> = ids.into_iter().enumerate().map(|(r, id)| (id, r)).collect();
    let judged = queries.into_iter().filter(|query| qrels.contains_key(&query.id));
    let judged = judged.map(|query| {
        let row = rows.get(&query.id).ok_or_else(|| {
            Failure::new(format!(
                "query {:?} has no row: it is not in {}",
                query.id,
                source.display()
            ))
        })?;
        let vector = vectors.row(*row)?;
        Ok(Judged { query, vector, embedding: Duration::ZERO })
    });
    judged.collect()
}

/// Non-blank lines.
fn ids(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::of_file(path, &error))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

async fn embed(embedder: &dyn Embedder, qrels: &Qrels, queries: Vec<Query>) -> Result<Vec<Judged>> {
    let progress = Progress::new("embedding", qrels.len());
    let mut judged = Vec::with_capacity(qrels.len());
    for query in queries.into_iter().filter(|query| qrels.contains_key(&query.id)) {
        let begin = Instant::now();
        let embedded = embedder.embed(&[query.text.as_str()], Role::Query, None).await?;
        let embedding = begin.elapsed();
        let vector = embedded.vectors.into_iter().next();
        let no_vector = || Failure::new("the model returned no vector: check the model");
        judged.push(Judged { query, vector: vector.ok_or_else(no_vector)?, embedding });
        progress.step();
    }
    Ok(judged)
}

fn first_stage<'q>(
    what: &'static str,
    collection: &Collection,
    judged: &'q [Judged],
    set: impl Fn(Search<'q>) -> Search<'q>,
) -> Result<Runs> {
    let progress = Progress::new(what, judged.len());
    let mut runs = Runs { rankings: HashMap::new(), took: Duration::ZERO };
    for Judged { query, vector, embedding } in judged {
        let begin = Instant::now();
        let hits = set(collection.search(vector).limit(DEPTH)).run()?;
        runs.took += begin.elapsed() + *embedding;
        runs.rankings.insert(query.id.clone(), names(&hits));
        progress.step();
    }
    Ok(runs)
}

/// The candidates in the reranker's order, then the rest of the first stage.
fn reranked(
    args: &EvalArgs,
    runtime: &Runtime,
    collection: &Collection,
    judged: &[Judged],
    reranker: &RankingModel,
    dense: &Runs,
) -> Result<Runs> {
    let progress = Progress::new("reranking", judged.len());
    let candidates = args.rerank.candidates;
    let mut runs = Runs { rankings: HashMap::new(), took: Duration::ZERO };
    for Judged { query, vector, embedding } in judged {
        let stages = collection.query(&query.text).vector(vector.as_slice()).reranker(reranker);
        let stages = stages.candidates(candidates).limit(candidates);
        let mut stages = stages.on_rerank_failure(OnRerankFailure::Fail);
        if let Some(ef) = args.ef {
            stages = stages.ef(ef);
        }
        if let Some(recall) = args.recall {
            stages = stages.recall(recall);
        }
        let answer = runtime.block_on(stages.run())?;
        runs.took += answer.report.took + *embedding;
        let mut ranking = names(&answer.hits);
        let rest = dense.rankings.get(&query.id).into_iter().flatten();
        let rest: Vec<String> = rest.filter(|id| !ranking.contains(id)).cloned().collect();
        ranking.extend(rest);
        ranking.truncate(DEPTH);
        runs.rankings.insert(query.id.clone(), ranking);
        progress.step();
    }
    Ok(runs)
}

fn names(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| hit.id.to_string()).collect()
}
