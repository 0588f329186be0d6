//! Arithmetic kernels: dot products and squared distances over plain slices and little-endian
//! byte rows. Pure functions that import nothing of ours; they know no layout, metric or file.
//!
//! Single pairs of f32 and int8 vectors go through `simsimd`, which picks an instruction set at
//! run time; batches, navigation codes, f16 rows and rounding are our own, for the set that
//! [`level`] tells. Each has a twin in plain Rust that the tests compare it with.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod dense;
mod int8;
mod level;
mod little_endian;
pub mod nav;
pub mod ranked;
mod round;
pub mod scalar;
mod tiled;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use dense::{dot_f32, dot_i8, l2sq_f32};
pub use int8::{Panel, dot4_i8};
pub use level::{Level, available, level};
pub use little_endian::{
    dot_f16_le, dot_f16_le_at, f16_le_to_f32, f32_le, l2sq_f16_le, l2sq_f16_le_at,
};
pub use nav::{NavQuery, prefetch};
pub use round::{max_abs, round_i8, sum_of_squares};
pub use tiled::Tiled;
