//! What a vector must satisfy before anything is computed from it, and the normalization that
//! cosine applies to it.

use super::{Metric, VectorError};
use crate::kernels;

/// Largest supported number of dimensions; int8 dot products stay exact in 32 bits.
pub const MAX_DIM: usize = 65_536;

/// Largest supported Euclidean norm. The squared distance of two such vectors is at most
/// `4e36`, so no score overflows f32.
pub(super) const MAX_NORM: f64 = 1e18;

/// The values to encode: the vector itself, or under cosine the vector divided by its norm.
///
/// # Errors
/// [`VectorError::WrongDimensions`], [`VectorError::NotFinite`], [`VectorError::NormTooLarge`]
/// above [`MAX_NORM`], and under cosine [`VectorError::ZeroVector`].
pub(super) fn checked_values(
    vector: &[f32],
    dim: usize,
    metric: Metric,
) -> Result<Vec<f32>, VectorError> {
    let norm = checked_norm(vector, dim, metric)?;
    Ok(match metric {
        Metric::Cosine => {
            let inverse = norm.recip();
            vector.iter().map(|&x| (f64::from(x) * inverse) as f32).collect()
        }
        Metric::Dot | Metric::L2 => vector.to_vec(),
    })
}

fn checked_norm(vector: &[f32], dim: usize, metric: Metric) -> Result<f64, VectorError> {
    if vector.len() != dim {
        return Err(VectorError::WrongDimensions { expected: dim, found: vector.len() });
    }
    let norm = norm_sq(vector).sqrt();
    // The squares of finite f32 values cannot add up to more than an f64 holds.
    if !norm.is_finite()
        && let Some(position) = vector.iter().position(|x| !x.is_finite())
    {
        return Err(VectorError::NotFinite { position });
    }
    if norm > MAX_NORM {
        return Err(VectorError::NormTooLarge);
    }
    if norm == 0.0 && metric == Metric::Cosine {
        return Err(VectorError::ZeroVector);
    }
    Ok(norm)
}

/// Squared Euclidean norm in f64, which no f32 vector can overflow or underflow.
pub(super) fn norm_sq(vector: &[f32]) -> f64 {
    kernels::sum_of_squares(kernels::level(), vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(vector: &[f32], dim: usize, metric: Metric) -> Result<(), VectorError> {
        checked_values(vector, dim, metric).map(|_| ())
    }

    #[test]
    fn each_defect_has_its_own_error() {
        let wrong = VectorError::WrongDimensions { expected: 3, found: 2 };
        assert_eq!(checked(&[1.0, 2.0], 3, Metric::Dot), Err(wrong));
        let not_finite = Err(VectorError::NotFinite { position: 1 });
        assert_eq!(checked(&[1.0, f32::NAN], 2, Metric::L2), not_finite);
        assert_eq!(checked(&[1.0, f32::INFINITY], 2, Metric::Cosine), not_finite);
        assert_eq!(checked(&[0.0, -0.0], 2, Metric::Cosine), Err(VectorError::ZeroVector));
        assert_eq!(checked(&[0.0, 0.0], 2, Metric::L2), Ok(()));
        assert_eq!(checked(&[f32::MAX, 1.0], 2, Metric::Dot), Err(VectorError::NormTooLarge));
        assert_eq!(checked(&[1e-45, 0.0], 2, Metric::Cosine), Ok(()));
    }

    #[test]
    fn cosine_normalizes_even_the_smallest_values() {
        let values = checked_values(&[3e-45, 0.0], 2, Metric::Cosine).unwrap();
        assert_eq!(values, [1.0, 0.0]);
        assert_eq!(checked_values(&[3.0, 4.0], 2, Metric::Cosine).unwrap(), [0.6, 0.8]);
        assert_eq!(checked_values(&[3.0, 4.0], 2, Metric::Dot).unwrap(), [3.0, 4.0]);
    }
}
