//! `portolan bench-churn`: what a collection gives and what it costs while rows come and go, as
//! in an application: through one handle, by commits that maintain inline.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use portolan::eval::vector_file::VectorFile;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Maintenance, MaintenanceOutcome,
    Record, RecordId,
};
use serde::Serialize;

use crate::bench_ann::Scratch;
use crate::bench_args::BenchChurnArgs;
use crate::failure::{Failure, Result};
use crate::output::{Output, bytes};
use crate::progress::{Progress, maintain};
use crate::timing::{percentile_us, seconds};
use crate::trial::{self, Draw, NAME, Point};

/// The queries are repeated until this much time was measured.
const MEASURED_MIN: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Built {
    phase: &'static str,
    rows: usize,
    dim: usize,
    build_s: f64,
    build_peak_mib: Option<f64>,
    file_bytes: u64,
}

/// What all commits of the churn took together.
#[derive(Serialize)]
struct Churned {
    phase: &'static str,
    inserted: usize,
    deleted: usize,
    commits: usize,
    batch: usize,
    /// Of preparing the batches and committing them, maintenance included.
    wall_s: f64,
    inserted_per_s: f64,
    commit_p50_ms: f64,
    commit_p99_ms: f64,
    commit_max_ms: f64,
    /// Commits that folded, the seconds they spent on it, and the rows that they wrote.
    folds: usize,
    folds_s: f64,
    folded_rows: u64,
    failed_folds: usize,
    /// Written to the file for each byte of an inserted float32 vector.
    written_per_byte: Option<f64>,
    file_bytes: u64,
    segments: usize,
    graphs: usize,
    unsealed: u64,
    dead: u64,
}

#[derive(Serialize)]
struct Measured {
    phase: &'static str,
    #[serde(flatten)]
    point: Point,
    /// Against the same ef before the churn.
    recall_change: f64,
    /// Hits that are not in the collection any more.
    stale: usize,
}

#[derive(Serialize)]
struct Maintained {
    phase: &'static str,
    maintain_s: f64,
    peak_mib: Option<f64>,
    file_bytes: u64,
}

/// The bench: its vectors and what is stored just now.
struct Bench<'a> {
    args: &'a BenchChurnArgs,
    base: VectorFile,
    queries: Vec<Vec<f32>>,
    live: Vec<i64>,
    before: Vec<f64>,
}

/// Builds, measures, churns, measures, folds all, and measures again.
pub fn run(args: &BenchChurnArgs, out: &Output) -> Result<()> {
    let base = VectorFile::open(&args.base)?;
    let queries = trial::queries(&args.query, base.dim())?;
    let first = (base.len() as f64 / (1.0 + args.share)) as usize;
    if first < args.k.max(args.batch) {
        return Err(Failure::new(format!("{} rows are too few to begin with", first)));
    }
    let (path, _scratch) = Scratch::unless(args.db.as_ref())?;
    let live = (0..first as i64).collect();
    let mut bench = Bench { args, base, queries, live, before: Vec::new() };
    bench.build(first, &path, out)?;
    // the library's defaults from here on, as in an application
    let db = Database::open_existing(&path)?;
    let collection = db.collection(NAME)?;
    bench.before = bench.measure(&collection, "built", out)?;
    bench.churn(&db, &collection, first, out)?;
    bench.measure(&collection, "churned", out)?;
    let begin = Instant::now();
    maintain(&collection, |maintain| maintain)?;
    let maintained = Maintained {
        phase: "maintained",
        maintain_s: seconds(begin.elapsed()),
        peak_mib: trial::peak_mib(),
        file_bytes: db.info()?.file_bytes,
    };
    out.result(&maintained, |done| {
        format!("maintained in {:.1} s, {} in the file", done.maintain_s, bytes(done.file_bytes))
    })?;
    bench.measure(&collection, "maintained", out)?;
    // what a graph of the same vectors finds that nothing was inserted into
    maintain(&collection, |maintain| maintain.rebuild())?;
    bench.measure(&collection, "rebuilt", out)?;
    Ok(())
}

