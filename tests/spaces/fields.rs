//! Fields that come and go, what they refuse, and what happens to them while a graph is built.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, FieldVector, Maintenance,
    Matrix, MatrixCodec, Metric, ModelContract, Originals, Record, StorageError, VectorError,
    VectorField,
};

use crate::common::Rng;

const DIM: usize = 8;

fn manual(dir: &tempfile::TempDir) -> (Database, Collection) {
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(dir.path().join("f.portolan")).expect("opens");
    let options = CollectionOptions::new(3, Metric::Cosine)
        .vector_field("image", VectorField::new(DIM, Metric::Cosine))
        .vector_field("tokens", VectorField::multi(DIM))
        .vector_field("words", VectorField::sparse());
    let docs = db.create_collection("docs", options).expect("creates");
    (db, docs)
}

/// Records with a vector and a matrix each, of the same values.
fn fill(docs: &Collection, ids: std::ops::Range<i64>) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(9);
    let vectors: Vec<Vec<f32>> = ids.clone().map(|_| rng.vector(DIM)).collect();
    let mut batch = docs.batch();
    for (id, vector) in ids.zip(&vectors) {
        let tokens = Matrix::new(DIM, vector.clone()).expect("a row");
        let record = Record::new(id).named_vector("image", vector.clone());
        let record =
            record.named_vector("words", [(3, 0.5 + vector[0].abs()), (id as u32 + 9, 1.0)]);
        batch.upsert(record.named_vector("tokens", tokens)).expect("fits");
    }
    batch.commit().expect("commits");
    vectors
}

#[test]
fn what_does_not_fit_a_field_is_refused_by_a_typed_error_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (db, docs) = manual(&dir);
    let mut batch = docs.batch();
    let image = |vector: Vec<f32>| Record::new("r").named_vector("image", vector);
    let refused = batch.upsert(image(vec![1.0; 7])).expect_err("too short");
    assert!(refused.is_invalid_input());
    let expected = VectorError::WrongDimensions { expected: DIM, found: 7 };
    assert!(
        matches!(&refused, Error::NamedVector { field, id: Some(_), source }
        if field == "image" && *source == expected),
        "{refused}"
    );
    let zero = batch.upsert(image(vec![0.0; DIM])).expect_err("no direction");
    assert!(matches!(zero, Error::NamedVector { source: VectorError::ZeroVector, .. }));
    let unknown = batch.upsert(Record::new("r").named_vector("picture", [1.0])).expect_err("none");
    assert!(unknown.is_not_found() && unknown.to_string().contains("picture"), "{unknown}");
    let matrix = Matrix::new(DIM, vec![1.0; DIM]).expect("a row");
    let kind = batch.upsert(Record::new("r").named_vector("image", matrix.clone()));
    assert!(matches!(kind, Err(Error::VectorFieldKind { .. })));
    let kind = batch.upsert(Record::new("r").named_vector("tokens", vec![1.0; DIM]));
    assert!(matches!(kind, Err(Error::VectorFieldKind { .. })));
    let narrow = Matrix::new(2, [1.0, 2.0]).expect("a row");
    let narrow = batch.upsert(Record::new("r").named_vector("tokens", narrow));
    assert!(matches!(narrow, Err(Error::NamedVector { .. })));
    for pairs in [vec![(1, -0.5)], vec![(1, f32::NAN)], vec![(1, 1.0), (1, 2.0)], vec![(1, 0.0)]] {
        let refused = batch.upsert(Record::new("r").named_vector("words", pairs));
        assert!(matches!(refused, Err(Error::NamedVector { .. })));
    }
    let kind = batch.upsert(Record::new("r").named_vector("tokens", [(1, 1.0)]));
    assert!(matches!(kind, Err(Error::VectorFieldKind { .. })));
    assert!(batch.is_empty());

    let sparse = docs.search_sparse("image", &[(1, 1.0)]).run();
    assert!(matches!(sparse, Err(Error::VectorFieldKind { .. })));
    let sparse = docs.search_sparse("words", &[(1, -1.0)]).run();
    assert!(matches!(sparse, Err(Error::NamedVector { .. })));
    let query = [1.0; DIM];
    assert!(matches!(
        docs.search(&query).field("none").run(),
        Err(Error::VectorFieldNotFound { .. })
    ));
    assert!(matches!(
        docs.search(&query).field("tokens").run(),
        Err(Error::VectorFieldKind { .. })
    ));
    assert!(matches!(docs.search(&[1.0]).field("image").run(), Err(Error::NamedVector { .. })));
    assert!(matches!(docs.maxsim("image", &matrix).run(), Err(Error::VectorFieldKind { .. })));
    assert!(matches!(docs.maxsim("none", &matrix).run(), Err(Error::VectorFieldNotFound { .. })));
    let wide = Matrix::new(DIM + 1, vec![1.0; DIM + 1]).expect("a row");
    assert!(matches!(docs.maxsim("tokens", &wide).run(), Err(Error::NamedVector { .. })));
    assert_eq!(docs.count().expect("counts"), 0);
    db.verify().expect("whole");
}

