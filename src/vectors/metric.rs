//! The metrics and the score convention: higher is better, always finite.

use std::fmt;
use std::str::FromStr;

use super::{VectorError, finite};
use crate::kernels;

/// How two vectors are compared. The numbers are those stored in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metric {
    /// Cosine similarity; vectors are L2-normalized before they are encoded.
    Cosine = 1,
    /// Dot product of the vectors as given.
    Dot = 2,
    /// Negative squared Euclidean distance.
    L2 = 3,
}

impl Metric {
    /// The metric with this stored number, if there is one.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Cosine),
            2 => Some(Self::Dot),
            3 => Some(Self::L2),
            _ => None,
        }
    }

    /// The number stored in files.
    #[must_use]
    pub fn to_u8(self) -> u8 {
        self as u8
    }

    /// The score of two vectors as they are stored: under cosine they are normalized.
    pub(crate) fn score(self, a: &[f32], b: &[f32]) -> f32 {
        finite(match self {
            Self::Cosine | Self::Dot => kernels::dot_f32(a, b),
            Self::L2 => -kernels::l2sq_f32(a, b),
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        })
    }
}

impl FromStr for Metric {
    type Err = VectorError;

    fn from_str(name: &str) -> Result<Self, VectorError> {
        match name {
            "cosine" => Ok(Self::Cosine),
            "dot" => Ok(Self::Dot),
            "l2" => Ok(Self::L2),
            _ => Err(VectorError::UnknownMetric { found: name.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            assert_eq!(metric.to_string().parse(), Ok(metric));
            assert_eq!(Metric::from_u8(metric.to_u8()), Some(metric));
        }
        assert_eq!(Metric::from_u8(0), None);
        let unknown = VectorError::UnknownMetric { found: "Cosine".to_owned() };
        assert_eq!("Cosine".parse::<Metric>(), Err(unknown));
    }

    #[test]
    fn every_float_becomes_finite() {
        assert_eq!(finite(f32::NAN), f32::MIN);
        assert_eq!(finite(f32::INFINITY), f32::MAX);
        assert_eq!(finite(f32::NEG_INFINITY), f32::MIN);
        assert_eq!(finite(-0.5), -0.5);
    }
}
