//! Tests of filtered searches of one segment: every path finds what passes and nothing else.

use super::*;
use crate::index::filtered::{filtered_walk, local_share};
use crate::index::pool::Scored;
use crate::index::scratch::Scratch;
use crate::index::walk::{Adjacency, Scorer};

/// Positions of the vectors nearest to one of them, as slots of `segment_of` with stride 1.
fn nearest_slots(vectors: &[Vec<f32>], to: usize, count: usize) -> RoaringBitmap {
    let distance = |vector: &[f32]| -> f32 {
        vector.iter().zip(&vectors[to]).map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.sort_by(|&a, &b| distance(&vectors[a]).total_cmp(&distance(&vectors[b])));
    order[..count].iter().map(|&at| at as u32 + 5).collect()
}

/// Far from where a vector lies.
fn mirrored(vector: &[f32]) -> Vec<f32> {
    vector.iter().map(|x| 0.6 - x).collect()
}

#[test]
fn every_share_random_and_correlated_has_its_recall_and_fills_k() {
    let mut vectors = clustered(8_040, 24, 21);
    let queries = vectors.split_off(8_000);
    let encoding = Encoding::new(24, Metric::L2, Originals::F16).unwrap();
    let segment = segment_of(&vectors, encoding, 1, 0);
    let far: Vec<Vec<f32>> = vectors.iter().step_by(200).map(|near| mirrored(near)).collect();
    let mut paths = std::collections::HashSet::new();
    for count in [7_900, 7_000, 4_000, 800, 400, 80, 8] {
        let every = |slot: &u32| (u64::from(*slot) * 7_919 % 8_000) < count as u64;
        let random: RoaringBitmap = (5..8_005).filter(every).collect();
        for allowed in [random, nearest_slots(&vectors, 17, count)] {
            let passing = segment.passing(Allow::Only(&allowed));
            assert_eq!(u64::from(passing.count()), allowed.len());
            for ef in [21, 32] {
                let found = recall(&segment, &queries, ef, Allow::Only(&allowed));
                assert!(found >= 0.95 * (count.min(10) as f64 / 10.0), "{count} {ef}: {found}");
                let found = recall(&segment, &far, ef, Allow::Only(&allowed));
                assert!(found >= 0.95 * (count.min(10) as f64 / 10.0), "far {count} {ef}: {found}");
            }
            for query in queries.iter().chain(&far) {
                let query = PreparedQuery::new(&encoding, query).unwrap();
                let found = segment.search_passing(&query, &SearchParams::new(10, 21), &passing);
                let found = found.unwrap();
                assert_eq!(found.hits.len(), count.min(10));
                assert!(found.hits.iter().all(|hit| allowed.contains(hit.slot)));
                paths.insert(found.path);
            }
        }
    }
    let all = [SearchPath::Scan, SearchPath::FilteredWalk, SearchPath::MaskedWalk];
    assert_eq!(paths, all.into());
}

#[test]
fn a_scan_of_copied_codes_finds_what_the_scan_in_place_does() {
    let mut vectors = clustered(2_010, 24, 22);
    let queries = vectors.split_off(2_000);
    let encoding = Encoding::new(24, Metric::Cosine, Originals::F16).unwrap();
    for graph_above in [0, u32::MAX] {
        let segment = segment_of(&vectors, encoding, 3, graph_above);
        let allowed: RoaringBitmap = (0..6_100).filter(|slot| slot % 5 == 0).collect();
        let passing = segment.passing(Allow::Only(&allowed));
        let search = |query: &Vec<f32>| {
            let query = PreparedQuery::new(&encoding, query).unwrap();
            segment.search_passing(&query, &SearchParams::new(10, 100), &passing).unwrap()
        };
        // The first search scans in place, and the second makes the copy.
        let first = search(&queries[0]);
        assert_eq!((first.path, &first), (SearchPath::Scan, &search(&queries[0])));
        for query in &queries {
            let fresh = segment.passing(Allow::Only(&allowed));
            let prepared = PreparedQuery::new(&encoding, query).unwrap();
            let params = SearchParams::new(10, 100);
            assert_eq!(search(query), segment.search_passing(&prepared, &params, &fresh).unwrap());
        }
        // Only navigation codes are copied, and a segment without a graph has none.
        assert_eq!(passing.is_copied(), graph_above == 0);
        passing.clear_copied();
        assert_eq!((passing.is_copied(), &search(&queries[0])), (false, &first));
    }
}

/// Scores ids by how near they are to a number.
struct Near(u32);

const ROW: [u8; 8] = [0; 8];

impl Scorer for Near {
    fn row(&self, id: u32) -> &[u8] {
        // The row only has to tell the id: its length does.
        &ROW[..(id as usize % 8)]
    }

    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        for (row, out) in rows.iter().zip(out) {
            *out = -(row.len() as f32 - self.0 as f32).abs();
        }
    }
}

