//! Files written by earlier versions of the library still open, and become current when they
//! are maintained.

use std::path::{Path, PathBuf};

use portolan::{
    CollectionOptions, Database, Error, Filter, Language, Matrix, Metric, Record, RecordId,
    Residency, Result, StorageError, TextError, TextIndex, VectorField,
};

/// Written before graphs had navigation codes.
const FOUNDATION: &str = "tests/fixtures/foundation.portolan";

fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("old.portolan");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(FOUNDATION), &path).unwrap();
    path
}

/// Share of the true ten nearest that a search finds, over some of the stored vectors.
fn recall(db: &Database) -> Result<f64> {
    let collection = db.collection("bench")?;
    let mut found = 0;
    for id in (0..400).step_by(20) {
        let record = collection.get(id)?.unwrap();
        let vector = record.vector.unwrap();
        let truth = collection.search(&vector).exact().run()?;
        let hits = collection.search(&vector).ef(64).run()?;
        assert_eq!(hits[0].id, RecordId::from(id));
        found += hits.iter().filter(|hit| truth.iter().any(|true_| true_.id == hit.id)).count();
    }
    Ok(found as f64 / 200.0)
}

#[test]
fn a_file_without_navigation_codes_is_searched_read_only_and_read_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let db = Database::open_read_only(&path).unwrap();
    assert!(recall(&db).unwrap() > 0.97);
    drop(db);
    let db = Database::open(&path).unwrap();
    assert!(recall(&db).unwrap() > 0.97);
    db.verify().unwrap();
}

#[test]
fn maintenance_brings_an_old_file_up_to_date_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(copy(folder.path())).unwrap();
    let collection = db.collection("bench").unwrap();
    let before = collection.get(7).unwrap().unwrap();
    assert_eq!(db.info().unwrap().collections[0].space.navigation, 0);
    // One change, as a clean segment with a graph is left alone.
    collection.upsert(Record::new(400).vector(before.vector.clone().unwrap())).unwrap();
    collection.maintain().graph_min_rows(0).run().unwrap();
    // A line for each row, 24 directions and the mean, and a line for each entry.
    assert!(db.info().unwrap().collections[0].space.navigation > (401 + 25) * 64);
    assert_eq!(collection.get(7).unwrap().unwrap(), before);
    assert!(recall(&db).unwrap() > 0.97);
    db.verify().unwrap();
}

#[test]
fn copies_in_memory_and_batches_give_the_same_hits_as_single_searches_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(copy(folder.path())).unwrap();
    let collection = db.collection("bench").unwrap();
    for graph in [false, true] {
        if graph {
            let vector = collection.get(3).unwrap().unwrap().vector.unwrap();
            collection.upsert(Record::new(400).vector(vector)).unwrap();
            collection.delete(11).unwrap();
            collection.maintain().graph_min_rows(0).run().unwrap();
        }
        let vectors: Vec<Vec<f32>> =
            (20..60).map(|id| collection.get(id).unwrap().unwrap().vector.unwrap()).collect();
        let single = || -> Vec<Vec<(RecordId, f32)>> {
            let hits = vectors.iter().map(|vector| collection.search(vector).run().unwrap());
            hits.map(|hits| hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect()).collect()
        };
        let batch = || -> Vec<Vec<(RecordId, f32)>> {
            let found = collection.search_batch(&vectors).run().unwrap().into_iter();
            found.map(|of| of.into_iter().map(|one| (one.id, one.score)).collect()).collect()
        };
        let expected = single();
        assert_eq!(batch(), expected);
        assert!(collection.make_resident().unwrap() > 0);
        assert_eq!(single(), expected);
        assert_eq!(batch(), expected);
        db.set_residency(Residency::Mapped);
        assert_eq!(single(), expected);
    }
    let wrong = [vec![1.0_f32; 24], vec![1.0; 23]];
    assert!(collection.search_batch(&wrong).run().is_err());
    let none: [Vec<f32>; 0] = [];
    assert!(collection.search_batch(&none).run().unwrap().is_empty());
}