impl Bench<'_> {
    fn row(&self, row: usize) -> Result<Vec<f32>> {
        Ok(self.base.row(row)?)
    }

    /// The first rows in bulk.
    fn build(&self, rows: usize, path: &Path, out: &Output) -> Result<()> {
        let options = DatabaseOptions::new().must_be_new().maintenance(Maintenance::Manual);
        let db = options.open(path)?;
        let shape = CollectionOptions::new(self.base.dim(), self.args.metric);
        let collection = db.create_collection(NAME, shape)?;
        let begin = Instant::now();
        trial::fill(&collection, rows, |row| self.row(row))?;
        maintain(&collection, |maintain| maintain)?;
        let built = Built {
            phase: "built",
            rows,
            dim: self.base.dim(),
            build_s: seconds(begin.elapsed()),
            build_peak_mib: trial::peak_mib(),
            file_bytes: db.info()?.file_bytes,
        };
        out.result(&built, |built| {
            format!("{} x {} built in {:.1} s", built.rows, built.dim, built.build_s)
        })
    }

    /// Recall and speed on what is stored now; the recalls.
    fn measure(
        &self,
        collection: &Collection,
        phase: &'static str,
        out: &Output,
    ) -> Result<Vec<f64>> {
        let truth = trial::exact_truth(collection, self.args.k, &self.queries)?;
        let live: HashSet<i64> = self.live.iter().copied().collect();
        let is_live = |id: &RecordId| matches!(id, RecordId::Int(id) if live.contains(id));
        out.note(&format!(
            "{:>6} {:>8} {:>8} {:>10} {:>10} {:>10}",
            "ef", "recall", "change", "qps", "p50 us", "p99 us"
        ))?;
        let mut recalls = Vec::new();
        for (number, &ef) in self.args.ef.iter().enumerate() {
            let point = trial::measure(collection, &self.queries, &truth, ef, MEASURED_MIN)?;
            let found = collection.search_batch(&self.queries).limit(self.args.k).ef(ef).run()?;
            let exact = truth.iter().flatten();
            let all = found.iter().flatten().map(|hit| &hit.id).chain(exact);
            let stale = all.filter(|id| !is_live(id)).count();
            recalls.push(point.recall);
            let before = self.before.get(number).unwrap_or(&point.recall);
            let recall_change = point.recall - before;
            out.result(&Measured { phase, point, recall_change, stale }, measured_text)?;
        }
        Ok(recalls)
    }

    /// Deletes random rows and inserts those that were held back, a batch at a time.
    fn churn(
        &mut self,
        db: &Database,
        collection: &Collection,
        first: usize,
        out: &Output,
    ) -> Result<()> {
        let mut draw = Draw::new(self.args.seed);
        let before = trial::written_bytes();
        let mut told = Told::default();
        let progress = Progress::new("churning", self.base.len() - first);
        for begin in (first..self.base.len()).step_by(self.args.batch) {
            let new = begin..self.base.len().min(begin + self.args.batch);
            let vectors: Vec<Vec<f32>> =
                new.clone().map(|row| self.row(row)).collect::<Result<_>>()?;
            let deletes = if self.args.keep { 0 } else { new.len().min(self.live.len()) };
            let gone: Vec<i64> =
                (0..deletes).map(|_| self.live.swap_remove(draw.below(self.live.len()))).collect();
            told.commit(collection, gone, new.clone().zip(vectors))?;
            self.live.extend(new.map(|row| row as i64));
            progress.at(begin - first);
        }
        drop(progress);
        let written = trial::written_bytes().zip(before).map(|(now, before)| now - before);
        let churned = told.finish(db, collection, self.args.batch, written)?;
        out.result(&churned, churned_text)
    }
}

/// What the commits said and took.
#[derive(Default)]
struct Told {
    commits: Vec<Duration>,
    wall: Duration,
    inserted: usize,
    deleted: usize,
    folds: usize,
    folds_took: Duration,
    folded_rows: u64,
    failed_folds: usize,
}

impl Told {
    fn commit(
        &mut self,
        collection: &Collection,
        gone: Vec<i64>,
        new: impl Iterator<Item = (usize, Vec<f32>)>,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut batch = collection.batch();
        gone.into_iter().for_each(|id| batch.delete(id));
        for (row, vector) in new {
            batch.upsert(Record::new(row as i64).vector(vector))?;
        }
        let asked = Instant::now();
        let done = batch.commit()?;
        self.commits.push(asked.elapsed());
        self.wall += begin.elapsed();
        self.inserted += done.upserted;
        self.deleted += done.deleted;
        match done.maintenance {
            MaintenanceOutcome::Done(fold) => {
                self.folds += 1;
                self.folds_took += fold.took;
                self.folded_rows += fold.rows;
            }
            MaintenanceOutcome::Failed(_) => self.failed_folds += 1,
            _ => {}
        }
        Ok(())
    }

    fn finish(
        mut self,
        db: &Database,
        collection: &Collection,
        batch: usize,
        written: Option<u64>,
    ) -> Result<Churned> {
        self.commits.sort_unstable();
        let millis = |percent| percentile_us(&self.commits, percent) / 1e3;
        let bytes = (self.inserted * collection.dimensions() * size_of::<f32>()).max(1);
        let info = collection.info()?;
        Ok(Churned {
            phase: "churn",
            inserted: self.inserted,
            deleted: self.deleted,
            commits: self.commits.len(),
            batch,
            wall_s: seconds(self.wall),
            inserted_per_s: self.inserted as f64 / self.wall.as_secs_f64().max(1e-9),
            commit_p50_ms: millis(50),
            commit_p99_ms: millis(99),
            commit_max_ms: millis(100),
            folds: self.folds,
            folds_s: seconds(self.folds_took),
            folded_rows: self.folded_rows,
            failed_folds: self.failed_folds,
            written_per_byte: written.map(|written| written as f64 / bytes as f64),
            file_bytes: db.info()?.file_bytes,
            segments: info.segments,
            graphs: info.graphs,
            unsealed: info.unsealed,
            dead: info.deleted,
        })
    }
}

fn churned_text(of: &Churned) -> String {
    let written = of.written_per_byte.map_or("-".to_owned(), |times| format!("{times:.1}"));
    format!(
        "{} inserted and {} deleted by {} commits in {:.1} s: {:.0} inserted/s\n\
         commit p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms; {} folds of {} rows took {:.1} s, \
         {} failed\n\
         {written} bytes written per inserted byte; {} in the file, {} segments, {} graphs, \
         {} unsealed, {} dead",
        of.inserted,
        of.deleted,
        of.commits,
        of.wall_s,
        of.inserted_per_s,
        of.commit_p50_ms,
        of.commit_p99_ms,
        of.commit_max_ms,
        of.folds,
        of.folded_rows,
        of.folds_s,
        of.failed_folds,
        bytes(of.file_bytes),
        of.segments,
        of.graphs,
        of.unsealed,
        of.dead
    )
}

fn measured_text(of: &Measured) -> String {
    let Point { ef, recall, qps, p50_us, p99_us, .. } = &of.point;
    let change = of.recall_change;
    let stale = if of.stale == 0 { String::new() } else { format!("  {} stale hits", of.stale) };
    format!("{ef:>6} {recall:>8.4} {change:>+8.4} {qps:>10.0} {p50_us:>10.1} {p99_us:>10.1}{stale}")
}
