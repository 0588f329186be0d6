//! `portolan bench-growth`: steps and time per query at a recall, from small collections to large
//! ones of the same distribution, with the curves that fit them.

use std::time::Duration;

use portolan::eval::synthetic::Synthetic;
use portolan::{Collection, CollectionOptions, Database, DatabaseOptions, Maintenance, Metric};
use serde::Serialize;

use crate::bench_ann::Scratch;
use crate::bench_args::BenchGrowthArgs;
use crate::failure::{Failure, Result};
use crate::growth_fit::{LogFit, PowerFit};
use crate::growth_plot::{Curve, svg};
use crate::output::{Output, bytes};
use crate::progress::maintain;
use crate::timing::seconds;
use crate::trial::{self, NAME, Point, Truth};

/// The queries of one round are repeated until this much time was measured.
const MEASURED_MIN: Duration = Duration::from_millis(500);
/// No larger ef is tried.
const EF_MAX: usize = 4096;

#[derive(Serialize)]
struct Built {
    rows: usize,
    dim: usize,
    build_s: f64,
    /// Of this process so far; all generated vectors are part of it.
    peak_mib: Option<f64>,
    file_bytes: u64,
}

#[derive(Serialize)]
struct Measured {
    rows: usize,
    /// The recall that was asked for.
    target: f64,
    /// The least ef that reaches it; its own recall can be higher, as the library raises small
    /// ones.
    ef: usize,
    recall: f64,
    us: f64,
    us_rounds: Vec<f64>,
    steps: f64,
}

#[derive(Serialize)]
struct Fitted {
    target: f64,
    what: &'static str,
    log: LogFit,
    power: PowerFit,
}

/// A collection of one size, open, with its truth.
struct Size {
    rows: usize,
    collection: Collection,
    truth: Truth,
}

/// Builds all sizes, seeks their ef, then measures them in turns.
pub fn run(args: &BenchGrowthArgs, out: &Output) -> Result<()> {
    let mut distinct = args.sizes.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 2 || distinct.first().is_some_and(|&least| least < args.k) {
        return Err(Failure::Usage("--sizes: two different ones of at least k rows".to_owned()));
    }
    let synthetic = Synthetic::with_clusters(args.dim, args.seed, args.clusters);
    let queries = synthetic.queries(args.queries);
    let queries: Vec<Vec<f32>> = queries.chunks(args.dim).map(<[f32]>::to_vec).collect();
    let scratch = Scratch::new()?;
    let sizes = {
        let vectors = synthetic.vectors(distinct.last().copied().unwrap_or(0));
        let build = |&rows: &usize| build(args, &vectors[..rows * args.dim], &scratch, out);
        distinct.iter().map(build).collect::<Result<Vec<_>>>()?
    };
    let sizes: Vec<Size> = sizes
        .into_iter()
        .map(|(rows, collection)| {
            let truth = trial::exact_truth(&collection, args.k, &queries)?;
            Ok(Size { rows, collection, truth })
        })
        .collect::<Result<_>>()?;
    let mut curves = Vec::new();
    for &target in &args.recall {
        let measured = measure(args, target, &sizes, &queries)?;
        for of in &measured {
            out.result(of, measured_text)?;
        }
        fit(target, &measured, out, &mut curves)?;
    }
    if let Some(path) = &args.plot {
        let title = format!("one query at recall@{}, {} dimensions", args.k, args.dim);
        let picture = svg(&title, ["microseconds", "steps"], &curves);
        std::fs::write(path, picture).map_err(|error| Failure::of_file(path, &error))?;
    }
    Ok(())
}

