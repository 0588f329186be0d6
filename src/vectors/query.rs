//! A query prepared once and scored against many rows.

use super::check::{checked_values, norm_sq};
use super::code::{self, CodeRow};
use super::{Encoding, Metric, Originals, VectorError, finite};
use crate::kernels;

/// A checked query: its values (normalized under cosine), the int8 code of its coded dimensions
/// and what turns products of codes into scores.
///
/// Scores are finite for any row, even one from a damaged file; a row that is too short scores
/// worst.
#[derive(Debug, Clone)]
pub struct PreparedQuery {
    metric: Metric,
    values: Vec<f32>,
    codes: Vec<i8>,
    scale: f32,
    norm_sq: f32,
}

impl PreparedQuery {
    /// Prepares a query for the rows of one encoding.
    ///
    /// # Errors
    /// [`VectorError::WrongDimensions`], [`VectorError::NotFinite`], [`VectorError::NormTooLarge`],
    /// and [`VectorError::ZeroVector`] and [`VectorError::ZeroLeading`] under cosine.
    pub fn new(encoding: &Encoding, vector: &[f32]) -> Result<Self, VectorError> {
        let values = checked_values(vector, encoding.dim(), encoding.metric())?;
        let coded = encoding.coded_values(&values, 0.0)?;
        let mut codes = vec![0; coded.len()];
        let scale = code::quantize(&coded, &mut codes);
        // Only distances ask for it.
        let norm_sq = if encoding.metric() == Metric::L2 { norm_sq(&coded) as f32 } else { 0.0 };
        Ok(Self { metric: encoding.metric(), values, codes, scale, norm_sq })
    }

    /// The metric of the scores.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of dimensions.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.values.len()
    }

    /// Approximate score of a code row, int8 on both sides.
    #[inline]
    #[must_use]
    pub fn score_code(&self, row: &[u8]) -> f32 {
        let query = CodeRow { codes: &self.codes, scale: self.scale, norm_sq: self.norm_sq };
        CodeRow::read(row, self.codes.len()).map_or(f32::MIN, |row| query.score(&row, self.metric))
    }

    /// Approximate scores of four code rows; one that is too short scores worst.
    #[inline]
    #[must_use]
    pub fn score_code4(&self, rows: [&[u8]; 4]) -> [f32; 4] {
        let query = CodeRow { codes: &self.codes, scale: self.scale, norm_sq: self.norm_sq };
        let rows = rows.map(|row| CodeRow::read(row, self.codes.len()));
        let codes = rows.map(|row| row.map_or(&[][..], |row| row.codes));
        let dots = kernels::dot4_i8(kernels::level(), &self.codes, codes);
        std::array::from_fn(|at| {
            rows[at].map_or(f32::MIN, |row| query.score_of_dot(&row, dots[at], self.metric))
        })
    }

    /// Approximate score of a code row from the product of the two codes.
    #[inline]
    #[must_use]
    pub fn score_dot(&self, row: &CodeRow<'_>, dot: i32) -> f32 {
        let query = CodeRow { codes: &self.codes, scale: self.scale, norm_sq: self.norm_sq };
        query.score_of_dot(row, dot, self.metric)
    }

    /// The int8 code of the query.
    #[must_use]
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// What a unit of the code is worth.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Score of a raw row in f32 arithmetic. `scratch` is overwritten; reuse it to avoid
    /// allocation. With [`Originals::None`] there is nothing to score: the worst score.
    #[must_use]
    pub fn score_raw(&self, row: &[u8], originals: Originals, scratch: &mut Vec<f32>) -> f32 {
        if originals == Originals::None || row.len() < originals.row_len(self.dim()) {
            return f32::MIN;
        }
        let product = self.metric != Metric::L2;
        finite(match originals {
            Originals::F16 if product => kernels::dot_f16_le(row, &self.values, scratch),
            Originals::F16 => -kernels::l2sq_f16_le(row, &self.values, scratch),
            _ => {
                let values = originals.decode(row, self.dim(), scratch);
                if product {
                    kernels::dot_f32(values, &self.values)
                } else {
                    -kernels::l2sq_f32(values, &self.values)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
        let dot = kernels::scalar::dot_f32(a, b);
        match metric {
            Metric::Cosine => dot / (norm_sq(a).sqrt() * norm_sq(b).sqrt()) as f32,
            Metric::Dot => dot,
            Metric::L2 => -kernels::scalar::l2sq_f32(a, b),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn scores_agree_with_the_definition_of_the_metric(
            (a, b) in (2_usize..400).prop_flat_map(|len| (
                proptest::collection::vec(-2.0_f32..2.0, len),
                proptest::collection::vec(-2.0_f32..2.0, len),
            )),
            metric in prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)],
        ) {
            prop_assume!(norm_sq(&a) > 1e-3 && norm_sq(&b) > 1e-3);
            let (size, dim) = match metric {
                Metric::Cosine => (1.0, a.len()),
                _ => ((norm_sq(&a) + norm_sq(&b)) as f32, a.len()),
            };
            let expected = exact(metric, &a, &b);
            let mut scratch = Vec::new();
            for (originals, tolerance) in [(Originals::F32, 1e-5), (Originals::F16, 2e-3)] {
                let encoding = Encoding::new(dim, metric, originals).unwrap();
                let rows = encoding.encode(&a).unwrap();
                let query = PreparedQuery::new(&encoding, &b).unwrap();
                let raw = query.score_raw(&rows.raw.unwrap(), originals, &mut scratch);
                prop_assert!((raw - expected).abs() <= tolerance * size, "{raw} {expected}");
                let code = query.score_code(&rows.code);
                prop_assert!((code - expected).abs() <= 0.03 * size, "{code} {expected}");
            }
        }
    }

    #[test]
    fn short_rows_score_worst() {
        let encoding = Encoding::new(4, Metric::Dot, Originals::F16).unwrap();
        let query = PreparedQuery::new(&encoding, &[1.0; 4]).unwrap();
        let mut scratch = Vec::new();
        assert_eq!(query.score_code(&[0; 11]), f32::MIN);
        assert_eq!(query.score_raw(&[0; 7], Originals::F16, &mut scratch), f32::MIN);
        assert_eq!(query.score_raw(&[0; 8], Originals::None, &mut scratch), f32::MIN);
    }

    #[test]
    fn non_finite_raw_values_still_give_a_finite_score() {
        let encoding = Encoding::new(2, Metric::L2, Originals::F32).unwrap();
        let query = PreparedQuery::new(&encoding, &[1.0, 2.0]).unwrap();
        let row: Vec<u8> =
            [f32::NAN, f32::INFINITY, 0.0, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let score = query.score_raw(&row, Originals::F32, &mut Vec::new());
        assert!(score.is_finite());
    }
}
