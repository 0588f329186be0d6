//! Filtered vector search against exact search: every share of records that pass, random and
//! correlated filters, one and several segments, deletions, unsealed vectors, and what the report
//! says of it.

use std::collections::{BTreeMap, BTreeSet};

use portolan::eval::synthetic::Synthetic;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Filter, Hit, Hits, Maintenance,
    Metric, Record, RecordId, SearchPath, Value,
};

const DIM: usize = 24;
/// Thousandths of the records that pass.
const SHARES: [i64; 6] = [950, 500, 100, 50, 10, 1];

fn vectors(rows: usize) -> Vec<Vec<f32>> {
    let flat = Synthetic::with_clusters(DIM, 11, rows / 50 + 1).vectors(rows);
    flat.chunks(DIM).map(<[f32]>::to_vec).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Records with two fields of thousandths: by number, and by similarity to the first vector.
fn records(vectors: &[Vec<f32>]) -> Vec<Record> {
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.sort_by(|&a, &b| dot(&vectors[b], &vectors[0]).total_cmp(&dot(&vectors[a], &vectors[0])));
    let mut near = vec![0; vectors.len()];
    for (rank, row) in order.into_iter().enumerate() {
        near[row] = (rank * 1000 / vectors.len()) as i64;
    }
    let fields = vectors.iter().enumerate().zip(near);
    let record = |((row, vector), near): ((usize, &Vec<f32>), i64)| {
        let record = Record::new(row as i64).vector(vector.clone());
        record.field("random", (row * 7919 % 1000) as i64).field("near", near)
    };
    fields.map(record).collect()
}

fn new_collection(dir: &tempfile::TempDir) -> (Database, Collection) {
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(dir.path().join("f.portolan")).unwrap();
    let docs = db.create_collection("docs", CollectionOptions::new(DIM, Metric::Cosine)).unwrap();
    (db, docs)
}

fn store(docs: &Collection, records: Vec<Record>) {
    let mut batch = docs.batch();
    for record in records {
        batch.upsert(record).unwrap();
    }
    batch.commit().unwrap();
}

/// A collection of a large segment with a graph, a flat one, unsealed vectors and deletions.
fn mixed(dir: &tempfile::TempDir) -> (Database, Collection, Vec<Vec<f32>>) {
    let (db, docs) = new_collection(dir);
    let vectors = vectors(9_000);
    let mut records = records(&vectors);
    let unsealed = records.split_off(8_900);
    let flat = records.split_off(8_000);
    store(&docs, records);
    docs.maintain().graph_min_rows(1_000).run().unwrap();
    store(&docs, flat);
    docs.maintain().only_due().run().unwrap();
    store(&docs, unsealed);
    let mut batch = docs.batch();
    for id in (0..9_000_i64).step_by(13) {
        batch.delete(id);
    }
    batch.commit().unwrap();
    (db, docs, vectors)
}

fn ids(hits: &Hits) -> BTreeSet<RecordId> {
    hits.iter().map(|hit| hit.id.clone()).collect()
}

/// The thousandth that a hit has in a field.
fn thousandth(hit: &Hit, field: &str) -> i64 {
    match hit.metadata()[field] {
        Value::Int(at) => at,
        _ => panic!("no number in {field}"),
    }
}

#[test]
fn every_share_and_kind_of_filter_fills_the_limit_and_finds_the_true_neighbors() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs, vectors) = mixed(&dir);
    let mut seen = BTreeSet::new();
    for field in ["random", "near"] {
        for share in SHARES {
            let filter = || Filter::lt(field, share);
            let (mut found, mut wanted) = (0, 0);
            for query in vectors.iter().step_by(150) {
                let search = || docs.search(query).limit(10).ef(64).filter(filter());
                let exact = search().exact().run().unwrap();
                let hits = search().run().unwrap();
                assert_eq!(hits.len(), exact.len(), "{field} {share}");
                assert_eq!(exact.len() as u64, exact.report.passing.min(10));
                assert!(hits.iter().all(|hit| thousandth(hit, field) < share));
                wanted += exact.len();
                found += ids(&hits).intersection(&ids(&exact)).count();
                seen.extend(hits.report.paths.iter().map(|path| path.name()));
                assert!(exact.report.paths.iter().all(|path| *path == SearchPath::Exact));
            }
            let recall = found as f64 / wanted as f64;
            assert!(recall >= 0.95, "{field} {share}: {recall}");
        }
    }
    assert!(seen.contains("scan") && seen.contains("masked_walk"), "{seen:?}");
}

