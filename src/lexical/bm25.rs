//! The score of a term in a text, in whole points: points can be summed in any order and give the
//! same, so that the score of a record does not depend on how a search went.

use super::lengths::Stats;
use super::run::Peak;

/// The sum of all weights is below 2 to this power, in points.
const POINT_BITS: i32 = 30;

/// Turns counts and lengths into points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scoring {
    floor: f32,
    slope: f32,
    scale: f32,
}

/// How much a term tells: `ln(1 + (n - d + 0.5) / (d + 0.5))` for `d` of `n` texts.
pub(super) fn idf(texts: u32, stats: Stats) -> f32 {
    let (all, with) = (stats.records as f64, f64::from(texts));
    let without = (all - with).max(0.0);
    (1.0 + (without + 0.5) / (with + 0.5)).ln() as f32
}

impl Scoring {
    /// For terms whose weights have that sum.
    pub(super) fn new((k1, b): (f32, f32), stats: Stats, weights: f32) -> Self {
        // A power of two, so that weights lose nothing.
        let exponent = weights.max(f32::MIN_POSITIVE).log2().ceil() as i32;
        let scale = 2_f32.powi((POINT_BITS - exponent).clamp(-60, 60));
        Self { floor: k1 * (1.0 - b), slope: k1 * b / stats.mean(), scale }
    }

    /// The weight of a term in points.
    pub(super) fn weight(&self, weight: f32) -> f32 {
        weight * self.scale
    }

    /// The score of a sum of points, which says all that [`rank`] says: the scale is a power of
    /// two.
    pub(super) fn score(&self, points: u32) -> f32 {
        points as f32 / self.scale
    }

    /// `weight count / (count + k1 (1 - b + b length / mean))`, cut to a whole number of points.
    pub(super) fn points(&self, weight: f32, count: u32, length: u16) -> u32 {
        let count = count as f32;
        let norm = self.floor + self.slope * f32::from(length);
        (weight * count / (count + norm)) as u32
    }

    /// No posting of a block with that peak has more points.
    pub(super) fn bound(&self, weight: f32, peak: Peak) -> u32 {
        if peak.count == u16::MAX {
            return slack(weight as u32);
        }
        let best = self.points(weight, u32::from(peak.count), peak.length);
        let other = match peak.count {
            0 | 1 => 0,
            count => self.points(weight, u32::from(count - 1), peak.other),
        };
        slack(best.max(other))
    }
}

/// A sum of points as far as its score tells it from others: what callers are given, order by and
/// turn pages by is an f32, so of two sums with one score neither is the better one. Not less than
/// another's for a larger sum.
pub(super) fn rank(points: u32) -> u32 {
    points as f32 as u32
}

/// More than what rounding adds: a few units in the last of 24 bits.
fn slack(points: u32) -> u32 {
    points + (points >> 20) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bounds_are_never_exceeded(
            k1 in 0f32..3.0, b in 0f32..=1.0, mean in 1u64..500, texts in 1u32..1000,
            count in 1u32..70_000, length in 0u16..=u16::MAX,
            more in 0u32..5, shorter in 0u16..100,
        ) {
            let stats = Stats { records: 1_000, length: mean * 1_000 };
            let weight = idf(texts, stats);
            let scoring = Scoring::new((k1, b), stats, weight);
            let weight = scoring.weight(weight);
            let points = scoring.points(weight, count, length);
            let least = length.saturating_sub(shorter);
            let best = u16::try_from(count + more).unwrap_or(u16::MAX);
            let (own, other) = if more == 0 { (least, u16::MAX) } else { (u16::MAX, least) };
            let peak = Peak { count: best, length: own, other };
            prop_assert!(points <= scoring.bound(weight, peak));
            prop_assert!(points < 1 << POINT_BITS);
        }

        #[test]
        fn ranks_ascend_with_points_and_are_equal_where_scores_are(
            points in 0u32..1 << POINT_BITS, more in 0u32..300, weights in 0.01f32..100.0,
        ) {
            let scoring = Scoring::new((0.9, 0.4), Stats { records: 1, length: 1 }, weights);
            let (low, high) = (points, points + more);
            prop_assert!(rank(low) <= rank(high));
            let (below, above) = (scoring.score(low), scoring.score(high));
            prop_assert_eq!(rank(low) == rank(high), below == above);
            prop_assert_eq!(scoring.score(rank(low)), below);
        }
    }

    #[test]
    fn the_formula_is_that_of_the_documents() {
        let stats = Stats { records: 4, length: 40 };
        // By hand: ln(1 + 2.5 / 2.5), and 3 / (3 + 0.9 (0.6 + 0.4 * 20 / 10)).
        let weight = idf(2, stats);
        assert!((weight - std::f32::consts::LN_2).abs() < 1e-6);
        let scoring = Scoring::new((0.9, 0.4), stats, weight);
        let points = scoring.points(scoring.weight(weight), 3, 20);
        let expected = std::f32::consts::LN_2 * 3.0 / (3.0 + 0.9 * 1.4);
        assert!((scoring.score(points) - expected).abs() < 1e-6);
    }
}
