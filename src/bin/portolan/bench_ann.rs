//! `portolan bench-ann`: recall, throughput and latency of vector search, measured on a real
//! database file that was reopened read-only, through the call that applications use. A search
//! reads the records it found too; they are empty here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portolan::eval::vector_file::VectorFile;
use portolan::internals::kernels;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Found, Hits, Maintenance, Record,
    RecordId, Search, SpaceInfo,
};
use rayon::prelude::*;
use serde::Serialize;

use crate::args::BenchAnnArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::progress::{Progress, maintain};
use crate::timing::{percentile_us, seconds};
use crate::trial::{OwnMemory, check_reused, peak_mib};

/// Vectors per commit.
const BATCH: usize = 1000;
/// The queries are repeated until this much time was measured.
const MEASURED_MIN: Duration = Duration::from_millis(500);
/// Compaction builds a graph for flat collections of more rows than this.
const FLAT_ROWS_MAX: usize = 20_000;

#[derive(Serialize)]
struct Built {
    build_s: f64,
    /// Resident at the highest while building, with the pages of the vectors' file that were
    /// read; absent where the system does not tell, or nothing was built.
    build_peak_mib: Option<f64>,
    /// At the highest while vectors were folded, beside mapped files.
    build_own_mib: Option<f64>,
    /// Int8 codes, navigation codes and links, which the peak is compared with.
    codes_mib: f64,
    bytes_per_vector: f64,
    resident_bytes_per_vector: f64,
    rows: usize,
    dim: usize,
    leading: usize,
    metric: String,
    k: usize,
    queries: usize,
    threads: usize,
    flat: bool,
    /// The instruction set that kernels run on.
    isa: &'static str,
}

/// Efs measured unless others, or recall targets, are asked for.
const EFS: [usize; 11] = [10, 16, 24, 32, 48, 64, 96, 128, 200, 300, 400];

/// How hard searches try.
#[derive(Clone, Copy)]
enum Effort {
    Ef(usize),
    Recall(f32),
}

#[derive(Serialize)]
struct Measured {
    /// The recall target, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f32>,
    ef: usize,
    recall: f64,
    qps: f64,
    /// Of single queries; absent in a batch.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

/// A folder for the database file that goes when the command ends.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder among the temporary files.
    pub fn new() -> Result<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = now.map_or(0, |time| time.as_nanos());
        let name = format!("portolan-bench-{}-{nanos}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|error| Failure::of_file(&path, &error))?;
        Ok(Self(path))
    }

