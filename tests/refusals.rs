//! Every refusal: the kind of the error, what its predicates say, and that nothing changed.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

#[cfg(target_os = "linux")]
#[path = "refusals/address_space.rs"]
mod address_space;
#[path = "refusals/content.rs"]
mod content;
#[path = "refusals/files.rs"]
mod files;
#[path = "refusals/limits.rs"]
mod limits;
#[path = "refusals/locks.rs"]
mod locks;
#[path = "refusals/options.rs"]
mod options;

use std::path::{Path, PathBuf};

use portolan::{Collection, CollectionOptions, Database, Error, Metric, Record};

/// A database with one collection `docs` of three dimensions under cosine and two records.
struct Fixture {
    dir: tempfile::TempDir,
    db: Database,
    docs: Collection,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let db = Database::open(dir.path().join("f.portolan")).expect("a database");
        let docs = db.create_collection("docs", CollectionOptions::new(3, Metric::Cosine));
        let docs = docs.expect("a collection");
        let mut batch = docs.batch();
        let first = Record::new("a").text("first").field("n", 1).vector([1.0, 0.0, 0.0]);
        batch.upsert(first).expect("a valid record");
        batch.upsert(Record::new(7).text("second").field("n", 2)).expect("a valid record");
        batch.commit().expect("a commit");
        Self { dir, db, docs }
    }

    fn path(&self) -> PathBuf {
        self.db.path().to_owned()
    }

    /// A path beside the database.
    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Checks that `act` fails and leaves everything as it was; the error.
    fn refuses<T: std::fmt::Debug>(&self, act: impl FnOnce(&Self) -> portolan::Result<T>) -> Error {
        let before = common::content(&self.db);
        let error = act(self).expect_err("a refusal");
        assert!(common::content(&self.db) == before, "{error} changed something");
        error
    }
}

/// What the four predicates say, in the order of their names here.
#[derive(Debug, PartialEq)]
enum Kind {
    InvalidInput,
    NotFound,
    Corruption,
    Retryable,
    Other,
}

fn kind(error: &Error) -> Kind {
    let kinds = [
        (error.is_invalid_input(), Kind::InvalidInput),
        (error.is_not_found(), Kind::NotFound),
        (error.is_corruption(), Kind::Corruption),
        (error.is_retryable(), Kind::Retryable),
    ];
    let mut true_kinds = kinds.into_iter().filter_map(|(holds, kind)| holds.then_some(kind));
    let kind = true_kinds.next().unwrap_or(Kind::Other);
    assert_eq!(true_kinds.next(), None, "two predicates hold of {error}");
    kind
}

/// Names in the directory of the file, sorted.
fn listing(path: &Path) -> Vec<String> {
    let dir = std::fs::read_dir(path.parent().expect("a directory")).expect("a listing");
    let mut names: Vec<String> =
        dir.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}
