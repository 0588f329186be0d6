//! Ingest: each text is embedded once, however often the ingest is cut short or run again.

use std::sync::Arc;

use portolan::{Error, Record, RecordId, VectorError};

use super::models::{DIMENSIONS, Fate, WordEmbedder, bag_of_words};
use super::{empty, records};
use crate::common::everything;

const COUNT: u32 = 150;

/// What an uninterrupted ingest leaves.
async fn uninterrupted() -> Vec<Record> {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    let report = docs.ingest(records(COUNT)).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!((report.progress.read, report.progress.embedded), (150, 150));
    assert_eq!((report.cost.tokens, report.cost.requests), (Some(150), 19));
    assert_eq!(embedder.calls(), 150_usize.div_ceil(8));
    let found = everything(&docs, 100);
    assert_eq!(found.len(), COUNT as usize);
    for (found, given) in found.iter().zip(records(COUNT)) {
        assert_eq!(
            (&found.id, &found.text, &found.metadata),
            (&given.id, &given.text, &given.metadata)
        );
        assert_eq!(found.vector.as_ref().map(Vec::len), Some(DIMENSIONS));
    }
    found
}

fn once_each(embedder: &WordEmbedder) {
    let passages = embedder.passages();
    assert_eq!(passages.len(), COUNT as usize);
    assert!(passages.values().all(|&times| times == 1), "{passages:?}");
}

#[tokio::test]
async fn an_ingest_that_fails_half_way_is_resumed_without_embedding_anything_twice() {
    let expected = uninterrupted().await;
    for fail_at in [0, 1, 9, 18] {
        let (_dir, db, docs) = empty(DIMENSIONS);
        let embedder = WordEmbedder::new(Fate::FailAt(fail_at));
        let error = docs.ingest(records(COUNT)).embedder(&embedder).run().await;
        let error = error.expect_err("the model fails");
        assert!(matches!(error, Error::Model { stage: "embed", retryable: false, .. }), "{error}");
        assert!(!error.is_retryable());
        // What was with the model beside the call that failed is kept.
        let stored = docs.count().expect("a count") as usize;
        assert!((fail_at * 8..=(fail_at + 3) * 8).contains(&stored), "{stored} at {fail_at}");

        let embedder = embedder.fated(Fate::Answer);
        let report = docs.ingest(records(COUNT)).embedder(&embedder).run().await;
        let progress = report.expect("an ingest").progress;
        assert_eq!((progress.unchanged, progress.embedded), (stored, 150 - stored));
        once_each(&embedder);
        assert!(everything(&docs, 100) == expected);
        db.verify().expect("an undamaged file");
    }
}

#[tokio::test]
async fn an_ingest_that_is_dropped_inside_a_call_is_resumed_without_embedding_anything_twice() {
    let expected = uninterrupted().await;
    for hang_at in [0, 3, 17] {
        let (_dir, db, docs) = empty(DIMENSIONS);
        let embedder = Arc::new(WordEmbedder::new(Fate::HangAt(hang_at)));
        let task = {
            let (docs, embedder) = (docs.clone(), Arc::clone(&embedder));
            tokio::spawn(async move {
                docs.ingest(records(COUNT)).embedder(embedder.as_ref()).in_flight(1).run().await
            })
        };
        while embedder.calls() <= hang_at {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(task.await.expect_err("it was aborted").is_cancelled());
        // The commit that was under way ends by itself.
        while docs.count().expect("a count") < hang_at as u64 * 8 {
            tokio::task::yield_now().await;
        }
        assert_eq!(docs.count().expect("a count"), hang_at as u64 * 8);

        let embedder = Arc::into_inner(embedder).expect("the only one").fated(Fate::Answer);
        docs.ingest(records(COUNT)).embedder(&embedder).run().await.expect("an ingest");
        once_each(&embedder);
        assert!(everything(&docs, 100) == expected);
        db.verify().expect("an undamaged file");
    }
}

#[tokio::test]
async fn a_second_run_embeds_nothing() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(COUNT)).embedder(&embedder).run().await.expect("an ingest");
    let (calls, before) = (embedder.calls(), everything(&docs, 100));
    let report = docs.ingest(records(COUNT)).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!((report.progress.unchanged, report.progress.embedded), (150, 0));
    assert_eq!((report.cost.tokens, embedder.calls()), (None, calls));
    assert!(everything(&docs, 100) == before);
    // Nothing is new, so no model is needed at all.
    docs.ingest(records(COUNT)).run().await.expect("an ingest");
}

