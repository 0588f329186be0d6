//! Searches by recall target through the public API: what is measured when a graph is built stays
//! with it, and files without it are searched by defaults.

use std::path::Path;

use portolan::eval::synthetic::Synthetic;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, Maintenance, Metric,
    RecallPoint, Record,
};

const DIM: usize = 48;
const ROWS: usize = 3_000;

fn synthetic() -> Synthetic {
    Synthetic::with_clusters(DIM, 11, 40)
}

fn open(path: &Path) -> (Database, Collection) {
    let db = DatabaseOptions::new().maintenance(Maintenance::Manual).open(path).unwrap();
    let options = CollectionOptions::new(DIM, Metric::Cosine);
    let docs = db.collection_or_create("docs", options).unwrap();
    (db, docs)
}

/// Adds rows of the set and folds all into one graph.
fn fill(docs: &Collection, rows: std::ops::Range<usize>) {
    let flat = synthetic().vectors(rows.end);
    let mut batch = docs.batch();
    for (id, vector) in flat.chunks(DIM).enumerate().skip(rows.start) {
        batch.upsert(Record::new(id as i64).vector(vector.to_vec())).unwrap();
    }
    batch.commit().unwrap();
    docs.maintain().graph_min_rows(0).run().unwrap();
}

fn curve(db: &Database) -> Vec<RecallPoint> {
    db.info().unwrap().collections[0].recall.clone()
}

fn ef(docs: &Collection, target: f32) -> usize {
    let query = synthetic().queries(1);
    docs.search(&query).recall(target).run().unwrap().report.ef
}

#[test]
fn the_curve_survives_reopening_and_compaction_and_a_merge_measures_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.portolan");
    let (db, docs) = open(&path);
    fill(&docs, 0..ROWS / 2);
    let first = curve(&db);
    assert!(first.last().unwrap().recall > 0.97, "{first:?}");
    fill(&docs, ROWS / 2..ROWS);
    let second = curve(&db);
    assert_ne!(first, second);
    assert!(second.is_sorted_by(|a, b| a.ef < b.ef && a.recall <= b.recall));
    let efs = [0.9, 0.95, 0.99].map(|target| ef(&docs, target));
    assert!(efs[0] < efs[2], "{efs:?}");
    drop((db, docs));
    Database::compact(&path).unwrap();
    for open in [|path: &Path| Database::open(path), |path: &Path| Database::open_read_only(path)] {
        let db = open(&path).unwrap();
        assert_eq!(curve(&db), second);
        let docs = db.collection("docs").unwrap();
        assert_eq!([0.9, 0.95, 0.99].map(|target| ef(&docs, target)), efs);
        db.verify().unwrap();
    }
}

#[test]
fn the_last_of_ef_and_recall_counts_and_a_recall_of_one_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    let (_db, docs) = open(&folder.path().join("r.portolan"));
    fill(&docs, 0..ROWS);
    let queries: Vec<Vec<f32>> = synthetic().queries(20).chunks(DIM).map(<[f32]>::to_vec).collect();
    let by_target = ef(&docs, 0.95);
    assert_ne!(by_target, 77);
    let search = || docs.search(&queries[0]);
    assert_eq!(search().recall(0.95).ef(77).run().unwrap().report.ef, 77);
    assert_eq!(search().ef(77).recall(0.95).run().unwrap().report.ef, by_target);
    assert_eq!(search().recall(1.0).run().unwrap().report.ef, 0);
    for query in &queries {
        let exact = docs.search(query).exact().run().unwrap();
        assert_eq!(docs.search(query).recall(1.0).run().unwrap().hits, exact.hits);
    }
    let batch = docs.search_batch(&queries).ef(5).recall(0.95).run().unwrap();
    for (query, found) in queries.iter().zip(batch) {
        let alone = docs.search(query).recall(0.95).run().unwrap();
        let ids = |hits: &portolan::Hits| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
        assert_eq!(found.into_iter().map(|of| of.id).collect::<Vec<_>>(), ids(&alone));
    }
}

#[test]
fn targets_that_are_no_share_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_db, docs) = open(&folder.path().join("r.portolan"));
    fill(&docs, 0..100);
    let query = synthetic().queries(1);
    for target in [0.0, -0.5, 1.01, f32::NAN, f32::INFINITY] {
        let one = docs.search(&query).recall(target).run().unwrap_err();
        let many = docs.search_batch(&[&query]).recall(target).run().unwrap_err();
        for error in [one, many] {
            assert!(matches!(error, Error::RecallTarget { .. }) && error.is_invalid_input());
        }
    }
    assert_eq!(docs.search(&query).recall(f32::MIN_POSITIVE).run().unwrap().len(), 10);
}

#[test]
fn a_file_of_before_is_searched_by_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.portolan");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foundation.portolan");
    std::fs::copy(fixture, &path).unwrap();
    let db = Database::open_read_only(&path).unwrap();
    assert_eq!(curve(&db), []);
    let bench = db.collection("bench").unwrap();
    let query = [0.5; 24];
    let ef = |target| bench.search(&query).recall(target).run().unwrap().report.ef;
    assert_eq!([0.95, 0.98, 0.99].map(ef), [64, 96, 192]);
    assert_eq!(bench.search(&query).run().unwrap().report.ef, 96);
}

#[test]
fn a_damaged_curve_is_left_aside_and_verify_tells() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.portolan");
    let (db, docs) = open(&path);
    fill(&docs, 0..ROWS);
    drop((db, docs));
    let mut bytes = std::fs::read(&path).unwrap();
    // The header of an extent: magic, version 1, kind 10.
    let head = [b"PTLX".as_slice(), &[1, 0, 10, 0]].concat();
    let at = bytes.windows(head.len()).position(|window| window == head).unwrap();
    bytes[at + 48..at + 60].fill(0xFF);
    std::fs::write(&path, bytes).unwrap();
    let db = Database::open_read_only(&path).unwrap();
    let docs = db.collection("docs").unwrap();
    assert_eq!(curve(&db), []);
    assert_eq!(ef(&docs, 0.95), 64);
    assert!(db.verify().unwrap_err().is_corruption());
}
