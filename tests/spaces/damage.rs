//! Damage in named vector fields is found, told of, and repaired around; what a killed process left
//! goes.

use std::path::Path;

use portolan::{
    CollectionOptions, DamagedPart, Database, DatabaseOptions, Maintenance, Matrix, MatrixCodec,
    Metric, Originals, Record, VectorField,
};

use crate::common::Rng;
use crate::common::{everything, page_editor, raw_lmdb};

const DIM: usize = 12;
const RECORDS: i64 = 120;

/// Sealed and unsealed, in a dense field and in one of matrices.
fn fill(path: &Path) {
    let mut rng = Rng::new(5);
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(path).expect("opens");
    let options = CollectionOptions::new(DIM, Metric::Cosine)
        .vector_field("image", VectorField::new(DIM, Metric::L2).originals(Originals::F32))
        .vector_field("tokens", VectorField::multi(DIM).codec(MatrixCodec::Int8))
        .vector_field("words", VectorField::sparse());
    let docs = db.create_collection("docs", options).expect("creates");
    for ids in [0..RECORDS - 10, RECORDS - 10..RECORDS] {
        let mut batch = docs.batch();
        for id in ids {
            let record = Record::new(id).text("t").vector(rng.vector(DIM));
            let rows: Vec<f32> = (0..3).flat_map(|_| rng.vector(DIM)).collect();
            let tokens = Matrix::new(DIM, rows).expect("rows");
            let record = record.named_vector("image", rng.vector(DIM));
            let record =
                record.named_vector("words", [(id as u32 % 7, 0.5), (40 + id as u32, 1.5)]);
            batch.upsert(record.named_vector("tokens", tokens)).expect("fits");
        }
        batch.commit().expect("commits");
        if docs.count().expect("counts") < RECORDS as u64 {
            docs.maintain().graph_min_rows(50).run().expect("folds");
        }
    }
    db.verify().expect("whole");
}

#[test]
fn a_repair_of_a_whole_file_keeps_every_field() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, target) = (dir.path().join("a"), dir.path().join("b"));
    fill(&path);
    let repaired = Database::repair(&path, &target).expect("repairs");
    assert!(repaired.is_complete() && repaired.damage.is_empty(), "{:?}", repaired.damage);
    let read = |path: &Path| {
        let db = Database::open_read_only(path).expect("opens");
        db.verify().expect("whole");
        everything(&db.collection("docs").expect("is there"), 50)
    };
    let (before, after) = (read(&path), read(&target));
    assert_eq!(before.len(), RECORDS as usize);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.named_vectors["image"], after.named_vectors["image"]);
        assert_eq!(before.named_vectors["words"], after.named_vectors["words"]);
        assert_eq!((&before.id, &before.vector), (&after.id, &after.vector));
        let values = |record: &Record| match &record.named_vectors["tokens"] {
            portolan::FieldVector::Multi(matrix) => matrix.values().to_vec(),
            other => panic!("{other:?}"),
        };
        for (a, b) in values(before).into_iter().zip(values(after)) {
            assert!((a - b).abs() <= a.abs() * 1e-6, "{a} {b}");
        }
    }
}

