//! Several threads and several processes on one file: map growth, consistent versions, and what
//! a killed process leaves behind.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::process::{Role, command, is, tell};
use common::{Rng, content, depth, raw_lmdb};
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Maintenance, Metric, Record,
    RecordId,
};

const DIMENSIONS: usize = 16;

fn small_map() -> DatabaseOptions {
    DatabaseOptions::new().initial_map(64 * 1024)
}

fn create(path: &Path) -> (Database, Collection) {
    let db = small_map().maintenance(Maintenance::Inline { threshold: 200 }).open(path);
    let db = db.expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(DIMENSIONS, Metric::Cosine));
    (db, docs.expect("a collection"))
}

/// Commits a pair of records that carry one number, replaced together in each commit, and some
/// ballast that makes the file grow.
fn commit_pair(docs: &Collection, number: i64, rng: &mut Rng) {
    let mut batch = docs.batch();
    for side in ["left", "right"] {
        let record = Record::new(side).field("pair", true).field("number", number);
        batch.upsert(record.vector(rng.vector(DIMENSIONS))).expect("a valid record");
    }
    for _ in 0..20 {
        let id = rng.below(3_000) as i64;
        let record = Record::new(id).text("z".repeat(300)).vector(rng.vector(DIMENSIONS));
        batch.upsert(record).expect("a valid record");
    }
    batch.commit().expect("a commit");
}

/// Both records of the pair carry the same number in any one version of the file; the number.
fn check_pair(docs: &Collection, rng: &mut Rng) -> i64 {
    let vector = rng.vector(DIMENSIONS);
    let search = docs.search(&vector).filter(Filter::eq("pair", true)).limit(5);
    let hits = search.run().expect("a search").hits;
    let numbers: Vec<_> = hits.iter().map(|hit| &hit.record.metadata["number"]).collect();
    assert_eq!(numbers.len(), 2);
    assert_eq!(numbers[0], numbers[1]);
    match numbers[0] {
        portolan::Value::Int(number) => *number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_map_grows_while_threads_search() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("growing.portolan");
    let (db, docs) = create(&path);
    let mut rng = Rng::new(11);
    commit_pair(&docs, 0, &mut rng);
    let committed = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for seed in 0..8 {
            let (docs, committed, done) = (docs.clone(), &committed, &done);
            readers.push(scope.spawn(move || {
                let mut rng = Rng::new(seed);
                let (mut newest, mut searches) = (0, 0_u64);
                while !done.load(Ordering::Acquire) || searches == 0 {
                    let before = committed.load(Ordering::Acquire);
                    let number = check_pair(&docs, &mut rng);
                    // What was committed before the search began is seen, and time never turns.
                    assert!(number >= newest && number as u64 >= before, "{number} < {before}");
                    newest = number;
                    searches += 1;
                }
                searches
            }));
        }
        for number in 1..=150 * i64::from(depth()) {
            commit_pair(&docs, number, &mut rng);
            committed.store(number as u64, Ordering::Release);
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("a reader that did not panic") > 0);
        }
    });
    let info = db.info().expect("the info");
    assert!(info.file_bytes > 16 * 64 * 1024, "the map did not grow: {info:?}");
    db.verify().expect("an undamaged file");
}

fn path_from_parent() -> PathBuf {
    PathBuf::from(std::env::var_os("PORTOLAN_TEST_PATH").expect("a path"))
}

/// Plays the writing process; does nothing when it is not one.
#[test]
fn child_writes_pairs() {
    if !is("writer") {
        return;
    }
    let db = small_map().maintenance(Maintenance::Inline { threshold: 200 });
    let db = db.open(path_from_parent()).expect("a database");
    let docs = db.collection("docs").expect("a collection");
    let mut rng = Rng::new(5);
    for number in 1..=120 * i64::from(depth()) {
        commit_pair(&docs, number, &mut rng);
        tell(number);
    }
}

/// Plays a reading process, which ends when it has seen the last pair.
#[test]
fn child_reads_pairs() {
    if !is("reader") {
        return;
    }
    let db = small_map().open(path_from_parent()).expect("a database");
    let docs = db.collection("docs").expect("a collection");
    let mut rng = Rng::new(6);
    let mut newest = 0;
    let last = 120 * i64::from(depth());
    while newest < last {
        let number = check_pair(&docs, &mut rng);
        assert!(number >= newest, "{number} after {newest}");
        newest = number;
    }
    db.verify().expect("an undamaged file");
    tell("seen");
}

#[test]
fn processes_share_a_file_that_grows() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("shared.portolan");
    let (db, docs) = create(&path);
    commit_pair(&docs, 0, &mut Rng::new(1));
    let start = |test, role| {
        let mut command = command(test, role);
        command.env("PORTOLAN_TEST_PATH", &path);
        Role::start(command)
    };
    let mut readers = [start("child_reads_pairs", "reader"), start("child_reads_pairs", "reader")];
    let mut writer = start("child_writes_pairs", "writer");
    let mut rng = Rng::new(2);
    let mut acknowledged = 0;
    while let Some(line) = writer.hear() {
        // This process's map is still the small one: it adopts what the writer made of it.
        let number: i64 = line.parse().expect("a number");
        acknowledged = number;
        assert!(check_pair(&docs, &mut rng) >= number);
    }
    assert_eq!(acknowledged, 120 * i64::from(depth()));
    assert!(writer.end());
    for reader in &mut readers {
        assert_eq!(reader.hear().as_deref(), Some("seen"));
    }
    assert!(readers.into_iter().all(Role::end));
    // And it can write on in the grown map.
    commit_pair(&docs, acknowledged + 1, &mut rng);
    assert_eq!(check_pair(&docs, &mut rng), acknowledged + 1);
    db.verify().expect("an undamaged file");
    assert!(std::fs::metadata(&path).expect("the file").len() > 1 << 20);
}

