//! Whether two ways to search differ over the same queries: wins and losses, a paired randomization
//! test, and a confidence interval of the difference. Eval layer; pure, seeded.
//!
//! The test is Fisher's, two-sided: were both ways the same, each query's difference could as well
//! have had the other sign. p is the share of all choices of signs whose mean differs from 0 by at
//! least as much as the one that was seen. With few queries all choices are made; else so many are
//! drawn, and the one that was seen counts as drawn too (Smucker, Allan and Carterette 2007;
//! Phipson and Smyth 2010). The interval is a percentile bootstrap over queries (Efron 1979).

use super::random::Random;

/// Choices of signs that are drawn where there are too many to make all.
pub const PERMUTATIONS: u64 = 100_000;
/// With so many queries that differ, or fewer, all choices of signs are made.
pub const EXACT_MAX: usize = 18;
/// Samples of the bootstrap.
pub const RESAMPLES: usize = 10_000;
/// Part of the samples that the interval holds.
pub const CONFIDENCE: f64 = 0.95;
/// Figures that are closer than this are the same.
const TIE: f64 = 1e-9;
/// The largest difference as an integer: sums of these are exact, so that equal sums are equal.
const SCALE: f64 = (1_u64 << 40) as f64;

/// How p was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// All choices of signs, so many.
    All(u64),
    /// So many drawn ones.
    Drawn(u64),
}

impl Signs {
    /// How many.
    #[must_use]
    pub fn count(self) -> u64 {
        match self {
            Self::All(count) | Self::Drawn(count) => count,
        }
    }
}

/// Two ways compared query by query.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Queries.
    pub queries: usize,
    /// Queries that the second way has the higher figure of.
    pub wins: usize,
    /// Queries that the first way has the higher figure of.
    pub losses: usize,
    /// Queries with the same figure.
    pub ties: usize,
    /// Mean of second less first.
    pub difference: f64,
    /// Where [`CONFIDENCE`] of the means over resampled queries lie.
    pub interval: (f64, f64),
    /// The mean difference in standard deviations of the differences (Cohen's d of pairs); none
    /// where all differ by the same.
    pub effect: Option<f64>,
    /// How likely a difference at least as large is if both ways are the same.
    pub p: f64,
    /// How p was found.
    pub signs: Signs,
}