#[test]
fn fields_that_cannot_be_made_are_refused_with_what_is_allowed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (db, docs) = manual(&dir);
    let dense = || VectorField::new(3, Metric::Dot);
    let exists = docs.add_vector_field("image", dense());
    assert!(matches!(exists, Err(Error::VectorFieldExists { .. })));
    for (name, field) in [
        ("", dense()),
        ("a\0b", dense()),
        ("none", VectorField::new(0, Metric::Dot)),
        ("wide", VectorField::new(70_000, Metric::Dot)),
        ("wide", VectorField::multi(5_000)),
        ("cut", dense().originals(Originals::None).leading_dimensions(2)),
        ("model", dense().model(ModelContract::new(""))),
    ] {
        let refused = docs.add_vector_field(name, field).expect_err(name);
        assert!(matches!(refused, Error::VectorFieldOptions { .. }), "{refused}");
    }
    for at in 3..64 {
        docs.add_vector_field(&format!("f{at}"), dense()).expect("there is room");
    }
    let refused = docs.add_vector_field("more", dense()).expect_err("64 are the most");
    assert!(refused.to_string().contains("64"), "{refused}");
    let twice = CollectionOptions::new(3, Metric::Dot);
    let twice = twice.vector_field("a", dense()).vector_field("a", dense());
    let twice = db.create_collection("twice", twice);
    assert!(matches!(twice, Err(Error::VectorFieldExists { .. })));
    assert_eq!(db.collections().expect("lists"), ["docs"]);
}

#[test]
fn a_field_can_be_added_to_records_and_removed_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (db, docs) = manual(&dir);
    let vectors = fill(&docs, 0..40);
    docs.maintain().graph_min_rows(10).run().expect("folds");
    docs.add_vector_field("late", VectorField::new(2, Metric::Dot)).expect("adds");
    assert_eq!(docs.vector_fields().expect("lists"), ["image", "late", "tokens", "words"]);
    assert!(docs.search(&[1.0, 0.0]).field("late").run().expect("searches").is_empty());
    docs.upsert(Record::new(7_i64).named_vector("late", [2.0, 0.0])).expect("commits");
    let hits = docs.search(&[1.0, 0.0]).field("late").run().expect("searches");
    assert_eq!((hits.len(), hits[0].score), (1, 2.0));
    // A record is replaced whole: 7 has no image any more.
    assert_eq!(docs.info().expect("informs").vector_fields[0].vectors, 39);
    let nearest = docs.search(&vectors[7]).field("image").limit(1).run().expect("searches");
    assert_ne!(nearest[0].id, 7_i64.into());
    db.verify().expect("whole");

    assert!(docs.remove_vector_field("image").expect("removes"));
    assert!(!docs.remove_vector_field("image").expect("is gone"));
    let gone = docs.search(&vectors[7]).field("image").run();
    assert!(matches!(gone, Err(Error::VectorFieldNotFound { .. })));
    assert_eq!(docs.count().expect("counts"), 40);
    db.verify().expect("nothing is left without an owner");
    // Of the same name, and nothing of the old one in it.
    docs.add_vector_field("image", VectorField::new(5, Metric::L2)).expect("adds");
    assert!(docs.search(&[0.5; 5]).field("image").run().expect("searches").is_empty());
    assert!(db.delete_collection("docs").expect("deletes"));
    db.verify().expect("nothing is left without an owner");
    drop(docs);
    let info = db.info().expect("informs");
    assert!(info.collections.is_empty());
}

