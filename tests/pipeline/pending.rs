//! Records whose text is stored before their vector: stored without a model, listed, completed
//! once, and kept through whatever happens to the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan::{Collection, Database, Record, RecordId, StageError};

use super::models::DIMENSIONS;
use super::scripted::Scripted;
use super::{empty, records};
use crate::common::{Rng, everything};

fn ids(count: i64) -> Vec<RecordId> {
    (0..count).map(RecordId::from).collect()
}

async fn complete(docs: &Collection) {
    let model = Scripted::new(|_, _| Ok(()));
    let report = docs.embed_pending().embedder(&model).run().await.expect("an ingest");
    assert_eq!((report.model_failure, report.progress.pending), (None, 0));
    assert_eq!(docs.pending().expect("a list"), []);
    assert!(everything(docs, 100).iter().all(|record| record.vector.is_some()));
}

#[tokio::test]
async fn texts_are_stored_though_the_model_is_down_and_get_their_vectors_later() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let down = Scripted::new(|call, _| match call {
        0..3 => Ok(()),
        _ => Err(StageError::new("nobody there")),
    });
    let report = docs.ingest(records(60)).embedder(&down).pending(true).in_flight(1).run().await;
    let report = report.expect("the texts are stored");
    assert_eq!(report.model_failure.as_deref(), Some("embed failed: nobody there"));
    assert_eq!((report.progress.embedded, report.progress.pending), (24, 36));
    assert_eq!(docs.count().expect("a count"), 60);
    assert_eq!(docs.pending().expect("a list"), ids(60)[24..]);
    assert_eq!(db.info().expect("the counts").collections[0].pending, 36);
    assert_eq!(db.pending_count().expect("a count"), 36);
    db.verify().expect("an undamaged file");

    // The same records again embed only what is missing, and only once.
    let model = Scripted::new(|_, _| Ok(()));
    let ingest = docs.ingest(records(60)).embedder(&model).pending(true);
    let report = ingest.run().await.expect("an ingest");
    assert_eq!((report.progress.unchanged, report.progress.embedded), (24, 36));
    assert_eq!(model.embedded.lock().expect("the log").len(), 36);
    assert_eq!(docs.pending_count().expect("a count"), 0);
    db.verify().expect("an undamaged file");

    let (_dir, _db, plain) = empty(DIMENSIONS);
    plain.ingest(records(60)).embedder(&model).run().await.expect("an ingest");
    assert!(everything(&plain, 100) == everything(&docs, 100));
}

#[tokio::test]
async fn no_model_is_needed_to_store_and_a_plain_ingest_completes_what_is_pending() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    let report = docs.ingest(records(20)).pending(true).run().await.expect("an ingest");
    assert_eq!((report.progress.read, report.progress.pending), (20, 20));
    // Metadata may change meanwhile; a record may go; one may get a vector of its own.
    let relabeled = records(5).into_iter().map(|record| record.field("round", 1));
    docs.ingest(relabeled).pending(true).run().await.expect("an ingest");
    docs.delete(19).expect("a commit");
    docs.upsert(Record::new(18).text("own").vector(vec![1.0; DIMENSIONS])).expect("a commit");
    docs.upsert(Record::new(17).text("not to be embedded")).expect("a commit");
    let mut left = docs.pending().expect("a list");
    left.sort();
    assert_eq!(left, ids(17));
    db.verify().expect("an undamaged file");
    let model = Scripted::new(|_, _| Ok(()));
    docs.ingest(records(17)).embedder(&model).run().await.expect("an ingest");
    assert_eq!(docs.pending_count().expect("a count"), 0);
    assert_eq!(docs.get(17).expect("a lookup").expect("a record").vector, None);
    db.verify().expect("an undamaged file");
    assert!(db.delete_collection("docs").expect("a commit"));
}

