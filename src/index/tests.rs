//! Tests of whole segments: recall, filters, determinism, damaged graphs, small sizes.

mod damaged;
mod filtered;

use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::builder::{NAV_MIN_ROWS, Section};
use super::params::{base_stride, upper_stride};
use super::*;
use crate::format::SectionKind;
use crate::kernels::nav::LINE;
use crate::vectors::{Encoding, Metric, Originals, PreparedQuery, Rows};

mod grow;
mod lines;
mod reach;
mod steps;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Vectors with the traits of embeddings that matter here: a common mean, clusters, and less and
/// less variance from axis to axis.
pub(super) fn clustered(n: usize, dim: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let centers: Vec<Vec<f32>> = (0..40).map(|_| (0..dim).map(|_| next()).collect()).collect();
    let mut vector = |i: usize| {
        let center = centers[i * 7 % 40].iter().enumerate();
        center.map(|(axis, x)| 0.3 + (x + next()) / (axis as f32 + 1.0).sqrt()).collect()
    };
    (0..n).map(&mut vector).collect()
}

/// The section of a kind as rows; an absent one is empty.
fn rows_of(sections: &[Section], kind: SectionKind, stride: usize) -> Result<Rows, IndexError> {
    let found = sections.iter().find(|section| section.kind == kind);
    let (bytes, stride) = found.map_or((Bytes::new(), stride), |s| (s.bytes.clone(), s.stride));
    Ok(Rows::contiguous(bytes, stride)?)
}

pub(super) fn open_image(image: SegmentImage) -> Result<Segment, IndexError> {
    let SegmentImage { encoding, sections, graph } = image;
    let has_raw = sections.is_empty() || sections.iter().any(|s| s.kind == SectionKind::Raw);
    let raw = match encoding.originals() {
        Originals::None => None,
        _ if !has_raw => None,
        _ => Some(rows_of(&sections, SectionKind::Raw, encoding.raw_stride())?),
    };
    let graph = match graph {
        None => None,
        Some(header) => Some(GraphParts {
            links: rows_of(&sections, SectionKind::Links, base_stride(header.m))?,
            upper: rows_of(&sections, SectionKind::Upper, upper_stride(header.m))?,
            header,
        }),
    };
    let has_nav = sections.iter().any(|s| s.kind == SectionKind::Nav);
    let nav = has_nav
        .then(|| -> Result<NavParts, IndexError> {
            let rows = rows_of(&sections, SectionKind::Nav, LINE)?;
            Ok(NavParts {
                projection: rows_of(&sections, SectionKind::Projection, encoding.code_stride())?,
                upper: Some(rows_of(&sections, SectionKind::UpperNav, LINE)?),
                rows,
            })
        })
        .transpose()?;
    let has_curve = sections.iter().any(|s| s.kind == SectionKind::Curve);
    let curve = has_curve.then(|| rows_of(&sections, SectionKind::Curve, 12)).transpose()?;
    Segment::open(SegmentParts {
        nav,
        ids: None,
        curve,
        encoding,
        slots: rows_of(&sections, SectionKind::Slots, size_of::<u32>())?,
        codes: rows_of(&sections, SectionKind::Codes, encoding.code_stride())?,
        raw,
        graph,
    })
}

fn image_of(
    vectors: &[Vec<f32>],
    encoding: Encoding,
    stride: u32,
    graph_above: u32,
) -> SegmentImage {
    let params = GraphParams { ef_construction: 64, ..GraphParams::default() };
    let config = SegmentConfig::new(encoding).graph(params).graph_min_rows(graph_above);
    let mut builder = SegmentBuilder::with_capacity(config, vectors.len()).unwrap();
    for (i, vector) in (0_u32..).zip(vectors) {
        let rows = encoding.encode(vector).unwrap();
        builder.push(5 + i * stride, &rows.code, rows.raw.as_deref()).unwrap();
    }
    builder.finish(&go_on).unwrap()
}

pub(super) fn segment_of(
    vectors: &[Vec<f32>],
    encoding: Encoding,
    stride: u32,
    graph_above: u32,
) -> Segment {
    open_image(image_of(vectors, encoding, stride, graph_above)).unwrap()
}

