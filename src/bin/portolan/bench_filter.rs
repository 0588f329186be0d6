//! `portolan bench-filter`: filtered search by the share of records that pass, held against the
//! unfiltered search that finds 0.99 of the neighbors.
//!
//! Three kinds of filters: `random` passes records by a hash of their number; `near` and `far`
//! pass those most similar to a pivot, a stored vector, and are asked the tenth of the queries
//! that is most and least similar to that pivot. Filtered and unfiltered searches take turns, so
//! that both see the same machine. A filter is known from its first search on; what that costs
//! stands in a column of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use portolan::eval::vector_file::VectorFile;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Hits, Maintenance, Metric,
    Record,
};
use rayon::prelude::*;
use serde::Serialize;

use crate::args::BenchFilterArgs;
use crate::bench_ann::{Scratch, right, row_number, share};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::progress::{Progress, maintain};
use crate::timing::{millis, percentile_us};
use crate::trial::check_reused;

/// Vectors per commit.
const BATCH: usize = 1000;
/// Records that pass, in thousandths.
const SHARES: [u64; 5] = [500, 100, 50, 10, 1];
/// Pivots of the correlated filters.
const PIVOTS: usize = 4;
/// One query in so many is near a pivot, and as many are far.
const EXTREME: usize = 10;
/// Rounds of both searches, at least, and the time they fill.
const ROUNDS_MIN: usize = 5;
const MEASURED_MIN: Duration = Duration::from_millis(700);
/// What an unfiltered search must find to be compared with, and a filtered one to be good.
const RECALL_UNFILTERED: f64 = 0.99;
const RECALL_MIN: f64 = 0.95;
/// Where the search for that ef ends.
const EF_MAX: usize = 4096;

#[derive(Serialize)]
struct Unfiltered {
    ef: usize,
    recall: f64,
    rows: usize,
    dim: usize,
    k: usize,
}

#[derive(Serialize)]
struct Measured {
    kind: &'static str,
    /// Percent.
    share: f64,
    passing: u64,
    /// The most frequent of the paths.
    path: &'static str,
    recall: f64,
    qps: f64,
    p50_us: f64,
    p99_us: f64,
    unfiltered_qps: f64,
    /// Time of the first search with a filter, mean over the filters.
    first_ms: f64,
    /// Searches with fewer hits than could be.
    short: usize,
    slower: bool,
    low: bool,
}

/// Queries by number, each with its filter.
struct Case {
    kind: &'static str,
    share: u64,
    jobs: Vec<(usize, Filter)>,
}

/// Builds the file, then measures each kind and share.
pub fn run(args: &BenchFilterArgs, out: &Output) -> Result<()> {
    let base = VectorFile::open(&args.base)?;
    let queries = read(&args.query)?;
    if queries.len() < EXTREME || base.len() < PIVOTS || args.k > base.len() {
        let reason = "give at least 10 queries, 4 vectors and no more neighbors than vectors";
        return Err(Failure::new(reason.to_owned()));
    }
    let pivots: Vec<Vec<f32>> = (0..PIVOTS)
        .map(|at| base.row((2 * at + 1) * base.len() / (2 * PIVOTS)))
        .collect::<std::result::Result<_, _>>()?;
    let (path, _scratch) = Scratch::unless(args.db.as_ref())?;
    if args.reuse {
        let collection = Database::open_read_only(&path)?.collection("bench")?;
        check_reused(&collection, &base, args.metric)?;
    } else {
        build(args, &base, &pivots, &path)?;
    }
    let ef = unfiltered(args, &base, &path, &queries, out)?;
    out.note(&format!(
        "{:>6} {:>6} {:>8} {:>13} {:>7} {:>7} {:>7} {:>7} {:>10} {:>6} {:>9}",
        "kind",
        "%",
        "passing",
        "path",
        "recall",
        "qps",
        "p50 us",
        "p99 us",
        "unfiltered",
        "ratio",
        "first ms"
    ))?;
    for case in cases(args.metric, &queries, &pivots) {
        let measured = measure(args, &path, ef, &queries, &case)?;
        if measured.passing == 0 {
            let message = "no record has the fields that are asked for: only a file that this \
                           command left can be measured again";
            return Err(Failure::new(message));
        }
        out.result(&measured, text)?;
    }
    Ok(())
}

fn text(at: &Measured) -> String {
    let mut line = format!(
        "{:>6} {:>6.1} {:>8} {:>13} {:>7.4} {:>7.0} {:>7.1} {:>7.1} {:>10.0} {:>6.2} {:>9.2}",
        at.kind,
        at.share,
        at.passing,
        at.path,
        at.recall,
        at.qps,
        at.p50_us,
        at.p99_us,
        at.unfiltered_qps,
        at.qps / at.unfiltered_qps,
        at.first_ms
    );
    for (flag, name) in [(at.slower, "slower"), (at.low, "low recall"), (at.short > 0, "short")] {
        if flag {
            line = line + "  " + name;
        }
    }
    line
}