impl Comparison {
    /// Compares the figures of each query: of the first way, of the second. Figures that are not
    /// finite count as the same.
    ///
    /// O(queries) times [`PERMUTATIONS`] and [`RESAMPLES`]. The same seed gives the same result.
    ///
    /// ```
    /// use portolan::eval::significance::Comparison;
    ///
    /// let figures = [(0.1, 0.4), (0.2, 0.5), (0.0, 0.1)];
    /// let compared = Comparison::of(&figures, 0);
    /// assert_eq!((compared.wins, compared.losses), (3, 0));
    /// assert_eq!(compared.p, 0.25); // all three up or all three down, of eight
    /// ```
    #[must_use]
    pub fn of(figures: &[(f64, f64)], seed: u64) -> Self {
        let differences: Vec<f64> = figures.iter().map(|(first, second)| second - first).collect();
        let tied = |difference: f64| !difference.is_finite() || difference.abs() < TIE;
        let differences: Vec<f64> =
            differences.into_iter().map(|of| if tied(of) { 0.0 } else { of }).collect();
        let (p, signs) = randomization(&differences, seed);
        Self {
            queries: figures.len(),
            wins: differences.iter().filter(|&&difference| difference > 0.0).count(),
            losses: differences.iter().filter(|&&difference| difference < 0.0).count(),
            ties: differences.iter().filter(|&&difference| difference == 0.0).count(),
            difference: mean(&differences),
            interval: bootstrap(&differences, seed),
            effect: effect(&differences),
            p,
            signs,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn effect(differences: &[f64]) -> Option<f64> {
    let mean = mean(differences);
    let squares: f64 = differences.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / differences.len().checked_sub(1).filter(|&n| n > 0)? as f64).sqrt();
    (deviation > TIE).then(|| mean / deviation)
}

/// p, and how it was found. Queries without a difference say nothing in any choice of signs.
fn randomization(differences: &[f64], seed: u64) -> (f64, Signs) {
    let largest = differences.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let parts: Vec<i64> = differences
        .iter()
        .filter(|&&value| value != 0.0)
        .map(|value| (value / largest * SCALE).round() as i64)
        .collect();
    let seen: i64 = parts.iter().sum();
    // Each part is rounded by half a unit at most.
    let least = seen.abs() - parts.len() as i64;
    if parts.len() <= EXACT_MAX {
        let count = 1_u64 << parts.len();
        return (all_signs(&parts, least) as f64 / count as f64, Signs::All(count));
    }
    let mut random = Random::new(seed);
    let mut as_far = 0_u64;
    for _ in 0..PERMUTATIONS {
        let mut sum = 0;
        for parts in parts.chunks(64) {
            let bits = random.next_u64();
            let signed =
                |(at, part): (usize, &i64)| if bits >> at & 1 == 1 { *part } else { -part };
            sum += parts.iter().enumerate().map(signed).sum::<i64>();
        }
        as_far += u64::from(sum.abs() >= least);
    }
    ((as_far + 1) as f64 / (PERMUTATIONS + 1) as f64, Signs::Drawn(PERMUTATIONS))
}

/// Choices of signs whose sum is at least so far from 0. In the order of a Gray code, each choice
/// differs from the one before in one sign.
fn all_signs(parts: &[i64], least: i64) -> u64 {
    let mut signs: Vec<i64> = parts.to_vec();
    let mut sum: i64 = signs.iter().sum();
    let mut as_far = u64::from(sum.abs() >= least);
    for step in 1..1_u64 << parts.len() {
        if let Some(part) = signs.get_mut(step.trailing_zeros() as usize) {
            sum -= 2 * *part;
            *part = -*part;
        }
        as_far += u64::from(sum.abs() >= least);
    }
    as_far
}

/// The interval of the mean.
fn bootstrap(differences: &[f64], seed: u64) -> (f64, f64) {
    if differences.is_empty() {
        return (0.0, 0.0);
    }
    // Another stream than that of the signs.
    let mut random = Random::new(!seed);
    let mut means: Vec<f64> = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let drawn = (0..differences.len()).map(|_| random.below(differences.len()));
        let sum: f64 = drawn.filter_map(|at| differences.get(at)).sum();
        means.push(sum / differences.len() as f64);
    }
    means.sort_unstable_by(f64::total_cmp);
    let tail = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64).round() as usize;
    let at = |index: usize| means.get(index).copied().unwrap_or(0.0);
    (at(tail), at(RESAMPLES - 1 - tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// p by counting over a table of all signs, in floats.
    fn enumerated(differences: &[f64]) -> f64 {
        let seen: f64 = differences.iter().sum::<f64>().abs();
        let signed = |choice: usize| {
            let terms = differences.iter().enumerate();
            terms
                .map(|(at, value)| if choice >> at & 1 == 1 { *value } else { -value })
                .sum::<f64>()
        };
        let choices = 1_usize << differences.len();
        let as_far = (0..choices).filter(|&choice| signed(choice).abs() >= seen - 1e-9).count();
        as_far as f64 / choices as f64
    }

    proptest! {
        #[test]
        fn few_queries_have_the_p_of_all_choices_of_signs(
            sixths in proptest::collection::vec(-6_i32..=6, 1..11),
        ) {
            let differences: Vec<f64> = sixths.iter().map(|&n| f64::from(n) / 6.0).collect();
            let figures: Vec<(f64, f64)> = differences.iter().map(|d| (0.5, 0.5 + d)).collect();
            let compared = Comparison::of(&figures, 1);
            prop_assert!(matches!(compared.signs, Signs::All(_)));
            prop_assert!((compared.p - enumerated(&differences)).abs() < 1e-12);
            prop_assert_eq!(compared.wins + compared.losses + compared.ties, figures.len());
            let (low, high) = compared.interval;
            prop_assert!(low <= compared.difference + 1e-12 && compared.difference <= high + 1e-12
                || figures.len() < 4);
        }
    }

    #[test]
    fn drawn_signs_come_close_to_all_of_them() {
        // Nineteen queries are one more than are enumerated by `of`.
        let differences: Vec<f64> =
            (0..19).map(|n| f64::from((n * 7) % 11) / 10.0 - 0.35).collect();
        let figures: Vec<(f64, f64)> = differences.iter().map(|d| (0.0, *d)).collect();
        let compared = Comparison::of(&figures, 5);
        assert_eq!(compared.signs, Signs::Drawn(PERMUTATIONS));
        let exact = enumerated(&differences);
        assert!(exact > 0.02 && exact < 0.98, "{exact}");
        // Four standard errors.
        let error = 4.0 * (exact * (1.0 - exact) / PERMUTATIONS as f64).sqrt();
        assert!((compared.p - exact).abs() < error, "{} {exact}", compared.p);
        assert_eq!(Comparison::of(&figures, 5), compared);
        assert_ne!(Comparison::of(&figures, 6).p, compared.p);
    }

    #[test]
    fn no_difference_and_no_query_are_no_evidence() {
        let same = Comparison::of(&[(0.5, 0.5); 30], 0);
        assert_eq!((same.wins, same.losses, same.ties), (0, 0, 30));
        assert_eq!((same.p, same.effect, same.interval), (1.0, None, (0.0, 0.0)));
        let none = Comparison::of(&[], 0);
        assert_eq!((none.p, none.difference, none.queries), (1.0, 0.0, 0));
        let odd = Comparison::of(&[(f64::NAN, 1.0), (0.0, f64::INFINITY)], 0);
        assert_eq!((odd.p, odd.ties), (1.0, 2));
    }

    #[test]
    fn a_clear_difference_has_a_small_p_and_an_interval_above_zero() {
        let figures: Vec<(f64, f64)> =
            (0..100).map(|n| (0.2, 0.3 + f64::from(n % 5) / 50.0)).collect();
        let compared = Comparison::of(&figures, 0);
        assert!(compared.p < 1e-4, "{compared:?}");
        assert!((compared.difference - 0.14).abs() < 1e-9);
        let (low, high) = compared.interval;
        assert!(low > 0.13 && high < 0.15, "{compared:?}");
        assert!(compared.effect.is_some_and(|effect| effect > 4.0));
    }
}
