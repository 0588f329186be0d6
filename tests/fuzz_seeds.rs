//! The database that fuzzing starts from: committed, and current. `PORTOLAN_WRITE_SEEDS=1` writes
//! it anew after a change of the format.

use std::path::{Path, PathBuf};

use portolan::eval::synthetic::Synthetic;
use portolan::{CollectionOptions, Database, Metric, Record};

/// Two lines a navigation code, and a projection of as many directions.
const DIM: usize = 120;
const ROWS: usize = 40;

fn seed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/database/seed-graph")
}

/// A graph with all its sections, deleted rows, unsealed ones, and fields of each type.
fn write(path: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::create(dir.path().join("large.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(DIM, Metric::Cosine)).unwrap();
    let vectors = Synthetic::with_clusters(DIM, 7, 4).vectors(ROWS + 2);
    let record = |at: usize| {
        let record = Record::new(at as i64).text(format!("chart {at}"));
        let record = record.field("year", 1280 + at as i64).field("tag", format!("t{}", at % 3));
        record.vector(&vectors[at * DIM..(at + 1) * DIM])
    };
    let mut batch = docs.batch();
    (0..ROWS).for_each(|at| batch.upsert(record(at)).unwrap());
    batch.commit().unwrap();
    docs.maintain().graph_min_rows(0).run().unwrap();
    let made = dir.path().join("small.portolan");
    db.compact_to(&made).unwrap();
    drop((docs, db));
    let db = Database::open_existing(&made).unwrap();
    let docs = db.collection("docs").unwrap();
    docs.delete(3_i64).unwrap();
    docs.upsert(record(ROWS)).unwrap();
    docs.upsert(record(ROWS + 1)).unwrap();
    drop((docs, db));
    std::fs::copy(&made, path).unwrap();
}

#[test]
fn the_seed_of_databases_opens_whole_with_a_graph_and_navigation_codes() {
    if std::env::var_os("PORTOLAN_WRITE_SEEDS").is_some() {
        write(&seed());
    }
    let db = Database::open_read_only(seed()).unwrap();
    assert_eq!(db.verify().unwrap().unsealed, 2);
    let info = db.info().unwrap();
    let docs = &info.collections[0];
    assert_eq!((docs.graphs, docs.deleted, docs.unsealed), (1, 1, 2));
    assert!(docs.space.navigation > 0 && docs.space.links > 0, "{:?}", docs.space);
    let docs = db.collection("docs").unwrap();
    let hits = docs.search(&[0.1; DIM]).ef(12).limit(5).run().unwrap();
    assert_eq!(hits.len(), 5);
}
