//! The power fails at any moment: whatever part of the unsynced writes the disk has kept, the file
//! opens, holds every acknowledged batch whole, and can be written on.
//!
//! A child works under the shim, which records its writes and syncs. From the log the parent makes
//! the states that a disk may be in after a loss of power (`shim/disk.rs` tells the model), opens
//! each and compares it with what the batches, known by their numbers, must have left.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;
#[path = "shim/mod.rs"]
mod shim;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::numbered::{Batches, Expected, NAME, collection, last_batch};
use common::{Rng, deep};
use portolan::{Database, DatabaseOptions, Error, Maintenance};
use shim::disk::Disk;
use shim::log::{Event, parse};
use shim::workload::{KINDS, MADE, NOTHING, OPENED, Player, Workload, asked};
use shim::{DATABASE, Shim, scratch, share_out};
use xxhash_rust::xxh3::xxh3_128;

/// Plays the child; does nothing when this process is not one.
#[test]
fn child_works_while_its_writes_are_recorded() {
    let Some((workload, directory)) = asked() else { return };
    let mut player = Player::new(workload, &directory);
    if std::env::var_os("PORTOLAN_SHIM_FAULT").is_some() {
        return player.play_stubbornly(false);
    }
    for step in workload.steps() {
        player.play(step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
    }
}

/// What a life of a file begins with.
#[derive(Clone)]
struct Start {
    content: Vec<u8>,
    state: i64,
}

/// What a child did.
struct Recording {
    /// Whether a call of it has failed.
    failed: bool,
    /// The disk as it was before.
    disk: Disk,
    events: Vec<Event>,
    /// A letter for each call and its kind, if calls were counted.
    calls: Vec<u8>,
}

/// Lets a child work, while the call of that number meets that fault, if any.
fn recorded(
    shim: &Shim,
    workload: &Workload,
    start: Option<&Start>,
    fault: Option<(&str, usize)>,
) -> Recording {
    let (_kept, directory) = scratch();
    let (_log_kept, log) = scratch();
    let (log, report) = (log.join("log"), log.join("report"));
    let mut disk = Disk::default();
    if let Some(start) = start {
        let path = directory.join(DATABASE);
        std::fs::write(&path, &start.content).expect("a file");
        let inode = path.metadata().expect("its inode").ino();
        disk = Disk::with_file(DATABASE, inode, start.content.clone());
    }
    let mut command = workload.command("child_works_while_its_writes_are_recorded", &directory);
    shim.watch(&mut command, &directory);
    if let Some((fault, call)) = fault {
        command.env("PORTOLAN_SHIM_REPORT", &report);
        command.env("PORTOLAN_SHIM_FAULT", fault).env("PORTOLAN_SHIM_CALL", call.to_string());
    }
    let output = command.env("PORTOLAN_SHIM_LOG", &log).output().expect("a child");
    assert!(output.status.success(), "{workload:?}, {fault:?}: {output:?}");
    let events = parse(&std::fs::read(log).expect("a log"));
    let calls = std::fs::read(report).unwrap_or_default();
    Recording { failed: calls.iter().any(u8::is_ascii_uppercase), disk, events, calls }
}

/// Opens what a disk may hold and says which state it is.
struct Checker {
    _kept: tempfile::TempDir,
    path: PathBuf,
    batches: Batches,
    expected: Vec<Expected>,
    rng: Rng,
    /// Whether the writing of a meta page may have failed just before.
    ///
    /// LMDB then mends the page, and the library mends what LMDB has left of it; until that is on
    /// disk, the page that is not in use has something of the failed transaction, which `verify`
    /// cannot tell from damage. All content must be there, and the next commit must make it good.
    forgiving: bool,
    /// Files in which that was so.
    traces: usize,
}

impl Checker {
    fn new(workload: &Workload, last: i64, forgiving: bool) -> Self {
        let (kept, directory) = scratch();
        let path = directory.join(DATABASE);
        let (batches, rng) = (workload.batches(), Rng::new(workload.seed));
        let expected = workload.expected(last);
        Self { _kept: kept, path, batches, expected, rng, forgiving, traces: 0 }
    }

    /// The state of a file, opened read-only and, if `writes` or if it must be, read-write, where
    /// one more batch is committed.
    fn state(&mut self, content: &[u8], writes: bool) -> Result<i64, String> {
        std::fs::write(&self.path, content).expect("a file");
        let before = self.traces;
        let read_only = match Database::open_read_only(&self.path) {
            Ok(db) => Ok(self
                .state_of(&db, self.forgiving)
                .map_err(|error| format!("read-only: {error}"))?),
            Err(error) => Err(format!("read-only: {error}")),
        };
        if read_only.is_ok() && !writes && self.traces == before {
            return read_only;
        }
        self.traces = before;
        let state = self.state_and_next(&read_only).map_err(|error| format!("read-write: {error}"));
        // What was left by a failed check must not be the next one's.
        for entry in std::fs::read_dir(self.path.parent().expect("a parent")).expect("a listing") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("a removal");
        }
        state
    }

    fn state_and_next(&mut self, read_only: &Result<i64, String>) -> Result<i64, String> {
        if self.rng.once_in(4) {
            // The side files have survived as well, with anything in them.
            for suffix in ["-lock", "-writer"] {
                let noise: Vec<u8> = (0..8192).map(|_| self.rng.next() as u8).collect();
                std::fs::write(with_suffix(&self.path, suffix), noise).expect("a side file");
            }
        }
        let options = DatabaseOptions::new().initial_map(64 * 1024);
        let options = options.maintenance(Maintenance::Manual);
        let db = options.open(&self.path).map_err(said)?;
        let found = self.state_of(&db, self.forgiving)?;
        let state = match read_only {
            Ok(state) if *state == found => found,
            // An unfinished file has become a database only now.
            Err(_) if found == OPENED => NOTHING,
            other => return Err(format!("state {found}, but {other:?}")),
        };
        let docs = collection(&db).map_err(said)?;
        let next = found.max(MADE) + 1;
        self.batches.commit(&docs, next).map_err(said)?;
        match self.state_of(&db, false)? {
            after if after == next => Ok(state),
            after => Err(format!("state {after} after batch {next}")),
        }
    }

    fn state_of(&mut self, db: &Database, forgiving: bool) -> Result<i64, String> {
        match db.verify() {
            Ok(_) => {}
            Err(error) if forgiving && error.is_corruption() => self.traces += 1,
            Err(error) => return Err(said(error)),
        }
        let docs = match db.collection(NAME) {
            Ok(docs) => docs,
            Err(Error::CollectionNotFound { .. }) => return Ok(OPENED),
            Err(error) => return Err(said(error)),
        };
        let last = last_batch(&docs).map_err(said)?;
        if last < 0 {
            let records = docs.count().map_err(said)?;
            return if records == 0 { Ok(MADE) } else { Err(format!("{records} records")) };
        }
        let expected = self.expected.get(last as usize).ok_or("a batch of the future")?;
        expected.compare(&docs, &mut self.rng).map_err(|error| format!("batch {last}: {error}"))?;
        Ok(last)
    }
}

