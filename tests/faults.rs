//! A call to the system fails, once or from then on: no panic, no loss of what was acknowledged,
//! and the file opens again. The calls are those that `shim/io.c` stands in for, on the database,
//! the files beside it and their directory:
//! - `open`, `open64`, `openat` of an absolute path
//! - `read`, `pread`, `pread64`
//! - `write`, `writev`, `pwrite`, `pwritev`, `pwrite64`, `pwritev64`
//! - `ftruncate`, `ftruncate64`, `fsync`, `fdatasync`
//! - `rename`, `unlink`, `flock`
//!
//! All others go through: among them maps, `fcntl` with its locks, `stat` and `close`.
//!
//! A child works under the shim, which lets the n-th call on the database or a file beside it fail.
//! The child goes on as an application would: it tries again, then opens the file again. Afterwards
//! the parent opens the file without any fault and compares it with what the batches, known by
//! their numbers, must have left.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;
#[path = "shim/mod.rs"]
mod shim;

use std::path::Path;
use std::process::Output;
use std::sync::Mutex;

use common::numbered::{Expected, collection, last_batch};
use common::{Rng, deep};
use portolan::{Database, DatabaseOptions, Maintenance};
use shim::workload::{KINDS, MADE, NOTHING, Player, Workload, asked};
use shim::{ACKNOWLEDGED, DATABASE, Shim, scratch, share_out};

/// The kinds of calls that each fault can meet, as in `io.c`.
const FAULTS: [(&str, &str); 6] = [
    ("enospc", "wsfcm"),
    ("eio", "wsfcmordl"),
    ("eintr", "wsfcorl"),
    ("short", "w"),
    // From this call on nothing can be written.
    ("full", "wscm"),
    // Done, but reported as failed.
    ("late", "wsfmd"),
];

/// Plays the child; does nothing when this process is not one.
#[test]
fn child_works_while_a_call_fails() {
    let Some((workload, directory)) = asked() else { return };
    let for_good = std::env::var("PORTOLAN_SHIM_FAULT").is_ok_and(|fault| fault == "full");
    Player::new(workload, &directory).play_stubbornly(for_good);
}

/// What a child has left.
struct Run {
    output: Output,
    /// A letter for each call and its kind, in capitals if it failed.
    calls: Vec<u8>,
    acknowledged: i64,
}

/// Lets a child work in a directory while a call fails: none if its number is 0.
fn run(shim: &Shim, workload: &Workload, directory: &Path, (fault, call): (&str, usize)) -> Run {
    let (_kept, report) = scratch();
    let report = report.join("report");
    let mut command = workload.command("child_works_while_a_call_fails", directory);
    shim.watch(&mut command, directory);
    command.env("PORTOLAN_SHIM_REPORT", &report);
    command.env("PORTOLAN_SHIM_FAULT", fault).env("PORTOLAN_SHIM_CALL", call.to_string());
    let output = command.output().expect("a child");
    let told = std::fs::read(directory.join(ACKNOWLEDGED)).unwrap_or_default();
    let states = told.as_chunks::<8>().0.iter().map(|state| i64::from_le_bytes(*state));
    let acknowledged = states.max().unwrap_or(NOTHING);
    Run { output, calls: std::fs::read(report).unwrap_or_default(), acknowledged }
}

/// What is wrong with a run in which a call failed, if anything is; whether the call did fail.
fn problem(shim: &Shim, workload: &Workload, fault: (&str, usize)) -> (Option<String>, bool) {
    let (_kept, directory) = scratch();
    let run = run(shim, workload, &directory, fault);
    let failed = run.calls.iter().any(u8::is_ascii_uppercase);
    if !run.output.status.success() {
        let words = String::from_utf8_lossy(&run.output.stderr).into_owned();
        return (Some(format!("{}: {words}", run.output.status)), failed);
    }
    let whole = fault.0 != "full";
    (left(workload, &directory.join(DATABASE), (run.acknowledged, whole)).err(), failed)
}