#[test]
fn a_writer_whose_map_is_too_small_adopts_the_grown_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("adopted.portolan");
    let (db, docs) = create(&path);
    commit_pair(&docs, 0, &mut Rng::new(1));
    let mut command = command("child_writes_pairs", "writer");
    command.env("PORTOLAN_TEST_PATH", &path);
    let mut writer = Role::start(command);
    while writer.hear().is_some() {}
    assert!(writer.end());
    // The first call after the growth is a write.
    commit_pair(&docs, 7_000, &mut Rng::new(3));
    assert_eq!(check_pair(&docs, &mut Rng::new(4)), 7_000);
    db.verify().expect("an undamaged file");
}

#[test]
fn extents_that_no_manifest_names_are_swept_at_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("orphans.portolan");
    let (db, docs) = create(&path);
    let mut rng = Rng::new(8);
    for number in 0..15 {
        commit_pair(&docs, number, &mut rng);
    }
    docs.maintain().run().expect("maintenance");
    let before = content(&db);
    drop((docs, db));
    let extent = |collection: u32, segment: u32| {
        let numbers = [collection.to_be_bytes(), segment.to_be_bytes()].concat();
        [numbers, vec![0, 2, 0, 0, 0, 0]].concat()
    };
    // Of the collection that is there, and of one that is not.
    let [ours, other] = [extent(0, 4_000_000), extent(77, 1)];
    let changes = [("extents", ours, Some(vec![1; 9_000])), ("extents", other, Some(vec![2; 50]))];
    raw_lmdb::change(&path, &changes);
    let orphaned = extents(&path);
    let db = Database::open(&path).expect("a database");
    assert!(content(&db) == before);
    drop(db);
    assert_eq!(extents(&path) + 2, orphaned);
    let db = Database::open_read_only(&path).expect("a read-only database");
    assert!(content(&db) == before);
}

/// Number of entries in the table of extents.
fn extents(path: &Path) -> u64 {
    raw_lmdb::count(path, "extents")
}

#[test]
fn many_threads_write_one_after_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let (db, docs) = create(&dir.path().join("writers.portolan"));
    std::thread::scope(|scope| {
        for thread in 0..6_i64 {
            let docs = docs.clone();
            scope.spawn(move || {
                let mut rng = Rng::new(thread as u64);
                for number in 0..12 {
                    let record = Record::new(thread * 1_000 + number).text("w".repeat(2_000));
                    docs.upsert(record.vector(rng.vector(DIMENSIONS))).expect("a commit");
                }
                assert!(docs.delete(thread * 1_000).expect("a commit"));
            });
        }
    });
    assert_eq!(docs.count().expect("a count"), 6 * 11);
    let first = docs.scan().limit(1).run().expect("a page");
    assert_eq!(first.records[0].id, RecordId::Int(1));
    db.verify().expect("an undamaged file");
}

/// Bytes of the file up to its last page that is not all zeros.
fn without_the_empty_end(path: &Path) -> u64 {
    let bytes = std::fs::read(path).expect("the file");
    let used = bytes.chunks(4096).rposition(|page| page.iter().any(|&byte| byte != 0));
    (used.expect("a page") as u64 + 1) * 4096
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the file").len()
}

#[test]
fn a_file_whose_last_pages_were_never_written_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("short.portolan");
    let (db, docs) = create(&path);
    let mut rng = Rng::new(31);
    let mut short = 0;
    for round in 0..60 {
        // Free pages to begin with, but fewer than the batch takes.
        docs.upsert(Record::new("kept").text("k".repeat(500 + round))).expect("a commit");
        let mut batch = docs.batch();
        let count = 1 + rng.below(300) as i64;
        for id in 0..count {
            let record = Record::new(id).text("v".repeat(400)).field("n", id);
            batch.upsert(record.vector(rng.vector(DIMENSIONS))).expect("a valid record");
        }
        for id in 0..count {
            batch.delete(id);
        }
        // LMDB does not write pages that were taken and freed in one transaction.
        batch.commit().expect("a commit");
        short = length(&path) - without_the_empty_end(&path);
        if short > 0 {
            break;
        }
    }
    assert!(short > 0, "the case is not made any more");
    let before = content(&db);
    drop((docs, db));
    assert!(content(&Database::open_read_only(&path).expect("a read-only database")) == before);
    assert!(content(&Database::open_existing(&path).expect("a database")) == before);

    // As a kill between the commit and the extension of the file leaves it.
    let cut = without_the_empty_end(&path);
    let file = std::fs::File::options().write(true).open(&path).expect("the file");
    file.set_len(cut).expect("a cut");
    assert!(content(&Database::open_read_only(&path).expect("a read-only database")) == before);
    let db = Database::open_existing(&path).expect("a database");
    assert!(content(&db) == before);
    commit_pair(&db.collection("docs").expect("a collection"), 1, &mut rng);
    drop(db);
    assert!(length(&path) > cut);
    Database::open_read_only(&path).expect("a read-only database").verify().expect("no damage");
    Database::compact(&path).expect("a compaction");
}