#[test]
fn a_damaged_matrix_is_told_of_and_the_rest_is_saved() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, target) = (dir.path().join("a"), dir.path().join("b"));
    fill(&path);
    let bytes = std::fs::read(&path).expect("reads");
    let mut editor = page_editor::Pages::new(bytes);
    let tree = editor.table("matrices");
    let node = editor.entries(tree)[40];
    let value = editor.value(node);
    editor.set(value.start + 30, &[0x55, 0x5A]);
    std::fs::write(&path, &editor.bytes).expect("writes");

    let db = Database::open(&path).expect("opens");
    let docs = db.collection("docs").expect("is there");
    let query = Matrix::new(DIM, vec![0.5; DIM]).expect("a row");
    let error = docs.maxsim("tokens", &query).exact().run().expect_err("one is damaged");
    assert!(error.is_corruption(), "{error}");
    assert!(db.verify().expect_err("one is damaged").is_corruption());
    drop((docs, db));
    let damage = Database::damage(&path).expect("surveys");
    assert_eq!((damage.len(), damage[0].part), (1, DamagedPart::Vector), "{damage:?}");
    assert_eq!(damage[0].collection.as_deref(), Some("docs"));

    let repaired = Database::repair(&path, &target).expect("repairs");
    assert!(!repaired.is_complete());
    assert_eq!((repaired.records, repaired.vectors), (RECORDS as u64, RECORDS as u64));
    let db = Database::open(&target).expect("opens");
    db.verify().expect("whole");
    let info = db.collection("docs").expect("is there").info().expect("informs");
    let counts: Vec<u64> = info.vector_fields.iter().map(|field| field.vectors).collect();
    assert_eq!(counts, [RECORDS as u64, RECORDS as u64 - 1, RECORDS as u64]);
}

#[test]
fn damaged_values_of_fields_give_errors_and_no_panic() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a");
    fill(&path);
    let whole = std::fs::read(&path).expect("reads");
    let mut rng = Rng::new(77);
    // With the right seal, so that what is behind it is reached.
    for round in 0..150 {
        let mut editor = page_editor::Pages::new(whole.clone());
        let table = ["matrices", "delta", "collections", "postings"][round % 4];
        let entries = editor.entries(editor.table(table));
        if entries.is_empty() {
            continue;
        }
        let node = entries[rng.below(entries.len() as u64) as usize];
        let value = editor.value(node);
        if value.len() <= 8 {
            continue;
        }
        let at = value.start + 8 + rng.below((value.len() - 8).min(40) as u64) as usize;
        editor.set(at, &[rng.next() as u8]);
        editor.reseal(table, node);
        let bytes: std::sync::Arc<[u8]> = editor.bytes.into();
        let Ok(db) = Database::from_bytes(bytes) else { continue };
        let _ = (db.verify(), db.info());
        let Ok(docs) = db.collection("docs") else { continue };
        let query = Matrix::new(DIM, vec![0.5; 2 * DIM]).expect("rows");
        let _ = docs.maxsim("tokens", &query).run();
        let _ = docs.maxsim("tokens", &query).exact().run();
        let _ = docs.search(&[0.5; DIM]).field("image").run();
        let _ = docs.search_sparse("words", &[(3, 1.0), (50, 0.5)]).run();
        let _ = docs.scan().limit(500).with_vectors().run();
    }
}

#[test]
fn entries_of_a_field_that_no_manifest_knows_are_found_and_its_extents_swept() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a");
    fill(&path);
    // The first named field has number 1; extents of a segment that nobody published.
    let editor = page_editor::Pages::new(std::fs::read(&path).expect("reads"));
    let entries = editor.entries(editor.table("extents"));
    let of_field = |node: &&usize| editor.bytes[editor.key(**node)].starts_with(&[0, 0, 0, 1]);
    let node = *entries.iter().find(of_field).expect("an extent of the field");
    let mut key = editor.bytes[editor.key(node)].to_vec();
    key[4..8].copy_from_slice(&999_u32.to_be_bytes());
    let value = editor.bytes[editor.value(node)].to_vec();
    let before = raw_lmdb::count(&path, "extents");
    raw_lmdb::change(&path, &[("extents", key, Some(value))]);
    drop(Database::open(&path).expect("opens"));
    assert_eq!(raw_lmdb::count(&path, "extents"), before);
    Database::open(&path).expect("opens").verify().expect("whole");

    let key = vec![0, 0, 0, 9, 0, 0, 0, 1];
    let value = page_editor::sealed("matrices", &key, &[1]);
    raw_lmdb::change(&path, &[("matrices", key, Some(value))]);
    let db = Database::open(&path).expect("opens");
    assert!(db.verify().expect_err("it belongs to nothing").is_corruption());
}
