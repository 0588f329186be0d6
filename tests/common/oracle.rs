//! The oracle: what a stored vector must read back as, and its score against a query, computed
//! by the definitions in f64. Shares no code with the library.

use portolan::{Metric, Originals};

/// The shape of a collection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub dimensions: usize,
    pub metric: Metric,
    pub originals: Originals,
}

/// A vector as the collection keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// What `get` returns.
    pub values: Vec<f32>,
    /// Squared norm before any rounding.
    norm_sq: f64,
}

impl Shape {
    /// The vector that is kept of a vector that is given.
    pub fn keep(&self, given: &[f32]) -> Kept {
        let exact = self.normalized(given);
        let norm_sq = norm_sq(&exact);
        let values = match self.originals {
            Originals::F32 => exact,
            Originals::F16 => exact.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect(),
            Originals::None => quantized(&exact),
        };
        Kept { values, norm_sq }
    }

    /// A query as it is compared: normalized under cosine, rounded to int8 without originals.
    pub fn query(&self, given: &[f32]) -> Kept {
        let exact = self.normalized(given);
        let norm_sq = norm_sq(&exact);
        let values = if self.originals == Originals::None { quantized(&exact) } else { exact };
        Kept { values, norm_sq }
    }

    fn normalized(&self, given: &[f32]) -> Vec<f32> {
        if self.metric != Metric::Cosine {
            return given.to_vec();
        }
        let norm = norm_sq(given).sqrt();
        given.iter().map(|&x| (f64::from(x) / norm) as f32).collect()
    }

    /// The score of two vectors: higher is better.
    pub fn score(&self, a: &Kept, b: &Kept) -> f64 {
        let pairs = || a.values.iter().zip(&b.values).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        let dot: f64 = pairs().map(|(x, y)| x * y).sum();
        match (self.metric, self.originals) {
            (Metric::Cosine | Metric::Dot, _) => dot,
            // The norms are those before rounding, and a squared distance is never below zero.
            (Metric::L2, Originals::None) => (2.0 * dot - (a.norm_sq + b.norm_sq)).min(0.0),
            (Metric::L2, _) => -pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>(),
        }
    }

    /// How far f32 arithmetic may be from the score.
    pub fn tolerance(&self, a: &Kept, b: &Kept) -> f64 {
        1e-5 * (a.norm_sq + b.norm_sq).max(1.0)
    }
}

fn norm_sq(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

/// int8 codes with one scale, decoded.
fn quantized(values: &[f32]) -> Vec<f32> {
    let largest = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    // As the codes are made: a quotient may lie on the other side of a half.
    let (scale, per_unit) = (largest / 127.0, 127.0 / largest);
    values.iter().map(|x| (x * per_unit).round_ties_even().clamp(-127.0, 127.0) * scale).collect()
}
