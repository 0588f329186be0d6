//! Many vector searches at once: each finds what it finds alone.

use portolan::{Collection, RecordId};

use super::common::Rng;
use super::searches::IMAGE;
use super::{Predicate, Side};

pub fn check_batched(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    // Now and then more than the 16 that one task takes.
    let count = if rng.once_in(4) { 15 + rng.below(10) } else { rng.below(5) };
    let is_image = rng.once_in(3);
    let vector = |rng: &mut Rng| match is_image {
        true => rng.vector(IMAGE.dimensions),
        false => side.query(rng.next()),
    };
    let vectors: Vec<Vec<f32>> = (0..count).map(|_| vector(rng)).collect();
    let (limit, effort) = (rng.below(40) as usize, rng.below(4));
    let given = filter.map(|filter| filter.filter(rng));

    let batch = docs.search_batch(&vectors).limit(limit);
    let batch = match effort {
        0 => batch.exact(),
        1 => batch.ef(24),
        2 => batch.recall(0.9),
        _ => batch,
    };
    let batch = if is_image { batch.field("image") } else { batch };
    let batch = match &given {
        Some(filter) => batch.filter(filter.clone()),
        None => batch,
    };
    let lists = batch.run().expect("searches");
    assert_eq!(lists.len(), vectors.len());
    for (at, (vector, list)) in vectors.iter().zip(lists).enumerate() {
        let search = docs.search(vector).limit(limit);
        let search = match effort {
            0 => search.exact(),
            1 => search.ef(24),
            2 => search.recall(0.9),
            _ => search,
        };
        let search = if is_image { search.field("image") } else { search };
        let search = match &given {
            Some(filter) => search.filter(filter.clone()),
            None => search,
        };
        let hits = search.run().expect("a search").hits;
        let alone: Vec<(RecordId, f32)> = hits.into_iter().map(|hit| (hit.id, hit.score)).collect();
        let of_many: Vec<(RecordId, f32)> =
            list.into_iter().map(|found| (found.id, found.score)).collect();
        assert_eq!(of_many, alone, "search {at} of {count}");
    }
}
