//! Tests of graphs that grow: what is inserted is found, what is deleted leaves no hole.

use std::collections::BTreeSet;

use super::*;
use crate::index::graph::GraphCopy;

/// Which of the vectors an earlier segment had and which the grown one has, by number.
struct Change {
    before: Vec<u32>,
    after: Vec<u32>,
}

fn build(
    vectors: &[Vec<f32>],
    encoding: Encoding,
    numbers: &[u32],
    inherited: Option<(GraphCopy, Vec<u32>)>,
    basis: Option<Basis>,
) -> SegmentImage {
    let params = GraphParams { ef_construction: 64, ..GraphParams::default() };
    let config = SegmentConfig::new(encoding).graph(params).graph_min_rows(0);
    let mut builder = SegmentBuilder::with_capacity(config, numbers.len()).unwrap();
    for &number in numbers {
        let rows = encoding.encode(&vectors[number as usize]).unwrap();
        builder.push(number, &rows.code, rows.raw.as_deref()).unwrap();
    }
    if let Some((graph, places)) = inherited {
        builder = builder.inherit(graph, places);
    }
    if let Some(basis) = basis {
        builder = builder.basis(basis);
    }
    builder.finish(&go_on).unwrap()
}

fn places(change: &Change) -> Vec<u32> {
    let place = |number: &u32| change.after.binary_search(number).map_or(GONE, |at| at as u32);
    change.before.iter().map(place).collect()
}

fn grown(vectors: &[Vec<f32>], encoding: Encoding, change: &Change) -> SegmentImage {
    let before = open_image(build(vectors, encoding, &change.before, None, None)).unwrap();
    let graph = before.graph_copy().unwrap();
    build(vectors, encoding, &change.after, Some((graph, places(change))), None)
}

/// Of `n` vectors all but every seventh at first; then without every fifth, with all others.
fn churn(n: u32) -> Change {
    Change {
        before: (0..n * 3 / 4).filter(|at| at % 7 != 0).collect(),
        after: (0..n).filter(|at| at % 5 != 0).collect(),
    }
}

#[test]
fn what_was_inserted_and_what_was_kept_are_found_after_deletions_under_every_metric() {
    let mut vectors = clustered(4_050, 48, 21);
    let queries = vectors.split_off(4_000);
    for metric in METRICS {
        let encoding = Encoding::new(48, metric, Originals::F16).unwrap();
        let segment = open_image(grown(&vectors, encoding, &churn(4_000))).unwrap();
        assert_eq!((segment.len(), segment.unreachable().len()), (3_200, 0));
        let recall = recall(&segment, &queries, 150, Allow::All);
        assert!(recall >= 0.99, "{metric} recall {recall}");
    }
}

#[test]
fn a_grown_graph_finds_as_much_as_one_built_anew() {
    let mut vectors = clustered(6_100, 64, 22);
    let queries = vectors.split_off(6_000);
    let encoding = Encoding::new(64, Metric::Cosine, Originals::F16).unwrap();
    let change = churn(6_000);
    let anew = open_image(build(&vectors, encoding, &change.after, None, None)).unwrap();
    let grown = open_image(grown(&vectors, encoding, &change)).unwrap();
    let recall = |segment| recall(segment, &queries, 20, Allow::All);
    let (anew, grown) = (recall(&anew), recall(&grown));
    assert!(grown > anew - 0.02, "grown {grown}, built anew {anew}");
}

#[test]
fn deleting_alone_keeps_every_row_reachable() {
    let vectors = clustered(2_000, 24, 23);
    let encoding = Encoding::new(24, Metric::L2, Originals::F16).unwrap();
    for dead in [2, 3, 10] {
        let before: Vec<u32> = (0..2_000).collect();
        let after: Vec<u32> = before.iter().copied().filter(|at| at % dead != 0).collect();
        let segment = open_image(grown(&vectors, encoding, &Change { before, after })).unwrap();
        assert!(segment.unreachable().is_empty());
        assert!(recall(&segment, &vectors[..40], 100, Allow::All) >= 0.98);
    }
}