impl Segment {
    /// The hits of a search of what bitmaps of slots let pass.
    pub fn search(
        &self,
        query: &PreparedQuery,
        params: &SearchParams,
        allow: Allow<'_>,
    ) -> Result<Vec<Neighbor>, IndexError> {
        Ok(self.search_passing(query, params, &self.passing(allow))?.hits)
    }
}

fn slots(hits: &[Neighbor]) -> Vec<u32> {
    hits.iter().map(|hit| hit.slot).collect()
}

fn recall(segment: &Segment, queries: &[Vec<f32>], ef: usize, allow: Allow<'_>) -> f64 {
    let mut found = 0;
    for query in queries {
        let query = PreparedQuery::new(&segment.encoding(), query).unwrap();
        let truth = slots(&segment.search(&query, &SearchParams::exact(10), allow).unwrap());
        let hits = slots(&segment.search(&query, &SearchParams::new(10, ef), allow).unwrap());
        assert_eq!(hits.len(), truth.len());
        found += hits.iter().filter(|slot| truth.contains(slot)).count();
    }
    found as f64 / (queries.len() * 10) as f64
}

#[test]
fn a_walk_finds_the_true_neighbors_under_every_metric() {
    let mut vectors = clustered(4_050, 48, 1);
    let queries = vectors.split_off(4_000);
    for metric in METRICS {
        for originals in [Originals::F16, Originals::F32] {
            let encoding = Encoding::new(48, metric, originals).unwrap();
            let segment = segment_of(&vectors, encoding, 1, 0);
            assert!(segment.has_graph());
            let recall = recall(&segment, &queries, 150, Allow::All);
            assert!(recall >= 0.99, "{metric} {originals:?} recall {recall}");
        }
    }
}

#[test]
fn a_large_segment_without_a_graph_is_scanned_by_navigation_codes() {
    for metric in METRICS {
        let encoding = Encoding::new(150, metric, Originals::F16).unwrap();
        let vectors = clustered(NAV_MIN_ROWS, 150, 11);
        let scanned = segment_of(&vectors, encoding, 1, u32::MAX);
        assert!(scanned.nav.is_some() && !scanned.has_graph());
        let queries = clustered(30, 150, 77);
        let found = recall(&scanned, &queries, 10, Allow::All);
        assert!(found > 0.99, "{metric}: {found}");
        let smaller = segment_of(&vectors[1..], encoding, 1, u32::MAX);
        assert!(smaller.nav.is_none());
    }
}

#[test]
fn a_filtered_walk_finds_the_true_neighbors() {
    let mut vectors = clustered(4_030, 32, 3);
    let queries = vectors.split_off(4_000);
    let encoding = Encoding::new(32, Metric::Cosine, Originals::F16).unwrap();
    let segment = segment_of(&vectors, encoding, 3, 0);
    let allowed: RoaringBitmap = (0..12_100).filter(|slot| slot % 7 != 0).collect();
    let dead: RoaringBitmap = (0..12_100).filter(|slot| slot % 5 == 0).collect();
    let both = Allow::OnlyLive { allowed: &allowed, dead: &dead };
    for allow in [Allow::Only(&allowed), Allow::Dead(&dead), both] {
        let recall = recall(&segment, &queries, 60, allow);
        assert!(recall >= 0.99, "recall {recall}");
    }
}

/// The k best by the definition of a score, straight from the originals.
fn oracle(segment: &Segment, query: &PreparedQuery, allow: Allow<'_>, k: usize) -> Vec<Neighbor> {
    let mut scratch = Vec::new();
    let mut all: Vec<Neighbor> = (0..segment.len())
        .filter(|&position| allow.contains(segment.slot(position).unwrap()))
        .map(|position| Neighbor {
            slot: segment.slot(position).unwrap(),
            score: query.score_raw(
                segment.raw.as_ref().unwrap().row(position).unwrap(),
                segment.encoding().originals(),
                &mut scratch,
            ),
        })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.slot.cmp(&b.slot)));
    all.truncate(k);
    all
}

/// Segment, query, k and ef, and which filter.
type Case = (usize, Vec<f32>, (usize, usize), (u32, u32, usize));

