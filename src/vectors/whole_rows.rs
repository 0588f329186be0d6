//! Whether a row can be what an encoder wrote: what a row of a damaged extent tells of itself, and
//! what the code and the original of one vector tell of each other.
//!
//! None of it is proof. A code that was changed by less than rounding may move the norm (64 to -64
//! moves it by nothing) and an original that was changed by less than half a step of its code are
//! not told from whole ones.

use super::check::norm_sq;
use super::code::{self, CodeRow};
use super::{Encoding, Metric, Originals};

/// Rounding of f32 in what is compared, in parts of one.
const SLACK: f64 = 1e-5;
/// The squared norm of values that are kept exactly differs by the order of a sum.
const NORM_SLACK: f64 = 5e-7;
/// Half a step of f16, in parts of the value; twice that where a norm of such values is divided by.
const F16_SLACK: f64 = 1.0 / 2048.0;

impl Encoding {
    /// Whether a code row follows the rules of its layout: zeros where nothing stands, no code
    /// -128, one of the largest magnitude, and a squared norm that values of these codes can have.
    #[must_use]
    pub fn is_code_row(&self, row: &[u8]) -> bool {
        let dim = self.coded_dim();
        let factors = code::factors_offset(dim);
        let Some(of) = CodeRow::read(row, dim) else { return false };
        let after = row.get(factors + code::FACTORS_LEN..).unwrap_or_default();
        let between = row.get(dim..factors).unwrap_or_default();
        let is_padded = between.iter().chain(after).all(|&byte| byte == 0);
        if row.len() != self.code_stride() || !is_padded || of.codes.contains(&i8::MIN) {
            return false;
        }
        let (scale, found) = (f64::from(of.scale), f64::from(of.norm_sq));
        let largest = of.codes.iter().map(|code| code.unsigned_abs()).max().unwrap_or(0);
        if of.scale == 0.0 {
            // Values too small for a scale; their norm is next to nothing.
            return largest == 0 && of.scale.is_sign_positive() && (0.0..1e-30).contains(&found);
        }
        let magnitudes = of.codes.iter().map(|code| f64::from(code.unsigned_abs()));
        let (sum, squares) =
            magnitudes.fold((0.0, 0.0), |(sum, squares), of| (sum + of, squares + of * of));
        // Each value is within half a step of its code.
        let off = (sum + dim as f64 / 4.0) + SLACK * (squares + sum + dim as f64);
        // A norm too small for f32 was cut off.
        let unit = scale * scale;
        let is_norm = (found - squares * unit).abs() <= off * unit + f64::from(f32::MIN_POSITIVE);
        of.scale.is_normal() && scale > 0.0 && largest == code::MAX_CODE as u8 && is_norm
    }