#[test]
fn an_audit_counts_what_searches_find_and_what_no_link_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(copy(folder.path())).unwrap();
    let collection = db.collection("bench").unwrap();
    let audit = collection.audit(100).unwrap();
    assert!(audit.named_vectors.is_empty());
    let audit = audit.vectors;
    assert_eq!((audit.samples, audit.unreachable), (100, 0));
    let recall = audit.recall.unwrap();
    assert!(recall > 0.97);
    assert!(audit.interval.0 < recall && recall <= audit.interval.1);
    let all = collection.audit_at(1_000, 400).unwrap().vectors;
    assert_eq!((all.samples, all.recall), (400, Some(1.0)));
    let empty =
        db.create_collection("empty", portolan::CollectionOptions::new(3, portolan::Metric::L2));
    let empty = empty.unwrap();
    let none = empty.audit(5).unwrap().vectors;
    assert_eq!((none.samples, none.recall, none.interval), (0, None, (0.0, 1.0)));
    // A single vector has no neighbors that could be missed.
    empty.upsert(Record::new(1).vector([1.0, 0.0, 0.0])).unwrap();
    let one = empty.audit(5).unwrap().vectors;
    assert_eq!((one.samples, one.recall, one.interval), (1, None, (0.0, 1.0)));
}

#[test]
fn facets_count_entries_alone_while_a_field_of_an_upgraded_file_is_indexed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.portolan");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2.portolan");
    std::fs::copy(old, &path).unwrap();
    Database::compact(&path).unwrap();
    let db = Database::open(&path).unwrap();
    let collection = db.collection("docs").unwrap();
    let counts = || {
        let found = collection.find().facets(["word"]).limit(0).run().unwrap();
        assert!(found.next.is_none());
        let facet = &found.facets[0];
        let values = facet.values.iter().map(|value| (value.value.clone(), value.count));
        (facet.distinct, values.collect::<Vec<_>>())
    };
    // More than a commit indexes, so that the field stays half done.
    let mut batch = collection.batch();
    for id in 10_000..30_000_i64 {
        batch.upsert(Record::new(id).field("word", "buoy")).unwrap();
    }
    batch.commit().unwrap();
    let before = counts();
    assert!(before.0 > 2 && before.1[0] == ("buoy".into(), 20_000), "{before:?}");
    collection.declare_field_gradually("word").unwrap();
    collection.upsert(Record::new(30_000_i64)).unwrap();
    let declared = collection.declared_fields().unwrap();
    assert!(declared.iter().any(|field| field.name == "word" && !field.is_complete));
    assert_eq!(counts(), before);
}

/// Written before words, field blocks and named vector fields.
const VERSION_2: &str = "tests/fixtures/version-2.portolan";
/// Written by this version.
const VERSION_3: &str = "tests/fixtures/version-3.portolan";

fn copy_of(fixture: &str, folder: &Path) -> PathBuf {
    let path = folder.join("old.portolan");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture), &path).unwrap();
    path
}

