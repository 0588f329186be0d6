//! `portolan eval`: judged queries through one or more modes of search, to tables of what is found
//! and what it costs, and where asked for comparisons, runs for trec_eval and a report with plots.

use std::path::{Path, PathBuf};

use portolan::eval::measure::{Measure, MeasureKind, mean};
use portolan::eval::report::{EfPoint, EvalReport};
use portolan::eval::set::EvalSet;
use portolan::eval::trec_run;
use tokio::runtime::Runtime;

use crate::eval_args::EvalArgs;
use crate::eval_course::{Course, ModeRun};
use crate::eval_figures::{comparison, median_ms, mode_report, rankings};
use crate::eval_html;
use crate::eval_mode::{Asked, Row, Way, rows};
use crate::eval_set::{self, Judged};
use crate::failure::{Failure, Result};
use crate::models::{Models, runtime};
use crate::open;
use crate::output::{Output, replaced, writable};

/// The judgments, in the folder of the runs.
const JUDGMENTS: &str = "qrels.txt";

/// All that an evaluation came to.
pub struct Evaluated<'e> {
    pub args: &'e EvalArgs,
    pub set: &'e EvalSet,
    pub runs: Vec<ModeRun>,
    pub report: EvalReport,
    /// Records of the collection.
    pub records: u64,
}

