//! Synthetic vectors that behave like text embeddings, for benches and tests: never used by
//! search itself.
//!
//! A vector is `mean + cluster center + own part`, each with a power-law spectrum (standard
//! deviation of axis i proportional to `i^-0.5`), then rotated so that no axis is special, then
//! L2-normalized. Cluster sizes follow a Pareto law. The mean cosine of a query to all vectors, to
//! its nearest and to its tenth nearest is 0.37, 0.79 and 0.74 at 100,000 x 384, and 0.37, 0.77 and
//! 0.71 at 50,000 x 1,024: the shape of real embedding sets, which uniform random vectors lack.

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::random::Random;

/// Shares of the energy (squared norm) of a vector, chosen to meet the cosines above.
const MEAN_SHARE: f32 = 0.36;
const CENTER_SHARE: f32 = 0.33;
const OWN_SHARE: f32 = 0.31;
/// Exponent of the Pareto law of the cluster weights.
const PARETO_SHAPE: f64 = 1.5;
/// Rounds of sign flips and Hadamard transforms; three already mix every axis into all others.
const ROTATION_ROUNDS: usize = 4;

/// Streams of random numbers that never overlap: one per purpose.
#[derive(Clone, Copy)]
enum Stream {
    Mean = 1,
    Centers,
    Weights,
    Signs,
    Vectors,
    Queries,
}

/// A distribution of embedding-like vectors, of unit length unless told otherwise, fixed by its
/// dimensions, seed and clusters.
#[derive(Debug, Clone)]
pub struct Synthetic {
    dim: usize,
    seed: u64,
    spectrum: Vec<f32>,
    mean: Vec<f32>,
    centers: Vec<f32>,
    /// Running sums of the cluster weights; the last is their total.
    cumulative: Vec<f64>,
    /// One sign mask per round, `dim` each.
    signs: Vec<f32>,
    /// Standard deviation of the logarithm of a vector's length.
    length_spread: f32,
}

impl Synthetic {
    /// A distribution of `dim` (at least 1) dimensions with 2,000 clusters.
    #[must_use]
    pub fn new(dim: usize, seed: u64) -> Self {
        Self::with_clusters(dim, seed, 2_000)
    }

    /// As [`Synthetic::new`] with another number of clusters; about one per 50 vectors keeps the
    /// neighborhoods of a small set like those of a large one.
    #[must_use]
    pub fn with_clusters(dim: usize, seed: u64, clusters: usize) -> Self {
        let (dim, clusters) = (dim.max(1), clusters.max(1));
        let energy: f32 = (1..=dim).map(|axis| 1.0 / axis as f32).sum();
        let spectrum: Vec<f32> =
            (1..=dim).map(|axis| (axis as f32).powf(-0.5) / energy.sqrt()).collect();

        let mut mean = draw(&mut rng(seed, Stream::Mean, 0), &spectrum);
        scale_to_unit(&mut mean);
        let centers: Vec<f32> = (0..clusters as u64)
            .flat_map(|cluster| draw(&mut rng(seed, Stream::Centers, cluster), &spectrum))
            .collect();
        let mut weights = rng(seed, Stream::Weights, 0);
        let cumulative = (0..clusters)
            .scan(0.0, |total, _| {
                *total += (1.0 - weights.uniform()).powf(-1.0 / PARETO_SHAPE);
                Some(*total)
            })
            .collect();
        let mut signs = rng(seed, Stream::Signs, 0);
        let signs = (0..dim * ROTATION_ROUNDS)
            .map(|_| if signs.random.next_u64() >> 63 == 0 { 1.0 } else { -1.0 })
            .collect();
        Self { dim, seed, spectrum, mean, centers, cumulative, signs, length_spread: 0.0 }
    }

    /// Lengths whose logarithms are normal with this standard deviation, instead of 1: for dot
    /// products and distances of vectors that nobody has normalized. Directions stay the same.
    #[must_use]
    pub fn length_spread(mut self, spread: f32) -> Self {
        self.length_spread = spread;
        self
    }

    /// The first `n` base vectors, row after row: `n * dim` values.
    #[must_use]
    pub fn vectors(&self, n: usize) -> Vec<f32> {
        self.sample(n, Stream::Vectors)
    }

    /// The first `n` queries: the same distribution, other vectors.
    #[must_use]
    pub fn queries(&self, n: usize) -> Vec<f32> {
        self.sample(n, Stream::Queries)
    }

    fn sample(&self, n: usize, stream: Stream) -> Vec<f32> {
        let mut out = vec![0.0; n * self.dim];
        out.par_chunks_mut(self.dim).enumerate().for_each(|(index, row)| {
            self.fill(&mut rng(self.seed, stream, index as u64), row);
        });
        out
    }