    /// The file that was named, or one in a folder that goes when the second value does.
    pub fn unless(named: Option<&PathBuf>) -> Result<(PathBuf, Option<Self>)> {
        if let Some(path) = named {
            return Ok((path.clone(), None));
        }
        let scratch = Self::new()?;
        Ok((scratch.path("bench.portolan"), Some(scratch)))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds the file, then measures each ef.
pub fn run(args: &BenchAnnArgs, out: &Output) -> Result<()> {
    let base = VectorFile::open(&args.base)?;
    let queries = queries(args, &base)?;
    let given = args.truth.as_deref().map(|path| read_truth(path, args, &base, queries.len()));
    let given = given.transpose()?;
    let (path, _scratch) = Scratch::unless(args.db.as_ref())?;
    let took = if args.reuse { Took::default() } else { build(args, &base, &path)? };
    let db = Database::open_read_only(&path)?;
    let collection = db.collection("bench")?;
    if args.reuse {
        check_reused(&collection, &base, args.metric)?;
    }
    let info = db.info()?;
    if args.resident {
        collection.make_resident()?;
    }
    let rows = base.len() as f64;
    let hot = |space: &SpaceInfo| space.codes + space.links + space.slots + space.navigation;
    let resident: u64 = info.collections.iter().map(|of| hot(&of.space)).sum();
    let built = Built {
        build_s: took.seconds,
        build_peak_mib: took.peak_mib,
        build_own_mib: took.own_mib,
        codes_mib: resident as f64 / f64::from(1 << 20),
        bytes_per_vector: info.file_bytes as f64 / rows,
        resident_bytes_per_vector: resident as f64 / rows,
        rows: base.len(),
        dim: base.dim(),
        leading: collection.leading_dimensions(),
        metric: args.metric.to_string(),
        k: args.k,
        queries: queries.len(),
        threads: args.threads,
        flat: args.flat,
        isa: kernels::level().name(),
    };
    out.result(&built, built_text)?;
    let truth = match given {
        Some(truth) => truth,
        None => exact_truth(&collection, args.k, &queries)?,
    };
    out.note(&format!(
        "{:>6} {:>8} {:>10} {:>10} {:>10} {:>7}",
        "ef", "recall", "qps", "p50 us", "p99 us", "target"
    ))?;
    // without a graph every ef is the same scan
    let efforts = efforts(args);
    let efforts = if args.flat { efforts.get(..1) } else { None }.unwrap_or(&efforts);
    if let Some(&effort) = efforts.first() {
        pass(&collection, args, effort, &queries)?;
    }
    for &effort in efforts {
        let measured = if args.batch {
            measure_batch(&collection, args, effort, &queries, &truth)?
        } else {
            measure(&collection, args, effort, &queries, &truth)?
        };
        out.result(&measured, |at| {
            let Measured { target, ef, recall, qps, p50_us, p99_us } = at;
            let us = |us: &Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.1}"));
            let (p50, p99) = (us(p50_us), us(p99_us));
            let target = target.map_or("-".to_owned(), |target| target.to_string());
            format!("{ef:>6} {recall:>8.4} {qps:>10.0} {p50:>10} {p99:>10} {target:>7}")
        })?;
    }
    Ok(())
}

fn efforts(args: &BenchAnnArgs) -> Vec<Effort> {
    let usual: &[usize] = if args.recall.is_empty() { &EFS } else { &[] };
    let efs = if args.ef.is_empty() { usual } else { &args.ef };
    let targets = args.recall.iter().copied().map(Effort::Recall);
    efs.iter().copied().map(Effort::Ef).chain(targets).collect()
}

fn set(search: Search<'_>, effort: Effort) -> Search<'_> {
    match effort {
        Effort::Ef(ef) => search.ef(ef),
        Effort::Recall(target) => search.recall(target),
    }
}

/// The target, and the candidates that one search is walked with.
fn asked(
    collection: &Collection,
    args: &BenchAnnArgs,
    effort: Effort,
    query: &[f32],
) -> Result<(Option<f32>, usize)> {
    match effort {
        Effort::Ef(ef) => Ok((None, ef)),
        Effort::Recall(target) => {
            let search = collection.search(query).limit(args.k).recall(target);
            Ok((Some(target), search.run()?.report.ef))
        }
    }
}

fn built_text(built: &Built) -> String {
    let is_cut = built.leading < built.dim;
    let cut = if is_cut { format!(" (codes of {})", built.leading) } else { String::new() };
    let peak = built.build_own_mib.map_or(String::new(), |mib| {
        format!(" and {mib:.0} MiB (codes and links: {:.0})", built.codes_mib)
    });
    let how = match built.build_s {
        0.0 => "found in the file".to_owned(),
        seconds => format!("built in {seconds:.1} s{peak}"),
    };
    format!(
        "{} x {}{cut} {} {how}: {:.0} bytes per vector in the file, {:.0} to keep resident",
        built.rows,
        built.dim,
        built.metric,
        built.bytes_per_vector,
        built.resident_bytes_per_vector
    )
}

/// All query vectors, after their shape was held against the base.
fn queries(args: &BenchAnnArgs, base: &VectorFile) -> Result<Vec<Vec<f32>>> {
    let file = VectorFile::open(&args.query)?;
    if base.dim() != file.dim() {
        return Err(Failure::new(format!(
            "{} has {} dimensions but {} has {}",
            args.base.display(),
            base.dim(),
            args.query.display(),
            file.dim()
        )));
    }
    if base.is_empty() || file.is_empty() || args.k > base.len() {
        return Err(Failure::new(format!(
            "{} queries for {} neighbors among {} vectors: give at least one query and k vectors",
            file.len(),
            args.k,
            base.len()
        )));
    }
    Ok((0..file.len()).map(|row| file.row(row)).collect::<std::result::Result<_, _>>()?)
}

/// What a build took.
#[derive(Default)]
struct Took {
    seconds: f64,
    peak_mib: Option<f64>,
    own_mib: Option<f64>,
}

/// Stores all vectors under their row numbers and folds them; then writes the file anew without
/// free pages, as it would be shipped.
fn build(args: &BenchAnnArgs, base: &VectorFile, path: &Path) -> Result<Took> {
    let mut options = DatabaseOptions::new().must_be_new().maintenance(Maintenance::Manual);
    if let Some(mib) = args.build_memory {
        options = options.build_memory(mib.saturating_mul(1 << 20));
    }
    let db = options.open(path)?;
    let options = CollectionOptions::new(base.dim(), args.metric)
        .leading_dimensions(args.leading.unwrap_or(base.dim()));
    let collection = db.create_collection("bench", options)?;
    let begin = Instant::now();
    {
        let progress = Progress::new("storing", base.len());
        let mut batch = collection.batch();
        for row in 0..base.len() {
            batch.upsert(Record::new(row as i64).vector(base.row(row)?))?;
            if batch.len() >= BATCH {
                std::mem::replace(&mut batch, collection.batch()).commit()?;
                progress.at(row + 1);
            }
        }
        batch.commit()?;
    }
    let graph_min_rows = if args.flat { u32::MAX } else { 0 };
    let memory = OwnMemory::watch();
    maintain(&collection, |maintain| maintain.graph_min_rows(graph_min_rows))?;
    let own_mib = memory.peak_mib();
    let took = Took { seconds: seconds(begin.elapsed()), peak_mib: peak_mib(), own_mib };
    drop((collection, db));
    if !args.flat || base.len() <= FLAT_ROWS_MAX {
        Database::compact(path)?;
    }
    Ok(took)
}

/// Row numbers of the true neighbors: u32 of an `.ivecs` file, or whole numbers of a float `.npy`.
fn read_truth(
    path: &Path,
    args: &BenchAnnArgs,
    base: &VectorFile,
    queries: usize,
) -> Result<Vec<Vec<u32>>> {
    let file = VectorFile::open(path)?;
    if file.len() != queries || file.dim() < args.k {
        return Err(Failure::new(format!(
            "{} holds {} neighbors of {} queries, needed are at least {} of {queries}",
            path.display(),
            file.dim(),
            file.len(),
            args.k
        )));
    }
    let is_integer = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("ivecs"));
    let mut truth = Vec::with_capacity(queries);
    for row in 0..queries {
        let mut ids = if is_integer {
            file.row_u32(row)?
        } else {
            let whole = |value: &f32| (*value as u32, (*value as u32) as f32 == *value);
            let ids: Vec<(u32, bool)> = file.row(row)?.iter().map(whole).collect();
            if ids.iter().any(|(_, is_whole)| !is_whole) {
                let name = path.display();
                return Err(Failure::new(format!("{name}: row {row} does not hold row numbers")));
            }
            ids.into_iter().map(|(id, _)| id).collect()
        };
        ids.truncate(args.k);
        if let Some(id) = ids.iter().find(|id| **id as usize >= base.len()) {
            let (name, len) = (path.display(), base.len());
            return Err(Failure::new(format!("{name}: row {row} names {id}, the base has {len}")));
        }
        truth.push(ids);
    }
    Ok(truth)
}

/// By comparing each query with every stored vector; on all threads, as nothing is timed here.
fn exact_truth(collection: &Collection, k: usize, queries: &[Vec<f32>]) -> Result<Vec<Vec<u32>>> {
    let progress = Progress::new("truth", queries.len());
    let truth = queries.par_iter().map(|query| {
        let hits = collection.search(query).limit(k).exact().run()?;
        progress.step();
        Ok(hits.iter().filter_map(|hit| row_number(&hit.id)).collect())
    });
    truth.collect()
}

/// The row of the base that an id stands for.
pub fn row_number(id: &RecordId) -> Option<u32> {
    match id {
        RecordId::Int(row) => u32::try_from(*row).ok(),
        RecordId::Text(_) => None,
    }
}

fn measure(
    collection: &Collection,
    args: &BenchAnnArgs,
    effort: Effort,
    queries: &[Vec<f32>],
    truth: &[Vec<u32>],
) -> Result<Measured> {
    let begin = Instant::now();
    let first = pass(collection, args, effort, queries)?;
    let mut wall = begin.elapsed();
    let found = recall(&first, truth);
    let mut latencies: Vec<Duration> = first.into_iter().map(|(_, _, took)| took).collect();
    while wall < MEASURED_MIN {
        let begin = Instant::now();
        let again = pass(collection, args, effort, queries)?;
        wall += begin.elapsed();
        latencies.extend(again.into_iter().map(|(_, _, took)| took));
    }
    latencies.sort_unstable();
    let (target, ef) = asked(collection, args, effort, queries.first().map_or(&[], Vec::as_slice))?;
    Ok(Measured {
        target,
        ef,
        recall: found,
        qps: latencies.len() as f64 / wall.as_secs_f64(),
        p50_us: Some(percentile_us(&latencies, 50)),
        p99_us: Some(percentile_us(&latencies, 99)),
    })
}

/// All queries in one call, as often as the time to measure takes.
fn measure_batch(
    collection: &Collection,
    args: &BenchAnnArgs,
    effort: Effort,
    queries: &[Vec<f32>],
    truth: &[Vec<u32>],
) -> Result<Measured> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build();
    let pool = pool.map_err(|error| Failure::new(error.to_string()))?;
    let search = || {
        let search = collection.search_batch(queries).limit(args.k);
        match effort {
            Effort::Ef(ef) => search.ef(ef),
            Effort::Recall(target) => search.recall(target),
        }
        .run()
    };
    let found = pool.install(search)?;
    let of_query =
        |(hits, truth): (&Vec<Found>, &Vec<u32>)| right(hits.iter().map(|hit| &hit.id), truth);
    let recall = share(found.iter().zip(truth).map(of_query).sum(), truth);
    let (begin, mut answered) = (Instant::now(), 0);
    while begin.elapsed() < MEASURED_MIN {
        answered += pool.install(search)?.len();
    }
    let qps = answered as f64 / begin.elapsed().as_secs_f64();
    let (target, ef) = asked(collection, args, effort, queries.first().map_or(&[], Vec::as_slice))?;
    Ok(Measured { target, ef, recall, qps, p50_us: None, p99_us: None })
}

