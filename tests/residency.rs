//! Searches give the same hits wherever they read codes and links from: the map of the file, copies
//! that come while they run, or copies that were asked for; through writes that change segments.

#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

use portolan::eval::synthetic::Synthetic;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Maintenance, Metric, Record,
    RecordId, Residency,
};

const DIM: usize = 48;
const ROWS: usize = 2_400;

fn put(docs: &Collection, vectors: &[Vec<f32>], ids: std::ops::Range<usize>) {
    let mut batch = docs.batch();
    for id in ids {
        let record = Record::new(id as i64).vector(vectors[id].as_slice());
        batch.upsert(record.field("third", id % 3 == 0)).unwrap();
    }
    batch.commit().unwrap();
}

/// What each query finds, with a filter and without.
fn found(docs: &Collection, queries: &[Vec<f32>]) -> Vec<Vec<(RecordId, f32)>> {
    let third = Filter::eq("third", true);
    let both = queries.iter().flat_map(|query| {
        [docs.search(query), docs.search(query).filter(third.clone())].map(|search| {
            let hits = search.run().unwrap().hits;
            hits.into_iter().map(|hit| (hit.id, hit.score)).collect()
        })
    });
    both.collect()
}

#[test]
fn hits_are_the_same_from_the_map_and_from_copies_through_writes() {
    let of = Synthetic::with_clusters(DIM, 8, 30);
    let rows: Vec<Vec<f32>> = of.vectors(ROWS + 900).chunks(DIM).map(<[f32]>::to_vec).collect();
    let queries: Vec<Vec<f32>> = of.queries(12).chunks(DIM).map(<[f32]>::to_vec).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kb.portolan");
    let db = DatabaseOptions::new().maintenance(Maintenance::Manual).open(&path).unwrap();
    let options = CollectionOptions::new(DIM, Metric::Cosine);
    let docs = db.create_collection("docs", options).unwrap();
    put(&docs, &rows, 0..ROWS);
    docs.maintain().graph_min_rows(0).run().unwrap();

    let writes: [&dyn Fn(); 4] = [
        &|| {},
        &|| put(&docs, &rows, ROWS..ROWS + 300),
        &|| {
            (0..200_i64).for_each(|id| _ = docs.delete(id * 7).unwrap());
            docs.maintain().graph_min_rows(0).run().unwrap();
        },
        &|| {
            put(&docs, &rows, ROWS + 300..ROWS + 900);
            docs.maintain().graph_min_rows(0).run().unwrap();
        },
    ];
    for write in writes {
        write();
        // A handle that nobody else has set anything on, by another way of reading.
        let bytes: std::sync::Arc<[u8]> = std::fs::read(&path).unwrap().into();
        let other = Database::from_bytes(bytes).unwrap();
        let expected = found(&other.collection("docs").unwrap(), &queries);
        assert!(expected.iter().all(|hits| hits.len() == 10));
        for residency in [Residency::Resident, Residency::Auto, Residency::Mapped] {
            db.set_residency(residency);
            // The copies come at some time while these run; that they come is tested where they
            // are made.
            for _ in 0..4 {
                assert_eq!(found(&docs, &queries), expected, "{residency:?}");
            }
            assert!(docs.make_resident().unwrap() > 0);
            assert_eq!(found(&docs, &queries), expected, "{residency:?}, copied");
        }
        db.set_residency(Residency::Resident);
    }
}
