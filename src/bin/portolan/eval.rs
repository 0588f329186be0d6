//! `portolan eval`: judged queries to nDCG@10, recall and MRR, one line per mode. Queries run as
//! `Collection::query` runs them, one after the other, so the time per query is what one caller
//! waits. Questions are embedded once; that time counts in each mode that needs the vector.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use portolan::eval::beir::{self, Query};
use portolan::eval::metrics::{Qrels, mean_scores};
use portolan::eval::report::{EvalReport, ModeReport};
use portolan::eval::vector_file::VectorFile;
use portolan::nim::RankingModel;
use portolan::{
    BoxFuture, Collection, Dense, Embedded, Embedder, Hit, ModelContract, OnRerankFailure, Role,
    StageError,
};
use tokio::runtime::Runtime;

use crate::args::EvalArgs;
use crate::failure::{Failure, Result};
use crate::mode::Mode;
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

/// Evaluates each mode that was asked for.
pub fn run(args: &EvalArgs, out: &Output) -> Result<()> {
    let models = Models::new(&args.embed, Some(&args.rerank))?;
    let qrels = beir::qrels(&args.qrels)?;
    let queries = beir::queries(&args.queries)?;
    check_queries(args, &qrels, &queries)?;
    let collection = open::read_collection(&args.db, &args.collection)?;
    let runtime = runtime()?;
    let needs_vectors = args.exact || args.mode.iter().any(|mode| mode.needs_vector());
    let (judged, model) = match (&args.query_vectors, &models.embedder) {
        _ if !needs_vectors => (without_vectors(&qrels, queries), None),
        (Some(path), _) => (with_vectors(args, path, &qrels, queries)?, None),
        (None, Some(embedder)) => {
            let judged = runtime.block_on(embed(embedder, &qrels, queries))?;
            (judged, Some(embedder.contract()))
        }
        (None, None) => {
            let reason = "--query-vectors or --embed-model is missing";
            return Err(Failure::Usage(reason.to_owned()));
        }
    };
    let (collection, runtime, judged) = (&collection, &runtime, judged.as_slice());
    let course = Course { args, collection, runtime, model, judged };

    let mut report = EvalReport::default();
    let mut add = |mode: &str, runs: &Runs| {
        let mean = mean_scores(&qrels, &runs.rankings);
        let per_query = millis(runs.took) / judged.len().max(1) as f64;
        report.modes.push(ModeReport::new(mode, mean, per_query, qrels.len()));
    };
    let mut by_mode = Vec::new();
    for &mode in &args.mode {
        let runs = course.by_mode(mode, None)?;
        add(mode.name(), &runs);
        by_mode.push((mode, runs));
    }
    if args.exact {
        add("exact", &course.exact()?);
    }
    if let Some(reranker) = &models.reranker {
        for (mode, first) in &by_mode {
            let runs = course.reranked(*mode, reranker, first)?;
            add(&format!("{}+rerank", mode.name()), &runs);
        }
    }
    out.result(&report, ToString::to_string)
}

/// The judged queries, for searches by words alone.
fn without_vectors(qrels: &Qrels, queries: Vec<Query>) -> Vec<Judged> {
    let judged = queries.into_iter().filter(|query| qrels.contains_key(&query.id));
    let judged =
        judged.map(|query| Judged { query, vector: Vec::new(), embedding: Duration::ZERO });
    judged.collect()
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

/// A model that says again what it said: a query is then refused as it would be with the model.
struct Remembered<'j> {
    contract: &'j ModelContract,
    vector: &'j [f32],
}

impl Embedder for Remembered<'_> {
    fn contract(&self) -> ModelContract {
        self.contract.clone()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _: Role,
        _: Option<Instant>,
    ) -> BoxFuture<'a, std::result::Result<Embedded, StageError>> {
        let vectors = vec![self.vector.to_vec(); texts.len()];
        Box::pin(std::future::ready(Ok(Embedded::new(vectors))))
    }
}

/// What queries are run with.
struct Course<'c> {
    args: &'c EvalArgs,
    collection: &'c Collection,
    runtime: &'c Runtime,
    /// The model of the vectors, if it is known.
    model: Option<ModelContract>,
    judged: &'c [Judged],
}

impl Course<'_> {
    /// The query of each question, as an application runs it.
    fn by_mode(&self, mode: Mode, reranker: Option<&RankingModel>) -> Result<Runs> {
        let what = if reranker.is_some() { "reranking" } else { mode.name() };
        self.each(what, mode.needs_vector(), |one| {
            let contract = self.model.as_ref();
            let remembered = contract.map(|contract| Remembered { contract, vector: &one.vector });
            let query = self.collection.query(one.query.text.as_str());
            let mut query = query.mode(mode.of_query()).cache(false).limit(DEPTH);
            query = match &remembered {
                Some(embedder) => query.embedder(embedder),
                None if mode.needs_vector() => query.vector(one.vector.as_slice()),
                None => query,
            };
            query = match (self.args.ef, self.args.recall) {
                (Some(ef), _) => query.ef(ef),
                (None, Some(recall)) => query.recall(recall),
                (None, None) => query,
            };
            if let Some(reranker) = reranker {
                let candidates = self.args.rerank.candidates;
                query = query.reranker(reranker).candidates(candidates);
                query = query.on_rerank_failure(OnRerankFailure::Fail).limit(DEPTH.min(candidates));
            }
            Ok(self.runtime.block_on(query.run())?.hits)
        })
    }

    /// The best that any index can do.
    fn exact(&self) -> Result<Runs> {
        self.each("exact", true, |one| {
            let exact = Dense::new(one.vector.as_slice()).exact();
            Ok(self.collection.find().dense_with(exact).limit(DEPTH).run()?.hits)
        })
    }

    /// In the reranker's order, and then what it was not given of the first stage.
    fn reranked(&self, mode: Mode, reranker: &RankingModel, first: &Runs) -> Result<Runs> {
        let mut runs = self.by_mode(mode, Some(reranker))?;
        for (id, ranking) in &mut runs.rankings {
            let rest = first.rankings.get(id).into_iter().flatten();
            let rest: Vec<String> = rest.filter(|id| !ranking.contains(id)).cloned().collect();
            ranking.extend(rest);
            ranking.truncate(DEPTH);
        }
        Ok(runs)
    }

    fn each(
        &self,
        what: &'static str,
        by_vector: bool,
        run: impl Fn(&Judged) -> Result<Vec<Hit>>,
    ) -> Result<Runs> {
        let progress = Progress::new(what, self.judged.len());
        let mut runs = Runs { rankings: HashMap::new(), took: Duration::ZERO };
        for one in self.judged {
            let begin = Instant::now();
            let hits = run(one)?;
            runs.took += begin.elapsed();
            if by_vector {
                runs.took += one.embedding;
            }
            let ids = hits.iter().map(|hit| hit.id.to_string()).collect();
            runs.rankings.insert(one.query.id.clone(), ids);
            progress.step();
        }
        Ok(runs)
    }
}
