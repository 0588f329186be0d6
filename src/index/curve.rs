//! The recall curve of a segment: what share of the true neighbors a walk with so many candidates
//! found when the segment was built, and from it the candidates that a recall target needs.
//!
//! A curve is a hint, as links are: one that contradicts itself is not used, and a segment
//! without one is searched by a curve of cautious defaults.

use std::sync::LazyLock;

use crate::vectors::Rows;

/// Numbers of hits whose recall a curve holds.
pub const DEPTHS: [usize; 3] = [1, 10, 100];
/// Shares with which a depth is measured no further: points with more candidates repeat them.
/// Without all of one neighbor each the last of them would take as long as the rest.
pub const ENOUGH: [f64; DEPTHS.len()] = [0.996, 0.996, 0.98];
/// Bytes of a point: ef u32, one u16 for each depth, two zeros.
pub const POINT_BYTES: usize = 12;
/// Most points of a curve.
const MAX_POINTS: usize = 64;
/// Largest number of candidates a point may have.
const MAX_EF: u32 = 1 << 20;
/// A curve is not followed further than this many times its largest `ef`.
const BEYOND: f64 = 4.0;
/// The share that `u16::MAX` stands for is 1; misses are taken as at least half a step.
const FULL: f64 = u16::MAX as f64;

/// Steps to a recall that is known to 2^-11.
const HALVINGS: u32 = 11;

/// Candidates, recall of the first one or ten hits and of the first hundred, of
/// [`Curve::cautious`].
const CAUTIOUS: [(u32, f64, f64); 6] = [
    (32, 0.9, 0.3),
    (64, 0.95, 0.6),
    (96, 0.98, 0.8),
    (192, 0.99, 0.95),
    (384, 0.995, 0.98),
    (768, 0.998, 0.99),
];

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Candidates of the walk.
    pub ef: u32,
    /// Recall of the first 1, 10 and 100 hits, in 65,535ths.
    pub recall: [u16; DEPTHS.len()],
}

/// Points with ascending `ef`, whose recall never falls; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve(Vec<Point>);

