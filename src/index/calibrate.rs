//! Measures a finished segment: how much of the truth a walk finds with more and more candidates.
//!
//! The queries are a sample of the segment's own vectors, each searched for as if it were not
//! there: a walk that may pass through the vector itself finds the neighbors it is linked to, and
//! promises more than it keeps for vectors that are not stored.

use bytes::Bytes;
use rayon::prelude::*;

use super::builder::Section;
use super::candidates::{CodeScorer, FirstLines, NavScorer};
use super::curve::{Curve, DEPTHS, ENOUGH, POINT_BYTES, Point};
use super::pool::Scored;
use super::scratch::{Scratch, ScratchPool};
use super::segment::{GraphParts, NavParts, Segment, SegmentParts};
use super::truth::OriginalRows;
use super::walk::{Scorer, Stop, walk_until};
use super::{GraphHeader, IndexError, SearchParams, TopK};
use crate::format::SectionKind;
use crate::kernels::{NavQuery, Panel, level};
use crate::vectors::code::CodeRow;
use crate::vectors::nav::fill_query;
use crate::vectors::{Encoding, PreparedQuery, Random, Rows};

/// Vectors searched for.
const SAMPLE: usize = 512;
/// Candidates of the walks that are measured, until recall is good enough.
const LADDER: [u32; 14] = [5, 9, 14, 20, 30, 45, 67, 100, 150, 225, 337, 506, 759, 1138];
/// Rows whose products with all of the sample are computed at a time.
const BLOCK: u32 = 64;
/// Queries of one task.
const TASK: usize = 16;
/// Mixed into the seed, so that the sample is not the one a projection was trained on.
const SALT: u64 = 0x6361_6C69_6272;

/// A sampled position as a query.
struct Sample {
    position: u32,
    query: PreparedQuery,
    /// The query as navigation codes are scored with, and what a row equal to it would score.
    nav: (NavQuery, Option<f32>),
    /// The true nearest, best first, without the position itself.
    truth: Vec<u32>,
}