/// Opens what a child has left, which must be all that it was to do if `whole`.
fn left(
    workload: &Workload,
    path: &Path,
    (acknowledged, whole): (i64, bool),
) -> Result<(), String> {
    let said = |error: portolan::Error| error.to_string();
    let mut rng = Rng::new(workload.seed);
    if acknowledged > NOTHING {
        let db = Database::open_read_only(path).map_err(|error| format!("read-only: {error}"))?;
        db.verify().map_err(|error| format!("read-only: {error}"))?;
    }
    let options = DatabaseOptions::new().initial_map(64 * 1024);
    let db = options.maintenance(Maintenance::Manual).open(path).map_err(said)?;
    db.verify().map_err(said)?;
    let docs = collection(&db).map_err(said)?;
    let last = last_batch(&docs).map_err(said)?;
    if !(acknowledged..=acknowledged + 1).contains(&last) && acknowledged >= MADE {
        return Err(format!("batch {last} is the last, {acknowledged} was acknowledged"));
    }
    if whole && last != workload.length as i64 - 1 {
        return Err(format!("batch {last} is the last of {}", workload.length));
    }
    let expected = workload.expected(last + 1);
    let compare = |number: i64, rng: &mut Rng| match usize::try_from(number) {
        Ok(number) => expected.get(number).map_or(Ok(()), |all| all.compare(&docs, rng)),
        Err(_) => Expected::of(&Default::default()).compare(&docs, rng),
    };
    compare(last, &mut rng)?;
    workload.batches().commit(&docs, last + 1).map_err(said)?;
    db.verify().map_err(|error| format!("one batch later: {error}"))?;
    compare(last + 1, &mut rng)
}

#[test]
fn any_failing_call_leaves_a_file_that_opens_with_every_acknowledged_batch() {
    let shim = Shim::build();
    let seed = 0xFA17;
    let length = if deep() { 8 } else { 4 };
    let workloads: Vec<Workload> =
        (0..KINDS).map(|kind| Workload { kind, seed: seed + kind as u64, length }).collect();
    let mut cases = Vec::new();
    let mut calls = 0;
    for workload in &workloads {
        let (_kept, directory) = scratch();
        let clean = run(&shim, workload, &directory, ("none", 0));
        assert!(clean.output.status.success(), "{workload:?}: {:?}", clean.output);
        left(workload, &directory.join(DATABASE), (clean.acknowledged, true)).expect("no loss");
        calls += clean.calls.len();
        for (fault, kinds) in FAULTS {
            let met =
                (1..).zip(&clean.calls).filter(|(_, kind)| kinds.contains(char::from(**kind)));
            cases.extend(met.map(|(call, _)| (*workload, fault, call)));
        }
    }
    let all = cases.len();
    // A sample that differs with each seed, unless there is time for all.
    let wanted = if deep() { all } else { 1_000 };
    let cases = Rng::new(seed).sample(cases, wanted);
    let failures = Mutex::new(Vec::new());
    let missed = Mutex::new(0);
    share_out(cases.len(), |number| {
        let (workload, fault, call) = &cases[number];
        let (problem, failed) = problem(&shim, workload, (*fault, *call));
        if let Some(problem) = problem {
            let mut failures = failures.lock().expect("no panic");
            let name = workload.name();
            failures.push(format!("{workload:?} ({name}), {fault} at call {call}: {problem}"));
        }
        *missed.lock().expect("no panic") += usize::from(!failed);
    });
    let (failures, missed) =
        (failures.into_inner().expect("no panic"), missed.into_inner().expect("no panic"));
    println!(
        "faults: {} workloads of {calls} calls, {} kinds of faults: {} of {all} cases run, \
         {missed} without the call, {} failures",
        workloads.len(),
        FAULTS.len(),
        cases.len(),
        failures.len(),
    );
    let first: Vec<&String> = failures.iter().take(10).collect();
    assert!(first.is_empty(), "seed {seed}: {first:#?}");
    // Nearly all calls come in the same order each time.
    assert!(missed * 50 <= cases.len(), "{missed} of {} cases met no call", cases.len());
}
