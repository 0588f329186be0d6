//! The process is killed at any moment: what was acknowledged is there whole, what was not is
//! there whole or not at all, and the file is undamaged.
//!
//! The test binary runs itself again as a child that ingests and tells each commit; the parent
//! kills it and compares the file with what the batches, known by their numbers, must have left.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::oracle::{Kept, Shape};
use common::process::{Role, command, is, tell};
use common::{Rng, depth, everything};
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Maintenance, Metric, Originals,
    Record, RecordId, Value,
};

const SHAPE: Shape = Shape { dimensions: 8, metric: Metric::L2, originals: Originals::F16 };
/// Record of this id holds the number of the last batch.
const MARKER: i64 = -1;
/// Unsealed vectors that set off maintenance on commit.
const THRESHOLD: u32 = 150;

type Model = BTreeMap<RecordId, (Record, Option<Kept>)>;

enum Change {
    Upsert(Record),
    Delete(RecordId),
}

/// The changes of a batch, always the same for its number.
fn batch(number: i64) -> Vec<Change> {
    let mut rng = Rng::new(number as u64 ^ 0xC4A5);
    let size = if rng.once_in(5) { 1 + rng.below(150) } else { 1 + rng.below(20) };
    let mut changes = vec![Change::Upsert(Record::new(MARKER).field("batch", number))];
    for _ in 0..size {
        let id = rng.below(900) as i64;
        if rng.once_in(3) {
            changes.push(Change::Delete(RecordId::Int(id)));
            continue;
        }
        let text = "y".repeat(if rng.once_in(30) { 9_000 } else { rng.below(100) as usize });
        let mut record = Record::new(id).text(text).field("batch", number);
        if !rng.once_in(6) {
            record = record.vector(rng.vector(SHAPE.dimensions));
        }
        changes.push(Change::Upsert(record));
    }
    changes
}

fn commit(collection: &Collection, number: i64) {
    let mut pending = collection.batch();
    for change in batch(number) {
        match change {
            Change::Upsert(record) => pending.upsert(record).expect("a valid record"),
            Change::Delete(id) => pending.delete(id),
        }
    }
    pending.commit().expect("a commit");
}

fn apply(model: &mut Model, number: i64) {
    for change in batch(number) {
        match change {
            Change::Upsert(record) => {
                let kept = record.vector.as_ref().map(|vector| SHAPE.keep(vector));
                model.insert(record.id.clone(), (record, kept));
            }
            Change::Delete(id) => drop(model.remove(&id)),
        }
    }
}

fn open(path: &Path) -> (Database, Collection) {
    let options = DatabaseOptions::new().initial_map(64 * 1024);
    let options = options.maintenance(Maintenance::Inline { threshold: THRESHOLD });
    let db = options.open(path).expect("a database");
    let options = CollectionOptions::new(SHAPE.dimensions, SHAPE.metric);
    let docs = db.collection_or_create("docs", options.originals(SHAPE.originals));
    (db, docs.expect("a collection"))
}

/// The number of the last batch that is in the file, -1 if none is.
fn last_batch(docs: &Collection) -> i64 {
    match docs.get(MARKER).expect("a lookup").map(|marker| marker.metadata["batch"].clone()) {
        None => -1,
        Some(Value::Int(number)) => number,
        Some(other) => panic!("{other:?}"),
    }
}

fn path_from_parent() -> PathBuf {
    PathBuf::from(std::env::var_os("PORTOLAN_TEST_PATH").expect("a path"))
}

fn check(docs: &Collection, model: &Model, rng: &mut Rng) {
    let found = everything(docs, 400);
    assert_eq!(found.len(), model.len());
    for (found, (record, kept)) in found.iter().zip(model.values()) {
        let mut expected = record.clone();
        expected.vector = kept.as_ref().map(|kept| kept.values.clone());
        assert_eq!(found, &expected);
    }
    let given = rng.vector(SHAPE.dimensions);
    let query = SHAPE.query(&given);
    let kept = model.values().filter_map(|(record, kept)| Some((record, kept.as_ref()?)));
    let mut scores: Vec<f64> = kept.map(|(_, kept)| SHAPE.score(&query, kept)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let hits = docs.search(&given).limit(20).exact().run().expect("a search");
    assert_eq!(hits.len(), scores.len().min(20));
    for (hit, score) in hits.iter().zip(scores) {
        assert!((f64::from(hit.score) - score).abs() < 1e-3, "{} is not {score}", hit.score);
    }
}

/// Plays the ingesting child; does nothing when it is not one.
#[test]
fn child_ingests_until_it_is_killed() {
    if !is("ingest") {
        return;
    }
    let (db, docs) = open(&path_from_parent());
    tell("open");
    let mut number = last_batch(&docs) + 1;
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
        let last = last_batch(&docs);
        assert!(
            last == acknowledged || last == acknowledged + 1,
            "{context}: batch {last} is the last, {acknowledged} was acknowledged"
        );
        for number in known + 1..=last {
            apply(&mut model, number);
        }
        known = last;
        db.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&docs, &model, &mut rng);
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
        let number = last_batch(&docs) + 1;
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
        apply(&mut model, number);
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
        let last = last_batch(&docs);
        assert!(last == acknowledged || last == acknowledged + 1, "{context}: {last}");
        for number in known + 1..=last {
            apply(&mut model, number);
        }
        known = last;
        db.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&docs, &model, &mut rng);
    }
    Database::compact(&path).expect("a compaction after all the kills");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a listing").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