fn read(path: &Path) -> Result<Vec<Vec<f32>>> {
    let file = VectorFile::open(path)?;
    Ok((0..file.len()).map(|row| file.row(row)).collect::<std::result::Result<_, _>>()?)
}

/// A number below 1,000 that says nothing about the vector (SplitMix64 of the row).
fn thousandth(row: usize) -> i64 {
    let mut z = (row as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) % 1000) as i64
}

/// Numbers of the vectors, those most similar to the pivot first.
fn by_similarity(metric: Metric, pivot: &[f32], vectors: &[Vec<f32>]) -> Vec<usize> {
    let similarity = |vector: &[f32]| {
        let pairs = || pivot.iter().zip(vector);
        let dot: f32 = pairs().map(|(a, b)| a * b).sum();
        match metric {
            Metric::Dot => dot,
            Metric::L2 => -pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
            _ => dot / vector.iter().map(|x| x * x).sum::<f32>().sqrt(),
        }
    };
    let keys: Vec<f32> = vectors.par_iter().map(|vector| similarity(vector)).collect();
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
    order
}

/// Stores all vectors with the fields that the filters ask for, folds them into one graph and
/// writes the file anew.
fn build(
    args: &BenchFilterArgs,
    base: &VectorFile,
    pivots: &[Vec<f32>],
    path: &Path,
) -> Result<()> {
    let vectors = read(&args.base)?;
    let mut ranks = vec![vec![0_i64; vectors.len()]; pivots.len()];
    for (ranks, pivot) in ranks.iter_mut().zip(pivots) {
        for (rank, row) in by_similarity(args.metric, pivot, &vectors).into_iter().enumerate() {
            ranks[row] = (rank * 1000 / vectors.len()) as i64;
        }
    }
    let options = DatabaseOptions::new().must_be_new().maintenance(Maintenance::Manual);
    let db = options.open(path)?;
    let options = CollectionOptions::new(base.dim(), args.metric);
    let collection = db.create_collection("bench", options)?;
    {
        let progress = Progress::new("storing", vectors.len());
        let mut batch = collection.batch();
        for (row, vector) in vectors.into_iter().enumerate() {
            let mut record = Record::new(row as i64).vector(vector);
            record = record.field("random", thousandth(row));
            for (at, ranks) in ranks.iter().enumerate() {
                record = record.field(near(at), ranks[row]);
            }
            batch.upsert(record)?;
            if batch.len() >= BATCH {
                std::mem::replace(&mut batch, collection.batch()).commit()?;
                progress.at(row + 1);
            }
        }
        batch.commit()?;
    }
    maintain(&collection, |maintain| maintain.graph_min_rows(0))?;
    drop((collection, db));
    Database::compact(path)?;
    Ok(())
}

/// The field that holds the rank by similarity to a pivot, in thousandths.
fn near(pivot: usize) -> String {
    format!("near{pivot}")
}

fn cases(metric: Metric, queries: &[Vec<f32>], pivots: &[Vec<f32>]) -> Vec<Case> {
    let orders: Vec<Vec<usize>> =
        pivots.iter().map(|pivot| by_similarity(metric, pivot, queries)).collect();
    let few = queries.len() / EXTREME;
    let mut cases = Vec::new();
    for share in SHARES {
        let filter = Filter::lt("random", share as i64);
        let jobs = (0..queries.len()).map(|query| (query, filter.clone())).collect();
        cases.push(Case { kind: "random", share, jobs });
    }
    for (kind, first) in [("near", 0), ("far", queries.len() - few)] {
        for share in SHARES {
            let filters = (0..).map(|pivot| Filter::lt(near(pivot), share as i64));
            let jobs = orders.iter().zip(filters).flat_map(|(order, filter)| {
                order[first..first + few].iter().map(move |&query| (query, filter.clone()))
            });
            cases.push(Case { kind, share, jobs: jobs.collect() });
        }
    }
    cases
}

/// Share of the true neighbors that were found.
fn recall(found: &[Hits], truth: &[Vec<u32>]) -> f64 {
    let of_query = |(hits, truth): (&Hits, &Vec<u32>)| right(hits.iter().map(|hit| &hit.id), truth);
    share(found.iter().zip(truth).map(of_query).sum(), truth)
}