    /// Whether a raw row can be the original of a code row: each value within the step of its code,
    /// and of f32 the norm as well. Of leading dimensions only those are compared; behind them, and
    /// under the other metrics, a value has to be finite.
    #[must_use]
    pub fn is_original_of(&self, raw: &[u8], code: &[u8]) -> bool {
        let padding = raw.get(self.originals().row_len(self.dim())..).unwrap_or_default();
        let is_padded = raw.len() == self.raw_stride() && padding.iter().all(|&byte| byte == 0);
        let (Ok(values), Some(of)) = (self.decode_raw(raw), CodeRow::read(code, self.coded_dim()))
        else {
            return false;
        };
        if !is_padded || values.len() != self.dim() || values.iter().any(|x| !x.is_finite()) {
            return false;
        }
        let Ok(coded) = self.coded_values(&values, 0.0) else { return false };
        let is_divided = self.is_cut() && self.metric() == Metric::Cosine;
        let leading = values.get(..self.coded_dim()).unwrap_or_default();
        let factor = if is_divided { norm_sq(leading).sqrt().recip() } else { 1.0 };
        let (part, least) = match self.originals() {
            Originals::F16 => {
                let parts = if is_divided { 2.1 } else { 1.01 };
                (parts * F16_SLACK, f64::from(self.originals().lost()) * factor)
            }
            Originals::F32 | Originals::None => (1e-6, 0.0),
        };
        let scale = f64::from(of.scale);
        let step = if of.scale == 0.0 {
            f64::from(f32::MIN_POSITIVE) * 128.0
        } else {
            scale * (0.5 + f64::from(code::MAX_CODE) * SLACK / 4.0)
        };
        let is_near = |(&x, &code): (&f32, &i8)| {
            let (x, of) = (f64::from(x), f64::from(code) * scale);
            (x - of).abs() <= step + part * x.abs() + least
        };
        let (norm, stored) = (norm_sq(&coded), f64::from(of.norm_sq));
        let is_norm = self.originals() == Originals::F16
            || (norm - stored).abs() <= NORM_SLACK * norm + f64::from(f32::MIN_POSITIVE);
        is_norm && coded.iter().zip(of.codes).all(is_near)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encodings(dim: usize) -> impl Iterator<Item = Encoding> {
        let metrics = [Metric::Cosine, Metric::Dot, Metric::L2];
        let originals = [Originals::None, Originals::F16, Originals::F32];
        metrics.into_iter().flat_map(move |metric| {
            originals.into_iter().flat_map(move |originals| {
                let whole = Encoding::new(dim, metric, originals).unwrap();
                [Some(whole), whole.leading(dim.div_ceil(2)).ok()].into_iter().flatten()
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_that_were_encoded_pass(
            values in proptest::collection::vec(-1000.0_f32..1000.0, 1..90),
            power in -30..1,
        ) {
            let values: Vec<f32> = values.iter().map(|x| x * 10.0_f32.powi(power)).collect();
            for encoding in encodings(values.len()) {
                let Ok(rows) = encoding.encode(&values) else { continue };
                prop_assert!(encoding.is_code_row(&rows.code), "{encoding:?}");
                let Some(raw) = rows.raw else { continue };
                prop_assert!(encoding.is_original_of(&raw, &rows.code), "{encoding:?}");
                // As a fold or a repair writes it again.
                let stored = encoding.decode_raw(&raw).unwrap();
                let Ok(again) = encoding.encode_stored(&stored) else { continue };
                prop_assert!(encoding.is_original_of(&raw, &again.code), "{encoding:?}");
            }
        }

        #[test]
        fn a_value_that_moved_by_a_step_of_its_code_is_not_the_original(
            values in proptest::collection::vec(-1.0_f32..1.0, 4..90),
            at in 0_usize..4,
            sign in prop_oneof![Just(-1.0_f32), Just(1.0)],
        ) {
            for encoding in encodings(values.len()) {
                if encoding.originals() == Originals::None || at >= encoding.coded_dim() {
                    continue;
                }
                // A vector whose leading components are all zero has no code.
                let Ok(rows) = encoding.encode(&values) else { continue };
                let mut other = encoding.decode_raw(rows.raw.as_ref().unwrap()).unwrap();
                let step = CodeRow::read(&rows.code, encoding.coded_dim()).unwrap().scale;
                let leading = other[..encoding.coded_dim()].to_vec();
                let norm = if encoding.is_cut() { norm_sq(&leading).sqrt() as f32 } else { 1.0 };
                // Along the leading components themselves a step changes their length alone, which
                // their code does not have.
                if encoding.is_cut() && leading[at].powi(2) > 0.1 * norm.powi(2) {
                    continue;
                }
                other[at] += sign * step * 1.5 * norm.max(1.0);
                let mut raw = Vec::new();
                encoding.originals().encode(&other, &mut raw).unwrap();
                prop_assert!(!encoding.is_original_of(&raw, &rows.code), "{encoding:?}");
            }
        }
    }

    #[test]
    fn what_breaks_the_layout_of_a_code_is_seen() {
        let encoding = Encoding::new(6, Metric::Dot, Originals::None).unwrap();
        let row = encoding.encode(&[0.5, -1.0, 0.25, 0.0, 0.1, 0.9]).unwrap().code;
        assert!(encoding.is_code_row(&row));
        // A code of -128, a second dimension larger than the largest, padding, scale, norm.
        for (at, value) in [(3, 0x80), (1, 5), (6, 1), (7, 9), (11, 0xFF), (15, 0), (40, 1)] {
            let mut other = row.clone();
            other[at] = value;
            assert!(!encoding.is_code_row(&other), "{at}");
        }
        assert!(!encoding.is_code_row(&row[..32]));
        assert!(encoding.is_code_row(&encoding.encode(&[0.0; 6]).unwrap().code));
    }
}
