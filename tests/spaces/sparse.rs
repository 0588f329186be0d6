//! Sparse vectors of thousands of records: blocks of postings that reach over windows of the
//! search.

use std::collections::BTreeMap;

use portolan::{CollectionOptions, Database, Filter, Metric, Record, VectorField};

use crate::common::Rng;

/// More than two windows of 4,096 slots.
const RECORDS: i64 = 10_000;

/// A vector of whole weights, which are kept as they are: index `i` is in one of `i` records.
fn words(rng: &mut Rng) -> Vec<(u32, f32)> {
    let has: Vec<u32> =
        [1, 2, 40, 300, 2_500].into_iter().filter(|&index| rng.once_in(u64::from(index))).collect();
    has.into_iter().map(|index| (index, 1.0 + rng.below(100) as f32)).collect()
}

#[test]
fn rare_and_common_indices_of_many_records_are_summed_up_as_by_a_look_at_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path().join("sparse.portolan")).expect("opens");
    let options =
        CollectionOptions::new(2, Metric::Cosine).vector_field("words", VectorField::sparse());
    let docs = db.create_collection("docs", options).expect("makes");
    let mut rng = Rng::new(5);
    let mut kept: BTreeMap<i64, (i64, Vec<(u32, f32)>)> = BTreeMap::new();
    let mut batch = docs.batch();
    for id in 0..RECORDS {
        let (tag, words) = (rng.below(9) as i64, words(&mut rng));
        let record = Record::new(id).field("tag", tag).named_vector("words", words.clone());
        batch.upsert(record).expect("fits");
        kept.insert(id, (tag, words));
    }
    batch.commit().expect("commits");
    // Holes, the whole of the second window among them but for its ends.
    for id in (4_200..8_000).chain((0..RECORDS).step_by(7)) {
        docs.delete(id).expect("deletes");
        kept.remove(&id);
    }

    for query in [
        vec![(2_500, 1.0)],
        vec![(300, 1.0)],
        vec![(40, 2.0), (2_500, 0.5)],
        vec![(1, 1.0)],
        vec![(1, 0.01), (300, 3.0), (2_500, 0.25), (9_999, 1.0)],
    ] {
        for (tag, limit) in [(None, 10), (Some(3), 10), (None, 20_000), (Some(3), 20_000)] {
            let score = |words: &[(u32, f32)]| -> f64 {
                let of = |index| query.iter().find(|(of, _)| *of == index).map_or(0.0, |x| x.1);
                words.iter().map(|(index, x)| f64::from(*x) * f64::from(of(*index))).sum()
            };
            let passing = kept.iter().filter(|(_, (of, _))| tag.is_none_or(|tag| *of == tag));
            let mut wanted: Vec<(f32, i64)> = passing
                .map(|(id, (_, words))| (score(words) as f32, *id))
                .filter(|(score, _)| *score > 0.0)
                .collect();
            wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            wanted.truncate(limit);
            let mut search = docs.search_sparse("words", &query).limit(limit);
            if let Some(tag) = tag {
                search = search.filter(Filter::eq("tag", tag));
            }
            let found = search.run().expect("searches");
            let ids: Vec<String> = found.iter().map(|hit| hit.id.to_string()).collect();
            let scores: Vec<f32> = found.iter().map(|hit| hit.score).collect();
            let of_wanted: Vec<String> = wanted.iter().map(|(_, id)| id.to_string()).collect();
            assert_eq!(ids, of_wanted, "{query:?}, {tag:?}");
            for (found, (wanted, _)) in scores.iter().zip(&wanted) {
                assert!((found - wanted).abs() <= wanted * 1e-6, "{found}, not {wanted}");
            }
        }
    }
}