impl Curve {
    /// The curve of segments that have none: what 100,000 embedding-like vectors of 1,024
    /// dimensions need, and half as much again.
    pub fn cautious() -> &'static Self {
        static CURVE: LazyLock<Curve> = LazyLock::new(|| {
            let share = |share: f64| (share * FULL) as u16;
            let point = |&(ef, few, many): &(u32, f64, f64)| Point {
                ef,
                recall: [share(few), share(few), share(many)],
            };
            Curve(CAUTIOUS.iter().map(point).collect())
        });
        &CURVE
    }

    /// A curve of these points. None if there are none or too many, `ef` does not ascend, or
    /// recall falls.
    pub fn new(points: Vec<Point>) -> Option<Self> {
        let ascends = |pair: &[Point]| {
            let falls = pair[0].recall.iter().zip(&pair[1].recall).any(|(a, b)| a > b);
            pair[0].ef < pair[1].ef && !falls
        };
        let in_range = |point: &Point| (1..=MAX_EF).contains(&point.ef);
        let sound = (1..=MAX_POINTS).contains(&points.len())
            && points.iter().all(in_range)
            && points.windows(2).all(ascends);
        sound.then_some(Self(points))
    }

    /// Reads what [`Curve::to_bytes`] wrote; none where that is not a curve.
    pub fn read(rows: &Rows) -> Option<Self> {
        if rows.stride() != POINT_BYTES || rows.len() as usize > MAX_POINTS {
            return None;
        }
        let points = (0..rows.len()).map(|at| {
            let (ef, rest) = rows.row(at)?.split_first_chunk()?;
            // The format may give the zeros a meaning that this reader would miss.
            let [shares @ .., [0, 0]] = rest.as_chunks::<2>().0 else { return None };
            let share = |at: usize| shares.get(at).map_or(0, |share| u16::from_le_bytes(*share));
            Some(Point { ef: u32::from_le_bytes(*ef), recall: std::array::from_fn(share) })
        });
        Self::new(points.collect::<Option<_>>()?)
    }

    /// The points as rows of [`POINT_BYTES`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * POINT_BYTES);
        for point in &self.0 {
            bytes.extend_from_slice(&point.ef.to_le_bytes());
            point.recall.iter().for_each(|share| bytes.extend_from_slice(&share.to_le_bytes()));
            bytes.resize(bytes.len().next_multiple_of(POINT_BYTES), 0);
        }
        bytes
    }

    /// Candidates, ten at least, and the recall of ten hits.
    pub fn of_ten(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        let points = self.0.iter().filter(|point| point.ef >= 10);
        points.map(|point| (point.ef as usize, (f64::from(point.recall[1]) / FULL) as f32))
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.0
    }

    /// Candidates with which a search for `k` hits reaches `recall`: between two points on a line
    /// of log(1 - recall) over log(ef), between two depths on one of log(ef) over log(k). Past
    /// the last point the last slope is followed, to at most four times its `ef`; past 100 hits
    /// `ef` grows as `k` does.
    pub fn ef(&self, recall: f32, k: usize) -> usize {
        let miss = (1.0 - f64::from(recall)).max(0.5 / FULL).ln();
        let at = |depth: usize| self.ln_ef(miss, depth);
        let ln_k = (k.max(1) as f64).ln();
        let last = DEPTHS.len() - 1;
        let depth = (0..last).find(|&depth| k <= DEPTHS[depth + 1]);
        let ln_ef = match depth {
            Some(depth) => {
                let (low, high) = ((DEPTHS[depth] as f64).ln(), (DEPTHS[depth + 1] as f64).ln());
                let share = (ln_k - low) / (high - low);
                at(depth) + (at(depth + 1) - at(depth)) * share
            }
            None => at(last) + ln_k - (DEPTHS[last] as f64).ln(),
        };
        ln_ef.exp().round().clamp(1.0, f64::from(u32::MAX)) as usize
    }

    /// The largest recall for which a search for `k` hits needs no more than `ef` candidates, to
    /// one in a thousand: the inverse of [`Curve::ef`].
    pub fn recall(&self, ef: usize, k: usize) -> f32 {
        let (mut low, mut high) = (0.0_f32, 1.0_f32);
        for _ in 0..HALVINGS {
            let middle = f32::midpoint(low, high);
            if self.ef(middle, k) <= ef { low = middle } else { high = middle }
        }
        low
    }

    /// log(ef) at which log(1 - recall) of one depth falls to `miss`.
    fn ln_ef(&self, miss: f64, depth: usize) -> f64 {
        let of = |point: &Point| {
            let share = point.recall.get(depth).copied().unwrap_or_default();
            (f64::from(point.ef).ln(), (1.0 - f64::from(share) / FULL).max(0.5 / FULL).ln())
        };
        let reached = self.0.iter().position(|point| of(point).1 <= miss + 1e-9);
        let (first, second) = match (reached, self.0.as_slice()) {
            (Some(0), [first, ..]) | (None, [first]) => return of(first).0,
            (Some(at), points) => (of(&points[at - 1]), of(&points[at])),
            (None, points) => {
                let last = self.last_measured(depth).max(1);
                (of(&points[last - 1]), of(&points[last]))
            }
        };
        let ((ef0, miss0), (ef1, miss1)) = (first, second);
        let limit = if reached.is_some() { ef1 } else { ef1 + BEYOND.ln() };
        let slope = (ef1 - ef0) / (miss0 - miss1);
        // Two points of equal recall have no slope.
        if slope.is_finite() { (ef0 + slope * (miss0 - miss)).min(limit) } else { limit }
    }

    /// The last point that tells something of one depth: those behind one with [`ENOUGH`] repeat
    /// it, which does not mean that more candidates find no more.
    fn last_measured(&self, depth: usize) -> usize {
        let share = |point: &Point| point.recall.get(depth).copied().unwrap_or_default();
        let enough = ENOUGH.get(depth).map_or(FULL, |enough| (enough * FULL).floor());
        let found = self.0.iter().position(|point| f64::from(share(point)) >= enough);
        found.unwrap_or(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn rows(bytes: Vec<u8>) -> Rows {
        Rows::contiguous(Bytes::from(bytes), POINT_BYTES).unwrap()
    }

    /// Any sound curve: ascending by construction.
    fn curves() -> impl Strategy<Value = Curve> {
        let step = (1_u32..200, [0_u16..20_000, 0_u16..20_000, 0_u16..20_000]);
        proptest::collection::vec(step, 1..12).prop_map(|steps| {
            let mut at = Point { ef: 0, recall: [0; DEPTHS.len()] };
            let points = steps.into_iter().map(|(ef, more)| {
                at.ef += ef;
                at.recall = std::array::from_fn(|i| at.recall[i].saturating_add(more[i]));
                at
            });
            Curve::new(points.collect()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn more_recall_never_needs_fewer_candidates_and_what_was_measured_no_more(
            curve in curves(), a in 0.0_f32..1.0, b in 0.0_f32..1.0, k in 1_usize..300,
        ) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(curve.ef(low, k) <= curve.ef(high, k));
            let largest = curve.points().last().unwrap().ef as usize;
            prop_assert!(curve.ef(high, k) <= 4 * largest * k.div_ceil(100) + 1);
            for point in curve.points() {
                let share = f64::from(point.recall[1]) / FULL;
                prop_assert!(curve.ef(share as f32 - 1e-5, 10) <= point.ef as usize);
            }
        }

        #[test]
        fn the_recall_of_so_many_candidates_is_what_they_were_taken_for(
            curve in curves(), target in 0.0_f32..1.0, k in 1_usize..300,
        ) {
            let ef = curve.ef(target, k);
            // Where more candidates found no more, the larger recall is meant.
            prop_assert!(curve.recall(ef, k) >= target - 1e-3);
            prop_assert!(curve.ef(curve.recall(ef, k), k) <= ef.max(curve.ef(0.0, k)));
        }

        #[test]
        fn bytes_of_any_kind_are_a_sound_curve_or_none(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..8 * POINT_BYTES),
            is_near in any::<bool>(), target in 0.0_f32..1.0,
        ) {
            bytes.truncate(bytes.len() / POINT_BYTES * POINT_BYTES);
            // Few candidates and zeros at the end, without which hardly any would be a curve.
            for point in bytes.chunks_exact_mut(POINT_BYTES).filter(|_| is_near) {
                point[2..4].fill(0);
                point[10..].fill(0);
            }
            if let Some(curve) = Curve::read(&rows(bytes)) {
                prop_assert!(curve.points().is_sorted_by(|a, b| a.ef < b.ef));
                prop_assert!(curve.ef(target, 10) <= 4 << 20);
            }
        }

        #[test]
        fn a_curve_is_read_as_it_was_written(curve in curves()) {
            prop_assert_eq!(Curve::read(&rows(curve.to_bytes())), Some(curve));
        }
    }

    #[test]
    fn a_point_has_the_bytes_of_the_format_and_is_none_where_its_end_is_not_zero() {
        let bytes = [16, 0, 1, 0, 1, 2, 3, 4, 5, 6, 0, 0];
        let read = |bytes: [u8; 12]| Curve::read(&rows(bytes.to_vec()));
        let curve = read(bytes).unwrap();
        assert_eq!(curve.points(), [Point { ef: 65_552, recall: [0x0201, 0x0403, 0x0605] }]);
        assert_eq!(curve.to_bytes(), bytes);
        for at in [10, 11] {
            let mut bytes = bytes;
            bytes[at] = 1;
            assert_eq!(read(bytes), None);
        }
    }

    #[test]
    fn a_curve_that_falls_stands_still_or_has_no_points_is_none() {
        let point = |ef, share| Point { ef, recall: [share; DEPTHS.len()] };
        assert!(Curve::new(vec![point(10, 5), point(20, 5)]).is_some());
        for points in [
            vec![],
            vec![point(0, 5)],
            vec![point(MAX_EF + 1, 5)],
            vec![point(10, 5), point(10, 6)],
            vec![point(20, 5), point(10, 6)],
            vec![point(10, 5), point(20, 4)],
            (1..=65).map(|ef| point(ef, 5)).collect(),
        ] {
            assert_eq!(Curve::new(points.clone()), None, "{points:?}");
        }
    }

    #[test]
    fn misses_between_two_points_are_halved_in_equal_steps_of_the_logarithm() {
        let share = |miss: f64| ((1.0 - miss) * FULL).round() as u16;
        let point = |ef, miss| Point { ef, recall: [share(miss); DEPTHS.len()] };
        let curve = Curve::new(vec![point(16, 0.16), point(64, 0.04)]).unwrap();
        assert_eq!(curve.ef(0.92, 10), 32);
        // Past the end the slope goes on, to four times the last point.
        assert_eq!((curve.ef(0.98, 10), curve.ef(0.999, 10)), (128, 256));
        assert_eq!((curve.ef(0.5, 10), curve.ef(0.92, 200)), (16, 64));
        // Points behind one that found enough repeat it; where less was found they were measured.
        let points = |last: u16| {
            let of = |ef, share| Point { ef, recall: [share, share, share] };
            vec![of(16, share(0.16)), of(64, last), of(256, last), of(300, last)]
        };
        let closed = Curve::new(points(share(0.004))).unwrap();
        assert_eq!((closed.ef(0.997, 10), closed.ef(0.999, 10)), (71, 108));
        let flat = Curve::new(points(share(0.02))).unwrap();
        assert_eq!(flat.ef(0.99, 10), 1_200);
        let cautious = [0.95, 0.98, 0.99].map(|target| Curve::cautious().ef(target, 10));
        assert_eq!(cautious, [64, 96, 192]);
    }
}
