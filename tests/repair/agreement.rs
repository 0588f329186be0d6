//! `verify`, `damage` and `repair` say the same of a file: what one refuses the others name. And a
//! writer that comes upon damage says so in words of ours.

use std::path::Path;

use portolan::{
    CollectionOptions, Database, DatabaseOptions, Maintenance, Metric, Originals, Record,
    StorageError,
};

use crate::common::Rng;

const PAGE: usize = 4096;

/// A file with branch pages, values with pages of their own, free pages and two whole metas.
fn small() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("small.portolan");
    let mut rng = Rng::new(17);
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(&path).expect("a database");
    let options = CollectionOptions::new(8, Metric::Cosine).originals(Originals::F16);
    let docs = db.create_collection("docs", options).expect("a collection");
    for half in [0..60_i64, 60..90] {
        let mut batch = docs.batch();
        for at in half {
            let record = Record::new(at).text(rng.noise(120)).field("number", at % 5);
            batch.upsert(record.vector(rng.vector(8))).expect("a valid record");
        }
        batch.commit().expect("a commit");
        if docs.count().expect("a count") == 60 {
            docs.maintain().run().expect("maintenance");
        }
    }
    for at in [5, 70] {
        assert!(docs.delete(at).expect("a removal"));
    }
    drop((docs, db));
    std::fs::read(&path).expect("the file")
}

/// Whether `verify` refuses, and what `damage` says: none where both find nothing.
fn disagreement(path: &Path, bytes: &[u8]) -> Option<String> {
    std::fs::write(path, bytes).expect("the file");
    let verified = Database::open_read_only(path).and_then(|db| db.verify());
    let damage = Database::damage(path);
    match (&verified, &damage) {
        (Ok(_), Ok(found)) if found.is_empty() => None,
        (Err(_), Ok(found)) if !found.is_empty() => None,
        (Err(refused), Err(also)) if refused.to_string() == also.to_string() => None,
        _ => Some(format!("{verified:?} but {damage:?}")),
    }
}

#[test]
fn whatever_verify_refuses_is_named_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("changed.portolan");
    let whole = small();
    assert_eq!(disagreement(&path, &whole), None);
    let pages = whole.len() / PAGE;
    // Both metas, the headers and first pointers of all pages, and anything.
    let metas = (0..152).step_by(3).flat_map(|at| [at, PAGE + at]);
    let headers = (2..pages).flat_map(|page| [0, 9, 10, 12, 14, 16].map(|at| page * PAGE + at));
    let mut rng = Rng::new(5);
    let random: Vec<usize> = (0..150).map(|_| rng.below(whole.len() as u64) as usize).collect();
    let mut disagreements = Vec::new();
    for at in [20].into_iter().chain(metas).chain(headers).chain(random) {
        let mut bytes = whole.clone();
        bytes[at] = !bytes[at];
        let found = disagreement(&path, &bytes);
        disagreements.extend(found.map(|of| format!("byte {at}: {of}")));
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

#[test]
fn files_that_were_cut_short_or_are_empty_are_refused_by_both() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("cut.portolan");
    let whole = small();
    let borders = (0..whole.len() / PAGE).map(|page| page * PAGE);
    let lengths = borders.chain([1, 15, 16, 100, 151, 152, 1000, 5000, whole.len() / 2 + 1]);
    for length in lengths.chain([whole.len() - 1]) {
        assert_eq!(disagreement(&path, &whole[..length]), None, "{length} bytes");
    }
    for length in [0, 100, 512, PAGE, 2 * PAGE, 5 * PAGE] {
        assert_eq!(disagreement(&path, &vec![0; length]), None, "{length} zeros");
    }
}

#[test]
fn a_writer_that_meets_damage_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("written.portolan");
    let whole = small();
    let mut refused = 0;
    for page in 2..whole.len() / PAGE {
        let mut bytes = whole.clone();
        // Neither branch nor leaf. (LMDB itself ends the process at a leaf that claims to be a
        // branch: what `Verify::Touched` is for.)
        bytes[page * PAGE + 10] = 4;
        std::fs::write(&path, bytes).expect("the file");
        let write = || {
            let options = DatabaseOptions::new().maintenance(Maintenance::Manual).must_exist();
            let db = options.open(&path)?;
            let docs = db.collection("docs")?;
            docs.upsert(Record::new(33).text("another").vector([1.0; 8]))?;
            docs.delete(2)
        };
        let Err(error) = write() else { continue };
        // Without `Verify::Touched` a damaged page may read like an empty one.
        if error.is_not_found() {
            continue;
        }
        refused += 1;
        let words = error.to_string();
        assert!(error.is_corruption(), "page {page}: {words}");
        assert!(!words.contains("MDB_"), "page {page}: {words}");
        if let portolan::Error::Storage(StorageError::Damaged { .. }) = &error {
            let advice = ["`portolan verify`", "`Database::repair`"];
            assert!(advice.iter().all(|of| words.contains(of)), "{words}");
            assert!(std::error::Error::source(&error).is_some());
        }
    }
    assert!(refused > 3, "{refused}");
}
