//! Full-precision rows ("raw"): the values little-endian, as f16 or f32, the stride rounded up
//! to 16 bytes. They order the final candidates and are what a code is rebuilt from.

use half::f16;

use super::VectorError;
use crate::kernels;

/// How the original values are kept beside the codes. The numbers are those stored in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Originals {
    /// Not kept: codes alone order the hits, and vectors read back are approximate.
    None = 0,
    /// Half precision, 2 bytes a value.
    F16 = 1,
    /// Single precision, 4 bytes a value.
    F32 = 2,
}

/// Row strides are multiples of this many bytes.
const ROW_ALIGN: usize = 16;

impl Originals {
    /// The kind with this stored number, if there is one.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::F16),
            2 => Some(Self::F32),
            _ => None,
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// The number stored in files.
    #[must_use]
    pub fn to_u8(self) -> u8 {
        self as u8
    }

    /// Bytes of the values of one row.
    #[must_use]
    pub fn row_len(self, dim: usize) -> usize {
        dim * match self {
            Self::None => 0,
            Self::F16 => size_of::<f16>(),
            Self::F32 => size_of::<f32>(),
        }
    }

    /// Bytes from one row to the next: [`Originals::row_len`] rounded up to 16.
    #[must_use]
    pub fn stride(self, dim: usize) -> usize {
        self.row_len(dim).next_multiple_of(ROW_ALIGN)
    }

    /// The largest magnitude that a row keeps as zero.
    pub(super) fn lost(self) -> f32 {
        match self {
            // Half a step rounds to the even neighbor, which is zero.
            Self::F16 => f16::MIN_POSITIVE_SUBNORMAL.to_f32() / 2.0,
            Self::None | Self::F32 => 0.0,
        }
    }

    /// Appends the row of `values` to `out`, padded to the stride; nothing for `None`.
    pub(super) fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), VectorError> {
        let end = out.len() + self.stride(values.len());
        match self {
            Self::None => {}
            Self::F16 => {
                let limit = f16::MAX.to_f32();
                if let Some(position) = values.iter().position(|x| x.abs() > limit) {
                    return Err(VectorError::OutOfF16Range { position });
                }
                out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
            }
            Self::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        }
        out.resize(end, 0);
        Ok(())
    }

    /// The `dim` values of a row, widened to f32; viewed in place or decoded into `scratch`.
    /// A row that is too short gives fewer values (f32) or zeros at the end (f16).
    pub(super) fn decode<'a>(
        self,
        row: &'a [u8],
        dim: usize,
        scratch: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        match self {
            Self::None => &[],
            Self::F16 => {
                scratch.resize(dim, 0.0);
                kernels::f16_le_to_f32(row, scratch);
                scratch
            }
            Self::F32 => kernels::f32_le(row, dim, scratch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_rounded_up_to_sixteen() {
        assert_eq!(Originals::F16.stride(1), 16);
        assert_eq!(Originals::F16.stride(384), 768);
        assert_eq!(Originals::F32.stride(5), 32);
        assert_eq!(Originals::None.stride(100), 0);
    }

    #[test]
    fn values_out_of_the_f16_range_are_refused_with_their_position() {
        let mut row = Vec::new();
        let error = Originals::F16.encode(&[1.0, 65_505.0], &mut row);
        assert_eq!(error, Err(VectorError::OutOfF16Range { position: 1 }));
        assert_eq!(Originals::F16.encode(&[-65_504.0], &mut row), Ok(()));
        assert_eq!(Originals::F32.encode(&[1e9], &mut row), Ok(()));
    }
}
