//! Collections whose codes are made of the leading dimensions alone: searches find what all
//! dimensions say, through every state of a file; what cannot work is refused.

use std::path::Path;

use portolan::eval::synthetic::Synthetic;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Error, Filter, Maintenance, Metric,
    Originals, Record, RecordId, Residency, VectorError,
};
use proptest::prelude::*;

const DIM: usize = 64;
const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

/// Vectors that say less from one component to the next, as Matryoshka training makes them;
/// with a decay of zero all components say as much.
fn decaying(flat: Vec<f32>, decay: f32) -> Vec<Vec<f32>> {
    let shrink = |(axis, x): (usize, &f32)| x * (axis as f32 + 1.0).powf(-decay);
    flat.chunks(DIM).map(|row| row.iter().enumerate().map(shrink).collect()).collect()
}

/// Stored vectors and queries.
fn vectors(seed: u64, count: usize, decay: f32) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let of = Synthetic::with_clusters(DIM, seed, 40);
    (decaying(of.vectors(count), decay), decaying(of.queries(60), decay))
}

fn open(path: &Path, options: CollectionOptions) -> (Database, Collection) {
    let db = DatabaseOptions::new().maintenance(Maintenance::Manual).open(path).unwrap();
    let docs = db.collection_or_create("docs", options).unwrap();
    (db, docs)
}

fn cut(metric: Metric, leading: usize) -> CollectionOptions {
    CollectionOptions::new(DIM, metric).leading_dimensions(leading)
}

fn put(docs: &Collection, vectors: &[Vec<f32>], ids: std::ops::Range<usize>) {
    let mut batch = docs.batch();
    for id in ids {
        let record = Record::new(id as i64).field("tenth", id % 10 == 0);
        batch.upsert(record.vector(vectors[id % vectors.len()].clone())).unwrap();
    }
    batch.commit().unwrap();
}

/// Share of the ten that an exact search finds that searches for a recall target find. Their
/// scores are those of the exact search.
fn recall(docs: &Collection, queries: &[Vec<f32>], target: f32) -> f64 {
    let mut found = 0;
    for query in queries {
        let truth = docs.search(query).exact().run().unwrap();
        let hits = docs.search(query).recall(target).run().unwrap();
        assert_eq!((truth.len(), hits.len()), (10, 10));
        for hit in &hits {
            if let Some(of) = truth.iter().find(|of| of.id == hit.id) {
                assert_eq!(of.score, hit.score);
                found += 1;
            }
        }
    }
    found as f64 / (10 * queries.len()) as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn searches_over_a_cut_find_what_exact_search_finds_as_often_as_they_promise(
        seed in 0_u64..1_000,
        metric in prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)],
        leading in prop_oneof![Just(16_usize), Just(24), Just(32)],
        (graph, f32) in any::<(bool, bool)>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let originals = if f32 { Originals::F32 } else { Originals::F16 };
        let options = cut(metric, leading).originals(originals);
        let (_db, docs) = open(&folder.path().join("l.portolan"), options);
        let (stored, queries) = vectors(seed, 2_000, 0.7);
        put(&docs, &stored, 0..stored.len());
        prop_assert!(recall(&docs, &queries, 0.95) > 0.98, "unsealed");
        docs.maintain().graph_min_rows(if graph { 0 } else { u32::MAX }).run().unwrap();
        for target in [0.9, 0.95, 0.99] {
            let recall = recall(&docs, &queries, target);
            prop_assert!(recall > f64::from(target) - 0.03, "{target}: {recall}");
        }
    }
}