/// The section with the recall curve of a segment, given its other sections and, where codes
/// leave out dimensions, its originals; none where there is nothing to measure.
pub fn curve(
    encoding: Encoding,
    header: &GraphHeader,
    (sections, originals): (&[Section], Option<OriginalRows<'_>>),
    go_on: &dyn Fn() -> Result<(), IndexError>,
) -> Result<Option<Section>, IndexError> {
    let rows = |kind| -> Result<Option<Rows>, IndexError> {
        let section = sections.iter().find(|section| section.kind == kind);
        Ok(section.map(|of| Rows::contiguous(of.bytes.clone(), of.stride)).transpose()?)
    };
    let take = |kind| rows(kind)?.ok_or(IndexError::MissingSection { kind });
    let upper = match rows(SectionKind::Upper)? {
        Some(upper) => upper,
        None => Rows::contiguous(Bytes::new(), 1)?,
    };
    let nav = match rows(SectionKind::Nav)? {
        Some(codes) => Some(NavParts {
            projection: take(SectionKind::Projection)?,
            rows: codes,
            upper: rows(SectionKind::UpperNav)?,
        }),
        None => None,
    };
    let segment = Segment::open(SegmentParts {
        // Originals are elsewhere, and walks do not meet them.
        encoding: encoding.of_codes(),
        slots: take(SectionKind::Slots)?,
        codes: take(SectionKind::Codes)?,
        raw: None,
        graph: Some(GraphParts { header: header.clone(), links: take(SectionKind::Links)?, upper }),
        nav,
        ids: None,
        curve: None,
    })?;
    let curve = segment.calibrate(header.seed, originals, go_on)?;
    Ok(curve.map(|curve| Section {
        kind: SectionKind::Curve,
        stride: POINT_BYTES,
        rows: curve.points().len() as u32,
        bytes: Bytes::from(curve.to_bytes()),
    }))
}

impl Segment {
    /// Measures the recall of walks over this segment, in the current rayon pool; none without a
    /// graph. Recall is that of int8 codes, as what originals would still change is little, unless
    /// the originals are given: they are where codes leave out dimensions.
    ///
    /// Costs a product of each code (or original) with 512 others and as many walks as some
    /// thousand queries.
    pub(super) fn calibrate(
        &self,
        seed: u64,
        originals: Option<OriginalRows<'_>>,
        go_on: &dyn Fn() -> Result<(), IndexError>,
    ) -> Result<Option<Curve>, IndexError> {
        if self.graph.is_none() || self.len() == 0 {
            return Ok(None);
        }
        let (rows, is_cut) = (self.len(), originals.is_some());
        let Some(samples) = self.samples(rows, seed, originals) else { return Ok(None) };
        let wanted = DEPTHS.map(|depth| {
            samples.iter().map(|sample| sample.truth.len().min(depth)).sum::<usize>().max(1)
        });
        let scratches = ScratchPool::default();
        let mut points: Vec<Point> = Vec::new();
        let mut is_open = [true; DEPTHS.len()];
        for ef in LADDER {
            go_on()?;
            let effort = (ef as usize, is_cut, is_open);
            let found = samples
                .par_chunks(TASK)
                .map(|task| scratches.with(|scratch| self.count(task, effort, scratch)))
                .reduce(|| [0; DEPTHS.len()], |a, b| std::array::from_fn(|at| a[at] + b[at]));
            let last = points.last().map_or([0; DEPTHS.len()], |last| last.recall);
            let recall = std::array::from_fn(|at| {
                let share = found[at] as f64 / wanted[at] as f64;
                is_open[at] &= share < ENOUGH[at];
                // A wider walk can lose a neighbor by chance; a curve never falls.
                last[at].max((share * f64::from(u16::MAX)) as u16)
            });
            points.push(Point { ef, recall });
            if is_open == [false; DEPTHS.len()] || ef >= rows {
                break;
            }
        }
        Ok(Curve::new(points))
    }

    /// Positions drawn at random, as queries with their true neighbors; none if the originals
    /// are gone.
    fn samples(
        &self,
        rows: u32,
        seed: u64,
        originals: Option<OriginalRows<'_>>,
    ) -> Option<Vec<Sample>> {
        let mut random = Random::new(seed ^ SALT);
        let mut positions: Vec<u32> =
            (0..SAMPLE).map(|_| (random.next_u64() % u64::from(rows)) as u32).collect();
        positions.sort_unstable();
        positions.dedup();
        let encoding = self.encoding;
        let prepared = positions.into_iter().filter_map(|position| {
            let values = encoding.decode_code(self.code_row(position)?).ok()?;
            // A zero vector is not a query under cosine.
            let query = PreparedQuery::new(&encoding, &values).ok()?;
            let nav = self.nav_query(&query);
            Some(Sample { position, query, nav, truth: Vec::new() })
        });
        let mut samples: Vec<Sample> = prepared.collect();
        let truth = match originals {
            None => self.truth(&samples),
            Some(originals) => {
                let positions: Vec<u32> = samples.iter().map(|sample| sample.position).collect();
                originals.nearest(&positions, rows, DEPTHS[2] + 1)?
            }
        };
        for (sample, top) in samples.iter_mut().zip(truth) {
            let ids = top.into_sorted().into_iter().map(|(id, _)| id);
            sample.truth = ids.filter(|&id| id != sample.position).take(DEPTHS[2]).collect();
        }
        Some(samples)
    }

    /// The best rows for each query by int8 code, the query itself among them.
    fn truth(&self, samples: &[Sample]) -> Vec<TopK> {
        let rows = self.len();
        let none = || -> Vec<TopK> { samples.iter().map(|_| TopK::new(DEPTHS[2] + 1)).collect() };
        let mut queries = Panel::new(self.encoding.dim());
        samples.iter().for_each(|sample| queries.push(sample.query.codes()));
        // Few long parts: a collector is slow until it is full.
        let part = rows.div_ceil(rayon::current_num_threads() as u32 * 4).max(BLOCK);
        let parts: Vec<u32> = (0..rows).step_by(part as usize).collect();
        let scan = |first: u32| {
            let mut tops = none();
            let mut block = Panel::new(self.encoding.dim());
            let mut dots = Vec::new();
            let end = first.saturating_add(part).min(rows);
            for first in (first..end).step_by(BLOCK as usize) {
                let ids = first..(first + BLOCK).min(end);
                let read = |id| CodeRow::read(self.codes.row(id)?, self.encoding.dim());
                let of: Vec<(u32, CodeRow<'_>)> =
                    ids.filter_map(|id| Some((id, read(id)?))).collect();
                block.clear();
                of.iter().for_each(|(_, row)| block.push(row.codes));
                queries.dots(level(), (0, queries.len()), &block, &mut dots);
                for ((sample, top), dots) in
                    samples.iter().zip(&mut tops).zip(dots.chunks(of.len().max(1)))
                {
                    for ((id, row), dot) in of.iter().zip(dots) {
                        top.push(*id, sample.query.score_dot(row, *dot));
                    }
                }
            }
            tops
        };
        let join = |mut all: Vec<TopK>, tops: Vec<TopK>| {
            for (all, top) in all.iter_mut().zip(tops) {
                top.into_sorted().into_iter().for_each(|(id, score)| all.push(id, score));
            }
            all
        };
        parts.into_par_iter().map(scan).reduce(none, join)
    }

    /// What the many walks for a sample share; nothing where there are no navigation codes.
    fn nav_query(&self, own: &PreparedQuery) -> (NavQuery, Option<f32>) {
        let mut query = NavQuery::default();
        let Some(nav) = &self.nav else { return (query, None) };
        let (mut dots, mut coordinates) = (Vec::new(), Vec::new());
        nav.projection.project(own.codes(), own.scale(), &mut dots, &mut coordinates);
        fill_query(&coordinates, nav.lines, &mut query);
        (query, nav.projection.best_score(own.codes(), own.scale(), own.metric()))
    }

    /// True neighbors that walks with `ef` candidates find, for each depth that is open.
    fn count(
        &self,
        samples: &[Sample],
        (ef, is_cut, is_open): (usize, bool, [bool; DEPTHS.len()]),
        scratch: &mut Scratch,
    ) -> [usize; DEPTHS.len()] {
        let (mut right, mut best) = ([0; DEPTHS.len()], Vec::new());
        for sample in samples {
            let codes = CodeScorer { query: &sample.query, codes: &self.codes };
            for ((right, depth), is_open) in right.iter_mut().zip(DEPTHS).zip(is_open) {
                let params = SearchParams { is_cut, ..SearchParams::new(depth, ef) };
                // A search for so many hits never has so few candidates.
                if !is_open || ef < params.rescored() {
                    continue;
                }
                let found = self.found_without(sample, &params, scratch);
                self.refine(&codes, &found, &params, &mut best);
                let truth = &sample.truth[..sample.truth.len().min(depth)];
                // Originals put what is true first, if it is among what they order.
                let hits = best.iter().take(if is_cut { params.rescored() } else { depth });
                *right += hits.filter(|hit| truth.contains(&hit.id)).count();
            }
        }
        right
    }

    /// What a search walks to for a sample, as if the sample were not stored.
    fn found_without(
        &self,
        sample: &Sample,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        let codes = CodeScorer { query: &sample.query, codes: &self.codes };
        let Some(nav) = &self.nav else {
            return self.walk_without(
                &codes,
                None::<&NavScorer<'_>>,
                sample.position,
                params,
                scratch,
            );
        };
        let ((query, best), level) = (&sample.nav, level());
        let scorer = NavScorer::new(query, &nav.rows, level, *best);
        let upper = FirstLines(NavScorer::new(query, &nav.upper, level, *best));
        self.walk_without(&scorer, Some(&upper), sample.position, params, scratch)
    }

    fn walk_without<S: Scorer>(
        &self,
        scorer: &S,
        upper: Option<&impl Scorer>,
        position: u32,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        let Some(graph) = &self.graph else { return Vec::new() };
        graph.start(scorer, upper, (params.ef, 0), &mut scratch.starts);
        let mut starts = std::mem::take(&mut scratch.starts.positions);
        // A walk that could start nowhere else starts there: it scores worst all the same.
        if starts.len() > 1 {
            starts.retain(|&start| start != position);
        }
        let scorer = Without { scorer, id: position };
        let stop = Stop::new(&scorer, params.wanted(), params.ef);
        walk_until(&scorer, graph.base(), &starts, (params.ef, stop), scratch);
        scratch.starts.positions = starts;
        scratch.pool.iter().filter(|found| found.id != position).collect()
    }
}

/// Scores as another does, but for one id that has no row and so never comes up.
struct Without<'a, S> {
    scorer: &'a S,
    id: u32,
}

impl<S: Scorer> Scorer for Without<'_, S> {
    #[inline]
    fn row(&self, id: u32) -> &[u8] {
        if id == self.id { &[] } else { self.scorer.row(id) }
    }

    #[inline]
    fn score_all(&self, rows: &[&[u8]], out: &mut [f32]) {
        self.scorer.score_all(rows, out);
    }

    #[inline]
    fn ask(&self, ids: &[u32]) {
        self.scorer.ask(ids);
    }

    #[inline]
    fn score_ids(&self, ids: &[u32], out: &mut [f32]) {
        self.scorer.score_ids(ids, out);
        for (id, score) in ids.iter().zip(out) {
            *score = if *id == self.id { f32::MIN } else { *score };
        }
    }

    #[inline]
    fn group(&self) -> usize {
        self.scorer.group()
    }

    #[inline]
    fn best(&self) -> Option<f32> {
        self.scorer.best()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{clustered, open_image, segment_of};
    use super::super::{Allow, Effort, GraphParams, SegmentBuilder, SegmentConfig};
    use super::*;
    use crate::vectors::{Metric, Originals};

    /// Recall of ten hits over the queries, and the candidates it took.
    fn reached(segment: &Segment, queries: &[Vec<f32>], target: f32) -> (f64, usize) {
        let params = segment.params(10, Effort::Recall(target));
        let mut right = 0;
        for query in queries {
            let query = PreparedQuery::new(&segment.encoding, query).unwrap();
            let hits = segment.search(&query, &params, Allow::All).unwrap();
            let truth = segment.search(&query, &SearchParams::exact(10), Allow::All).unwrap();
            right += hits.iter().filter(|hit| truth.iter().any(|of| of.slot == hit.slot)).count();
        }
        (right as f64 / (10 * queries.len()) as f64, params.ef)
    }

    #[test]
    fn a_search_by_recall_target_reaches_it_and_asks_for_more_candidates_to_find_more() {
        let mut vectors = clustered(3_150, 48, 21);
        let queries = vectors.split_off(3_000);
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let encoding = Encoding::new(48, metric, Originals::F16).unwrap();
            let segment = segment_of(&vectors, encoding, 1, 0);
            let [low, middle, high] = [0.9, 0.95, 0.99].map(|target| {
                let (recall, ef) = reached(&segment, &queries, target);
                assert!(recall > f64::from(target) - 0.015, "{metric} {target}: {recall} at {ef}");
                ef
            });
            assert!(low <= middle && middle < high, "{metric} {low} {middle} {high}");
            assert!(high < 300, "{metric}: {high} candidates are a tenth of all");
            assert_eq!(reached(&segment, &queries[..5], 1.0).0, 1.0);
        }
    }

    #[test]
    fn a_usual_search_has_64_candidates_at_least_and_an_uncalibrated_one_96() {
        let encoding = Encoding::new(16, Metric::L2, Originals::None).unwrap();
        let easy = segment_of(&clustered(1_000, 16, 22), encoding, 1, 0);
        assert_eq!(easy.params(10, Effort::default()).ef, 64);
        assert!(!easy.recall_curve().is_empty());
        let flat = segment_of(&clustered(1_000, 16, 22), encoding, 1, u32::MAX);
        assert!(flat.recall_curve().is_empty());
        assert_eq!(flat.params(10, Effort::default()).ef, 96);
    }

    #[test]
    fn segments_of_equal_or_few_vectors_are_measured_without_harm() {
        let encoding = Encoding::new(8, Metric::Cosine, Originals::None).unwrap();
        for vectors in [vec![vec![0.5; 8]; 300], clustered(1, 8, 1), clustered(2, 8, 1)] {
            let segment = segment_of(&vectors, encoding, 1, 0);
            let ef = segment.params(1, Effort::Recall(0.9)).ef;
            assert!(segment.has_graph() && (5..=5_000).contains(&ef), "{ef}");
        }
    }

    #[test]
    fn a_build_that_is_cancelled_while_it_is_measured_gives_nothing() {
        let encoding = Encoding::new(8, Metric::L2, Originals::None).unwrap();
        let config = SegmentConfig::new(encoding).graph(GraphParams::default()).graph_min_rows(0);
        let mut builder = SegmentBuilder::with_capacity(config, 0).unwrap();
        for (slot, vector) in (0_u32..).zip(clustered(300, 8, 2)) {
            builder.push(slot, &encoding.encode(&vector).unwrap().code, None).unwrap();
        }
        let ends = std::sync::atomic::AtomicUsize::new(0);
        let stop = |done, total| {
            let before =
                ends.fetch_add(usize::from(done == total), std::sync::atomic::Ordering::SeqCst);
            // The first end is that of the graph.
            if done == total && before > 0 {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        };
        assert_eq!(builder.finish(&stop).map(open_image).err(), Some(IndexError::Cancelled));
    }
}