/// Of more than half of the rows no codes are copied, and to scan some 4,400 in place costs more
/// than to walk through them.
#[test]
fn most_rows_are_walked_through_where_many_hits_are_wanted_and_the_true_neighbors_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs, vectors) = mixed(&dir);
    let (mut found, mut wanted) = (0, 0);
    for query in vectors.iter().step_by(75) {
        let search = || docs.search(query).limit(60).ef(18).filter(Filter::lt("random", 600));
        let exact = search().exact().run().unwrap();
        let hits = search().run().unwrap();
        assert_eq!((hits.len(), exact.len()), (60, 60));
        assert!(hits.iter().all(|hit| thousandth(hit, "random") < 600));
        if hits.report.paths.contains(&SearchPath::FilteredWalk) {
            wanted += exact.len();
            found += ids(&hits).intersection(&ids(&exact)).count();
        }
    }
    assert!(wanted > 0);
    let recall = found as f64 / wanted as f64;
    assert!(recall >= 0.9, "{recall} of {wanted}");
}

/// Where a walk starts hardly anything passes then.
#[test]
fn what_passes_far_from_the_query_is_walked_to_and_fills_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs, vectors) = mixed(&dir);
    let mut walked = 0;
    let near = docs.search(&vectors[0]).limit(60).exact().run().unwrap();
    for hit in &near {
        let RecordId::Int(row) = hit.id else { panic!("{} is no number", hit.id) };
        let search = docs.search(&vectors[row as usize]).limit(5).ef(9);
        let hits = search.filter(Filter::gte("near", 150)).run().unwrap();
        assert_eq!(hits.len(), 5);
        assert!(hits.iter().all(|hit| thousandth(hit, "near") >= 150));
        walked += usize::from(hits.report.paths.contains(&SearchPath::FilteredWalk));
    }
    assert!(walked > 0);
}

#[test]
fn a_batch_finds_what_single_searches_find() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs, vectors) = mixed(&dir);
    for (field, share) in [("random", 500), ("near", 100), ("random", 1)] {
        let filter = || Filter::lt(field, share);
        let found = docs.search_batch(&vectors[..40]).limit(7).filter(filter()).run().unwrap();
        for (query, found) in vectors.iter().zip(found) {
            let hits = docs.search(query).limit(7).filter(filter()).run().unwrap();
            let single: Vec<_> = hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect();
            let batch: Vec<_> = found.into_iter().map(|found| (found.id, found.score)).collect();
            assert_eq!(batch, single);
        }
    }
}

#[test]
fn the_report_tells_how_many_pass_and_how_each_segment_was_searched() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs, vectors) = mixed(&dir);
    let alive = 9_000 - 9_000_u64.div_ceil(13);
    let report = docs.search(&vectors[5]).ef(64).run().unwrap().report;
    assert_eq!(report.passing, alive);
    assert_eq!(report.paths, [SearchPath::MaskedWalk, SearchPath::Scan]);
    let all = docs.search(&vectors[5]).filter(Filter::gte("near", 0)).ef(64).run().unwrap();
    assert_eq!((all.report.passing, &all.report.paths), (alive, &report.paths));
    let none = docs.search(&vectors[5]).filter(Filter::lt("near", 0)).run().unwrap();
    assert_eq!((none.report.passing, none.len()), (0, 0));
    let nothing = docs.search(&vectors[5]).limit(0).run().unwrap();
    assert_eq!(nothing.report.paths, []);
}

#[test]
fn a_filter_that_was_searched_with_sees_what_later_commits_change() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs) = new_collection(&dir);
    let vectors = vectors(300);
    store(&docs, records(&vectors));
    docs.maintain().run().unwrap();
    let search = || {
        let found = docs.search(&vectors[3]).limit(300).filter(Filter::eq("mark", true)).run();
        let hits = found.unwrap();
        assert_eq!(hits.report.passing, hits.len() as u64);
        ids(&hits)
    };
    assert!(search().is_empty());
    let marked = Record::new(7_i64).field("mark", true).vector(vectors[7].clone());
    docs.upsert(marked.clone()).unwrap();
    assert_eq!(search(), [RecordId::Int(7)].into());
    docs.maintain().run().unwrap();
    assert_eq!(search(), [RecordId::Int(7)].into());
    docs.upsert(Record::new(9_i64).field("mark", true).vector(vectors[9].clone())).unwrap();
    assert_eq!(search(), [RecordId::Int(7), RecordId::Int(9)].into());
    docs.delete(7_i64).unwrap();
    assert_eq!(search(), [RecordId::Int(9)].into());
}

#[test]
fn many_filters_in_turn_each_find_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, docs) = new_collection(&dir);
    let vectors = vectors(1_000);
    store(&docs, records(&vectors));
    docs.maintain().run().unwrap();
    let mut first = BTreeMap::new();
    for round in 0..2 {
        for value in 0..200_i64 {
            let filter = Filter::eq("random", value);
            let hits = docs.search(&vectors[0]).limit(10).filter(filter).run().unwrap();
            let expected =
                RecordId::Int((0..1_000).find(|row| row * 7919 % 1000 == value).unwrap());
            assert_eq!(ids(&hits), [expected].into());
            if round == 0 {
                first.insert(value, hits.hits);
            } else {
                assert_eq!(first[&value], hits.hits);
            }
        }
    }
}