#[test]
fn words_of_a_file_of_version_2_are_indexed_once_it_is_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy_of(VERSION_2, folder.path());
    let db = Database::open(&path).unwrap();
    let docs = db.collection("docs").unwrap();
    docs.upsert(Record::new("new").text("a pilot of the harbor").vector(vec![1.0; 24])).unwrap();
    assert_eq!(docs.search(&[1.0; 24]).limit(1).run().unwrap()[0].id, "new".into());
    let filtered = docs.search(&[1.0; 24]).filter(Filter::eq("word", "pilot")).run().unwrap();
    assert!(!filtered.is_empty() && filtered.iter().all(|hit| hit.id != "new".into()));
    let index = TextIndex::new(Language::English);
    for refused in [
        docs.index_text(&index).map(|_| ()),
        docs.declare_field("word"),
        docs.add_vector_field("tokens", VectorField::multi(3)),
        db.create_collection("words", CollectionOptions::new(3, Metric::L2).text(index.clone()))
            .map(|_| ()),
    ] {
        let error = refused.expect_err("the file is older");
        let older = matches!(error, Error::Storage(StorageError::Older { found: 2, needed: 3 }));
        assert!(older && error.to_string().contains("compact"), "{error}");
    }
    assert!(matches!(docs.search_text("pilot").run(), Err(Error::Text(TextError::NoIndex { .. }))));
    assert_eq!(db.collections().unwrap().len(), 3);
    let records = docs.scan().limit(1_000).with_vectors().run().unwrap().records;
    db.verify().unwrap();
    drop((docs, db));

    Database::compact(&path).unwrap();
    let db = Database::open(&path).unwrap();
    let docs = db.collection("docs").unwrap();
    assert_eq!(docs.scan().limit(1_000).with_vectors().run().unwrap().records, records);
    assert_eq!(docs.index_text(&index).unwrap(), records.len() as u64);
    let hits = docs.search_text("pilots").run().unwrap();
    assert_eq!((hits.len(), &hits[0].id), (1, &"new".into()));
    let texts = docs.search_text("text").limit(1_000).run().unwrap();
    let expected = records.iter().filter(|record| record.text.starts_with("text")).count();
    assert_eq!(texts.len(), expected);
    docs.delete("new").unwrap();
    assert!(docs.search_text("pilots").run().unwrap().is_empty());
    db.verify().unwrap();
}

#[test]
fn a_file_of_version_3_is_changed_folded_compacted_and_repaired_as_one_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy_of(VERSION_3, folder.path());
    let db = Database::open(&path).unwrap();
    let all = |db: &Database| -> Vec<Vec<Record>> {
        let names = db.collections().unwrap().into_iter();
        let read = |name: String| {
            db.collection(&name).unwrap().scan().limit(1_000).with_vectors().run().unwrap().records
        };
        names.map(read).collect()
    };
    let before = all(&db);
    let docs = db.collection("docs").unwrap();
    let tokens = Matrix::from_rows([[3.0, 3.0, 3.0, 3.0]]).unwrap();
    let record = Record::new("new").text("a cartographer").vector(vec![1.0; 7]).field("number", 4);
    let record = record.named_vector("tokens", tokens.clone());
    docs.upsert(record.named_vector("terms", [(77, 1.0)])).unwrap();
    for _ in 0..2 {
        db.verify().unwrap();
        assert_eq!(docs.search_text("cartographers").run().unwrap()[0].id, "new".into());
        assert_eq!(docs.search_sparse("terms", &[(77, 1.0)]).run().unwrap()[0].id, "new".into());
        assert_eq!(docs.maxsim("tokens", &tokens).limit(1).run().unwrap()[0].id, "new".into());
        let number = Filter::eq("number", 4).and(!Filter::exists("word"));
        assert_eq!(docs.search(&[1.0; 7]).filter(number).run().unwrap().len(), 1);
        docs.maintain().run().unwrap();
    }
    docs.delete("new").unwrap();
    assert_eq!(all(&db), before);
    drop((docs, db));
    Database::compact(&path).unwrap();
    let mended = folder.path().join("mended.portolan");
    assert!(Database::repair(&path, &mended).unwrap().is_complete());
    for path in [path, mended] {
        let db = Database::open(&path).unwrap();
        db.verify().unwrap();
        let ids = |all: Vec<Vec<Record>>| -> Vec<RecordId> {
            all.into_iter().flatten().map(|record| record.id).collect()
        };
        assert_eq!(ids(all(&db)), ids(before.clone()));
        assert!(!db.collection("docs").unwrap().search_text("north").run().unwrap().is_empty());
    }
}