#[test]
fn recall_is_measured_by_all_components_so_a_target_holds_where_the_leading_say_little() {
    let folder = tempfile::tempdir().unwrap();
    let (stored, queries) = vectors(3, 3_000, 0.0);
    for metric in METRICS {
        let [half, whole] = [DIM / 2, DIM].map(|leading| {
            let path = folder.path().join(format!("{metric}-{leading}.portolan"));
            let (_, docs) = open(&path, cut(metric, leading));
            put(&docs, &stored, 0..stored.len());
            docs.maintain().graph_min_rows(0).run().unwrap();
            docs
        });
        let ef = |docs: &Collection| docs.search(&queries[0]).recall(0.95).run().unwrap().report.ef;
        assert!(ef(&half) > 2 * ef(&whole), "{metric}: {} and {}", ef(&half), ef(&whole));
        let recall = recall(&half, &queries, 0.95);
        assert!(recall > 0.92, "{metric}: {recall}");
    }
}

#[test]
fn a_cut_lasts_through_folds_growth_compaction_and_both_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.portolan");
    let (db, docs) = open(&path, cut(Metric::Cosine, 16));
    let (stored, queries) = vectors(5, 2_000, 0.7);
    let check = |db: &Database, docs: &Collection| {
        db.verify().unwrap();
        let info = &db.info().unwrap().collections[0];
        assert_eq!((info.dimensions, info.leading_dimensions), (DIM, 16));
        assert_eq!((docs.dimensions(), docs.leading_dimensions()), (DIM, 16));
        assert!(recall(docs, &queries, 0.98) > 0.95);
        // All components come back, not the leading ones alone.
        let vector = docs.get(7).unwrap().unwrap().vector.unwrap();
        let norm = stored[7].iter().map(|x| x * x).sum::<f32>().sqrt();
        assert_eq!(vector.len(), DIM);
        assert!(vector.iter().zip(&stored[7]).all(|(a, b)| (a - b / norm).abs() < 1e-3));
        let few = docs.search(&queries[0]).filter(Filter::eq("tenth", true)).run().unwrap();
        assert_eq!(few.len(), 10);
    };
    put(&docs, &stored, 0..1_200);
    check(&db, &docs);
    docs.maintain().graph_min_rows(0).run().unwrap();
    check(&db, &docs);
    // A graph that takes in new rows and loses others, and vectors that wait beside it.
    put(&docs, &stored, 1_200..1_500);
    (100..200_i64).for_each(|id| _ = docs.delete(id).unwrap());
    assert!(docs.maintain().graph_min_rows(0).run().unwrap().graph);
    check(&db, &docs);
    put(&docs, &stored, 1_500..1_900);
    check(&db, &docs);
    assert!(docs.audit(100).unwrap().vectors.recall.unwrap() > 0.95);
    let before: Vec<_> =
        queries.iter().map(|query| docs.search(query).run().unwrap().hits).collect();
    assert!(docs.make_resident().unwrap() > 0);
    let batch = docs.search_batch(&queries).run().unwrap();
    for ((query, before), batch) in queries.iter().zip(&before).zip(batch) {
        assert_eq!(&docs.search(query).run().unwrap().hits, before);
        let ids: Vec<RecordId> = batch.into_iter().map(|found| found.id).collect();
        assert_eq!(ids, before.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>());
    }
    db.set_residency(Residency::Mapped);
    drop((db, docs));
    Database::compact(&path).unwrap();
    for open in [|path: &Path| Database::open(path), |path: &Path| Database::open_read_only(path)] {
        let db = open(&path).unwrap();
        check(&db, &db.collection("docs").unwrap());
    }
}

#[test]
fn codes_of_a_cut_take_its_share_of_the_bytes_and_originals_all() {
    let folder = tempfile::tempdir().unwrap();
    let space = [1_024, 512].map(|leading| {
        let options = CollectionOptions::new(1_024, Metric::Dot).leading_dimensions(leading);
        let (db, docs) = open(&folder.path().join(format!("{leading}.portolan")), options);
        let mut batch = docs.batch();
        for id in 0..2_000_i64 {
            batch.upsert(Record::new(id).vector(vec![id as f32 / 2_000.0; 1_024])).unwrap();
        }
        batch.commit().unwrap();
        docs.maintain().run().unwrap();
        db.info().unwrap().collections[0].space
    });
    assert!(space[1].codes * 100 < space[0].codes * 55, "{space:?}");
    assert_eq!(space[0].originals, space[1].originals);
}

