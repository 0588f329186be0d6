//! `portolan bench-open`: how long opening a file takes, whether its first answer is right, and
//! how soon searches are as fast as they get; from the cache of the system and from the disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portolan::{Collection, Database};
use serde::Serialize;

use crate::bench_args::BenchOpenArgs;
use crate::failure::{Failure, Result};
use crate::output::{Output, bytes};
use crate::timing::{millis, seconds};
use crate::trial::{self, Truth};

/// Searches are counted over so long at a time.
const BUCKET: Duration = Duration::from_millis(50);
/// Searches are warm from the bucket on that is this part as fast as the late ones.
const WARM_PART: f64 = 0.9;
/// Buckets that a person is shown, by their number.
const SHOWN: [usize; 8] = [0, 1, 2, 4, 9, 19, 39, 99];

#[derive(Serialize)]
struct File {
    file_bytes: u64,
    vectors: u64,
    dim: usize,
    segments: usize,
    graphs: usize,
    residency: String,
    read_write: bool,
}

/// What opening gave; times are medians over the rounds.
#[derive(Serialize)]
struct Opened {
    /// Where the pages of the file were before: `system` or `disk`.
    cache: &'static str,
    rounds: usize,
    open_ms: f64,
    open_max_ms: f64,
    /// From before opening to the first answer.
    first_answer_ms: f64,
    /// From before opening to the first answer whose best hit is the true one.
    first_right_ms: f64,
    /// Rounds whose very first answer was right.
    right_at_once: usize,
    /// Searches per second after the first half of the time.
    warm_qps: f64,
    /// From before opening to the end of the first bucket that was 90 % as fast.
    warm_after_ms: Option<f64>,
    bucket_ms: f64,
    /// Searches per second, bucket by bucket.
    qps: Vec<f64>,
}

/// One opening, in durations from its begin.
struct Round {
    open: Duration,
    first: Duration,
    right: Duration,
    is_right_at_once: bool,
}

struct Bench<'a> {
    args: &'a BenchOpenArgs,
    name: String,
    queries: Vec<Vec<f32>>,
    truth: Truth,
}

/// Finds the truth, then opens again and again, first with and then without cached pages.
pub fn run(args: &BenchOpenArgs, out: &Output) -> Result<()> {
    let bench = prepare(args, out)?;
    // what another state of the cache left behind is undone by the first round, which is not told
    bench.round(0)?;
    out.result(&bench.opened("system")?, opened_text)?;
    if evict(&args.db) {
        out.result(&bench.opened("disk")?, opened_text)
    } else {
        out.note(&"the system was not asked to forget the file: that needs the command dd of GNU")
    }
}

fn prepare<'a>(args: &'a BenchOpenArgs, out: &Output) -> Result<Bench<'a>> {
    let db = Database::open_read_only(&args.db)?;
    let names = db.collections()?;
    let name = match (&args.collection, names.as_slice()) {
        (Some(name), _) => name.clone(),
        (None, [only]) => only.clone(),
        (None, _) => return Err(Failure::Usage(format!("--collection: one of {names:?}"))),
    };
    let collection = db.collection(&name)?;
    let queries = trial::queries(&args.query, collection.dimensions())?;
    let truth = trial::exact_truth(&collection, args.k, &queries)?;
    let info = collection.info()?;
    let file = File {
        file_bytes: db.info()?.file_bytes,
        vectors: info.vectors,
        dim: info.dimensions,
        segments: info.segments,
        graphs: info.graphs,
        residency: format!("{:?}", portolan::Residency::from(args.residency)),
        read_write: args.read_write,
    };
    out.result(&file, |file| {
        let File { vectors, dim, segments, graphs, residency, .. } = file;
        let size = bytes(file.file_bytes);
        format!("{vectors} x {dim} in {size}: {segments} segments, {graphs} graphs; {residency}")
    })?;
    Ok(Bench { args, name, queries, truth })
}

