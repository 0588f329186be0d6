//! What is done to every component of a query before it is a code: its square, its largest, its
//! rounding. The loops are those of [`scalar`], compiled for wider registers as well.

#[cfg(target_arch = "x86_64")]
use super::level::Isa;
use super::level::Level;
use super::scalar;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// The largest magnitude; zero of nothing. Values that are no numbers are left out.
#[inline]
#[must_use]
pub fn max_abs(level: Level, values: &[f32]) -> f32 {
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86::avx2::max_abs(level, values),
        _ => scalar::max_abs(values),
    }
}

/// Each value times `factor`, rounded to the nearest whole number, ties to even; what does not
/// fit an i8 wraps, and what is no number gives zero. As many as there are of both.
#[inline]
pub fn round_i8(level: Level, values: &[f32], factor: f32, out: &mut [i8]) {
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86::avx2::round_i8(level, values, factor, out),
        _ => scalar::round_i8(values, factor, out),
    }
}

/// The sum of the squares, in f64, which no f32 values can overflow or underflow.
#[inline]
#[must_use]
pub fn sum_of_squares(level: Level, values: &[f32]) -> f64 {
    match level.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86::avx2::sum_of_squares(level, values),
        _ => scalar::sum_of_squares(values),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::level::available;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_level_gives_the_same_bits(
            values in proptest::collection::vec(proptest::num::f32::ANY, 0..100),
            factor in proptest::num::f32::ANY, room in 0_usize..110,
        ) {
            let mut expected = vec![7; room];
            scalar::round_i8(&values, factor, &mut expected);
            for level in available() {
                let mut out = vec![7; room];
                round_i8(level, &values, factor, &mut out);
                prop_assert_eq!(&out, &expected);
                let found = max_abs(level, &values).to_bits();
                prop_assert_eq!(found, scalar::max_abs(&values).to_bits());
                let found = sum_of_squares(level, &values);
                let sum = scalar::sum_of_squares(&values);
                prop_assert!(found.to_bits() == sum.to_bits() || found.is_nan() && sum.is_nan());
            }
        }

        #[test]
        fn they_are_what_their_names_say(
            values in proptest::collection::vec(-1e3_f32..1e3, 0..70), factor in 0.0_f32..0.127,
        ) {
            let mut out = vec![0; values.len()];
            round_i8(Level::SCALAR, &values, factor, &mut out);
            for (x, code) in values.iter().zip(out) {
                prop_assert_eq!(f32::from(code), (x * factor).round_ties_even());
            }
            let largest = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            prop_assert_eq!(scalar::max_abs(&values), largest);
            let sum: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
            prop_assert!((scalar::sum_of_squares(&values) - sum).abs() <= 1e-9 * sum);
        }
    }
}