#[test]
fn filtered_searches_fill_k_and_exact_ones_equal_the_oracle() {
    let vectors = clustered(900, 16, 5);
    let segments: Vec<Segment> = METRICS
        .into_iter()
        .flat_map(|metric| {
            let encoding = Encoding::new(16, metric, Originals::F16).unwrap();
            [segment_of(&vectors, encoding, 2, 0), segment_of(&vectors, encoding, 2, u32::MAX)]
        })
        .collect();
    let strategy = (
        0..segments.len(),
        proptest::collection::vec(-1.0_f32..1.0, 16),
        (0_usize..40, 1_usize..30),
        (1_u32..40, 1_u32..40, 0_usize..4),
    );
    let check = |(at, vector, (k, ef), (every, dead_every, kind)): Case| {
        let segment = &segments[at];
        let Ok(query) = PreparedQuery::new(&segment.encoding(), &vector) else { return Ok(()) };
        let allowed: RoaringBitmap = (0..2_000).filter(|slot| slot % every == 1 % every).collect();
        let dead: RoaringBitmap = (0..2_000).filter(|slot| slot % dead_every == 0).collect();
        let allow = match kind {
            0 => Allow::All,
            1 => Allow::Dead(&dead),
            2 => Allow::Only(&allowed),
            _ => Allow::OnlyLive { allowed: &allowed, dead: &dead },
        };
        let expected = oracle(segment, &query, allow, k);
        let exact = segment.search(&query, &SearchParams::exact(k), allow).unwrap();
        prop_assert_eq!(&exact, &expected);
        let hits = segment.search(&query, &SearchParams::new(k, ef), allow).unwrap();
        prop_assert_eq!(hits.len(), expected.len());
        for pair in hits.windows(2) {
            prop_assert!(
                pair[0].score > pair[1].score
                    || pair[0].score == pair[1].score && pair[0].slot < pair[1].slot
            );
        }
        prop_assert!(hits.iter().all(|hit| allow.contains(hit.slot)));
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    runner.run(&strategy, check).unwrap();
}

#[test]
fn building_gives_the_same_bytes_on_one_thread_and_on_four() {
    let vectors = clustered(3_000, 24, 6);
    let encoding = Encoding::new(24, Metric::Cosine, Originals::None).unwrap();
    let build = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let image = pool.install(|| image_of(&vectors, encoding, 1, 0));
        let bytes: Vec<Bytes> = image.sections.into_iter().map(|section| section.bytes).collect();
        (image.graph, bytes)
    };
    let first = build(1);
    assert_eq!(build(1), first);
    assert_eq!(build(4), first);
    assert_eq!(first.1.len(), 8);
}

#[test]
fn every_row_can_be_reached_and_rows_are_full() {
    let vectors = clustered(3_000, 24, 7);
    let encoding = Encoding::new(24, Metric::L2, Originals::None).unwrap();
    let image = image_of(&vectors, encoding, 1, 0);
    let links = rows_of(&image.sections, SectionKind::Links, 128).unwrap();
    let mut seen = vec![false; 3_000];
    let mut waiting = vec![image.graph.unwrap().entry];
    let mut full = 0;
    while let Some(at) = waiting.pop() {
        let row: Vec<u32> =
            links.row(at).unwrap().as_chunks().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
        full += usize::from(row.iter().all(|&link| link != at));
        waiting
            .extend(row.into_iter().filter(|&id| !std::mem::replace(&mut seen[id as usize], true)));
    }
    assert!(seen.iter().all(|&reached| reached));
    assert!(full >= 2_990, "{full} full rows");
}

#[test]
fn segments_of_no_one_and_two_rows_answer() {
    for metric in METRICS {
        for originals in [Originals::None, Originals::F16, Originals::F32] {
            let encoding = Encoding::new(3, metric, originals).unwrap();
            let query = PreparedQuery::new(&encoding, &[1.0, 0.1, 0.0]).unwrap();
            let vectors = [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.5]];
            for n in 0..=2 {
                for graph_above in [0, 10] {
                    let segment = segment_of(&vectors[..n], encoding, 1, graph_above);
                    assert_eq!(segment.has_graph(), n > 0 && graph_above == 0);
                    for params in [SearchParams::new(5, 10), SearchParams::exact(5)] {
                        let hits = segment.search(&query, &params, Allow::All).unwrap();
                        assert_eq!(slots(&hits), [5, 6][..n]);
                    }
                    assert_eq!(segment.position_of(6), (n == 2).then_some(1));
                    assert_eq!(segment.raw_vector(2), None);
                }
            }
        }
    }
}

