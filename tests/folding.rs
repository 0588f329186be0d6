//! Folding while others write: what changes while a graph is built is right afterwards.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use portolan::eval::synthetic::Synthetic;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, Maintained, Maintenance,
    Metric, Record, RecordId,
};

const DIM: usize = 16;
const ROWS: usize = 600;

fn filled(dir: &tempfile::TempDir) -> (Database, Collection, Vec<Vec<f32>>) {
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(dir.path().join("f.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(DIM, Metric::Cosine)).unwrap();
    let flat = Synthetic::with_clusters(DIM, 5, 20).vectors(2 * ROWS);
    let vectors: Vec<Vec<f32>> = flat.chunks(DIM).map(<[f32]>::to_vec).collect();
    let mut batch = docs.batch();
    for (id, vector) in vectors.iter().take(ROWS).enumerate() {
        batch.upsert(Record::new(id as i64).vector(vector.clone())).unwrap();
    }
    batch.commit().unwrap();
    (db, docs, vectors)
}

/// Deletes the first 50 records, replaces the next 50, adds 50.
fn change(docs: &Collection, vectors: &[Vec<f32>]) {
    let mut batch = docs.batch();
    for id in 0..50_i64 {
        batch.delete(id);
    }
    for id in (50..100).chain(ROWS..ROWS + 50) {
        let vector = vectors[(id + ROWS) % vectors.len()].clone();
        batch.upsert(Record::new(id as i64).vector(vector)).unwrap();
    }
    batch.commit().unwrap();
}

/// Folds everything into a graph and makes the changes while it is built.
fn fold_while_changing(docs: &Collection, vectors: &[Vec<f32>]) -> Maintained {
    let changed = AtomicBool::new(false);
    let fold = docs.maintain().graph_min_rows(0).progress(|_, _| {
        if !changed.swap(true, Ordering::SeqCst) {
            change(docs, vectors);
        }
        ControlFlow::Continue(())
    });
    let done = fold.run().unwrap();
    assert!(changed.load(Ordering::SeqCst));
    done
}

fn check(db: &Database, docs: &Collection, vectors: &[Vec<f32>]) {
    db.verify().unwrap();
    assert_eq!(docs.count().unwrap(), ROWS as u64);
    let all = docs.search(&vectors[0]).limit(2 * ROWS).exact().run().unwrap();
    assert_eq!(all.len(), ROWS);
    assert!(all.iter().all(|hit| !matches!(hit.id, RecordId::Int(0..50))));
    for id in (50..100).chain(ROWS..ROWS + 50) {
        let vector = &vectors[(id + ROWS) % vectors.len()];
        let best = docs.search(vector).limit(1).exact().run().unwrap();
        assert_eq!(best[0].id, RecordId::Int(id as i64));
        assert!(best[0].score > 0.999);
    }
}

#[test]
fn records_changed_while_unsealed_vectors_are_folded_keep_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs, vectors) = filled(&dir);
    let done = fold_while_changing(&docs, &vectors);
    assert!(done.graph);
    // 100 of the 600 rows were gone when the segment was published.
    assert_eq!((done.rows, done.sealed), (600, 500));
    assert_eq!(docs.info().unwrap().deleted, 100);
    check(&db, &docs, &vectors);
    assert_eq!(docs.maintain().run().unwrap().dropped, 100);
    check(&db, &docs, &vectors);
}

#[test]
fn records_changed_while_segments_are_merged_keep_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs, vectors) = filled(&dir);
    docs.maintain().run().unwrap();
    docs.upsert(Record::new(-1_i64).vector(vectors[1].clone())).unwrap();
    docs.delete(-1_i64).unwrap();
    docs.upsert(Record::new(0_i64).vector(vectors[1].clone())).unwrap();
    let done = fold_while_changing(&docs, &vectors);
    assert_eq!((done.merged, done.dropped), (1, 1));
    check(&db, &docs, &vectors);
    drop((docs, db));
    let db = Database::open(dir.path().join("f.portolan")).unwrap();
    check(&db, &db.collection("docs").unwrap(), &vectors);
}

#[test]
fn a_cancelled_fold_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs, _) = filled(&dir);
    let before = docs.info().unwrap();
    let cancel = docs.maintain().graph_min_rows(0).progress(|_, _| ControlFlow::Break(()));
    assert!(matches!(cancel.run(), Err(Error::Cancelled)));
    assert_eq!(docs.info().unwrap(), before);
    db.verify().unwrap();
}

