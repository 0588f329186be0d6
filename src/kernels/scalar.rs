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
