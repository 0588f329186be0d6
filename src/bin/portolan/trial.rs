//! What the benches of a collection's life share: vectors, truth, recall and time per query, and
//! what the system says this process took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portolan::eval::vector_file::VectorFile;
use portolan::{Collection, Metric, Record, RecordId};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::timing::percentile_us;

/// Name of the collection in files that benches make.
pub const NAME: &str = "bench";
/// Vectors per commit of a bulk build.
const BATCH: usize = 1000;
/// Queries whose truth is sought between two looks at the progress.
const TRUTH_TASK: usize = 64;

/// The ids of the true neighbors of each query, best first.
pub type Truth = Vec<Vec<RecordId>>;

/// One setting, measured on one thread, one query after the other.
#[derive(Serialize, Clone)]
pub struct Point {
    pub ef: usize,
    pub recall: f64,
    pub qps: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Nodes that a query's walks expanded, on average.
    pub steps: f64,
}

/// All rows of a file, which must not be empty and have `dim` components.
pub fn queries(path: &std::path::Path, dim: usize) -> Result<Vec<Vec<f32>>> {
    let file = VectorFile::open(path)?;
    if file.is_empty() || file.dim() != dim {
        return Err(Failure::new(format!(
            "{} holds {} vectors of {} dimensions: needed is one of {dim} at least",
            path.display(),
            file.len(),
            file.dim()
        )));
    }
    Ok((0..file.len()).map(|row| file.row(row)).collect::<std::result::Result<_, _>>()?)
}

/// Refuses a file that holds other vectors than the arguments say, as far as its shape tells.
pub fn check_reused(collection: &Collection, base: &VectorFile, metric: Metric) -> Result<()> {
    let found = (collection.count()?, collection.dimensions(), collection.metric());
    let told = (base.len() as u64, base.dim(), metric);
    if found == told {
        return Ok(());
    }
    let of = |(rows, dim, metric): (u64, usize, Metric)| format!("{rows} x {dim} {metric}");
    Err(Failure::new(format!(
        "the file of --db holds {}, but --base and --metric say {}",
        of(found),
        of(told)
    )))
}

/// Stores rows under the ids 0, 1, ...; folds nothing by itself.
pub fn fill(
    collection: &Collection,
    rows: usize,
    row: impl Fn(usize) -> Result<Vec<f32>>,
) -> Result<()> {
    let progress = Progress::new("storing", rows);
    for begin in (0..rows).step_by(BATCH) {
        let mut batch = collection.batch();
        for number in begin..rows.min(begin + BATCH) {
            batch.upsert(Record::new(number as i64).vector(row(number)?))?;
        }
        batch.commit()?;
        progress.at(begin);
    }
    Ok(())
}

/// By comparing each query with every stored vector, on all threads.
pub fn exact_truth(collection: &Collection, k: usize, queries: &[Vec<f32>]) -> Result<Truth> {
    let progress = Progress::new("truth", queries.len());
    let mut truth = Truth::with_capacity(queries.len());
    for task in queries.chunks(TRUTH_TASK) {
        let found = collection.search_batch(task).limit(k).exact().run()?;
        truth.extend(found.into_iter().map(|hits| hits.into_iter().map(|hit| hit.id).collect()));
        progress.at(truth.len());
    }
    Ok(truth)
}

/// All queries once to warm up and then until `at_least` was measured.
pub fn measure(
    collection: &Collection,
    queries: &[Vec<f32>],
    truth: &Truth,
    ef: usize,
    at_least: Duration,
) -> Result<Point> {
    let k = truth.first().map_or(0, Vec::len);
    let (mut right, mut steps) = (0, 0);
    for (query, truth) in queries.iter().zip(truth) {
        let found = collection.search(query).limit(k).ef(ef).run()?;
        right += found.iter().filter(|hit| truth.contains(&hit.id)).count();
        steps += found.report.steps;
    }
    let (begin, mut latencies) = (Instant::now(), Vec::new());
    while begin.elapsed() < at_least || latencies.is_empty() {
        for query in queries {
            let asked = Instant::now();
            collection.search(query).limit(k).ef(ef).run()?;
            latencies.push(asked.elapsed());
        }
    }
    let wall = begin.elapsed();
    latencies.sort_unstable();
    let wanted: usize = truth.iter().map(Vec::len).sum();
    Ok(Point {
        ef,
        recall: right as f64 / wanted.max(1) as f64,
        qps: latencies.len() as f64 / wall.as_secs_f64(),
        p50_us: percentile_us(&latencies, 50),
        p99_us: percentile_us(&latencies, 99),
        steps: steps as f64 / queries.len().max(1) as f64,
    })
}

