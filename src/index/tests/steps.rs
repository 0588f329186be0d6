//! Tests of what a search tells about its walks.

use super::*;

#[test]
fn a_walk_tells_its_steps_and_a_scan_has_none() {
    let vectors = clustered(2_000, 16, 5);
    let encoding = Encoding::new(16, Metric::Cosine, Originals::None).unwrap();
    let query = PreparedQuery::new(&encoding, &vectors[77]).unwrap();
    let steps = |segment: &Segment, params: &SearchParams| {
        segment.search_passing(&query, params, &segment.passing(Allow::All)).unwrap().steps
    };
    let graph = segment_of(&vectors, encoding, 1, 0);
    let (few, many) = (SearchParams::new(10, 20), SearchParams::new(10, 60));
    // A walk may end before all its candidates are expanded, but not before the hits are.
    assert!((10..60).contains(&steps(&graph, &few)), "{}", steps(&graph, &few));
    assert!(steps(&graph, &many) > steps(&graph, &few), "{}", steps(&graph, &many));
    assert_eq!(steps(&graph, &SearchParams::exact(10)), 0);
    assert_eq!(steps(&segment_of(&vectors, encoding, 1, u32::MAX), &many), 0);
}