/// Evaluates each mode that was asked for.
pub fn run(args: &EvalArgs, out: &Output) -> Result<()> {
    let models = Models::new(&args.embed, Some(&args.rerank))?;
    let set = eval_set::read(args, out)?;
    let collection = open::read_collection(&args.db, &args.collection)?;
    let models = models.suited(&args.embed, &collection)?;
    eval_set::check_documents(&set, &collection, out)?;
    let has_query_vectors = args.query_vectors.is_some() || models.embedder.is_some();
    let rows = rows(&Asked {
        modes: &args.modes,
        exact: args.exact,
        has_reranker: models.reranker.is_some(),
        has_words: collection.text_index()?.is_some(),
        has_vectors: has_query_vectors && !open::has_no_vectors(&collection)?,
    });
    if args.compare.is_some() && rows.len() < 2 {
        let reason = "--compare compares modes with each other: give --modes two or more of them";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let missing = rows.iter().find_map(|row| match row.way {
        Way::Rerank(_) if models.reranker.is_none() => Some("--rerank-model is missing"),
        Way::Agent(_) if args.chat.chat_model.is_none() => Some("--chat-model is missing"),
        _ => None,
    });
    if let Some(missing) = missing {
        return Err(Failure::Usage(missing.to_owned()));
    }
    outputs(args, &rows)?;
    let runtime = runtime()?;
    let judged = judged(args, &set, &rows, &models, &runtime)?;
    let course = Course {
        args,
        collection: &collection,
        runtime: &runtime,
        model: models.embedder.as_ref().map(portolan::Embedder::contract),
        embedder: models.embedder.as_ref(),
        reranker: models.reranker.as_ref(),
        out,
        judged: &judged,
        depth: args.depth(),
    };
    let mut runs = Vec::with_capacity(rows.len());
    for row in &rows {
        let run = course.row(row, &runs)?;
        runs.push(run);
    }
    let measures = args.measures();
    let mut report = EvalReport { form: set.form.name().to_owned(), ..EvalReport::default() };
    report.modes = runs.iter().map(|run| mode_report(run, &set, &measures)).collect();
    if let (Some(measure), [first, others @ ..]) = (args.compared(), runs.as_slice()) {
        let compare = |other| comparison(first, other, &set, measure, args.seed);
        report.comparisons = others.iter().map(compare).collect();
    }
    report.ef_curve = curve(&course, &set)?;
    let records = collection.count()?;
    let evaluated = Evaluated { args, set: &set, runs, report, records };
    let written = files(&evaluated);
    let mut report = evaluated.report;
    if args.compare.is_none() {
        // They were made for the page alone.
        report.comparisons.clear();
    }
    // Figures that were paid for are shown, whatever became of the files.
    out.result(&report, ToString::to_string)?;
    written
}

/// Makes the files that are written at the end, before the first query costs anything.
fn outputs(args: &EvalArgs, rows: &[Row]) -> Result<()> {
    if let Some(folder) = &args.runs {
        writable(&folder.join(JUDGMENTS))?;
        rows.iter().try_for_each(|row| writable(&run_file(folder, &row.name)))?;
    }
    args.report.as_deref().map_or(Ok(()), writable)
}

/// Writes all of them that can be written; the first that cannot is the failure.
fn files(evaluated: &Evaluated<'_>) -> Result<()> {
    let runs = evaluated.args.runs.as_deref().map_or(Ok(()), |folder| export(folder, evaluated));
    let page = evaluated.args.report.as_deref().map_or(Ok(()), |path| {
        let page = eval_html::page(evaluated);
        replaced(path, |path| {
            std::fs::write(path, &page).map_err(|error| Failure::of_file(path, &error))
        })
    });
    runs.and(page)
}

/// The judged queries with what the rows need of them.
fn judged(
    args: &EvalArgs,
    set: &EvalSet,
    rows: &[Row],
    models: &Models,
    runtime: &Runtime,
) -> Result<Vec<Judged>> {
    let needs_vectors = !args.ef_curve.is_empty() || rows.iter().any(|row| row.way.needs_vector());
    match (&args.query_vectors, &models.embedder) {
        _ if !needs_vectors => Ok(eval_set::without_vectors(set)),
        (Some(path), _) => eval_set::with_vectors(args, path, set),
        (None, Some(embedder)) => runtime.block_on(eval_set::embed(embedder, set)),
        (None, None) => {
            let reason = "--query-vectors or --embed-model is missing (searches by words need \
                          none, but an index: `portolan index-text`)";
            Err(Failure::Usage(reason.to_owned()))
        }
    }
}

/// Dense search by its candidates.
fn curve(course: &Course<'_>, set: &EvalSet) -> Result<Vec<EfPoint>> {
    if course.args.ef_curve.is_empty() {
        return Ok(Vec::new());
    }
    let nearest = course.nearest()?;
    let share_found = |found: &ModeRun| {
        let shares = found.queries.iter().filter_map(|(id, ranked)| {
            let true_ones = &nearest.get(id)?.hits;
            let true_ones = true_ones.get(..10.min(true_ones.len()))?;
            let is_found = |(id, _): &&(String, f32)| ranked.hits.iter().any(|hit| hit.0 == *id);
            let count = true_ones.iter().filter(is_found).count();
            (!true_ones.is_empty()).then(|| count as f64 / true_ones.len() as f64)
        });
        mean(&shares.collect::<Vec<f64>>())
    };
    let mut points = Vec::with_capacity(course.args.ef_curve.len());
    for &ef in &course.args.ef_curve {
        let found = ModeRun::new(format!("ef {ef}"), course.with_ef(ef)?);
        let ndcg = Measure::new(MeasureKind::Ndcg, 10).per_query(&set.qrels, &rankings(&found));
        points.push(EfPoint {
            ef,
            neighbors_10: share_found(&found),
            ndcg_10: mean(&ndcg),
            median_ms: median_ms(&found),
        });
    }
    Ok(points)
}

/// A run of each mode, and the judgments.
fn export(folder: &Path, evaluated: &Evaluated<'_>) -> Result<()> {
    for run in &evaluated.runs {
        let path = run_file(folder, &run.name);
        let tag = format!("portolan-{}", run.name);
        replaced(&path, |path| Ok(trec_run::write(path, &run.run(), &tag)?))?;
    }
    replaced(&folder.join(JUDGMENTS), |path| Ok(trec_run::write_qrels(path, &evaluated.set.qrels)?))
}

fn run_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.run"))
}