/// Share of the true neighbors that are found, without a look at the clock.
pub fn recall(
    collection: &Collection,
    queries: &[Vec<f32>],
    truth: &Truth,
    ef: usize,
) -> Result<f64> {
    let k = truth.first().map_or(0, Vec::len);
    let found = collection.search_batch(queries).limit(k).ef(ef).run()?;
    let right = found
        .iter()
        .zip(truth)
        .map(|(hits, truth)| hits.iter().filter(|hit| truth.contains(&hit.id)).count());
    let wanted: usize = truth.iter().map(Vec::len).sum();
    Ok(right.sum::<usize>() as f64 / wanted.max(1) as f64)
}

/// MiB that were resident in this process at its highest so far, pages of mapped files included;
/// none where the system does not tell.
pub fn peak_mib() -> Option<f64> {
    Some(kernel_figure("/proc/self/status", "VmHWM:")? / 1024.0)
}

/// Watches the memory that this process has beside mapped files, from a thread of its own.
pub struct OwnMemory {
    before: Option<f64>,
    done: Arc<AtomicBool>,
    watch: Option<JoinHandle<f64>>,
}

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

impl OwnMemory {
    /// Begins to watch.
    pub fn watch() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let before = own_mib();
        let watch = std::thread::spawn(move || {
            let mut peak = 0.0;
            while !is_done.load(Ordering::Relaxed) {
                peak = own_mib().unwrap_or(0.0).max(peak);
                std::thread::sleep(LOOK);
            }
            peak
        });
        Self { before, done, watch: Some(watch) }
    }

    /// Ends it: the most MiB there were above those at the beginning; none where the system does
    /// not tell.
    pub fn peak_mib(mut self) -> Option<f64> {
        self.done.store(true, Ordering::Relaxed);
        let peak = self.watch.take()?.join().ok()?;
        Some((peak - self.before?).max(0.0))
    }
}

impl Drop for OwnMemory {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// MiB of this process beside mapped files.
fn own_mib() -> Option<f64> {
    Some(kernel_figure("/proc/self/status", "RssAnon:")? / 1024.0)
}

/// Bytes that this process has written to files so far; none where the system does not tell.
pub fn written_bytes() -> Option<u64> {
    kernel_figure("/proc/self/io", "wchar:").map(|bytes| bytes as u64)
}

fn kernel_figure(file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A sequence of random numbers that a seed fixes (splitmix64 by Vigna).
pub struct Draw(u64);

impl Draw {
    /// Begins the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, which is not 0; the lowest are favored by less than `end / 2^64`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_for_a_seed_and_stay_below_the_end() {
        let draw = |seed| {
            let mut draw = Draw::new(seed);
            (0..1000).map(|_| draw.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        for number in 0..7 {
            let times = draw(3).iter().filter(|&&drawn| drawn == number).count();
            assert!((100..200).contains(&times), "{number}: {times}");
        }
        assert_eq!(Draw::new(1).below(0), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_was_taken_meanwhile_is_seen() {
        let watched = OwnMemory::watch();
        // More than what tests beside this one give back meanwhile.
        let taken = std::hint::black_box(vec![1_u8; 256 << 20]);
        std::thread::sleep(LOOK * 20);
        let peak = watched.peak_mib().unwrap();
        assert!(peak > 128.0, "{peak} MiB of {}", std::hint::black_box(taken).len());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_of_this_process_is_known_and_does_not_fall() {
        let before = peak_mib().unwrap();
        assert!(before > 1.0, "{before}");
        let taken = vec![1_u8; 32 << 20];
        assert!(peak_mib().unwrap() >= before, "{}", taken.len());
    }
}
