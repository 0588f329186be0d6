//! The numbers of a vector as they come: a JSON list or base64, floats or quantized, and the check
//! of what they are. Layer: above `base64` and `error`; pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::base64;
use super::error::ResponseFault;

/// One number of a vector.
pub(super) trait Component: Copy + Send + Sync + for<'de> Deserialize<'de> {
    /// Bytes of one number in base64.
    const BYTES: usize;

    /// Reads one number from that many bytes, the lowest first.
    fn read(bytes: &[u8]) -> Self;

    /// What makes a vector useless, if anything does.
    fn fault(vector: &[Self], index: usize) -> Option<ResponseFault>;
}

impl Component for f32 {
    const BYTES: usize = 4;

    fn read(bytes: &[u8]) -> Self {
        Self::from_bits(bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
    }

    fn fault(vector: &[Self], index: usize) -> Option<ResponseFault> {
        // Numbers beyond single precision have become infinite while they were parsed.
        if vector.iter().any(|x| !x.is_finite()) {
            Some(ResponseFault::NotFinite { index })
        } else if vector.iter().all(|x| *x == 0.0) {
            Some(ResponseFault::ZeroVector { index })
        } else {
            None
        }
    }
}

impl Component for i8 {
    const BYTES: usize = 1;

    fn read(bytes: &[u8]) -> Self {
        bytes.first().map_or(0, |byte| byte.cast_signed())
    }

    fn fault(vector: &[Self], index: usize) -> Option<ResponseFault> {
        vector.is_empty().then_some(ResponseFault::ZeroVector { index })
    }
}

impl Component for u8 {
    const BYTES: usize = 1;

    fn read(bytes: &[u8]) -> Self {
        bytes.first().copied().unwrap_or_default()
    }

    fn fault(vector: &[Self], index: usize) -> Option<ResponseFault> {
        vector.is_empty().then_some(ResponseFault::ZeroVector { index })
    }
}

/// The numbers of one vector in either form, whichever was asked for.
#[derive(Debug)]
pub(super) enum Numbers<T> {
    List(Vec<T>),
    Base64(String),
}

impl<T: Component> Numbers<T> {
    /// The numbers, or none where the text is not base64 of whole numbers.
    pub(super) fn decode(self) -> Option<Vec<T>> {
        let text = match self {
            Self::List(numbers) => return Some(numbers),
            Self::Base64(text) => text,
        };
        let bytes = base64::decode(&text)?;
        let numbers = bytes.chunks_exact(T::BYTES);
        numbers.remainder().is_empty().then(|| numbers.map(T::read).collect())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Numbers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Numbers<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers or base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Numbers::Base64(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Numbers::List)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// Euclidean length, summed in double precision, so that no finite vector overflows.
pub(super) fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Component>(json: &str) -> Option<Vec<T>> {
        serde_json::from_str::<Numbers<T>>(json).expect(json).decode()
    }

    #[test]
    fn lists_and_base64_give_the_same_numbers() {
        assert_eq!(read::<f32>("[1, -2.5]"), Some(vec![1.0, -2.5]));
        assert_eq!(read::<f32>(r#""AACAPwAAIMA=""#), Some(vec![1.0, -2.5]));
        assert_eq!(read::<i8>("[-128, 127]"), Some(vec![-128, 127]));
        assert_eq!(read::<i8>(r#""gH8=""#), Some(vec![-128, 127]));
        assert_eq!(read::<u8>(r#""gH8=""#), Some(vec![128, 127]));
    }

    #[test]
    fn what_is_no_whole_number_of_components_is_none() {
        for json in [r#""AACAPwAA""#, r#""AACAP""#, r#""NaN""#, r#""\u0000AAA""#] {
            assert_eq!(read::<f32>(json), None, "{json}");
        }
        for json in ["[1.5]", "[128]", "[-129]", "[null]", "{}", "null"] {
            assert!(serde_json::from_str::<Numbers<i8>>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_norm_of_the_largest_and_smallest_vectors_is_finite_and_not_zero() {
        assert_eq!(norm(&[3.0, 4.0]), 5.0);
        assert!(norm(&[f32::MAX; 4096]).is_finite());
        assert!(norm(&[f32::from_bits(1)]) > 0.0);
    }
}