#[test]
fn identical_vectors_are_found_by_slot_order_and_fill_any_k() {
    let vectors = vec![vec![0.5_f32; 8]; 700];
    let encoding = Encoding::new(8, Metric::Cosine, Originals::F16).unwrap();
    let segment = segment_of(&vectors, encoding, 1, 0);
    assert!(segment.unreachable().is_empty());
    let query = PreparedQuery::new(&encoding, &[0.5; 8]).unwrap();
    for k in [1, 10, 300, 700, 1_000] {
        for params in [SearchParams::new(k, 16), SearchParams::exact(k)] {
            let hits = segment.search(&query, &params, Allow::All).unwrap();
            assert_eq!(hits.len(), k.min(700));
        }
    }
    let exact = segment.search(&query, &SearchParams::exact(3), Allow::All).unwrap();
    assert_eq!(slots(&exact), [5, 6, 7]);
}

#[test]
fn without_originals_codes_order_the_hits_and_stand_in_for_vectors() {
    let vectors = clustered(500, 16, 8);
    for metric in METRICS {
        let encoding = Encoding::new(16, metric, Originals::None).unwrap();
        let segment = segment_of(&vectors, encoding, 1, 0);
        let query = PreparedQuery::new(&encoding, &vectors[3]).unwrap();
        let hits = segment.search(&query, &SearchParams::new(500, 10), Allow::All).unwrap();
        assert_eq!(hits.len(), 500);
        assert!(hits.iter().all(|hit| metric != Metric::L2 || hit.score <= 0.0));
        let decoded = segment.raw_vector(3).unwrap();
        let original = encoding.decode_code(&encoding.encode(&vectors[3]).unwrap().code).unwrap();
        assert_eq!(decoded, original);
    }
}

#[test]
fn products_with_vectors_of_many_lengths_are_found() {
    let mut vectors = clustered(6_100, 24, 31);
    let mut state = 5_u64;
    for vector in &mut vectors {
        // About normal, so that lengths differ by a factor of ten and most are near the middle.
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        let length = (0.4 * (0..12).map(|_| draw()).sum::<f32>()).exp();
        vector.iter_mut().for_each(|x| *x *= length);
    }
    let queries = vectors.split_off(6_000);
    let encoding = Encoding::new(24, Metric::Dot, Originals::F16).unwrap();
    let segment = segment_of(&vectors, encoding, 1, 0);
    for (ef, least) in [(20, 0.9), (64, 0.95)] {
        let found = recall(&segment, &queries, ef, Allow::All);
        assert!(found >= least, "{ef}: {found}");
    }
}

#[test]
fn opening_refuses_parts_that_do_not_fit() {
    let vectors = clustered(50, 8, 10);
    let encoding = Encoding::new(8, Metric::L2, Originals::F16).unwrap();
    let image = image_of(&vectors, encoding, 1, 0);
    let open = |change: &dyn Fn(&mut SegmentImage)| {
        let mut image = image.clone();
        change(&mut image);
        open_image(image).map(|_| ())
    };
    assert_eq!(open(&|_| {}), Ok(()));
    let missing = Err(IndexError::MissingSection { kind: SectionKind::Raw });
    assert_eq!(open(&|image| image.sections.retain(|s| s.kind != SectionKind::Raw)), missing);
    let short = |image: &mut SegmentImage| image.sections[1].bytes.truncate(49 * 64);
    let kind = SectionKind::Codes;
    assert_eq!(open(&short), Err(IndexError::WrongLength { kind, expected: 50, found: 49 }));
    let stride = |image: &mut SegmentImage| image.sections[1].stride = 128;
    assert_eq!(open(&stride), Err(IndexError::WrongStride { kind, expected: 64, found: 128 }));
    let header = |change: fn(&mut GraphHeader)| {
        open(&move |image| {
            if let Some(header) = image.graph.as_mut() {
                change(header);
            }
        })
    };
    let bad = Err(IndexError::BadGraphHeader { entry: 50, rows: 50 });
    assert_eq!(header(|header| header.entry = 50), bad);
    assert!(header(|header| header.level_counts.push(9)).is_err());
    assert!(header(|header| header.level_counts = vec![0]).is_err());
    let m = Err(IndexError::GraphParameter { name: "m", found: 1, min: 2, max: 64 });
    assert_eq!(header(|header| header.m = 1), m);
    assert!(header(|header| header.m = 17).is_err());
}