#[tokio::test]
async fn what_is_pending_stays_so_through_copies_repairs_and_maintenance() {
    let (dir, db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, _| Ok(()));
    docs.ingest(records(10)).embedder(&model).run().await.expect("an ingest");
    let more = records(40).split_off(10);
    docs.ingest(more).pending(true).run().await.expect("an ingest");
    docs.maintain().run().expect("maintenance");
    let copy = dir.path().join("copy.portolan");
    db.compact_to(&copy).expect("a copy");
    let repaired = dir.path().join("repaired.portolan");
    Database::repair(&copy, &repaired).expect("a repair");
    for path in [copy, repaired] {
        let shipped = Database::open_read_only(&path).expect("the file");
        let listed = shipped.collection("docs").expect("a collection").pending();
        assert_eq!(listed.expect("a list"), ids(40)[10..]);
        drop(shipped);
        let db = Database::open(&path).expect("the file");
        complete(&db.collection("docs").expect("a collection")).await;
        db.verify().expect("an undamaged file");
    }
    complete(&docs).await;
}

#[tokio::test]
async fn a_record_that_changes_while_it_is_with_the_model_keeps_its_new_text() {
    let (_dir, db, docs) = empty(DIMENSIONS);
    docs.ingest(records(3)).pending(true).run().await.expect("an ingest");
    let held = docs.clone();
    let model = Scripted::new(move |_, _| {
        held.upsert(Record::new(1).text("newer")).expect("a commit");
        held.delete(2).expect("a commit");
        Ok(())
    });
    docs.embed_pending().embedder(&model).run().await.expect("an ingest");
    let record = docs.get(1).expect("a lookup").expect("a record");
    assert_eq!((record.text.as_str(), record.vector), ("newer", None));
    assert!(!docs.contains(2).expect("a lookup"));
    assert!(docs.get(0).expect("a lookup").expect("a record").vector.is_some());
    db.verify().expect("an undamaged file");
}

#[tokio::test]
async fn a_text_that_the_model_refuses_stays_pending_and_the_others_go_on() {
    let (_dir, _db, docs) = empty(DIMENSIONS);
    let model = Scripted::new(|_, texts| {
        let at = texts.iter().position(|text| text.ends_with(" 3"));
        at.map_or(Ok(()), |at| Err(StageError::new("too long").input(at)))
    });
    let ingest = docs.ingest(records(20)).embedder(&model).pending(true);
    let report = ingest.run().await.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (19, 1));
    assert_eq!(docs.pending().expect("a list"), [RecordId::from(3)]);
}

/// Whatever fails, however often it is run again: in the end every record has its vector, and none
/// was embedded again once its vector was committed.
#[tokio::test]
async fn any_sequence_of_failures_ends_with_every_vector_and_none_embedded_after_its_commit() {
    let mut rng = Rng::new(77);
    for _ in 0..12 {
        let (_dir, db, docs) = empty(DIMENSIONS);
        let count = 30 + (rng.below(60)) as u32;
        let mut done = vec![0_usize; count as usize];
        for round in 0..40 {
            let (fail_at, pending) = (rng.below(12), rng.once_in(2));
            let polls = rng.below(60);
            let left = Arc::new(AtomicUsize::new(fail_at as usize));
            let calls = Arc::clone(&left);
            let model = Scripted::new(move |_, _| {
                let left = calls
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                match left {
                    Ok(_) => Ok(()),
                    Err(_) => Err(StageError::new("down")),
                }
            });
            let ingest = docs.ingest(records(count)).embedder(&model).pending(pending);
            let ingest = ingest.in_flight(1 + rng.below(4) as usize);
            if round % 3 == 0 {
                super::dropped::poll_times(Box::pin(ingest.run()), polls as usize).await;
            } else {
                let _ = ingest.run().await;
            }
            // A commit under way ends by itself: this one waits for it.
            docs.upsert(Record::new("marker").vector(vec![1.0; DIMENSIONS])).expect("a commit");
            for (at, record) in records(count).iter().enumerate() {
                let now = model.times(&record.text);
                assert!(done[at] == 0 || now == 0, "{at} was embedded after its commit");
                let stored = docs.get(at as i64).expect("a lookup");
                done[at] = usize::from(stored.is_some_and(|record| record.vector.is_some()));
            }
            db.verify().expect("an undamaged file");
        }
        let model = Scripted::new(|_, _| Ok(()));
        docs.ingest(records(count)).embedder(&model).run().await.expect("an ingest");
        let all = everything(&docs, 500);
        assert_eq!(all.len(), count as usize + 1);
        assert!(all.iter().all(|record| record.vector.is_some()));
    }
}
