//! The int8 code row: one signed byte a dimension with a per-vector scale, and the factors that
//! turn an integer dot product into a score under every metric.
//!
//! ```text
//! [i8; dim]   round(x / scale), scale = max|x| / 127
//! padding     to a multiple of 4
//! f32 LE      scale
//! f32 LE      norm_sq, of the encoded (under cosine: normalized) values, before rounding
//! padding     to a multiple of 64
//! ```

use super::check::norm_sq;
use super::{Metric, finite};
use crate::kernels;

/// Largest code magnitude; -128 is not used, so that the code is symmetric.
pub const MAX_CODE: f32 = 127.0;
/// The factors start at the number of dimensions rounded up to this many bytes.
pub const FACTORS_ALIGN: usize = 4;
/// Bytes of the factors: scale and norm_sq, f32 each.
pub const FACTORS_LEN: usize = 8;
/// Row strides are multiples of this many bytes, one cache line.
pub const ROW_ALIGN: usize = 64;

/// Byte offset of the factors in a row.
#[inline]
#[must_use]
pub const fn factors_offset(dim: usize) -> usize {
    dim.next_multiple_of(FACTORS_ALIGN)
}

/// Bytes from one row to the next.
#[must_use]
pub const fn stride(dim: usize) -> usize {
    (factors_offset(dim) + FACTORS_LEN).next_multiple_of(ROW_ALIGN)
}

/// A code row taken apart, borrowed from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct CodeRow<'a> {
    /// The codes, one a dimension.
    pub codes: &'a [i8],
    /// What one unit of a code is worth.
    pub scale: f32,
    /// Squared norm of the encoded values.
    pub norm_sq: f32,
}

impl<'a> CodeRow<'a> {
    /// Takes a row apart; `None` when it is too short for `dim` dimensions.
    #[inline]
    #[must_use]
    pub fn read(row: &'a [u8], dim: usize) -> Option<Self> {
        let factors = row.get(factors_offset(dim)..)?.first_chunk::<FACTORS_LEN>()?;
        let (scale, norm_sq) = factors.split_at(4);
        Some(Self {
            codes: bytemuck::cast_slice(row.get(..dim)?),
            scale: f32::from_le_bytes(scale.try_into().ok()?),
            norm_sq: f32::from_le_bytes(norm_sq.try_into().ok()?),
        })
    }

    /// The score of two code rows of the same field; finite whatever the bytes say.
    #[inline]
    #[must_use]
    pub fn score(&self, other: &CodeRow<'_>, metric: Metric) -> f32 {
        self.score_of_dot(other, kernels::dot_i8(self.codes, other.codes), metric)
    }

    /// The score of two code rows from the product of their codes.
    #[inline]
    #[must_use]
    pub fn score_of_dot(&self, other: &CodeRow<'_>, dot: i32, metric: Metric) -> f32 {
        let dot = self.scale * other.scale * dot as f32;
        finite(match metric {
            Metric::Cosine | Metric::Dot => dot,
            Metric::L2 => 2.0 * dot - (self.norm_sq + other.norm_sq),
        })
    }

    /// The approximate values, in order.
    pub fn values(self) -> impl Iterator<Item = f32> + 'a {
        let scale = self.scale;
        self.codes.iter().map(move |&code| f32::from(code) * scale)
    }
}

/// Writes the codes of `values`, as many as there is room for, and returns the scale. Values too
/// small to have a normal scale become zeros.
pub(super) fn quantize(values: &[f32], codes: &mut [i8]) -> f32 {
    let level = kernels::level();
    let largest = kernels::max_abs(level, values);
    let scale = largest / MAX_CODE;
    let scale = if scale.is_normal() { scale } else { 0.0 };
    let per_unit = if scale == 0.0 { 0.0 } else { MAX_CODE / largest };
    kernels::round_i8(level, values, per_unit, codes);
    scale
}

/// Appends the code row of `values` to `out`, padded to the stride.
pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + factors_offset(values.len()), 0);
    let scale = quantize(values, bytemuck::cast_slice_mut(&mut out[start..start + values.len()]));
    out.extend_from_slice(&scale.to_le_bytes());
    out.extend_from_slice(&(norm_sq(values) as f32).to_le_bytes());
    out.resize(start + stride(values.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_what_the_format_says() {
        let mut row = Vec::new();
        encode(&[0.5, -1.0, 0.0], &mut row);
        assert_eq!(row.len(), 64);
        assert_eq!(&row[..4], &[64, (-127_i8) as u8, 0, 0]);
        assert_eq!(row[4..8], (1.0_f32 / 127.0).to_le_bytes());
        assert_eq!(row[8..12], 1.25_f32.to_le_bytes());
        assert!(row[12..].iter().all(|&byte| byte == 0));
        assert_eq!([stride(384), stride(1024), stride(56), stride(57)], [448, 1088, 64, 128]);
    }

    #[test]
    fn zeros_and_subnormals_encode_without_division_by_zero() {
        for values in [[0.0, 0.0], [1e-44, -1e-45]] {
            let mut row = Vec::new();
            encode(&values, &mut row);
            let row = CodeRow::read(&row, 2).unwrap();
            assert_eq!((row.codes, row.scale), (&[0_i8, 0][..], 0.0));
            assert_eq!(row.score(&row, Metric::L2), 0.0);
        }
    }

    #[test]
    fn damaged_factors_still_give_a_finite_score() {
        let mut row = Vec::new();
        encode(&[1.0, 2.0], &mut row);
        row[2..12].fill(0xFF);
        let row = CodeRow::read(&row, 2).unwrap();
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            assert!(row.score(&row, metric).is_finite());
        }
        assert!(CodeRow::read(&[0; 11], 2).is_none());
    }
}
