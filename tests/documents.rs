//! Documents stored as chunks: replaced and removed whole, in one commit, with what is unchanged
//! left as it is.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Rng, depth, everything, quick_dir};
use portolan::{Collection, CollectionOptions, Database, Error, Metric, Record, RecordId, Value};

fn empty() -> (tempfile::TempDir, Database, Collection) {
    let dir = quick_dir();
    let db = Database::open(dir.path().join("d.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::L2));
    (dir, db, docs.expect("a collection"))
}

/// What is stored under an id, as far as these tests care.
type Stored = (String, Option<Value>, Option<Vec<f32>>);

fn stored(docs: &Collection) -> BTreeMap<RecordId, Stored> {
    let of = |record: Record| {
        (record.id, (record.text, record.metadata.get("label").cloned(), record.vector))
    };
    everything(docs, 50).into_iter().map(of).collect()
}

/// Ids that begin alike, so that a document must not take another's chunks for its own.
const DOCUMENTS: [&str; 5] = ["a", "a#1", "b", "b#", "\u{e9}"];

#[test]
fn any_series_of_replacements_leaves_exactly_the_newest_chunks() {
    let (_dir, db, docs) = empty();
    let mut rng = Rng::new(7);
    let mut model: BTreeMap<RecordId, Stored> = BTreeMap::new();
    // No chunks, though their ids look like it.
    for id in ["a#9", "a", "b#x", "a#"] {
        let record = Record::new(id).text("alone").field("document", "other");
        docs.upsert(record).expect("a commit");
        model.insert(id.into(), ("alone".into(), None, None));
    }
    for _ in 0..200 * depth() {
        let document = DOCUMENTS[rng.below(5) as usize];
        let old = |model: &BTreeMap<RecordId, Stored>| -> Vec<RecordId> {
            let is_chunk = |id: &&RecordId| match id {
                RecordId::Text(text) => text
                    .rsplit_once('#')
                    .is_some_and(|(of, at)| of == document && at.parse::<u64>().is_ok()),
                RecordId::Int(_) => false,
            };
            model.keys().filter(is_chunk).filter(|id| **id != "a#9".into()).cloned().collect()
        };
        let mut batch = docs.batch();
        if rng.below(6) == 0 {
            batch.delete_document(document);
            old(&model).iter().for_each(|id| drop(model.remove(id)));
        } else {
            let mut chunks = Vec::new();
            let before = old(&model);
            let count = rng.below(7) as usize;
            for at in 0..count {
                let (text, label) = (format!("text {}", rng.below(3)), rng.below(2) as i64);
                let vector = (rng.below(2) == 0).then(|| vec![rng.below(9) as f32, 1.0]);
                let mut chunk = Record::new(rng.below(9) as i64).text(text.as_str());
                chunk = chunk.field("label", label);
                chunk.vector.clone_from(&vector);
                chunks.push(chunk);
                let id = RecordId::from(document).chunk(at);
                let label = Some(Value::from(label));
                let vector = match (vector, model.get(&id)) {
                    (None, Some((known, of, vector))) if *known == text && *of == label => {
                        vector.clone()
                    }
                    (vector, _) => vector,
                };
                model.insert(id, (text, label, vector));
            }
            let now: Vec<RecordId> =
                (0..count).map(|at| RecordId::from(document).chunk(at)).collect();
            before.iter().filter(|id| !now.contains(id)).for_each(|id| drop(model.remove(id)));
            batch.replace_document(document, chunks).expect("chunks");
        }
        batch.commit().expect("a commit");
        assert_eq!(stored(&docs), model);
        let found = docs.document(document).expect("a document");
        let ids: Vec<RecordId> = found.iter().map(|chunk| chunk.id.clone()).collect();
        let expected: Vec<RecordId> =
            (0..ids.len()).map(|at| RecordId::from(document).chunk(at)).collect();
        assert_eq!(ids, expected);
        assert_eq!(ids.len(), old(&model).len());
    }
    db.verify().expect("an undamaged file");
}

#[test]
fn a_reader_sees_the_chunks_of_one_version_alone() {
    let (_dir, _db, docs) = empty();
    let chunks = |version: i64| {
        let count = 1 + version * 7 % 12;
        (0..count).map(move |at| {
            let record = Record::new("").text(format!("{at} of {version}"));
            record.field("version", version).field("of", count).vector([1.0, at as f32])
        })
    };
    docs.replace_document("d", chunks(0)).expect("a commit");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = 0;
            while !done.load(Ordering::SeqCst) || read == 0 {
                let found = docs.document("d").expect("a document");
                let version = &found[0].metadata["version"];
                assert!(found.iter().all(|chunk| chunk.metadata["version"] == *version));
                assert_eq!(found[0].metadata["of"], Value::Int(found.len() as i64));
                let page = docs.scan().limit(50).run().expect("a page");
                let version = &page.records[0].metadata["version"];
                assert!(page.records.iter().all(|chunk| chunk.metadata["version"] == *version));
                let hits = docs.search(&[1.0, 0.0]).limit(50).run().expect("hits");
                let version = &hits[0].metadata()["version"];
                assert!(hits.iter().all(|hit| hit.metadata()["version"] == *version));
                read += 1;
            }
        });
        for version in 1..60 {
            docs.replace_document("d", chunks(version)).expect("a commit");
        }
        done.store(true, Ordering::SeqCst);
        reader.join().expect("the reader agrees");
    });
}

#[test]
fn an_unchanged_chunk_is_not_written_again() {
    let (_dir, db, docs) = empty();
    let chunk = |text: &str| Record::new("").text(text).title("T").field("lang", "en");
    let first = ["one", "two", "three"].map(|text| chunk(text).vector([1.0, 2.0]));
    docs.replace_document(7, first).expect("a commit");
    let same = docs.replace_document(7, ["one", "two", "three"].map(chunk)).expect("a commit");
    assert_eq!((same.upserted, same.deleted), (0, 0));
    let edited = docs.replace_document(7, ["one", "2"].map(chunk)).expect("a commit");
    assert_eq!((edited.upserted, edited.deleted), (1, 1));
    let vectors: Vec<_> = everything(&docs, 10).into_iter().map(|chunk| chunk.vector).collect();
    assert_eq!(vectors, [Some(vec![1.0, 2.0]), None]);
    assert_eq!(docs.delete_document(7).expect("a commit"), 2);
    assert_eq!(docs.delete_document(7).expect("a commit"), 0);
    assert_eq!(docs.count().expect("a count"), 0);
    db.verify().expect("an undamaged file");
}

#[test]
fn a_refused_chunk_leaves_the_batch_as_it_was() {
    let (_dir, _db, docs) = empty();
    let mut batch = docs.batch();
    batch.upsert(Record::new("x").vector([0.0, 1.0])).expect("a record");
    let wrong = [Record::new("").text("a"), Record::new("").vector([1.0])];
    let error = batch.replace_document("d", wrong).expect_err("one dimension");
    assert!(matches!(error, Error::Vector { id: Some(id), .. } if id == "d#1".into()));
    assert_eq!(batch.len(), 1);
    let long = "x".repeat(480);
    let error = batch.replace_document(long.as_str(), [Record::new("")]).expect_err("an id");
    assert!(matches!(error, Error::Record { .. }));
    assert_eq!(docs.delete_document(long).expect("a commit"), 0);
    batch.commit().expect("a commit");
    assert_eq!(docs.count().expect("a count"), 1);
}
