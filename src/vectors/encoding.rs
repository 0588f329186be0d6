//! How the vectors of one field are encoded: metric, dimensions, originals, and from these the
//! strides and the bytes of every row.

use std::borrow::Cow;

use super::check::{checked_values, norm_sq};
use super::code::{self, CodeRow};
use super::{MAX_DIM, Metric, Originals, VectorError};

/// The fixed choices of a vector field. Small and `Copy`; equal encodings share rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    dim: usize,
    coded: usize,
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
        Ok(Self { dim, coded: dim, metric, originals })
    }

    /// The same with codes of the leading `coded` dimensions only; originals keep all.
    ///
    /// # Errors
    /// [`VectorError::UnsupportedLeading`] for zero or more than there are, and
    /// [`VectorError::LeadingWithoutOriginals`] for fewer where originals are not kept.
    pub fn leading(self, coded: usize) -> Result<Self, VectorError> {
        if coded == 0 || coded > self.dim {
            return Err(VectorError::UnsupportedLeading { found: coded, dim: self.dim });
        }
        if coded < self.dim && self.originals == Originals::None {
            return Err(VectorError::LeadingWithoutOriginals { found: coded, dim: self.dim });
        }
        Ok(Self { coded, ..self })
    }

    /// What codes alone tell of: vectors of the coded dimensions, without originals.
    #[must_use]
    pub fn of_codes(self) -> Self {
        Self { dim: self.coded, originals: Originals::None, ..self }
    }

    /// Number of dimensions of vectors and originals.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of dimensions, the leading ones, that codes are made of, and with them projections
    /// and graphs.
    #[must_use]
    pub fn coded_dim(&self) -> usize {
        self.coded
    }

    /// Whether codes leave out dimensions.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.coded < self.dim
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
        code::stride(self.coded)
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
    /// [`VectorError::ZeroVector`] and [`VectorError::ZeroLeading`] under cosine, and
    /// [`VectorError::OutOfF16Range`].
    pub fn encode(&self, vector: &[f32]) -> Result<EncodedVector, VectorError> {
        self.rows(&checked_values(vector, self.dim, self.metric)?)
    }

    /// Encodes what [`Encoding::decode_raw`] gave, to the same raw row. Under cosine it is not
    /// normalized again: that would move it by a rounding each time.
    ///
    /// # Errors
    /// As [`Encoding::encode`].
    pub fn encode_stored(&self, values: &[f32]) -> Result<EncodedVector, VectorError> {
        checked_values(values, self.dim, self.metric)?;
        self.rows(values)
    }

    fn rows(&self, values: &[f32]) -> Result<EncodedVector, VectorError> {
        let mut raw = Vec::with_capacity(self.raw_stride());
        self.originals.encode(values, &mut raw)?;
        let mut code = Vec::with_capacity(self.code_stride());
        code::encode(&self.coded_values(values, self.originals.lost())?, &mut code);
        let raw = (self.originals != Originals::None).then_some(raw);
        Ok(EncodedVector { code, raw })
    }

    /// The values that a code is made of: under cosine normalized again, since a product of parts
    /// of two vectors is no cosine. Values up to `lost` count as zero.
    ///
    /// # Errors
    /// [`VectorError::ZeroLeading`] under cosine.
    pub(super) fn coded_values<'v>(
        &self,
        values: &'v [f32],
        lost: f32,
    ) -> Result<Cow<'v, [f32]>, VectorError> {
        let leading = values.get(..self.coded).unwrap_or(values);
        if !self.is_cut() || self.metric != Metric::Cosine {
            return Ok(Cow::Borrowed(leading));
        }
        if leading.iter().all(|x| x.abs() <= lost) {
            return Err(VectorError::ZeroLeading { leading: self.coded });
        }
        let inverse = norm_sq(leading).sqrt().recip();
        Ok(leading.iter().map(|&x| (f64::from(x) * inverse) as f32).collect())
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

    /// The approximate values of the coded dimensions in a code row.
    ///
    /// # Errors
    /// [`VectorError::ShortRow`].
    pub fn decode_code(&self, row: &[u8]) -> Result<Vec<f32>, VectorError> {
        let short = VectorError::ShortRow {
            expected: code::factors_offset(self.coded) + code::FACTORS_LEN,
            found: row.len(),
        };
        Ok(CodeRow::read(row, self.coded).ok_or(short)?.values().collect())
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

    #[test]
    fn codes_hold_the_leading_dimensions_and_raw_rows_all() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let whole = Encoding::new(100, metric, Originals::F32).unwrap();
            let cut = whole.leading(40).unwrap();
            assert_eq!((cut.dim(), cut.coded_dim(), cut.is_cut()), (100, 40, true));
            assert_eq!((cut.code_stride(), cut.raw_stride()), (64, whole.raw_stride()));
            let vector: Vec<f32> = (0..100).map(|at| 1.0 - at as f32 / 60.0).collect();
            let rows = cut.encode(&vector).unwrap();
            assert_eq!(rows.raw, whole.encode(&vector).unwrap().raw);
            // As if there had been no other dimensions.
            let alone = cut.of_codes().encode(&vector[..40]).unwrap().code;
            let values = |row: &[u8]| cut.decode_code(row).unwrap();
            for (a, b) in values(&rows.code).into_iter().zip(values(&alone)) {
                assert!((a - b).abs() < 1e-6, "{metric}: {a} {b}");
            }
            assert_eq!(whole.leading(100), Ok(whole));
        }
    }

    #[test]
    fn cuts_that_leave_nothing_are_refused() {
        let encoding = Encoding::new(8, Metric::Cosine, Originals::F16).unwrap();
        for found in [0, 9] {
            let error = VectorError::UnsupportedLeading { found, dim: 8 };
            assert_eq!(encoding.leading(found), Err(error));
        }
        let bare = Encoding::new(8, Metric::Dot, Originals::None).unwrap();
        let error = VectorError::LeadingWithoutOriginals { found: 7, dim: 8 };
        assert_eq!(bare.leading(7), Err(error));
        assert_eq!(bare.leading(8), Ok(bare));
    }

    #[test]
    fn a_leading_part_that_the_original_keeps_as_zeros_is_refused_and_a_larger_one_kept() {
        let smallest = 2.0_f32.powi(-25);
        for (originals, first, expected) in [
            (Originals::F16, 0.0, false),
            (Originals::F16, smallest, false),
            (Originals::F16, smallest * 1.01, true),
            (Originals::F32, 0.0, false),
            (Originals::F32, smallest, true),
        ] {
            let encoding = Encoding::new(3, Metric::Cosine, originals).unwrap().leading(1).unwrap();
            let found = encoding.encode(&[first, 0.6, 0.8]);
            let Ok(rows) = found else {
                assert_eq!(found, Err(VectorError::ZeroLeading { leading: 1 }));
                assert!(!expected, "{originals:?} {first}");
                continue;
            };
            let stored = encoding.decode_raw(&rows.raw.unwrap()).unwrap();
            assert!(expected && stored[0] != 0.0, "{originals:?} {first}");
            assert_eq!(encoding.decode_code(&rows.code).unwrap(), [1.0]);
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