/// Query number, hits, latency.
type Timed = (usize, Hits, Duration);

/// All queries once, dealt out to the threads; each thread runs its own one after the other.
fn pass(
    collection: &Collection,
    args: &BenchAnnArgs,
    effort: Effort,
    queries: &[Vec<f32>],
) -> Result<Vec<Timed>> {
    let worker = |first: usize| -> portolan::Result<Vec<Timed>> {
        let own = queries.iter().enumerate().skip(first).step_by(args.threads);
        let mut timed = Vec::with_capacity(queries.len() / args.threads + 1);
        for (number, query) in own {
            let begin = Instant::now();
            let hits = set(collection.search(query).limit(args.k), effort).run()?;
            timed.push((number, hits, begin.elapsed()));
        }
        Ok(timed)
    };
    if args.threads == 1 {
        return Ok(worker(0)?);
    }
    std::thread::scope(|scope| {
        let worker = &worker;
        let threads: Vec<_> =
            (0..args.threads).map(|first| scope.spawn(move || worker(first))).collect();
        let mut all = Vec::with_capacity(queries.len());
        for thread in threads {
            match thread.join() {
                Ok(timed) => all.extend(timed?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

/// Share of the true neighbors that were found, over all queries.
fn recall(found: &[Timed], truth: &[Vec<u32>]) -> f64 {
    let of_query = |(number, hits, _): &Timed| {
        let truth = truth.get(*number).map(Vec::as_slice).unwrap_or_default();
        right(hits.iter().map(|hit| &hit.id), truth)
    };
    share(found.iter().map(of_query).sum(), truth)
}

/// How many of the ids that were found are true neighbors.
pub fn right<'h>(ids: impl Iterator<Item = &'h RecordId>, truth: &[u32]) -> usize {
    ids.filter_map(row_number).filter(|row| truth.contains(row)).count()
}

/// So many as a share of all true neighbors.
pub fn share(right: usize, truth: &[Vec<u32>]) -> f64 {
    let wanted: usize = truth.iter().map(Vec::len).sum();
    right as f64 / wanted.max(1) as f64
}