/// A file of the rows, with a graph, written anew as it would be shipped, open to read.
fn build(
    args: &BenchGrowthArgs,
    vectors: &[f32],
    scratch: &Scratch,
    out: &Output,
) -> Result<(usize, Collection)> {
    let rows = vectors.len() / args.dim;
    let path = scratch.path(&format!("{rows}.portolan"));
    let begin = std::time::Instant::now();
    let options = DatabaseOptions::new().must_be_new().maintenance(Maintenance::Manual);
    let db = options.open(&path)?;
    let shape = CollectionOptions::new(args.dim, Metric::Cosine);
    let collection = db.create_collection(NAME, shape)?;
    let row = |row: usize| Ok(vectors[row * args.dim..(row + 1) * args.dim].to_vec());
    trial::fill(&collection, rows, row)?;
    maintain(&collection, |maintain| maintain.graph_min_rows(0))?;
    let (build_s, peak_mib) = (seconds(begin.elapsed()), trial::peak_mib());
    drop((collection, db));
    Database::compact(&path)?;
    let db = Database::open_read_only(&path)?;
    let built = Built { rows, dim: args.dim, build_s, peak_mib, file_bytes: db.info()?.file_bytes };
    out.result(&built, |built| {
        let Built { rows, dim, build_s, file_bytes, .. } = built;
        format!("{rows} x {dim} built in {build_s:.1} s, {}", bytes(*file_bytes))
    })?;
    Ok((rows, db.collection(NAME)?))
}

/// The least ef that reaches a recall; the largest there is if none does.
fn least_ef(size: &Size, k: usize, target: f64, queries: &[Vec<f32>]) -> Result<usize> {
    let reaches = |ef| -> Result<bool> {
        Ok(trial::recall(&size.collection, queries, &size.truth, ef)? >= target)
    };
    let (mut low, mut high) = (k.saturating_sub(1), k);
    while high < EF_MAX && !reaches(high)? {
        (low, high) = (high, (high * 2).min(EF_MAX));
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if reaches(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}

/// Rounds over all sizes; each size has the median of its times.
fn measure(
    args: &BenchGrowthArgs,
    target: f64,
    sizes: &[Size],
    queries: &[Vec<f32>],
) -> Result<Vec<Measured>> {
    let seek = |size: &Size| least_ef(size, args.k, target, queries);
    let efs: Vec<usize> = sizes.iter().map(seek).collect::<Result<_>>()?;
    let mut rounds: Vec<Vec<Point>> = sizes.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds {
        for ((size, &ef), points) in sizes.iter().zip(&efs).zip(&mut rounds) {
            let measured = trial::measure(&size.collection, queries, &size.truth, ef, MEASURED_MIN);
            points.push(measured?);
        }
    }
    let told = sizes.iter().zip(rounds).filter_map(|(size, points)| {
        let us_rounds: Vec<f64> = points.iter().map(|point| 1e6 / point.qps).collect();
        let mut sorted = us_rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let us = *sorted.get(sorted.len() / 2)?;
        let Point { ef, recall, steps, .. } = points.into_iter().next()?;
        Some(Measured { rows: size.rows, target, ef, recall, us, us_rounds, steps })
    });
    Ok(told.collect())
}

/// Prints the curves of one recall and keeps what is drawn.
fn fit(target: f64, measured: &[Measured], out: &Output, curves: &mut Vec<Curve>) -> Result<()> {
    let of = |value: fn(&Measured) -> f64| -> Vec<(f64, f64)> {
        measured.iter().map(|of| (of.rows as f64, value(of))).collect()
    };
    for (what, is_right, points) in
        [("microseconds", false, of(|of| of.us)), ("steps", true, of(|of| of.steps))]
    {
        let (log, power) = (LogFit::of(&points), PowerFit::of(&points));
        out.result(&Fitted { target, what, log, power }, fitted_text)?;
        let fitted = points.iter().map(|point| log.at(point.0)).collect();
        let name = format!("{what} at {target}: {:.1} + {:.1} ln n", log.a, log.b);
        curves.push(Curve { name, is_right, points, fitted });
    }
    Ok(())
}

fn measured_text(of: &Measured) -> String {
    let Measured { rows, target, ef, recall, us, steps, .. } = of;
    let short = if recall < target { "  NOT REACHED" } else { "" };
    format!(
        "{rows:>9} rows at {target}: ef {ef:>4}, recall {recall:.4}, {us:>7.1} us, \
         {steps:>6.1} steps{short}"
    )
}

fn fitted_text(of: &Fitted) -> String {
    let Fitted { target, what, log, power } = of;
    format!(
        "{what} at {target}: {:.2} + {:.2} ln n, off by {:.1} %; {:.2} n^{:.3}, off by {:.1} %",
        log.a,
        log.b,
        log.residual * 100.0,
        power.c,
        power.exponent,
        power.residual * 100.0
    )
}
