//! The numbers of a vector as they come: a JSON list or base64, floats or quantized, and the check
//! of what they are. Layer: above `base64`, `float` and `error`; pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::fault::ResponseFault;
use super::{base64, float};

/// One number of a vector.
pub(super) trait Component: Copy + Send + Sync + for<'de> Deserialize<'de> {
    /// Bytes of one number in base64.
    const BYTES: usize;

    /// Reads one number from that many bytes, the lowest first.
    fn read(bytes: &[u8]) -> Self;

    /// The numbers that `text` is base64 of; none where it is not, or of no whole number of them.
    fn unpack(text: &[u8]) -> Option<Vec<Self>> {
        let bytes = base64::decode(text)?;
        let numbers = bytes.chunks_exact(Self::BYTES);
        numbers.remainder().is_empty().then(|| numbers.map(Self::read).collect())
    }

    /// The vector at the front of some JSON, about `room` numbers long, and what follows it. None
    /// where that takes the general parser, be it for a fault or because it is rare.
    fn scan(_json: &[u8], _room: usize) -> Option<(Vec<Self>, &[u8])> {
        None
    }

    /// Euclidean length of a vector, where numbers have one, or what makes the vector useless.
    fn measure(vector: &[Self], index: usize) -> Result<Option<f64>, ResponseFault>;
}

impl Component for f32 {
    const BYTES: usize = 4;

    fn read(bytes: &[u8]) -> Self {
        Self::from_bits(bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
    }

    fn unpack(text: &[u8]) -> Option<Vec<Self>> {
        let mut vector = Vec::with_capacity(text.len() / 16 * 3 + 3);
        let rest = base64::words(text, |words| vector.extend(words.map(Self::from_bits)));
        unpack_end(rest, &mut vector)?;
        Some(vector)
    }

    fn scan(json: &[u8], room: usize) -> Option<(Vec<Self>, &[u8])> {
        // Whatever is said elsewhere, a number takes a byte at least.
        let mut vector = Vec::with_capacity(room.min(json.len()));
        let rest = match json {
            [b'[', rest @ ..] => scan_list(rest, &mut vector)?,
            [b'"', rest @ ..] => scan_base64(rest, &mut vector)?,
            _ => return None,
        };
        Some((vector, rest))
    }

    fn measure(vector: &[Self], index: usize) -> Result<Option<f64>, ResponseFault> {
        // One sum tells all: squares of floats neither overflow nor vanish in double precision.
        // Numbers beyond single precision have become infinite while they were parsed.
        let length = norm(vector);
        if !length.is_finite() {
            Err(ResponseFault::NotFinite { index })
        } else if length == 0.0 {
            Err(ResponseFault::ZeroVector { index })
        } else {
            Ok(Some(length))
        }
    }
}

/// The rest of a list behind its bracket.
fn scan_list<'a>(mut json: &'a [u8], vector: &mut Vec<f32>) -> Option<&'a [u8]> {
    loop {
        let (number, rest) = float::read(float::skip_space(json))?;
        vector.push(number);
        json = match rest {
            // As servers write it, without and with a space.
            [b',', b' ', rest @ ..] | [b',', rest @ ..] => rest,
            [b']', rest @ ..] => return Some(rest),
            _ => match float::skip_space(rest) {
                [b',', rest @ ..] => rest,
                [b']', rest @ ..] => return Some(rest),
                _ => return None,
            },
        };
    }
}

/// The rest of a text behind its quote.
fn scan_base64<'a>(json: &'a [u8], vector: &mut Vec<f32>) -> Option<&'a [u8]> {
    let rest = base64::words(json, |words| vector.extend(words.map(f32::from_bits)));
    // Where words end, the quote is less than a group away, or there is a foreign character.
    let end = rest.iter().take(16).position(|byte| *byte == b'"')?;
    let (text, rest) = rest.split_at_checked(end)?;
    unpack_end(text, vector)?;
    rest.get(1..)
}

/// Appends the numbers of the last group of base64.
fn unpack_end(text: &[u8], vector: &mut Vec<f32>) -> Option<()> {
    let bytes = base64::decode(text)?;
    let (words, rest) = bytes.as_chunks::<4>();
    vector.extend(words.iter().map(|word| f32::read(word)));
    rest.is_empty().then_some(())
}

impl Component for i8 {
    const BYTES: usize = 1;

    fn read(bytes: &[u8]) -> Self {
        bytes.first().map_or(0, |byte| byte.cast_signed())
    }

    fn measure(vector: &[Self], index: usize) -> Result<Option<f64>, ResponseFault> {
        // Also of bits: all of them zero is what a server sends that has computed nothing.
        let is_zero = vector.iter().all(|number| *number == 0);
        if is_zero { Err(ResponseFault::ZeroVector { index }) } else { Ok(None) }
    }
}

impl Component for u8 {
    const BYTES: usize = 1;

    fn read(bytes: &[u8]) -> Self {
        bytes.first().copied().unwrap_or_default()
    }

    fn measure(vector: &[Self], index: usize) -> Result<Option<f64>, ResponseFault> {
        if vector.is_empty() { Err(ResponseFault::ZeroVector { index }) } else { Ok(None) }
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
        match self {
            Self::List(numbers) => Some(numbers),
            Self::Base64(text) => T::unpack(text.as_bytes()),
        }
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
/// In eight sums side by side, which a processor adds at once.
pub(super) fn norm(vector: &[f32]) -> f64 {
    let (eights, rest) = vector.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for eight in eights {
        for (sum, x) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (sums.iter().sum::<f64>() + rest).sqrt()
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
