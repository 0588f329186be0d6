//! Matrices at rest: the rows of a multi-vector in one value, as f16, int8 or one bit a component,
//! and the vector that stands for them where candidates are looked for.
//!
//! ```text
//! u8       codec: 1 f16, 2 int8, 3 bit
//! [u8; 3]  zero
//! u32 LE   rows
//! u32 LE   dimensions
//! f16      rows of f16 LE
//! int8     a scale f32 LE for each row, then rows of i8
//! bit      a factor f32 LE for each row, then rows of ceil(dimensions / 8) bytes: bit j % 8 of
//!          byte j / 8 is set if component j is not negative; other bits are zero
//! ```

use half::f16;

use super::check::{MAX_NORM, norm_sq};
use super::{EncodedVector, Encoding, Originals, VectorError, code};
use crate::kernels;

/// How the rows of a matrix are kept. The numbers are those stored in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MatrixCodec {
    /// Half precision, 2 bytes a component.
    #[default]
    F16 = 1,
    /// A signed byte a component and a scale a row: about 1 % off, half the bytes, several times
    /// as fast to compare.
    Int8 = 2,
    /// The sign of each component and a factor a row: a sixteenth of the bytes of f16. For rows
    /// of 128 components and more whose signs say most.
    Bit = 3,
}

/// Bytes before the rows.
const HEADER_BYTES: usize = 12;
/// Bytes of a row's scale or factor.
const FACTOR_BYTES: usize = size_of::<f32>();

impl MatrixCodec {
    /// The codec with this stored number, if there is one.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::F16),
            2 => Some(Self::Int8),
            3 => Some(Self::Bit),
            _ => None,
        }
    }

    /// Bytes of the components of one row.
    fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F16 => dim * size_of::<f16>(),
            Self::Int8 => dim,
            Self::Bit => dim.div_ceil(8),
        }
    }

    fn factor_bytes(self) -> usize {
        if self == Self::F16 { 0 } else { FACTOR_BYTES }
    }
}

impl std::fmt::Display for MatrixCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Bit => "bit",
        })
    }
}

/// Refuses rows that cannot be compared: of another length than `dim`, not finite, too long.
///
/// # Errors
/// [`VectorError::WrongDimensions`], [`VectorError::NotFinite`] with a position among all values,
/// [`VectorError::NormTooLarge`].
pub(super) fn check_rows(found: usize, dim: usize, values: &[f32]) -> Result<(), VectorError> {
    if found != dim {
        return Err(VectorError::WrongDimensions { expected: dim, found });
    }
    for (at, row) in values.chunks(dim.max(1)).enumerate() {
        let norm = norm_sq(row).sqrt();
        if !norm.is_finite()
            && let Some(position) = row.iter().position(|x| !x.is_finite())
        {
            return Err(VectorError::NotFinite { position: at * dim + position });
        }
        if norm > MAX_NORM {
            return Err(VectorError::NormTooLarge);
        }
    }
    Ok(())
}

/// Encodes rows of `dim` values each, which were checked.
///
/// # Errors
/// [`VectorError::OutOfF16Range`].
pub(super) fn encode_rows(
    codec: MatrixCodec,
    dim: usize,
    values: &[f32],
) -> Result<Vec<u8>, VectorError> {
    let rows = values.len().checked_div(dim).unwrap_or(0);
    let bytes = rows * (codec.factor_bytes() + codec.row_bytes(dim));
    let mut out = Vec::with_capacity(HEADER_BYTES + bytes);
    out.extend_from_slice(&[codec as u8, 0, 0, 0]);
    out.extend_from_slice(&(rows as u32).to_le_bytes());
    out.extend_from_slice(&(dim as u32).to_le_bytes());
    match codec {
        MatrixCodec::F16 => {
            let mut row = Vec::new();
            Originals::F16.encode(values, &mut row)?;
            // Rows follow each other without padding, so all of them are one long row.
            out.extend_from_slice(row.get(..bytes).unwrap_or(&row));
        }
        MatrixCodec::Int8 => {
            let mut codes = vec![0; values.len()];
            for (row, codes) in values.chunks(dim.max(1)).zip(codes.chunks_mut(dim.max(1))) {
                out.extend_from_slice(&code::quantize(row, codes).to_le_bytes());
            }
            out.extend_from_slice(bytemuck::cast_slice(&codes));
        }
        MatrixCodec::Bit => {
            for row in values.chunks(dim.max(1)) {
                out.extend_from_slice(&factor_of_signs(row).to_le_bytes());
            }
            for eight in values.chunks(dim.max(1)).flat_map(|row| row.chunks(8)) {
                let bits = eight.iter().enumerate();
                out.push(bits.fold(0, |byte, (bit, x)| byte | u8::from(*x >= 0.0) << bit));
            }
        }
    }
    Ok(out)
}

/// What the signs of a row are worth each: with it the product of the row with itself is exact.
fn factor_of_signs(row: &[f32]) -> f32 {
    let sum: f64 = row.iter().map(|x| f64::from(x.abs())).sum();
    if sum > 0.0 { (norm_sq(row) / sum) as f32 } else { 0.0 }
}

