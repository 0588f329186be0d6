//! The process is killed at any moment: what was acknowledged is there whole, what was not is
//! there whole or not at all, and the file is undamaged.
//!
//! The test binary runs itself again as a child that ingests and tells each commit; the parent
//! kills it and compares the file with what the batches, known by their numbers, must have left.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

use common::numbered::{Batches, Expected, Model, collection, last_batch};
use common::process::{Role, command, is, tell};
use common::{Rng, depth};
use portolan::{Collection, Database, DatabaseOptions, Maintenance};

const BATCHES: Batches =
    Batches { seed: 0xC4A5, ids: 900, usual: 20, large: 150, deletes: 3, long_texts: 30 };
/// Unsealed vectors that set off maintenance on commit.
const THRESHOLD: u32 = 150;

fn open(path: &Path) -> (Database, Collection) {
    let options = DatabaseOptions::new().initial_map(64 * 1024);
    let options = options.maintenance(Maintenance::Inline { threshold: THRESHOLD });
    let db = options.open(path).expect("a database");
    let docs = collection(&db).expect("a collection");
    (db, docs)
}

fn commit(docs: &Collection, number: i64) {
    BATCHES.commit(docs, number).expect("a commit");
}

fn last(docs: &Collection) -> i64 {
    last_batch(docs).expect("a lookup")
}

fn path_from_parent() -> PathBuf {
    PathBuf::from(std::env::var_os("PORTOLAN_TEST_PATH").expect("a path"))
}

fn check(context: &str, docs: &Collection, model: &Model, rng: &mut Rng) {
    let compared = Expected::of(model).compare(docs, rng);
    compared.unwrap_or_else(|difference| panic!("{context}: {difference}"));
}

/// Plays the ingesting child; does nothing when it is not one.
#[test]
fn child_ingests_until_it_is_killed() {
    if !is("ingest") {
        return;
    }
    let (db, docs) = open(&path_from_parent());
    tell("open");
    let mut number = last(&docs) + 1;
    loop {
        commit(&docs, number);
        tell(number);
        // Graphs too are built, written and merged when the kill comes.
        if number % 5 == 0 {
            docs.maintain().graph_min_rows(64).run().expect("maintenance");
        }
        if number % 41 == 0 {
            db.verify().expect("an undamaged file");
        }
        number += 1;
    }
}

#[test]
fn acknowledged_batches_survive_a_kill_at_any_moment() {
    let seed = 0x1234_5678;
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("crash.portolan");
    let mut model = Model::new();
    let mut known = -1;
    for round in 0..50 * depth() {
        let mut command = command("child_ingests_until_it_is_killed", "ingest");
        command.env("PORTOLAN_TEST_PATH", &path);
        let mut child = Role::start(command);
        let lines = rng.below(14);
        let mut acknowledged = known;
        let mut hear = |child: &mut Role| {
            let line = child.hear()?;
            if line != "open" {
                acknowledged = line.parse().expect("a number");
            }
            Some(())
        };
        for _ in 0..lines {
            hear(&mut child).expect("the child goes on");
        }
        // Not to wait for anything: only to hit another instruction in each round.
        for _ in 0..rng.below(4_000_000) {
            std::hint::spin_loop();
        }
        child.kill();
        while hear(&mut child).is_some() {}

        let (db, docs) = open(&path);
        let context = format!("seed {seed}, round {round}");
        let last = last(&docs);
        assert!(
            last == acknowledged || last == acknowledged + 1,
            "{context}: batch {last} is the last, {acknowledged} was acknowledged"
        );
        for number in known + 1..=last {
            BATCHES.apply(&mut model, number);
        }
        known = last;
        db.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&context, &docs, &model, &mut rng);
        drop((docs, db));
        let db = Database::open_read_only(&path).expect("a read-only database");
        db.verify().unwrap_or_else(|error| panic!("{context}, read-only: {error}"));
    }
    assert!(known > 50, "only {known} batches: the children did not get far");
}

/// Plays the compacting child; does nothing when it is not one.
#[test]
fn child_compacts_until_it_is_killed() {
    if !is("compact") {
        return;
    }
    let path = path_from_parent();
    loop {
        let (db, docs) = open(&path);
        let number = last(&docs) + 1;
        commit(&docs, number);
        drop((docs, db));
        tell(number);
        let compacted = Database::compact(&path).expect("a compaction");
        assert!(compacted.after > 0);
    }
}

#[test]
fn a_kill_while_compacting_leaves_the_old_or_the_new_file() {
    let seed = 0x8765_4321;
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("crash.portolan");
    let mut model = Model::new();
    let mut known = 40;
    let (db, docs) = open(&path);
    for number in 0..=known {
        commit(&docs, number);
        BATCHES.apply(&mut model, number);
    }
    drop((docs, db));
    for round in 0..20 * depth() {
        let mut command = command("child_compacts_until_it_is_killed", "compact");
        command.env("PORTOLAN_TEST_PATH", &path);
        let mut child = Role::start(command);
        let mut acknowledged = known;
        for _ in 0..=rng.below(3) {
            acknowledged = child.hear().expect("the child goes on").parse().expect("a number");
        }
        for _ in 0..rng.below(8_000_000) {
            std::hint::spin_loop();
        }
        child.kill();
        while let Some(line) = child.hear() {
            acknowledged = line.parse().expect("a number");
        }
        let context = format!("seed {seed}, round {round}");
        let (db, docs) = open(&path);
        let last = last(&docs);
        assert!(last == acknowledged || last == acknowledged + 1, "{context}: {last}");
        for number in known + 1..=last {
            BATCHES.apply(&mut model, number);
        }
        known = last;
        db.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&context, &docs, &model, &mut rng);
    }
    Database::compact(&path).expect("a compaction after all the kills");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a listing").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
