//! Least squares over (size, value): `a + b ln n`, and `c n^p`.

use serde::Serialize;

/// A straight line over the logarithm of the size.
#[derive(Serialize, Debug, Clone, Copy)]
pub struct LogFit {
    pub a: f64,
    /// Added for each e-fold of the size.
    pub b: f64,
    /// Root of the mean squared difference, as a part of the mean value.
    pub residual: f64,
}

/// A power of the size.
#[derive(Serialize, Debug, Clone, Copy)]
pub struct PowerFit {
    pub c: f64,
    pub exponent: f64,
    /// As [`LogFit::residual`], so that the two can be compared.
    pub residual: f64,
}

impl LogFit {
    /// Of at least two sizes, all different from the first.
    pub fn of(points: &[(f64, f64)]) -> Self {
        let (a, b) = line(points.iter().map(|&(n, value)| (n.ln(), value)));
        let residual = residual(points, |n| a + b * n.ln());
        Self { a, b, residual }
    }

    /// The value at a size.
    pub fn at(&self, n: f64) -> f64 {
        self.a + self.b * n.ln()
    }
}

impl PowerFit {
    /// Of at least two sizes; the squares are those of the logarithms.
    pub fn of(points: &[(f64, f64)]) -> Self {
        let (ln_c, exponent) = line(points.iter().map(|&(n, value)| (n.ln(), value.ln())));
        let c = ln_c.exp();
        Self { c, exponent, residual: residual(points, |n| c * n.powf(exponent)) }
    }
}

/// Intercept and slope.
fn line(points: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let count = points.clone().count().max(1) as f64;
    let (sum_x, sum_y) = points.clone().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x, sum.1 + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (xx, xy) = points.fold((0.0, 0.0), |(xx, xy), (x, y)| {
        (xx + (x - mean_x).powi(2), xy + (x - mean_x) * (y - mean_y))
    });
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    (mean_y - slope * mean_x, slope)
}

fn residual(points: &[(f64, f64)], fitted: impl Fn(f64) -> f64) -> f64 {
    let count = points.len().max(1) as f64;
    let squares: f64 = points.iter().map(|&(n, value)| (value - fitted(n)).powi(2)).sum();
    let mean = points.iter().map(|&(_, value)| value).sum::<f64>() / count;
    (squares / count).sqrt() / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [f64; 4] = [1e4, 3e4, 1e5, 1e6];

    #[test]
    fn each_curve_is_found_again_and_the_other_one_fits_worse() {
        let logarithmic = SIZES.map(|n| (n, 20.0 + 3.0 * n.ln()));
        let (log, power) = (LogFit::of(&logarithmic), PowerFit::of(&logarithmic));
        assert!((log.a - 20.0).abs() < 1e-9 && (log.b - 3.0).abs() < 1e-9, "{log:?}");
        assert!(log.residual < 1e-12 && power.residual > 1e-4, "{log:?} {power:?}");

        let power_law = SIZES.map(|n| (n, 2.0 * n.powf(0.3)));
        let (log, power) = (LogFit::of(&power_law), PowerFit::of(&power_law));
        assert!((power.c - 2.0).abs() < 1e-9 && (power.exponent - 0.3).abs() < 1e-9, "{power:?}");
        assert!(power.residual < 1e-12 && log.residual > 0.01, "{log:?} {power:?}");
    }
}