/// The ef that both searches use, after what it finds without a filter was told.
fn unfiltered(
    args: &BenchFilterArgs,
    base: &VectorFile,
    path: &Path,
    queries: &[Vec<f32>],
    out: &Output,
) -> Result<usize> {
    let db = Database::open_read_only(path)?;
    let collection = db.collection("bench")?;
    let all: Vec<usize> = (0..queries.len()).collect();
    let truth = all.par_iter().map(|&at| rows(&collection, args.k, &queries[at], None));
    let truth = truth.collect::<Result<Vec<_>>>()?;
    let recall_at = |ef: usize| -> Result<f64> {
        let search = |query: &Vec<f32>| collection.search(query).limit(args.k).ef(ef).run();
        let found = queries.iter().map(search).collect::<portolan::Result<Vec<Hits>>>()?;
        Ok(recall(&found, &truth))
    };
    let ef = match args.ef {
        Some(ef) => ef,
        None => {
            let mut ef = 16;
            while ef < EF_MAX && recall_at(ef)? < RECALL_UNFILTERED {
                ef *= 2;
            }
            // The last doubling went up to twice too far.
            let mut step = ef / 4;
            while step >= 4 {
                if recall_at(ef - step)? >= RECALL_UNFILTERED {
                    ef -= step;
                }
                step /= 2;
            }
            ef
        }
    };
    let recall = recall_at(ef)?;
    let at = Unfiltered { ef, recall, rows: base.len(), dim: base.dim(), k: args.k };
    out.result(&at, |at| {
        format!("{} x {}: recall {:.4} at ef {} unfiltered", at.rows, at.dim, at.recall, at.ef)
    })?;
    Ok(ef)
}

/// Row numbers of the true neighbors, by comparing with every record that passes.
fn rows(
    collection: &Collection,
    k: usize,
    query: &[f32],
    filter: Option<&Filter>,
) -> Result<Vec<u32>> {
    let mut search = collection.search(query).limit(k).exact();
    if let Some(filter) = filter {
        search = search.filter(filter.clone());
    }
    Ok(search.run()?.iter().filter_map(|hit| row_number(&hit.id)).collect())
}

/// One kind and share, on a handle that knows no filter yet.
fn measure(
    args: &BenchFilterArgs,
    path: &Path,
    ef: usize,
    queries: &[Vec<f32>],
    case: &Case,
) -> Result<Measured> {
    let db = Database::open_read_only(path)?;
    let collection = db.collection("bench")?;
    let search = |&(query, ref filter): &(usize, Filter)| {
        collection.search(&queries[query]).limit(args.k).ef(ef).filter(filter.clone()).run()
    };
    let plain = |&(query, _): &(usize, Filter)| {
        collection.search(&queries[query]).limit(args.k).ef(ef).run()
    };
    if let Some(job) = case.jobs.first() {
        plain(job)?;
    }
    let mut first = Vec::new();
    let mut last = None;
    for job in &case.jobs {
        if last.replace(&job.1) != Some(&job.1) {
            let begin = Instant::now();
            search(job)?;
            first.push(begin.elapsed());
        }
    }
    let truth = case
        .jobs
        .par_iter()
        .map(|(query, filter)| rows(&collection, args.k, &queries[*query], Some(filter)));
    let truth = truth.collect::<Result<Vec<_>>>()?;
    let found = case.jobs.iter().map(search).collect::<portolan::Result<Vec<Hits>>>()?;
    let (mut times, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    let begin = Instant::now();
    while rates[0].len() < ROUNDS_MIN || begin.elapsed() < MEASURED_MIN {
        let round = Instant::now();
        for job in &case.jobs {
            let begin = Instant::now();
            search(job)?;
            times.push(begin.elapsed());
        }
        rates[0].push(case.jobs.len() as f64 / round.elapsed().as_secs_f64());
        let round = Instant::now();
        for job in &case.jobs {
            plain(job)?;
        }
        rates[1].push(case.jobs.len() as f64 / round.elapsed().as_secs_f64());
    }
    times.sort_unstable();
    let [qps, unfiltered_qps] = rates.map(median);
    let recall = recall(&found, &truth);
    let short = found.iter().zip(&truth).filter(|(hits, truth)| hits.len() < truth.len());
    let report = found.first().map(|hits| hits.report.clone()).unwrap_or_default();
    Ok(Measured {
        kind: case.kind,
        share: case.share as f64 / 10.0,
        passing: report.passing,
        path: most_frequent(&found),
        recall,
        qps,
        p50_us: percentile_us(&times, 50),
        p99_us: percentile_us(&times, 99),
        unfiltered_qps,
        first_ms: first.iter().map(|time| millis(*time)).sum::<f64>() / first.len() as f64,
        short: short.count(),
        slower: qps < unfiltered_qps,
        low: recall < RECALL_MIN,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The path that most segments of most searches took.
fn most_frequent(found: &[Hits]) -> &'static str {
    let paths: Vec<_> = found.iter().flat_map(|hits| hits.report.paths.clone()).collect();
    let times = |path: &portolan::SearchPath| paths.iter().filter(|other| *other == path).count();
    paths.iter().max_by_key(|path| times(path)).map_or("-", |path| path.name())
}
