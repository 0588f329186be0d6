//! Another process writes, or has the file open: refused at once, after a while, or waited for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan::{
    CollectionOptions, Database, DatabaseOptions, Error, Metric, Record, StorageError, WriterPolicy,
};

use super::{Fixture, Kind, kind};
use crate::common::content;
use crate::common::process::{Role, command, is, tell, wait_for_parent};

fn path_from_parent() -> PathBuf {
    PathBuf::from(std::env::var_os("PORTOLAN_TEST_PATH").expect("a path"))
}

/// Plays a process that is writing, until the parent says to end.
#[test]
fn child_writes_for_long() {
    if !is("writer") {
        return;
    }
    let path = path_from_parent();
    let data = File::open(&path).expect("the file");
    data.lock_shared().expect("the lock of an open handle");
    let mut side = path.into_os_string();
    side.push("-writer");
    let writer = File::options().create(true).append(true).open(side).expect("the side file");
    writer.lock().expect("the lock of a writer");
    tell("writing");
    wait_for_parent();
}

fn start_writer(path: &Path) -> Role {
    let mut command = command("locks::child_writes_for_long", "writer");
    command.env("PORTOLAN_TEST_PATH", path);
    let mut child = Role::start(command);
    assert_eq!(child.hear().as_deref(), Some("writing"));
    child
}

#[test]
fn a_second_writer_is_refused_or_waits_as_the_policy_says() {
    let Fixture { dir, db, docs } = Fixture::new();
    let path = db.path().to_owned();
    let before = content(&db);
    drop((db, docs));
    let other = start_writer(&path);
    for policy in [WriterPolicy::Refuse, WriterPolicy::WaitFor(Duration::from_millis(30))] {
        let db = DatabaseOptions::new().writer(policy).open(&path).expect("a database");
        let docs = db.collection("docs").expect("a collection");
        let options = CollectionOptions::new(3, Metric::Dot);
        let errors = [
            docs.upsert(Record::new("b")).expect_err("busy"),
            docs.delete("a").expect_err("busy"),
            docs.maintain().run().expect_err("busy"),
            db.create_collection("new", options).expect_err("busy"),
            db.delete_collection("docs").expect_err("busy"),
            db.compact_to(dir.path().join("copy")).expect_err("busy"),
        ];
        for error in &errors {
            assert!(matches!(error, Error::Storage(StorageError::WriterBusy)), "{error:?}");
            assert_eq!(kind(error), Kind::Retryable);
        }
        // Reading needs no writer.
        assert!(content(&db) == before);
    }
    let policy = WriterPolicy::WaitFor(Duration::from_secs(120));
    let db = DatabaseOptions::new().writer(policy).open(&path).expect("a database");
    let docs = db.collection("docs").expect("a collection");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| docs.upsert(Record::new("b")).expect("a commit"));
        assert!(other.end());
        assert_eq!(waiting.join().expect("a writer").upserted, 1);
    });
    assert_eq!(docs.count().expect("a count"), 3);
}

#[test]
fn a_writer_that_is_killed_leaves_no_lock() {
    let Fixture { dir, db, docs } = Fixture::new();
    let mut other = start_writer(db.path());
    other.kill();
    docs.upsert(Record::new("b")).expect("a commit");
    assert_eq!(docs.count().expect("a count"), 3);
    drop((db, docs));
    assert_eq!(std::fs::read_dir(dir.path()).expect("a listing").count(), 1);
}

#[test]
fn a_file_that_another_process_has_open_is_neither_replaced_nor_read_without_locks() {
    let Fixture { dir, db, docs } = Fixture::new();
    let path = db.path().to_owned();
    drop((db, docs));
    let other = start_writer(&path);
    let error = Database::open_read_only(&path).expect_err("it is open");
    assert!(matches!(error, Error::Storage(StorageError::InUse { .. })), "{error:?}");
    assert_eq!(kind(&error), Kind::Retryable);
    assert!(other.end());
    drop(Database::open_read_only(&path).expect("it is free"));
    drop(dir);
}