#[test]
fn a_batch_for_a_field_that_was_made_anew_meanwhile_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (db, docs) = manual(&dir);
    let mut batch = docs.batch();
    batch.upsert(Record::new(1_i64).named_vector("image", vec![0.5; DIM])).expect("fits");
    docs.remove_vector_field("image").expect("removes");
    docs.add_vector_field("image", VectorField::new(2, Metric::Dot)).expect("adds");
    assert!(matches!(batch.commit(), Err(Error::VectorFieldNotFound { .. })));
    assert_eq!(docs.count().expect("counts"), 0);
    db.verify().expect("whole");
}

#[test]
fn records_changed_while_a_field_is_folded_keep_the_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let (db, docs) = manual(&dir);
    let vectors = fill(&docs, 0..300);
    let changed = AtomicBool::new(false);
    let fold = docs.maintain().graph_min_rows(0).progress(|_, _| {
        if !changed.swap(true, Ordering::SeqCst) {
            docs.delete(0_i64).expect("deletes");
            docs.upsert(Record::new(1_i64)).expect("replaces");
            let moved = Record::new(2_i64).named_vector("image", vectors[1].clone());
            docs.upsert(moved).expect("replaces");
        }
        ControlFlow::Continue(())
    });
    assert_eq!(fold.run().expect("folds").sealed, 300 - 3 + 300 - 3 + 1 - 1);
    assert!(changed.load(Ordering::SeqCst));
    db.verify().expect("whole");
    let nearest = docs.search(&vectors[1]).field("image").limit(1).exact().run().expect("searches");
    assert_eq!(nearest[0].id, 2_i64.into());
    docs.maintain().run().expect("folds");
    db.verify().expect("whole");
    let info = docs.info().expect("informs");
    let counts: Vec<_> =
        info.vector_fields.iter().map(|field| (field.vectors, field.deleted)).collect();
    assert_eq!(counts, [(298, 0), (297, 0), (297, 0)]);
}

#[test]
fn a_field_removed_while_it_is_folded_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let (db, docs) = manual(&dir);
    fill(&docs, 0..300);
    let removed = AtomicBool::new(false);
    let fold = docs.maintain().graph_min_rows(0).progress(|_, _| {
        if !removed.swap(true, Ordering::SeqCst) {
            docs.remove_vector_field("image").expect("removes");
        }
        ControlFlow::Continue(())
    });
    fold.run().expect("folds the other field");
    assert!(removed.load(Ordering::SeqCst));
    db.verify().expect("whole");
    assert_eq!(docs.vector_fields().expect("lists"), ["tokens", "words"]);
    assert_eq!(docs.info().expect("informs").vector_fields[0].unsealed, 0);
}

#[test]
fn a_field_knows_its_own_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("f.portolan")).expect("opens");
    let options = CollectionOptions::new(2, Metric::Dot).model(ModelContract::new("text"));
    let image = VectorField::new(2, Metric::Dot).model(ModelContract::new("clip"));
    let docs = db.create_collection("docs", options.vector_field("image", image)).expect("creates");
    let search = |model: &str| docs.search(&[1.0, 0.0]).field("image").model(model).run();
    assert!(search("clip").is_ok());
    assert!(matches!(search("text"), Err(Error::ModelMismatch { .. })));
    assert!(docs.search(&[1.0, 0.0]).model("text").run().is_ok());
}

#[test]
fn many_searches_at_once_go_through_a_named_field_as_well() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_db, docs) = manual(&dir);
    let vectors = fill(&docs, 0..60);
    docs.maintain().run().expect("folds");
    let found = docs.search_batch(&vectors).field("image").limit(1).run().expect("searches");
    for (id, found) in (0_i64..).zip(found) {
        assert_eq!(found[0].id, id.into());
    }
    assert!(docs.make_resident().expect("copies") > 0);
}