    fn fill(&self, rng: &mut Rng, row: &mut [f32]) {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let target = rng.uniform() * total;
        let last = self.cumulative.len().saturating_sub(1);
        let cluster = self.cumulative.partition_point(|&sum| sum <= target).min(last);
        let center = &self.centers[cluster * self.dim..][..self.dim];
        let own = draw(rng, &self.spectrum);
        for (value, ((mean, center), own)) in
            row.iter_mut().zip(self.mean.iter().zip(center).zip(own))
        {
            *value =
                MEAN_SHARE.sqrt() * mean + CENTER_SHARE.sqrt() * center + OWN_SHARE.sqrt() * own;
        }
        self.rotate(row);
        scale_to_unit(row);
        if self.length_spread > 0.0 {
            let length = (self.length_spread * rng.normal()).exp();
            row.iter_mut().for_each(|value| *value *= length);
        }
    }

    /// An orthogonal map of any dimension: random signs, then a Hadamard transform over the
    /// largest power of two, alternately at the front and at the back (Kac's walk).
    fn rotate(&self, row: &mut [f32]) {
        let block = 1_usize << row.len().ilog2();
        for (round, signs) in self.signs.chunks(self.dim).enumerate() {
            for (value, sign) in row.iter_mut().zip(signs) {
                *value *= sign;
            }
            let start = if round % 2 == 0 { 0 } else { row.len() - block };
            hadamard(&mut row[start..start + block]);
        }
    }
}

/// In-place orthonormal Walsh-Hadamard transform of a power-of-two length.
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_mut(half * 2) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = (values.len() as f32).sqrt().recip();
    values.iter_mut().for_each(|value| *value *= scale);
}

fn scale_to_unit(values: &mut [f32]) {
    let norm = values.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|value| *value /= norm);
    }
}

fn draw(rng: &mut Rng, spectrum: &[f32]) -> Vec<f32> {
    spectrum.iter().map(|std| std * rng.normal()).collect()
}

fn rng(seed: u64, stream: Stream, index: u64) -> Rng {
    Rng::new(seed ^ (stream as u64) << 56 ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Random numbers with Box-Muller normals.
struct Rng {
    random: Random,
    spare: Option<f32>,
}

impl Rng {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), spare: None }
    }

    fn uniform(&mut self) -> f64 {
        self.random.uniform()
    }

    /// Standard normal.
    fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        self.spare = Some((radius * sin) as f32);
        (radius * cos) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dot_f32;

    /// Mean cosine of a query to all vectors, to its nearest and to its tenth nearest.
    fn statistics(dim: usize, n: usize, clusters: usize) -> [f32; 3] {
        let synthetic = Synthetic::with_clusters(dim, 7, clusters);
        let base = synthetic.vectors(n);
        let queries = synthetic.queries(100);
        let mut sums = [0.0; 3];
        for query in queries.chunks(dim) {
            let mut cosines: Vec<f32> = base.chunks(dim).map(|row| dot_f32(row, query)).collect();
            cosines.sort_unstable_by(|a, b| b.total_cmp(a));
            let mean = cosines.iter().sum::<f32>() / n as f32;
            for (sum, value) in sums.iter_mut().zip([mean, cosines[0], cosines[9]]) {
                *sum += value / 100.0;
            }
        }
        sums
    }

    #[test]
    fn cosines_are_those_of_embeddings() {
        let [mean, first, tenth] = statistics(256, 10_000, 200);
        assert!((mean - 0.36).abs() < 0.04, "mean {mean}");
        assert!((first - 0.78).abs() < 0.05, "first {first}");
        assert!((tenth - 0.75).abs() < 0.05, "tenth {tenth}");
    }

    #[test]
    fn vectors_are_unit_and_repeat_for_a_seed() {
        let synthetic = Synthetic::new(100, 1);
        let vectors = synthetic.vectors(20);
        for row in vectors.chunks(100) {
            assert!((dot_f32(row, row) - 1.0).abs() < 1e-5);
        }
        assert_eq!(vectors[..500], Synthetic::new(100, 1).vectors(5)[..]);
        assert_ne!(vectors[..500], Synthetic::new(100, 2).vectors(5)[..]);
        assert_ne!(vectors[..500], synthetic.queries(5)[..]);
    }

    #[test]
    fn lengths_are_spread_as_asked_and_directions_stay() {
        let unit = Synthetic::new(50, 1).vectors(2_000);
        let spread = Synthetic::new(50, 1).length_spread(0.5).vectors(2_000);
        let logs = spread.chunks(50).zip(unit.chunks(50)).map(|(row, unit)| {
            let length = dot_f32(row, row).sqrt();
            assert!((dot_f32(row, unit) / length - 1.0).abs() < 1e-4);
            f64::from(length.ln())
        });
        let logs: Vec<f64> = logs.collect();
        let mean = logs.iter().sum::<f64>() / 2_000.0;
        let deviation = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 2_000.0).sqrt();
        assert!(mean.abs() < 0.05 && (deviation - 0.5).abs() < 0.04, "{mean} {deviation}");
    }

    #[test]
    fn rotation_keeps_lengths_and_spreads_an_axis() {
        let synthetic = Synthetic::new(384, 3);
        let mut axis = vec![0.0; 384];
        axis[0] = 1.0;
        synthetic.rotate(&mut axis);
        assert!((dot_f32(&axis, &axis) - 1.0).abs() < 1e-5);
        assert!(axis.iter().all(|x| x.abs() < 0.4));
    }
}