#[tokio::test]
async fn a_change_of_metadata_keeps_the_vector_and_a_change_of_text_does_not() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(40)).embedder(&embedder).run().await.expect("an ingest");
    let (calls, before) = (embedder.calls(), everything(&docs, 100));
    for round in 0..3 {
        let relabeled = records(40).into_iter().map(|record| record.field("round", round));
        let report = docs.ingest(relabeled).embedder(&embedder).run().await.expect("an ingest");
        assert_eq!((report.progress.updated, report.progress.embedded), (40, 0));
        assert_eq!(embedder.calls(), calls);
        for (now, before) in everything(&docs, 100).iter().zip(&before) {
            assert_eq!(now.metadata["round"], round.into());
            assert_eq!(now.vector, before.vector, "round {round}: the vector of {}", now.id);
        }
    }
    let mut changed = records(40);
    changed[7].text = "another text".to_owned();
    changed[9] = changed[9].clone().title("a title is part of the passage");
    let report = docs.ingest(changed).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!((report.progress.updated, report.progress.embedded), (38, 2));
    let passages = embedder.passages();
    assert_eq!(passages["another text"], 1);
    let vector = docs.get(7).expect("a lookup").and_then(|record| record.vector);
    let expected = bag_of_words("another text");
    let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
    for (found, expected) in vector.expect("a vector").iter().zip(expected) {
        assert!((found - expected / norm).abs() < 1e-3, "{found} {expected}");
    }
}

#[tokio::test]
async fn records_without_text_are_stored_without_vector() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    let given = || {
        vec![
            Record::new("empty"),
            Record::new("blank").text(" \n\t "),
            Record::new("titled").title("compass"),
            Record::new("own").vector(bag_of_words("star")),
        ]
    };
    let report = docs.ingest(given()).embedder(&embedder).run().await.expect("an ingest");
    let progress = report.progress;
    let counts = (progress.without_text, progress.embedded, progress.with_vector);
    assert_eq!((counts, progress.read), ((2, 1, 1), 4));
    let has_vector = |id: &str| docs.get(id).expect("a lookup").expect("a record").vector.is_some();
    assert_eq!(["empty", "blank", "titled", "own"].map(has_vector), [false, false, true, true]);
    let report = docs.ingest(given()).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!((report.progress.unchanged, report.progress.with_vector), (3, 1));
    assert_eq!(embedder.calls(), 1);
}

#[tokio::test]
async fn the_last_record_of_an_id_wins() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    // Within one chunk of reading and across two (8 batches of 8).
    let mut given = records(100);
    given.insert(3, Record::new(2).text("second of two"));
    given.push(Record::new(1).text("last of one"));
    docs.ingest(given).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!(docs.count().expect("a count"), 100);
    let text = |id: i64| docs.get(id).expect("a lookup").expect("a record").text;
    assert_eq!((text(2), text(1)), ("second of two".to_owned(), "last of one".to_owned()));
}

#[tokio::test]
async fn another_model_is_refused_before_it_is_asked() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    docs.ingest(records(10)).embedder(&embedder).run().await.expect("an ingest");
    let before = crate::common::content(&db);
    let other = WordEmbedder::new(Fate::Answer).model("test/other");
    let error = docs.ingest(records(20)).embedder(&other).run().await.expect_err("another model");
    assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
    assert!(error.is_invalid_input());
    assert_eq!(other.calls(), 0);
    assert!(crate::common::content(&db) == before);
}

#[tokio::test]
async fn what_cannot_be_stored_is_set_aside_before_the_model_is_asked() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    let mut given = records(5);
    given.push(Record::new("").text("no id"));
    let report = docs.ingest(given).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (5, 1));
    assert_eq!(report.rejected[0].id, RecordId::from(""));
    assert!(report.rejected[0].reason.contains("ids are 1 to 480 bytes"), "{report:?}");
    assert_eq!(embedder.passages().len(), 5);
    let error = docs.ingest(records(9)).run().await.expect_err("no embedder");
    assert!(matches!(error, Error::Query { .. }) && error.is_invalid_input());
}

#[tokio::test]
async fn vectors_of_another_shape_are_refused_and_nothing_of_the_batch_is_stored() {
    let (_dir, _db, docs) = empty(3);
    let embedder = WordEmbedder::new(Fate::Answer);
    let error = docs.ingest(records(20)).embedder(&embedder).run().await.expect_err("64 != 3");
    let Error::Vector { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source, &VectorError::WrongDimensions { expected: 3, found: DIMENSIONS });
    assert_eq!((embedder.calls(), docs.count().expect("a count")), (3, 0));
}

#[tokio::test]
async fn the_database_is_free_while_the_model_is_asked() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let held = docs.clone();
    let round = std::sync::atomic::AtomicI64::new(10_000);
    let embedder = WordEmbedder::new(Fate::Answer).during(move || {
        // Fills the map of 64 KiB several times over: growing it waits for every transaction.
        let id = round.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        held.upsert(Record::new(id).text("x".repeat(100_000))).expect("a commit");
        held.search(&bag_of_words("star")).run().expect("a search");
    });
    docs.ingest(records(60)).embedder(&embedder).run().await.expect("an ingest");
    assert_eq!(docs.count().expect("a count"), 60 + 8);
    let answer = docs.query("compass").embedder(&embedder).run().await.expect("an answer");
    assert_eq!(answer.hits.len(), 10);
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn progress_is_told_after_each_commit() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let embedder = WordEmbedder::new(Fate::Answer);
    let mut told = Vec::new();
    let ingest = docs.ingest(records(20)).embedder(&embedder).batch_size(5);
    ingest.progress(|now| told.push((now.read, now.embedded))).run().await.expect("an ingest");
    told.dedup();
    assert_eq!(told, [(20, 5), (20, 10), (20, 15), (20, 20)]);
    assert_eq!(embedder.calls(), 4);
}