#[test]
fn graphs_with_the_fewest_and_the_most_links_build_and_grow_alike_on_one_thread_and_on_four() {
    let vectors = clustered(900, 16, 28);
    for (metric, m) in [(Metric::Cosine, 2), (Metric::Dot, 64), (Metric::L2, 64)] {
        let encoding = Encoding::new(16, metric, Originals::F16).unwrap();
        let params = GraphParams { m, ef_construction: 64, ..GraphParams::default() };
        let config = SegmentConfig::new(encoding).graph(params).graph_min_rows(0);
        let built = |numbers: &[u32], inherited: Option<(GraphCopy, Vec<u32>)>| {
            let mut builder = SegmentBuilder::with_capacity(config, numbers.len()).unwrap();
            for &number in numbers {
                let rows = encoding.encode(&vectors[number as usize]).unwrap();
                builder.push(number, &rows.code, rows.raw.as_deref()).unwrap();
            }
            match inherited {
                Some((graph, places)) => builder.inherit(graph, places),
                None => builder,
            }
            .finish(&go_on)
            .unwrap()
        };
        let change = churn(900);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let before = open_image(built(&change.before, None)).unwrap();
                let graph = before.graph_copy().unwrap();
                built(&change.after, Some((graph, places(&change))))
            })
        };
        let (one, four) = (run(1), run(4));
        let bytes = |image: &SegmentImage| -> Vec<Bytes> {
            image.sections.iter().map(|section| section.bytes.clone()).collect()
        };
        assert!(bytes(&one) == bytes(&four), "{metric} {m}");
        let segment = open_image(one).unwrap();
        assert!(segment.unreachable().is_empty(), "{metric} {m}");
        let recall = recall(&segment, &vectors[..60], 200, Allow::All);
        let least = if m == 2 { 0.5 } else { 0.99 };
        assert!(recall >= least, "{metric} {m}: {recall}");
    }
}

#[test]
fn growing_gives_the_same_bytes_on_one_thread_and_on_four() {
    let vectors = clustered(2_500, 24, 24);
    let encoding = Encoding::new(24, Metric::Cosine, Originals::None).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let image = pool.install(|| grown(&vectors, encoding, &churn(2_500)));
        let bytes: Vec<Bytes> = image.sections.into_iter().map(|section| section.bytes).collect();
        (image.graph, bytes)
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn navigation_codes_that_are_carried_over_are_those_that_would_be_made() {
    let vectors = clustered(3_000, 40, 26);
    let encoding = Encoding::new(40, Metric::Cosine, Originals::None).unwrap();
    let change = churn(3_000);
    let before = open_image(build(&vectors, encoding, &change.before, None, None)).unwrap();
    let run = |carry: &dyn Fn(&mut Basis)| {
        let mut basis = before.basis().unwrap();
        carry(&mut basis);
        let inherited = (before.graph_copy().unwrap(), places(&change));
        let image = build(&vectors, encoding, &change.after, Some(inherited), Some(basis));
        let nav = image.sections.into_iter().find(|section| section.kind == SectionKind::Nav);
        nav.unwrap().bytes.to_vec()
    };
    let carried = |code: &dyn Fn(u32) -> Vec<u8>| {
        run(&|basis| {
            for (at, place) in (0_u32..).zip(places(&change)).filter(|(_, place)| *place != GONE) {
                basis.carry(place, &code(at));
            }
        })
    };
    let anew = run(&|_| ());
    assert_eq!(anew.len(), change.after.len() * 64);
    assert!(anew == carried(&|at| before.nav_row(at).unwrap().to_vec()));
    // Others are taken as they are; of another length they are left aside.
    assert!(anew != carried(&|_| vec![1; 64]));
    assert!(anew == carried(&|_| vec![1; 128]));
}

#[test]
fn places_that_do_not_fit_lead_to_a_graph_built_anew() {
    let vectors = clustered(300, 8, 25);
    let encoding = Encoding::new(8, Metric::L2, Originals::None).unwrap();
    let numbers: Vec<u32> = (0..300).collect();
    let links = |image: &SegmentImage| rows_of(&image.sections, SectionKind::Links, 128).unwrap();
    let anew = build(&vectors, encoding, &numbers, None, None);
    let graph = open_image(anew.clone()).unwrap().graph_copy().unwrap();
    let backwards: Vec<u32> = (0..300).rev().collect();
    let beyond: Vec<u32> = (1..301).collect();
    for places in [backwards, beyond, Vec::new(), vec![0; 300]] {
        let image = build(&vectors, encoding, &numbers, Some((graph.clone(), places)), None);
        for row in 0..300 {
            assert_eq!(links(&image).row(row), links(&anew).row(row));
        }
    }
}

#[test]
fn links_lead_to_each_of_400_equal_vectors_in_any_graph_on_one_thread_and_on_four() {
    // Their rows are full of links to the first of them, each of which has one last link.
    let mut vectors = clustered(1_400, 16, 29);
    for at in (1_usize..1_400).filter(|at| at % 7 < 2) {
        vectors[at] = vectors[0].clone();
    }
    let all: Vec<u32> = (0..1_400).collect();
    // 200 of them come to 200, or to 120 that are left of 150.
    let changes = [Change { before: all[..700].to_vec(), after: all.clone() }, churn(1_400)];
    for metric in METRICS {
        let encoding = Encoding::new(16, metric, Originals::None).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let grown = |change| grown(&vectors, encoding, change);
            let anew = || build(&vectors, encoding, &all, None, None);
            pool.install(|| [anew(), grown(&changes[0]), grown(&changes[1])])
        };
        for (one, four) in run(1).into_iter().zip(run(4)) {
            let bytes = |image: &SegmentImage| -> Vec<Bytes> {
                image.sections.iter().map(|section| section.bytes.clone()).collect()
            };
            assert!(bytes(&one) == bytes(&four), "{metric}");
            let segment = open_image(one).unwrap();
            assert!(segment.has_graph() && segment.unreachable().is_empty(), "{metric}");
        }
    }
}