#[test]
fn as_many_leading_dimensions_as_there_are_give_the_same_file_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (stored, _) = vectors(8, 600, 0.5);
    let files = [CollectionOptions::new(DIM, Metric::Cosine), cut(Metric::Cosine, DIM)];
    let files: Vec<Vec<u8>> = (0..)
        .zip(files)
        .map(|(at, options)| {
            let path = folder.path().join(format!("{at}.portolan"));
            let (db, docs) = open(&path, options);
            put(&docs, &stored, 0..500);
            docs.maintain().graph_min_rows(0).run().unwrap();
            put(&docs, &stored, 500..600);
            drop((db, docs));
            Database::compact(&path).unwrap();
            std::fs::read(&path).unwrap()
        })
        .collect();
    assert!(files[0] == files[1]);
}

#[test]
fn a_file_of_before_has_no_cut() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foundation.portolan");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.portolan");
    std::fs::copy(fixture, &path).unwrap();
    let db = Database::open(&path).unwrap();
    let info = &db.info().unwrap().collections[0];
    assert_eq!(info.leading_dimensions, info.dimensions);
}

#[test]
fn cuts_to_nothing_past_the_end_or_without_originals_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = open(&folder.path().join("l.portolan"), cut(Metric::Cosine, DIM));
    let bare = |leading| cut(Metric::Dot, leading).originals(Originals::None);
    for (options, part) in [
        (cut(Metric::Cosine, 0), "use 1 to 64"),
        (cut(Metric::Cosine, DIM + 1), "use 1 to 64"),
        (bare(DIM / 2), "keep originals, or store vectors of 32 dimensions"),
    ] {
        let error = db.create_collection("other", options).unwrap_err();
        assert!(matches!(error, Error::CollectionOptions { .. }) && error.is_invalid_input());
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(db.collections().unwrap(), ["docs"]);
    }
    db.create_collection("other", bare(DIM)).unwrap();
    db.create_collection("one", cut(Metric::Cosine, 1)).unwrap();
}

#[test]
fn a_vector_whose_leading_components_are_zeros_is_refused_under_cosine_and_found_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (stored, _) = vectors(6, 400, 0.7);
    let mut zeros = vec![0.0; 16];
    zeros.resize(DIM, 0.5);
    // So small beside the rest that half precision keeps nothing of it.
    let mut tiny = vec![1e-9; 16];
    tiny.resize(DIM, 0.5);
    for metric in METRICS {
        let path = folder.path().join(format!("{metric}.portolan"));
        let (db, docs) = open(&path, cut(metric, 16));
        put(&docs, &stored, 0..stored.len());
        let added = docs.upsert(Record::new("z").vector(zeros.clone()));
        if metric == Metric::Cosine {
            let refused = |error: Error| match error {
                Error::Vector { source: VectorError::ZeroLeading { leading: 16 }, .. } => {}
                other => panic!("{other}"),
            };
            refused(added.unwrap_err());
            refused(docs.upsert(Record::new("t").vector(tiny.clone())).unwrap_err());
            refused(docs.search(&zeros).run().unwrap_err());
            refused(docs.search_batch(&[&zeros]).run().unwrap_err());
            assert_eq!(docs.count().unwrap(), stored.len() as u64);
            continue;
        }
        added.unwrap();
        docs.maintain().graph_min_rows(0).run().unwrap();
        let hits = docs.search(&zeros).limit(1).exact().run().unwrap();
        assert_eq!(hits[0].id, RecordId::from("z"));
        assert_eq!(docs.search(&zeros).limit(10).run().unwrap().len(), 10);
        db.verify().unwrap();
    }
}
