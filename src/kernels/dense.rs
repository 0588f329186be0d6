//! Single-pair kernels over aligned slices, through `simsimd`.
//!
//! Each call costs one indirect jump (2-4 ns) beside the arithmetic. Slices of different lengths
//! are a caller's mistake that must not become a wrong read: the common prefix is used.

use simsimd::SpatialSimilarity;

use super::scalar;

/// Dot product of two int8 slices; exact for up to 131,072 values.
#[inline]
#[must_use]
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    match <i8 as SpatialSimilarity>::dot(a, b) {
        Some(sum) => sum as i32,
        None => scalar::dot_i8(a, b),
    }
}

/// Dot product of two f32 slices.
///
/// Relative error about `1e-6` of the sum of the absolute products at 2,048 values (the sum is
/// kept in f32 lanes). Can overflow to infinity where the products do.
#[inline]
#[must_use]
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    match <f32 as SpatialSimilarity>::dot(a, b) {
        Some(sum) => sum as f32,
        None => scalar::dot_f32(a, b),
    }
}

/// Squared Euclidean distance of two f32 slices; precision as [`dot_f32`].
#[inline]
#[must_use]
pub fn l2sq_f32(a: &[f32], b: &[f32]) -> f32 {
    match <f32 as SpatialSimilarity>::l2sq(a, b) {
        Some(sum) => sum as f32,
        None => scalar::l2sq_f32(a, b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair<T: std::fmt::Debug + Clone>(
        value: impl Strategy<Value = T> + Clone,
    ) -> impl Strategy<Value = (Vec<T>, Vec<T>)> {
        (1_usize..2100).prop_flat_map(move |len| {
            (
                proptest::collection::vec(value.clone(), len),
                proptest::collection::vec(value.clone(), len),
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn int8_dot_is_bit_equal_to_its_twin((a, b) in pair(any::<i8>())) {
            prop_assert_eq!(dot_i8(&a, &b), scalar::dot_i8(&a, &b));
        }

        #[test]
        fn f32_dot_agrees_with_its_twin((a, b) in pair(-8.0_f32..8.0)) {
            let size: f32 = a.iter().zip(&b).map(|(x, y)| (x * y).abs()).sum();
            let error = (dot_f32(&a, &b) - scalar::dot_f32(&a, &b)).abs();
            prop_assert!(error <= 1e-5 * size + 1e-6, "error {error} at size {size}");
        }

        #[test]
        fn f32_l2sq_agrees_with_its_twin((a, b) in pair(-8.0_f32..8.0)) {
            let expected = scalar::l2sq_f32(&a, &b);
            let error = (l2sq_f32(&a, &b) - expected).abs();
            prop_assert!(error <= 1e-5 * expected + 1e-6, "error {error} at {expected}");
        }
    }

    #[test]
    fn extreme_int8_values_do_not_overflow() {
        let low = vec![i8::MIN; 65_536];
        assert_eq!(dot_i8(&low, &low), 65_536 * 128 * 128);
    }

    #[test]
    fn different_lengths_use_the_common_prefix() {
        assert_eq!(dot_i8(&[1, 2, 3], &[4, 5]), 14);
        assert_eq!(dot_f32(&[1.0, 2.0], &[3.0]), 3.0);
        assert_eq!(l2sq_f32(&[1.0], &[3.0, 9.0]), 4.0);
    }
}
