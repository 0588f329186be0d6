//! Segments whose navigation codes have several lines.

use super::super::{Allow, IndexError, SearchParams, SegmentImage};
use super::{METRICS, clustered, image_of, open_image, recall, segment_of, slots};
use crate::format::SectionKind;
use crate::vectors::{Encoding, Metric, Originals, PreparedQuery};

#[test]
fn walks_over_two_and_three_lines_find_the_true_neighbors_under_every_metric() {
    for (dim, lines) in [(200, 2), (600, 3)] {
        let mut vectors = clustered(2_530, dim, 1);
        let queries = vectors.split_off(2_500);
        for metric in METRICS {
            let encoding = Encoding::new(dim, metric, Originals::F16).unwrap();
            let segment = segment_of(&vectors, encoding, 1, 0);
            assert_eq!(segment.nav.as_ref().map(|nav| nav.lines), Some(lines));
            let recall = recall(&segment, &queries, 100, Allow::All);
            assert!(recall >= 0.95, "{dim} {metric} recall {recall}");
        }
    }
}

/// Vectors of which the last 600 are copies of 15 texts with small differences.
fn with_near_copies(dim: usize) -> Vec<Vec<f32>> {
    let mut vectors = clustered(1_900, dim, 3);
    let noise = clustered(600, dim, 9);
    let texts = vectors[..15].to_vec();
    vectors.extend(noise.into_iter().zip(texts.iter().cycle()).map(|(noise, text)| {
        let near = text.iter().zip(&noise).map(|(x, noise)| x + 0.3 * noise);
        near.collect()
    }));
    vectors
}

#[test]
fn near_copies_find_themselves_in_graphs_and_in_scans() {
    for dim in [200, 600] {
        let vectors = with_near_copies(dim);
        for metric in [Metric::Cosine, Metric::L2] {
            let encoding = Encoding::new(dim, metric, Originals::F16).unwrap();
            for graph_above in [0, u32::MAX] {
                let segment = segment_of(&vectors, encoding, 1, graph_above);
                let found = (1_900..2_500_u32).step_by(7).filter(|&at| {
                    let query = PreparedQuery::new(&encoding, &vectors[at as usize]).unwrap();
                    // A graph of so few rows has about ten entries: with 64 candidates all walks of
                    // a query may end among copies of another text.
                    let params = SearchParams::new(10, 128);
                    let hits = segment.search(&query, &params, Allow::All).unwrap();
                    slots(&hits).contains(&(5 + at))
                });
                let found = found.count();
                assert!(found >= 84, "{dim} {metric} {graph_above}: {found} of 86");
            }
        }
    }
}

#[test]
fn copies_in_memory_answer_as_the_stored_rows_do() {
    let mut vectors = clustered(1_540, 200, 5);
    let queries = vectors.split_off(1_500);
    let encoding = Encoding::new(200, Metric::Cosine, Originals::F16).unwrap();
    let image = image_of(&vectors, encoding, 1, 0);
    let stored = open_image(image.clone()).unwrap();
    let copied = open_image(image).unwrap();
    let resident = copied.copy_resident().unwrap();
    assert_eq!(resident.bytes(), copied.resident_bytes());
    copied.adopt(resident);
    for query in &queries {
        let query = PreparedQuery::new(&encoding, query).unwrap();
        let search = |segment: &super::Segment| {
            segment.search(&query, &SearchParams::new(10, 30), Allow::All).unwrap()
        };
        assert_eq!(search(&stored), search(&copied));
    }
}

#[test]
fn opening_refuses_navigation_codes_that_do_not_fit() {
    let encoding = Encoding::new(120, Metric::Dot, Originals::None).unwrap();
    let image = image_of(&clustered(300, 120, 2), encoding, 1, 0);
    let open = |kind: SectionKind, change: &dyn Fn(&mut super::Section)| {
        let mut image: SegmentImage = image.clone();
        image.sections.iter_mut().filter(|of| of.kind == kind).for_each(change);
        open_image(image).map(|_| ()).err()
    };
    assert_eq!(open(SectionKind::Nav, &|_| {}), None);
    // 120 directions do not fit in one line.
    let kind = SectionKind::Nav;
    let halved = open(kind, &|section| section.stride = 64);
    assert!(matches!(
        halved,
        Some(IndexError::WrongStride { .. } | IndexError::WrongLength { .. })
    ));
    let kind = SectionKind::UpperNav;
    let doubled = open(kind, &|section| section.stride = 128);
    assert!(matches!(doubled, Some(IndexError::WrongStride { kind: SectionKind::UpperNav, .. })));
    let short = open(kind, &|section| section.bytes.truncate(64));
    assert!(matches!(short, Some(IndexError::WrongLength { kind: SectionKind::UpperNav, .. })));
}