/// The mean of the rows, each normalized first: what stands for a matrix where candidates are
/// looked for. Rows that cancel each other out are stood for by the first that is not zero.
///
/// # Errors
/// [`VectorError::ZeroVector`] if all rows are zeros.
pub(super) fn pooled(dim: usize, values: &[f32]) -> Result<Vec<f32>, VectorError> {
    let mut mean = vec![0.0_f64; dim];
    let mut first = None;
    for row in values.chunks(dim.max(1)) {
        let norm = norm_sq(row).sqrt();
        if norm > 0.0 {
            first = first.or(Some((row, norm)));
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / norm);
        }
    }
    let (first, norm) = first.ok_or(VectorError::ZeroVector)?;
    let mean: Vec<f32> = mean.into_iter().map(|sum| sum as f32).collect();
    if norm_sq(&mean) > 1e-12 {
        return Ok(mean);
    }
    Ok(first.iter().map(|x| (f64::from(*x) / norm) as f32).collect())
}

/// A stored matrix taken apart, borrowed from its bytes, whose length was checked.
#[derive(Debug, Clone, Copy)]
pub struct MatrixRef<'a> {
    pub(super) codec: MatrixCodec,
    rows: usize,
    pub(super) dim: usize,
    factors: &'a [u8],
    components: &'a [u8],
}

impl<'a> MatrixRef<'a> {
    /// Takes apart what [`encode_rows`] made, whatever the bytes are.
    ///
    /// # Errors
    /// [`VectorError::BadMatrix`].
    pub fn read(bytes: &'a [u8], rows_max: usize, dim: usize) -> Result<Self, VectorError> {
        let bad = |reason| VectorError::BadMatrix { reason };
        let (head, rest) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(bad("its head is cut off"))?;
        let [codec, a, b, c, counts @ ..] = head;
        let ([r0, r1, r2, r3], [d0, d1, d2, d3]) = split_counts(counts);
        let codec = MatrixCodec::from_u8(*codec).filter(|_| [*a, *b, *c] == [0; 3]);
        let codec = codec.ok_or(bad("its codec is not known"))?;
        let rows = u32::from_le_bytes([r0, r1, r2, r3]) as usize;
        if u32::from_le_bytes([d0, d1, d2, d3]) as usize != dim || dim == 0 {
            return Err(bad("its rows have another length than those of the field"));
        }
        if rows == 0 || rows > rows_max {
            return Err(bad("it has no row or too many"));
        }
        let row_bytes = codec.factor_bytes() + codec.row_bytes(dim);
        if rows.checked_mul(row_bytes) != Some(rest.len()) {
            return Err(bad("its length is not that of its rows"));
        }
        let (factors, components) = rest.split_at(rows * codec.factor_bytes());
        Ok(Self { codec, rows, dim, factors, components })
    }

    /// How its rows are kept.
    #[must_use]
    pub fn codec(&self) -> MatrixCodec {
        self.codec
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Scale or factor of a row; 1 where the codec has none, and 0 for one that is no number.
    pub(super) fn factor(&self, row: usize) -> f32 {
        if self.codec == MatrixCodec::F16 {
            return 1.0;
        }
        let bytes = self.factors.as_chunks::<FACTOR_BYTES>().0.get(row);
        bytes.map(|bytes| f32::from_le_bytes(*bytes)).filter(|x| x.is_finite()).unwrap_or(0.0)
    }

    /// The bytes of the components of each row.
    pub(super) fn component_rows(&self) -> std::slice::ChunksExact<'a, u8> {
        self.components.chunks_exact(self.codec.row_bytes(self.dim).max(1))
    }

    /// The rows as f32, one after the other.
    #[must_use]
    pub fn decode(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.dim];
        let rows = values.chunks_mut(self.dim.max(1)).zip(self.component_rows());
        for (at, (out, row)) in rows.enumerate() {
            let factor = self.factor(at);
            match self.codec {
                MatrixCodec::F16 => kernels::f16_le_to_f32(row, out),
                MatrixCodec::Int8 => {
                    let codes: &[i8] = bytemuck::cast_slice(row);
                    let values = codes.iter().map(|code| f32::from(*code) * factor);
                    out.iter_mut().zip(values).for_each(|(out, x)| *out = x);
                }
                MatrixCodec::Bit => {
                    for (eight, byte) in out.chunks_mut(8).zip(row) {
                        for (bit, out) in eight.iter_mut().enumerate() {
                            *out = if byte >> bit & 1 == 1 { factor } else { -factor };
                        }
                    }
                }
            }
        }
        values
    }
}

fn split_counts(counts: &[u8; 8]) -> ([u8; 4], [u8; 4]) {
    let [a, b, c, d, e, f, g, h] = *counts;
    ([a, b, c, d], [e, f, g, h])
}

/// Checks and encodes rows of `found` values each for a field whose pooled vectors have that
/// encoding: the bytes of the matrix, and the rows of the vector that stands for it.
///
/// # Errors
/// [`VectorError::WrongDimensions`], [`VectorError::NotFinite`] with a position among all values,
/// [`VectorError::NormTooLarge`], [`VectorError::OutOfF16Range`], and
/// [`VectorError::ZeroVector`] if all rows are zeros.
pub fn encode_matrix(
    codec: MatrixCodec,
    encoding: &Encoding,
    found: usize,
    values: &[f32],
) -> Result<(Vec<u8>, EncodedVector), VectorError> {
    check_rows(found, encoding.dim(), values)?;
    let vector = encoding.encode(&pooled(found, values)?)?;
    Ok((encode_rows(codec, found, values)?, vector))
}
