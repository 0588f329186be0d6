//! The scalar twins of the fast kernels: the definition of what each one computes.
//!
//! They accumulate in the widest useful type, so they also serve as the reference in tests.
//! Every function works on the common prefix of its two slices.

/// Dot product of two int8 slices, exact for up to 131,072 values.
#[must_use]
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&x, &y)| i32::from(x) * i32::from(y)).fold(0, i32::wrapping_add)
}

/// Dot product of two f32 slices, accumulated in f64.
#[must_use]
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>() as f32
}

/// Squared Euclidean distance of two f32 slices, accumulated in f64.
#[must_use]
pub fn l2sq_f32(a: &[f32], b: &[f32]) -> f32 {
    let square = |(&x, &y): (&f32, &f32)| (f64::from(x) - f64::from(y)).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() as f32
}

/// The largest magnitude; zero of nothing. Values that are no numbers are left out.
#[inline(always)]
#[must_use]
pub fn max_abs(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut most = [0.0_f32; 16];
    // Not `max`: a comparison that is false of NaN is one instruction.
    let take = |most: &mut f32, x: f32| *most = if x.abs() > *most { x.abs() } else { *most };
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, x)| take(most, *x));
    }
    most.iter_mut().zip(rest).for_each(|(most, x)| take(most, *x));
    most.into_iter().fold(0.0, f32::max)
}

/// Each value times `factor`, rounded to the nearest whole number, ties to even; its low byte. A
/// product that is no number gives zero.
#[inline(always)]
pub fn round_i8(values: &[f32], factor: f32, out: &mut [i8]) {
    // The sum of a small number and 1.5 * 2^23 is rounded to a whole number, whose low byte is
    // the low byte of the sum: a rounding that compiles to two vector instructions.
    const ROUNDING: f32 = 12_582_912.0;
    for (x, out) in values.iter().zip(out) {
        let sum = x * factor + ROUNDING;
        // Which bits a NaN has may differ from one compilation of this loop to another.
        *out = if sum.is_nan() { 0 } else { sum.to_bits() as u8 as i8 };
    }
}

/// The sum of the squares, in f64.
#[inline(always)]
#[must_use]
pub fn sum_of_squares(values: &[f32]) -> f64 {
    // Eight sums side by side: one would wait for each addition.
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
}