struct Links(Vec<Vec<u32>>);

impl Adjacency for Links {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }

    fn each_link(&self, id: u32, visit: impl FnMut(u32)) {
        self.0.get(id as usize).into_iter().flatten().copied().for_each(visit);
    }

    fn prefetch(&self, _: u32) {}
}

fn passing_of(len: u32, positions: &[u32]) -> Passing {
    let slots: Vec<u8> = (0..len).flat_map(u32::to_le_bytes).collect();
    let slots = crate::index::slots::Slots::new(Rows::contiguous(slots.into(), 4).unwrap());
    slots.passing(Allow::Only(&positions.iter().copied().collect()))
}

proptest! {
    #[test]
    fn a_filtered_walk_ends_on_any_graph_with_rows_that_pass_each_once(
        links in proptest::collection::vec(proptest::collection::vec(0_u32..90, 0..12), 1..80),
        positions in proptest::collection::vec(0_u32..80, 1..40),
        starts in proptest::collection::vec(0_u32..90, 1..4),
        ef in 1_usize..50,
    ) {
        let graph = Links(links);
        let passing = passing_of(graph.len(), &positions);
        prop_assume!(!passing.is_all());
        let mut scratch = Scratch::default();
        filtered_walk(&Near(3), &graph, &passing, &starts, (ef, None), &mut scratch);
        let found: Vec<Scored> = scratch.pool.iter().collect();
        let mut ids: Vec<u32> = found.iter().map(|found| found.id).collect();
        prop_assert!(ids.iter().all(|&id| passing.contains(id)));
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), found.len());
        // Few pass here, so all of them are in the sample.
        prop_assert_eq!(found.len(), ef.min(passing.count() as usize).min(graph.0.len()));
        prop_assert!((0.0..=1.0).contains(&local_share(&graph, &starts, &passing)));
    }
}

#[test]
fn what_passes_is_reached_across_rows_that_do_not() {
    // A chain in which every second row passes, and a sample that all of them are too many for.
    let len = 4_000_u32;
    let near = |id: u32| [id.saturating_sub(1), (id + 1).min(len - 1)].into();
    let graph = Links((0..len).map(near).collect());
    let even: Vec<u32> = (0..len).step_by(2).collect();
    let passing = passing_of(len, &even);
    let mut scratch = Scratch::default();
    filtered_walk(&Near(2), &graph, &passing, &[1_001], (3_000, None), &mut scratch);
    let mut found: Vec<u32> = scratch.pool.iter().map(|found| found.id).collect();
    found.sort_unstable();
    assert_eq!(found, even);
    assert_eq!(local_share(&graph, &[1_001], &passing), 1.0);
    assert_eq!(local_share(&graph, &[1_000, 7], &passing), 0.5);
}

#[test]
fn a_row_with_more_links_than_a_batch_holds_shows_them_all() {
    // A hub with 128 links, in front of rows that the sample is taken from as well.
    let len = 20_000_u32;
    let mut links = vec![Vec::new(); len as usize];
    links[0] = (1..=128).collect();
    let passing = passing_of(len, &(1..len).collect::<Vec<u32>>());
    let mut scratch = Scratch::default();
    filtered_walk(&Near(2), &Links(links), &passing, &[0], (1_000, None), &mut scratch);
    let found: Vec<u32> = scratch.pool.iter().map(|found| found.id).collect();
    assert!((1..=128).all(|id| found.contains(&id)), "{}", found.len());
}