#[test]
fn pushing_checks_order_and_strides() {
    let encoding = Encoding::new(4, Metric::Dot, Originals::F16).unwrap();
    let rows = encoding.encode(&[1.0; 4]).unwrap();
    let (code, raw) = (rows.code.as_slice(), rows.raw.as_deref());
    let mut builder = SegmentBuilder::with_capacity(SegmentConfig::new(encoding), 0).unwrap();
    assert_eq!(builder.push(3, code, raw), Ok(()));
    let order = Err(IndexError::SlotOrder { last: 3, found: 3 });
    assert_eq!(builder.push(3, code, raw), order);
    let missing = Err(IndexError::MissingSection { kind: SectionKind::Raw });
    assert_eq!(builder.push(4, code, None), missing);
    let kind = SectionKind::Codes;
    let stride = Err(IndexError::WrongStride { kind, expected: 64, found: 63 });
    assert_eq!(builder.push(4, &code[1..], raw), stride);
    assert_eq!(builder.len(), 1);

    let apart = SegmentConfig::new(encoding).raw_apart(true);
    let mut builder = SegmentBuilder::with_capacity(apart, 0).unwrap();
    assert_eq!(builder.push(3, code, None), Ok(()));
    let image = builder.finish(&go_on).unwrap();
    assert!(image.sections.iter().all(|section| section.kind != SectionKind::Raw));
    let found = open_image(image).map(|_| ());
    assert_eq!(found, Err(IndexError::MissingSection { kind: SectionKind::Raw }));
}

#[test]
fn a_build_reports_progress_and_can_be_cancelled() {
    let vectors = clustered(600, 8, 11);
    let encoding = Encoding::new(8, Metric::L2, Originals::None).unwrap();
    let config = SegmentConfig::new(encoding).graph_min_rows(0);
    let build = |progress: &Progress<'_>| {
        let mut builder = SegmentBuilder::with_capacity(config, 0).unwrap();
        for (slot, vector) in (0_u32..).zip(&vectors) {
            builder.push(slot, &encoding.encode(vector).unwrap().code, None).unwrap();
        }
        builder.finish(progress).map(|image| image.graph.is_some())
    };
    let last = std::sync::Mutex::new((0, 0));
    let watch = |done, total| {
        let mut last = last.lock().unwrap();
        assert!(done >= last.0 && total == 600);
        *last = (done, total);
        ControlFlow::Continue(())
    };
    assert_eq!(build(&watch), Ok(true));
    assert_eq!(*last.lock().unwrap(), (600, 600));
    let stop =
        |done, _| if done > 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert_eq!(build(&stop), Err(IndexError::Cancelled));
}

#[test]
fn a_query_of_another_encoding_is_refused() {
    let encoding = Encoding::new(4, Metric::L2, Originals::None).unwrap();
    let segment = segment_of(&[vec![1.0; 4]], encoding, 1, 0);
    let other = Encoding::new(4, Metric::Dot, Originals::None).unwrap();
    let query = PreparedQuery::new(&other, &[1.0; 4]).unwrap();
    let error = segment.search(&query, &SearchParams::new(1, 1), Allow::All);
    let (expected, found) = ((Metric::L2, 4), (Metric::Dot, 4));
    assert_eq!(error, Err(IndexError::OtherEncoding { expected, found }));
}

#[test]
fn merging_keeps_the_best_of_several_segments() {
    let hit = |slot, score| Neighbor { slot, score };
    let all = vec![hit(4, 0.9), hit(2, 0.5), hit(1, 0.9)];
    assert_eq!(slots(&best_of(all, 2)), [1, 4]);
}