/// Growing from a graph of random words must not fail, and must still find everything.
#[test]
fn a_damaged_graph_can_be_grown_from() {
    let vectors = clustered(400, 8, 26);
    let encoding = Encoding::new(8, Metric::L2, Originals::F32).unwrap();
    let numbers: BTreeSet<u32> = (0..300).collect();
    let sound = build(&vectors, encoding, &numbers.into_iter().collect::<Vec<_>>(), None, None);
    let words = prop_oneof![4 => 0_u32..400, 1 => any::<u32>()];
    let strategy = (proptest::collection::vec(words, 300 * 32), 0_u32..300, 1_u32..9);
    let config = ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let check = |(links, entry, dead): (Vec<u32>, u32, u32)| {
        let mut image = sound.clone();
        for section in &mut image.sections {
            if section.kind == SectionKind::Links {
                let bytes = links.iter().flat_map(|word| word.to_le_bytes());
                section.bytes = bytes.collect::<Vec<u8>>().into();
            }
        }
        image.graph.as_mut().unwrap().entry = entry;
        let graph = open_image(image).unwrap().graph_copy().unwrap();
        let change = Change {
            before: (0..300).collect(),
            after: (0..400).filter(|at| at % dead != 1 % dead).collect(),
        };
        let image = build(&vectors, encoding, &change.after, Some((graph, places(&change))), None);
        let segment = open_image(image).unwrap();
        prop_assert!(segment.unreachable().is_empty());
        let query = PreparedQuery::new(&encoding, &vectors[399]).unwrap();
        let hits = segment.search(&query, &SearchParams::new(5, 6), Allow::All).unwrap();
        prop_assert_eq!(hits.len(), 5.min(change.after.len()));
        Ok(())
    };
    runner.run(&strategy, check).unwrap();
}

#[test]
fn a_projection_is_shared_with_more_of_the_same_but_not_with_what_it_does_not_serve() {
    // 368 of 400 axes fit a code; the last ones hardly differ.
    let mut vectors = clustered(2_100, 400, 27);
    let other: Vec<Vec<f32>> =
        vectors[..300].iter().map(|vector| vector.iter().rev().copied().collect()).collect();
    vectors.extend(other);
    let encoding = Encoding::new(400, Metric::L2, Originals::None).unwrap();
    let projection = |image: &SegmentImage| {
        let found = image.sections.iter().find(|s| s.kind == SectionKind::Projection);
        found.map(|section| section.bytes.clone())
    };
    let before: Vec<u32> = (0..900).collect();
    let old = build(&vectors, encoding, &before, None, None);
    let segment = open_image(old.clone()).unwrap();
    for (after, is_shared) in [(0..2_100, true), (300..2_400, false)] {
        let change = Change { before: before.clone(), after: after.collect() };
        for graph_min_rows in [0, u32::MAX] {
            let config = SegmentConfig::new(encoding).graph_min_rows(graph_min_rows);
            let mut builder = SegmentBuilder::with_capacity(config, 0).unwrap();
            for &number in &change.after {
                let code = encoding.encode(&vectors[number as usize]).unwrap().code;
                builder.push(number, &code, None).unwrap();
            }
            builder = builder.inherit(segment.graph_copy().unwrap(), places(&change));
            let image = builder.basis(segment.basis().unwrap()).finish(&go_on).unwrap();
            assert_eq!(projection(&image) == projection(&old), is_shared, "{graph_min_rows}");
            // Without a graph, so few rows are not worth training for.
            let expects_one = is_shared || graph_min_rows == 0;
            assert_eq!(projection(&image).is_some(), expects_one);
        }
    }
}