#[test]
fn commits_of_rayon_tasks_set_off_folds_without_a_deadlock() {
    let dir = tempfile::tempdir().unwrap();
    let inline = Maintenance::Inline { threshold: 40 };
    let options = DatabaseOptions::new().maintenance(inline);
    let db = options.open(dir.path().join("f.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(DIM, Metric::Dot)).unwrap();
    let vectors = Synthetic::with_clusters(DIM, 9, 20).vectors(100);
    rayon::scope(|tasks| {
        for (id, vector) in vectors.chunks(DIM).enumerate() {
            let docs = &docs;
            tasks.spawn(move |_| {
                docs.upsert(Record::new(id as i64).vector(vector)).unwrap();
            });
        }
    });
    assert_eq!(docs.count().unwrap(), 100);
    assert!(docs.info().unwrap().segments > 0);
    db.verify().unwrap();
}

/// Replaces a third of the records again and again, folding what is due each time.
#[test]
fn a_graph_that_grows_under_churn_still_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs, vectors) = filled(&dir);
    let done = docs.maintain().graph_min_rows(0).run().unwrap();
    assert!(done.graph);
    for round in 0..6_usize {
        let mut batch = docs.batch();
        for id in (0..ROWS).filter(|id| id % 6 == round || id % 6 == (round + 3) % 6) {
            let vector = vectors[(id * 7 + round * 13) % vectors.len()].clone();
            batch.upsert(Record::new(id as i64).vector(vector)).unwrap();
        }
        batch.commit().unwrap();
        let done = docs.maintain().only_due().graph_min_rows(0).run().unwrap();
        assert_eq!((done.sealed, done.dropped, done.merged), (200, 200, 1));
        db.verify().unwrap();
        let audit = docs.audit(100).unwrap().vectors;
        assert_eq!(audit.unreachable, 0);
        assert!(audit.recall.unwrap() >= 0.98, "round {round}: {audit:?}");
    }
    assert_eq!(docs.maintain().rebuild().graph_min_rows(0).run().unwrap().rows, ROWS as u64);
    assert!(docs.maintain().graph_min_rows(0).run().unwrap().rows == 0, "nothing is left to do");
}

#[test]
fn a_large_fold_without_a_graph_is_scanned_by_navigation_codes_in_both_readers() {
    const MANY: usize = 2_048;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.portolan");
    let db = DatabaseOptions::new().maintenance(Maintenance::Manual).open(&path).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(DIM, Metric::L2)).unwrap();
    let flat = Synthetic::with_clusters(DIM, 5, 20).vectors(MANY);
    let mut batch = docs.batch();
    for (id, vector) in flat.chunks(DIM).enumerate() {
        batch.upsert(Record::new(id as i64).vector(vector.to_vec())).unwrap();
    }
    batch.commit().unwrap();
    assert!(!docs.maintain().run().unwrap().graph);
    assert!(docs.info().unwrap().space.navigation > 0);
    db.verify().unwrap();
    drop((docs, db));
    let open: [fn(&std::path::Path) -> portolan::Result<Database>; 2] =
        [|path| Database::open(path), |path| Database::open_read_only(path)];
    for open in open {
        let db = open(&path).unwrap();
        let docs = db.collection("docs").unwrap();
        for query in flat.chunks(DIM).step_by(41) {
            let near = docs.search(query).limit(10).run().unwrap();
            let exact = docs.search(query).limit(10).exact().run().unwrap();
            let ids = |hits: &[portolan::Hit]| -> Vec<RecordId> {
                hits.iter().map(|hit| hit.id.clone()).collect()
            };
            assert_eq!(ids(&near), ids(&exact));
        }
    }
}

#[test]
fn a_fold_with_the_least_memory_is_as_sound_and_finds_as_much() {
    // Raw rows of three extents, two of which fit a transaction; a sample that is cut.
    const WIDE: usize = 384;
    let flat = Synthetic::with_clusters(WIDE, 6, 40).vectors(4_000);
    let found = [8 << 20, 256 << 20].map(|memory| {
        let dir = tempfile::tempdir().unwrap();
        let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
        let db = options.build_memory(memory).open(dir.path().join("m.portolan")).unwrap();
        let docs =
            db.create_collection("docs", CollectionOptions::new(WIDE, Metric::Cosine)).unwrap();
        let mut batch = docs.batch();
        for (id, vector) in flat.chunks(WIDE).enumerate() {
            batch.upsert(Record::new(id as i64).vector(vector)).unwrap();
        }
        batch.commit().unwrap();
        docs.maintain().graph_min_rows(0).run().unwrap();
        db.verify().unwrap();
        let queries: Vec<&[f32]> = flat.chunks(WIDE).step_by(100).collect();
        let found = docs.search_batch(&queries).ef(64).run().unwrap();
        let exact = docs.search_batch(&queries).exact().run().unwrap();
        let right = found.iter().zip(&exact).map(|(found, exact)| {
            found.iter().filter(|hit| exact.iter().any(|other| other.id == hit.id)).count()
        });
        (right.sum::<usize>(), exact)
    });
    let [(least, least_exact), (usual, usual_exact)] = found;
    assert_eq!(least_exact, usual_exact);
    assert!(least >= 380 && usual >= 380, "{least} and {usual} of 400");
}

#[test]
fn ids_are_right_in_segments_of_integers_of_texts_and_of_both() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs, vectors) = filled(&dir);
    let check = |texts: &[(&str, usize)]| {
        db.verify().unwrap();
        let found = docs.search_batch(&vectors[..ROWS]).limit(1).exact().run().unwrap();
        for (id, hits) in found.iter().enumerate() {
            assert_eq!(hits[0].id, RecordId::Int(id as i64));
        }
        for &(id, at) in texts {
            let hits = docs.search_batch(&[&vectors[at]]).limit(1).exact().run().unwrap();
            assert_eq!(hits[0][0].id, RecordId::from(id));
        }
    };
    docs.maintain().run().unwrap();
    check(&[]);
    // A segment of both, made of one of integers and of what waits.
    let texts = [("a", ROWS), ("b", ROWS + 1)];
    for (id, at) in texts {
        docs.upsert(Record::new(id).vector(vectors[at].clone())).unwrap();
    }
    docs.maintain().run().unwrap();
    check(&texts);
    // Of integers alone again, from one that has no ids beside its codes.
    texts.iter().for_each(|(id, _)| assert!(docs.delete(*id).unwrap()));
    docs.maintain().run().unwrap();
    check(&[]);
}
