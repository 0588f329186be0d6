//! How the vectors of one field are encoded: metric, dimensions, originals, and from these the
//! strides and the bytes of every row.

use super::check::checked_values;
use super::code::{self, CodeRow};
use super::{MAX_DIM, Metric, Originals, VectorError};

/// The fixed choices of a vector field. Small and `Copy`; equal encodings share rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    dim: usize,
    metric: Metric,
    originals: Originals,
}

/// The rows of one vector, each padded to its stride.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedVector {
    /// The code row, [`Encoding::code_stride`] bytes.
    pub code: Vec<u8>,
    /// The raw row, [`Encoding::raw_stride`] bytes; absent with [`Originals::None`].
    pub raw: Option<Vec<u8>>,
}

impl Encoding {
    /// An encoding of `dim` dimensions.
    ///
    /// # Errors
    /// [`VectorError::UnsupportedDimensions`] for zero or more than [`MAX_DIM`].
    pub fn new(dim: usize, metric: Metric, originals: Originals) -> Result<Self, VectorError> {
        if dim == 0 || dim > MAX_DIM {
            return Err(VectorError::UnsupportedDimensions { found: dim, max: MAX_DIM });
        }
        Ok(Self { dim, metric, originals })
    }

    /// Number of dimensions.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The metric.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// How originals are kept.
    #[must_use]
    pub fn originals(&self) -> Originals {
        self.originals
    }

    /// Bytes of a code row.
    #[must_use]
    pub fn code_stride(&self) -> usize {
        code::stride(self.dim)
    }

    /// Bytes of a raw row; 0 when originals are not kept.
    #[must_use]
    pub fn raw_stride(&self) -> usize {
        self.originals.stride(self.dim)
    }

    /// Checks a vector and encodes its rows. Under cosine the vector is normalized first.
    ///
    /// # Errors
    /// [`VectorError::WrongDimensions`], [`VectorError::NotFinite`], [`VectorError::NormTooLarge`],
    /// [`VectorError::ZeroVector`] under cosine, and [`VectorError::OutOfF16Range`].
    pub fn encode(&self, vector: &[f32]) -> Result<EncodedVector, VectorError> {
        self.rows(&checked_values(vector, self.dim, self.metric)?)
    }

    /// Encodes what [`Encoding::decode_raw`] gave, to the same raw row. Under cosine it is not
    /// normalized again: that would move it by a rounding each time.
    ///
    /// # Errors
    /// As [`Encoding::encode`].
    #[cfg(any(test, feature = "nim"))]
    pub fn encode_stored(&self, values: &[f32]) -> Result<EncodedVector, VectorError> {
        checked_values(values, self.dim, self.metric)?;
        self.rows(values)
    }

    fn rows(&self, values: &[f32]) -> Result<EncodedVector, VectorError> {
        let mut raw = Vec::with_capacity(self.raw_stride());
        self.originals.encode(values, &mut raw)?;
        let mut code = Vec::with_capacity(self.code_stride());
        code::encode(values, &mut code);
        let raw = (self.originals != Originals::None).then_some(raw);
        Ok(EncodedVector { code, raw })
    }

    /// The vector in a raw row, as f32 (under cosine: normalized). With [`Originals::None`] the
    /// row is not read and the result is empty.
    ///
    /// # Errors
    /// [`VectorError::ShortRow`].
    pub fn decode_raw(&self, row: &[u8]) -> Result<Vec<f32>, VectorError> {
        let expected = self.originals.row_len(self.dim);
        if row.len() < expected {
            return Err(VectorError::ShortRow { expected, found: row.len() });
        }
        let mut scratch = Vec::new();
        Ok(self.originals.decode(row, self.dim, &mut scratch).to_vec())
    }

    /// The approximate vector in a code row.
    ///
    /// # Errors
    /// [`VectorError::ShortRow`].
    pub fn decode_code(&self, row: &[u8]) -> Result<Vec<f32>, VectorError> {
        let short = VectorError::ShortRow {
            expected: code::factors_offset(self.dim) + code::FACTORS_LEN,
            found: row.len(),
        };
        Ok(CodeRow::read(row, self.dim).ok_or(short)?.values().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_dimensions_are_refused() {
        for dim in [0, MAX_DIM + 1] {
            let error = VectorError::UnsupportedDimensions { found: dim, max: MAX_DIM };
            assert_eq!(Encoding::new(dim, Metric::Dot, Originals::F32), Err(error));
        }
    }

    #[test]
    fn rows_have_exactly_their_strides() {
        for originals in [Originals::None, Originals::F16, Originals::F32] {
            let encoding = Encoding::new(7, Metric::L2, originals).unwrap();
            let rows = encoding.encode(&[1.0; 7]).unwrap();
            assert_eq!(rows.code.len(), encoding.code_stride());
            assert_eq!(rows.raw.map_or(0, |raw| raw.len()), encoding.raw_stride());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_decode_to_what_was_encoded(
            vector in proptest::collection::vec(-100.0_f32..100.0, 1..300),
        ) {
            let encoding = Encoding::new(vector.len(), Metric::L2, Originals::F32).unwrap();
            let rows = encoding.encode(&vector).unwrap();
            prop_assert_eq!(&encoding.decode_raw(&rows.raw.unwrap()).unwrap(), &vector);
            let largest = vector.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            let decoded = encoding.decode_code(&rows.code).unwrap();
            for (x, y) in decoded.iter().zip(&vector) {
                prop_assert!((x - y).abs() <= largest / 127.0 * 0.501);
            }
        }
    }
}