impl Bench<'_> {
    fn open(&self) -> Result<(Database, Collection)> {
        let path = &self.args.db;
        let opened = if self.args.read_write {
            Database::open_existing(path)
        } else {
            Database::open_read_only(path)
        };
        let db = opened?;
        db.set_residency(self.args.residency.into());
        let collection = db.collection(&self.name)?;
        Ok((db, collection))
    }

    /// Whether the best hit for a query is the true one.
    fn is_right(&self, collection: &Collection, query: usize) -> Result<bool> {
        let found = collection.search(&self.queries[query]);
        let found = found.limit(self.args.k).ef(self.args.ef).run()?;
        let truth = self.truth[query].first();
        Ok(found.first().map(|hit| &hit.id) == truth)
    }

    /// Opens and asks until an answer is right; each round begins with another query.
    fn round(&self, number: usize) -> Result<Round> {
        let begin = Instant::now();
        let (_db, collection) = self.open()?;
        let open = begin.elapsed();
        let order = (0..self.queries.len()).map(|at| (at + number) % self.queries.len());
        let (mut first, mut is_right_at_once) = (None, false);
        for query in order {
            let is_right = self.is_right(&collection, query)?;
            if first.is_none() {
                is_right_at_once = is_right;
            }
            let now = begin.elapsed();
            let first = *first.get_or_insert(now);
            if is_right {
                return Ok(Round { open, first, right: now, is_right_at_once });
            }
        }
        Err(Failure::new("no answer was right"))
    }

    fn opened(&self, cache: &'static str) -> Result<Opened> {
        let forget = || cache == "system" || evict(&self.args.db);
        let mut rounds = Vec::with_capacity(self.args.rounds);
        for number in 0..self.args.rounds {
            forget();
            rounds.push(self.round(number)?);
        }
        forget();
        let (qps, opened) = self.curve()?;
        let late = qps.get(qps.len() / 2..).unwrap_or_default().to_vec();
        let warm_qps = median(late);
        let warm = qps.iter().position(|&rate| rate >= WARM_PART * warm_qps);
        let bucket_ms = millis(BUCKET);
        let times = |of: fn(&Round) -> Duration| rounds.iter().map(of).map(millis).collect();
        let opens: Vec<f64> = times(|round| round.open);
        Ok(Opened {
            cache,
            rounds: rounds.len(),
            open_max_ms: opens.iter().copied().fold(0.0, f64::max),
            open_ms: median(opens),
            first_answer_ms: median(times(|round| round.first)),
            first_right_ms: median(times(|round| round.right)),
            right_at_once: rounds.iter().filter(|round| round.is_right_at_once).count(),
            warm_qps,
            warm_after_ms: warm.map(|at| millis(opened) + (at + 1) as f64 * bucket_ms),
            bucket_ms,
            qps,
        })
    }

    /// Searches per second in each bucket after one opening, and how long that opening took.
    fn curve(&self) -> Result<(Vec<f64>, Duration)> {
        let begin = Instant::now();
        let (_db, collection) = self.open()?;
        let opened = begin.elapsed();
        let buckets = self.args.seconds * (1000 / BUCKET.as_millis() as usize);
        let mut counts = vec![0_usize; buckets];
        for query in (0..self.queries.len()).cycle() {
            self.is_right(&collection, query)?;
            // an answer counts where it ended
            let at = (begin.elapsed() - opened).as_nanos() / BUCKET.as_nanos();
            let Some(count) = counts.get_mut(at as usize) else { break };
            *count += 1;
        }
        let rates = counts.into_iter().map(|count| count as f64 / BUCKET.as_secs_f64());
        Ok((rates.collect(), opened))
    }
}

/// Asks the system to forget the cached pages of a file that nobody has mapped.
fn evict(file: &Path) -> bool {
    let mut input = std::ffi::OsString::from("if=");
    input.push(file);
    let mut command = Command::new("dd");
    command.arg(input).args(["iflag=nocache", "count=0", "status=none"]);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The middle value; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn opened_text(of: &Opened) -> String {
    let warm = of.warm_after_ms.map_or("never".to_owned(), |after| format!("after {after:.0} ms"));
    let shown = SHOWN.iter().filter_map(|&at| Some((at, of.qps.get(at)?)));
    let at = |number: usize| seconds(BUCKET * (number as u32 + 1));
    let curve: Vec<String> = shown.map(|(n, rate)| format!("{:.2} s {rate:.0}", at(n))).collect();
    format!(
        "from the {}: open {:.2} ms (longest {:.2}), first answer after {:.2} ms, first right one \
         after {:.2} ms, {} of {} right at once\n  {:.0} queries/s when warm, 90 % of that {warm}; \
         by then: {}",
        of.cache,
        of.open_ms,
        of.open_max_ms,
        of.first_answer_ms,
        of.first_right_ms,
        of.right_at_once,
        of.rounds,
        of.warm_qps,
        curve.join(", ")
    )
}