fn said(error: Error) -> String {
    error.to_string()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What many lives have shown.
#[derive(Default)]
struct Findings {
    lives: usize,
    crashes: usize,
    /// Hashes of the files that were opened at least once.
    distinct: HashSet<u128>,
    written_on: usize,
    /// Files with traces of a failed commit, which the next one removed.
    traces: usize,
    failures: Vec<String>,
}

impl Findings {
    fn add(&mut self, more: Self) {
        self.lives += more.lives;
        self.crashes += more.crashes;
        self.distinct.extend(more.distinct);
        self.written_on += more.written_on;
        self.traces += more.traces;
        self.failures.extend(more.failures);
    }

    /// Prints the counts; fails if anything was found.
    fn report(&self, what: &str, workloads: usize) {
        println!(
            "{what}: {workloads} workloads, {} lives, {} states of the disk, {} distinct files, \
             opened for writing {} times, {} with traces of a failed commit, {} failures",
            self.lives,
            self.crashes,
            self.distinct.len(),
            self.written_on,
            self.traces,
            self.failures.len(),
        );
        let first: Vec<&String> = self.failures.iter().take(10).collect();
        assert!(first.is_empty(), "{first:#?}");
    }
}

/// How hard to look.
#[derive(Clone, Copy)]
struct Effort {
    /// States for each sync, about.
    states: usize,
    /// One file in so many is written on.
    writes: u64,
}

/// Checks all the states of the disk while a child worked from that start on. Returns one of them,
/// that another life can begin with.
fn check(
    (workload, start, recording): (&Workload, Option<&Start>, Recording),
    effort: Effort,
    findings: &Mutex<Findings>,
) -> Option<Start> {
    let Recording { mut disk, events, failed, .. } = recording;
    let begin = start.map_or(NOTHING, |start| start.state);
    let mut checker = Checker::new(workload, begin.max(MADE) + workload.length as i64 + 2, failed);
    let mut rng = Rng::new(workload.seed ^ 0xD15C);
    let mut acknowledged = begin;
    let mut known = HashMap::new();
    let mut survivor = None;
    let mut drawn = 0;
    let mut found = Findings { lives: 1, ..Findings::default() };
    let end = Event::SyncedDirectory;
    for (at, event) in events.iter().chain([&end]).enumerate() {
        disk.begin(event);
        if let Event::Acknowledged(state) = event {
            acknowledged = acknowledged.max(*state);
        }
        let edge = disk.is_edge(event) || at == events.len();
        let crashes = if edge { disk.crashes(DATABASE, effort.states, &mut rng) } else { vec![] };
        disk.end(event);
        for content in crashes {
            found.crashes += 1;
            let hash = content.as_ref().map(|content| xxh3_128(content));
            let state = &*known.entry(hash).or_insert_with(|| {
                let Some(content) = &content else { return Ok(NOTHING) };
                found.distinct.insert(xxh3_128(content));
                let writes = rng.once_in(effort.writes);
                found.written_on += usize::from(writes);
                checker.state(content, writes)
            });
            let problem = match state {
                Ok(state) if (acknowledged..=acknowledged + 1).contains(state) => None,
                Ok(state) => Some(format!("state {state}")),
                Err(error) => Some(error.clone()),
            };
            if let Some(problem) = problem {
                found.failures.push(format!(
                    "{workload:?} ({}), from state {begin}, at {at}, {} bytes, {acknowledged} \
                     acknowledged: {problem}",
                    workload.name(),
                    content.as_ref().map_or(0, Vec::len),
                ));
            } else if let (Ok(state @ 0..), Some(content)) = (state, content) {
                drawn += 1;
                if rng.once_in(drawn) {
                    survivor = Some(Start { content, state: *state });
                }
            }
        }
    }
    found.traces = checker.traces;
    findings.lock().expect("no panic").add(found);
    survivor
}

#[test]
fn whatever_a_power_loss_leaves_opens_with_every_acknowledged_batch() {
    let shim = Shim::build();
    let seed = 0xB1AC_0047;
    let findings = Mutex::new(Findings::default());
    let (workloads, lives, effort) = if deep() {
        (20 * KINDS, 3, Effort { states: 24, writes: 1 })
    } else {
        (3 * KINDS, 1, Effort { states: 12, writes: 3 })
    };
    share_out(workloads, |number| {
        let mut rng = Rng::new(seed + number as u64);
        let mut start: Option<Start> = None;
        for _ in 0..lives {
            let length = 4 + rng.below(6) as usize;
            // The batches stay those of the first life: the numbers go on.
            let seed = seed + number as u64;
            let workload = Workload { kind: number % KINDS, seed, length };
            let recording = recorded(&shim, &workload, start.as_ref(), None);
            start = check((&workload, start.as_ref(), recording), effort, &findings);
        }
    });
    let findings = findings.into_inner().expect("no panic");
    let distinct = findings.distinct.len();
    findings.report("power loss", workloads);
    assert!(distinct >= if deep() { 100_000 } else { 1_000 }, "too few distinct files");
}

#[test]
fn a_power_loss_after_a_failed_write_costs_no_acknowledged_batch() {
    let shim = Shim::build();
    let findings = Mutex::new(Findings::default());
    let (kinds, length, wanted, effort) = if deep() {
        (KINDS, 4, 600, Effort { states: 12, writes: 2 })
    } else {
        (1, 3, 60, Effort { states: 8, writes: 3 })
    };
    let seed = 0x1055;
    let mut cases = Vec::new();
    for kind in 0..kinds {
        let workload = Workload { kind, seed: seed + kind as u64, length };
        let calls = recorded(&shim, &workload, None, Some(("none", 0))).calls;
        for (call, kind) in (1..).zip(calls) {
            let faults: &[&str] = match kind {
                b'w' => &["eio", "short", "late"],
                b'f' => &["eio", "late"],
                _ => &[],
            };
            cases.extend(faults.iter().map(|fault| (workload, *fault, call)));
        }
    }
    let cases = Rng::new(seed).sample(cases, wanted);
    share_out(cases.len(), |number| {
        let (workload, fault, call) = cases[number];
        let recording = recorded(&shim, &workload, None, Some((fault, call)));
        let mut found = Mutex::new(Findings::default());
        check((&workload, None, recording), effort, &found);
        for failure in &mut found.get_mut().expect("no panic").failures {
            failure.insert_str(0, &format!("{fault} at call {call}: "));
        }
        findings.lock().expect("no panic").add(found.into_inner().expect("no panic"));
    });
    findings.into_inner().expect("no panic").report("power loss after a failed call", cases.len());
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let shim = Shim::build();
    let effort = Effort { states: 8, writes: 3 };
    let workload = Workload { kind: 0, seed: 7, length: 4 };
    let lies: [fn(&mut Event) -> bool; 3] = [
        |event| !matches!(event, Event::Synced { .. }),
        |event| !matches!(event, Event::SyncedDirectory),
        |event| {
            if let Event::Written { durable, .. } = event {
                *durable = false;
            }
            true
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let findings = Mutex::new(Findings::default());
        let mut recording = recorded(&shim, &workload, None, None);
        recording.events.retain_mut(lie);
        check((&workload, None, recording), effort, &findings);
        let findings = findings.into_inner().expect("no panic");
        assert!(!findings.failures.is_empty(), "lie {number}, {} states", findings.crashes);
    }
}