#[test]
fn a_file_of_before_fields_is_refused_until_it_is_compacted() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2.portolan");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("old.portolan");
    std::fs::copy(fixture, &path).expect("copies");
    let db = Database::open(&path).expect("opens");
    let name = db.collections().expect("lists").swap_remove(0);
    let docs = db.collection(&name).expect("is there");
    let add = |docs: &Collection| docs.add_vector_field("image", VectorField::multi(4));
    let refused = add(&docs).expect_err("the file is older");
    let older = matches!(refused, Error::Storage(StorageError::Older { found: 2, needed: 3 }));
    assert!(older && refused.to_string().contains("compact"), "{refused}");
    assert_eq!(docs.vector_fields().expect("lists"), Vec::<String>::new());
    drop((docs, db));
    Database::compact(&path).expect("compacts");
    let db = Database::open(&path).expect("opens");
    let docs = db.collection(&name).expect("is there");
    add(&docs).expect("adds");
    let tokens = Matrix::new(4, [0.5; 4]).expect("a row");
    docs.upsert(Record::new("new").named_vector("image", tokens.clone())).expect("commits");
    let hits = docs.maxsim("image", &tokens).run().expect("searches");
    assert_eq!((hits.len(), hits[0].score), (1, 1.0));
    db.verify().expect("whole");
}

#[test]
fn matrices_read_back_as_their_codec_keeps_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("f.portolan")).expect("opens");
    let given = Matrix::new(3, [0.5, -1.0, 0.25, 1.0, 1.0, -1.0]).expect("rows");
    for (codec, wanted) in [
        (MatrixCodec::F16, vec![0.5, -1.0, 0.25, 1.0, 1.0, -1.0]),
        // 64, -127 and 32 of 1/127; 127 of it.
        (MatrixCodec::Int8, vec![64.0 / 127.0, -1.0, 32.0 / 127.0, 1.0, 1.0, -1.0]),
        // 1.3125 / 1.75; 3 / 3.
        (MatrixCodec::Bit, vec![0.75, -0.75, 0.75, 1.0, 1.0, -1.0]),
    ] {
        let options = CollectionOptions::new(2, Metric::Dot)
            .vector_field("tokens", VectorField::multi(3).codec(codec));
        let docs = db.create_collection(&codec.to_string(), options).expect("creates");
        docs.upsert(Record::new(1_i64).named_vector("tokens", given.clone())).expect("commits");
        let read = docs.get(1_i64).expect("reads").expect("is there");
        let Some(FieldVector::Multi(read)) = read.named_vectors.get("tokens") else {
            panic!("no matrix");
        };
        for (found, wanted) in read.values().iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{codec}: {found} {wanted}");
        }
    }
}

#[test]
fn an_audit_measures_each_field_of_vectors_and_of_matrices_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_db, docs) = manual(&dir);
    fill(&docs, 0..400);
    docs.maintain().graph_min_rows(0).run().expect("folds");
    let audit = docs.audit(50).expect("measures");
    // No record has a default vector, and a search by sparse vectors is exact.
    assert_eq!((audit.vectors.samples, audit.vectors.recall), (0, None));
    assert_eq!(audit.named_vectors.keys().collect::<Vec<_>>(), ["image", "tokens"]);
    for (name, field) in &audit.named_vectors {
        assert_eq!((field.samples, field.unreachable), (50, 0), "{name}");
        let recall = field.recall.expect("neighbors");
        assert!(recall > 0.9, "{name}: {field:?}");
        assert!(field.interval.0 <= recall && recall <= field.interval.1, "{name}: {field:?}");
    }
    // Vectors that are not sealed yet are sampled, those of deleted records are not.
    fill(&docs, 400..440);
    docs.delete(7_i64).expect("commits");
    assert_eq!(docs.audit(1_000).expect("measures").named_vectors["image"].samples, 439);
    assert!(docs.remove_vector_field("image").expect("removes"));
    assert!(!docs.audit(1).expect("measures").named_vectors.contains_key("image"));
}
