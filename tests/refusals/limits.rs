//! The size limit of the application and the end of the disk: what was committed stays, and
//! smaller work goes on.

use std::path::{Path, PathBuf};
use std::process::Command;

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, Metric, Record, StorageError,
};

use super::{Kind, kind};
use crate::common::process::{Role, command, is, tell};
use crate::common::{Content, Rng, content};

/// Commits about 60 KB under the number.
fn commit_ballast(docs: &Collection, number: i64) -> portolan::Result<()> {
    let mut rng = Rng::new(number as u64);
    let mut batch = docs.batch();
    for at in 0..20 {
        let record = Record::new(number * 100 + at).text(rng.noise(3_000));
        batch.upsert(record.vector(rng.vector(8)))?;
    }
    batch.commit().map(|_| ())
}

fn docs_of(db: &Database) -> Collection {
    let options = CollectionOptions::new(8, Metric::Cosine);
    db.collection_or_create("docs", options).expect("a collection")
}

#[test]
fn the_size_limit_refuses_growth_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let limit = 1 << 20;
    let open = || DatabaseOptions::new().initial_map(64 * 1024).max_size(limit).open(&path);
    let db = open().expect("a database");
    let docs = docs_of(&db);
    let mut number = 0;
    let (error, before) = loop {
        assert!(number < 100, "the limit never came");
        let before = content(&db);
        match commit_ballast(&docs, number) {
            Ok(()) => number += 1,
            Err(error) => break (error, before),
        }
    };
    assert!(matches!(error, Error::Storage(StorageError::SizeLimit { limit: l }) if l == limit));
    assert_eq!(kind(&error), Kind::Other);
    assert!(number > 5, "only {number} batches fit");
    assert!(content(&db) == before);
    assert!(std::fs::metadata(&path).expect("the file").len() <= limit);

    // Small things go on, and room that deletions make is used again.
    docs.upsert(Record::new("small").text("fits")).expect("a small commit");
    for at in 0..60 {
        docs.delete(at).expect("a small commit");
    }
    let room = (0..60).filter(|&at| docs.contains(at).expect("a lookup")).count();
    assert_eq!(room, 0);
    for round in 0..20 {
        let text = "again".repeat(500);
        docs.upsert(Record::new("small").text(text)).unwrap_or_else(|e| panic!("{round}: {e}"));
    }
    drop((docs, db));
    let db = open().expect("a database");
    db.verify().expect("an undamaged file");
    drop(db);
    let db = DatabaseOptions::new().open(&path).expect("a database without a limit");
    commit_ballast(&docs_of(&db), number).expect("a commit past the limit");
}

fn path_from_parent() -> PathBuf {
    PathBuf::from(std::env::var_os("PORTOLAN_TEST_PATH").expect("a path"))
}

/// Plays the process whose files cannot grow; does nothing when it is not one.
#[test]
fn child_fills_the_disk() {
    if !is("full disk") {
        return;
    }
    let db = DatabaseOptions::new().open(path_from_parent()).expect("a database");
    let docs = docs_of(&db);
    let mut number = docs.count().expect("a count") as i64 / 20;
    loop {
        let before = content(&db);
        match commit_ballast(&docs, number) {
            Ok(()) => tell(number),
            Err(error) => {
                let full = matches!(error, Error::Storage(StorageError::DiskFull { .. }));
                assert!(full && kind(&error) == Kind::Retryable, "{error:?}");
                // The handle is still good for reading.
                assert!(content(&db) == before, "something changed");
                tell("full");
                return;
            }
        }
        number += 1;
    }
}

/// The child under a limit of the size of files, in blocks of the shell.
fn under_limit(blocks: u32, path: &Path) -> Command {
    let inner = command("limits::child_fills_the_disk", "full disk");
    let mut outer = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    outer.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        outer.env(name, value.expect("a value"));
    }
    outer.env("PORTOLAN_TEST_PATH", path);
    outer
}

fn read(path: &Path) -> Content {
    content(&Database::open_existing(path).expect("a database"))
}

#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let mut batches = 0;
    for blocks in [1_200, 3_000, 5_000] {
        let mut child = Role::start(under_limit(blocks, &path));
        let mut full = false;
        while let Some(line) = child.hear() {
            if line == "full" {
                full = true;
            } else {
                assert_eq!(line.parse::<i64>().expect("a number"), batches);
                batches += 1;
            }
        }
        assert!(child.end() && full, "the disk was never full");
        let records: usize = read(&path).records.iter().map(Vec::len).sum();
        assert_eq!(records as i64, batches * 20);
        let db = Database::open_read_only(&path).expect("a read-only database");
        assert_eq!(content(&db).records[0].len() as i64, batches * 20);
    }
    assert!(batches > 10, "only {batches} batches");
    let db = Database::open(&path).expect("a database");
    commit_ballast(&docs_of(&db), batches).expect("a commit with room");
    db.verify().expect("an undamaged file");
}
