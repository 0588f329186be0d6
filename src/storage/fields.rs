//! Keys of the field index: one empty entry per record, field and value (`storage-format.md`
//! section 3.8), in an order that makes equality a prefix and comparison a range.

use std::cmp::Ordering;

use super::field_blocks::KeyRange;
use super::keys as key;
use crate::format::{FIELD_KEY_TEXT_BYTES, fingerprint};
use crate::record::{Metadata, Slot, Value};

/// Value classes, in key order. Integers and floats are one class: 5 and 5.0 are the same key.
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const NUMBER: u8 = 4;
const TIMESTAMP: u8 = 5;
const TEXT: u8 = 6;

/// How the integer of a number in a block compares with its float, truncated.
const SMALLER: u8 = 0;
const AS_FLOAT: u8 = 0x80;
const LARGER: u8 = 0x81;

/// Begin of every key of a field.
pub(crate) fn field(collection: u32, name: &str) -> Vec<u8> {
    let mut prefix = key::collection(collection).to_vec();
    prefix.extend_from_slice(name.as_bytes());
    prefix.push(0);
    prefix
}

/// All keys of a record, without repeats.
pub(crate) fn of_record(collection: u32, metadata: &Metadata, slot: Slot) -> Vec<Vec<u8>> {
    let mut keys = Vec::with_capacity(metadata.len());
    for (name, stored) in metadata {
        let items = match stored {
            Value::List(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        for item in items {
            let mut key = field(collection, name);
            if push_value(&mut key, item).is_some() {
                key.extend_from_slice(&slot.0.to_be_bytes());
                keys.push(key);
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Values that compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Timestamp,
    Text,
}

/// All kinds, in key order.
pub(crate) const KINDS: [Kind; 5] =
    [Kind::Null, Kind::Bool, Kind::Number, Kind::Timestamp, Kind::Text];

impl Kind {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true and false",
            Self::Number => "numbers",
            Self::Timestamp => "times",
            Self::Text => "texts",
        }
    }

    /// The keys of all its values, in entries and in blocks.
    pub(crate) fn range(self) -> KeyRange {
        let (first, last) = match self {
            Self::Null => (NULL, NULL),
            Self::Bool => (FALSE, TRUE),
            Self::Number => (NUMBER, NUMBER),
            Self::Timestamp => (TIMESTAMP, TIMESTAMP),
            Self::Text => (TEXT, TEXT),
        };
        KeyRange { start: vec![first], end: Some(vec![last + 1]) }
    }
}

/// The keys of all values.
pub(crate) fn any_value() -> KeyRange {
    KeyRange { start: vec![NULL], end: Some(vec![TEXT + 1]) }
}

/// Begin of the values of all texts that begin so, in entries and in blocks; unless
/// [`tells_begin`], those of other texts may begin so as well.
pub(crate) fn text_begin(text: &str) -> Vec<u8> {
    let mut begin = vec![TEXT];
    push_text_head(&mut begin, text.as_bytes());
    begin
}

/// Whether [`text_begin`] tells the texts that begin with that from all others.
pub(crate) fn tells_begin(text: &str) -> bool {
    text.len() <= FIELD_KEY_TEXT_BYTES && !text.bytes().any(|byte| byte <= 1)
}

/// A value as blocks have it, without field and slot. None for a list.
pub(crate) fn block_value(value: &Value) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    match value {
        Value::Int(number) => push_block_number(&mut key, *number as f64, *number),
        Value::Float(number) => push_block_number(&mut key, *number, *number as i64),
        other => push_value(&mut key, other)?,
    }
    Some(key)
}

/// The values of a field as blocks have them, sorted and without repeats.
pub(crate) fn block_values(stored: &Value) -> Vec<Vec<u8>> {
    let items = match stored {
        Value::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut values: Vec<Vec<u8>> = items.iter().filter_map(block_value).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// A value as entries have it between field and slot: equal for equal values, ordered as filters
/// compare them. None for a list.
pub(crate) fn entry_value(value: &Value) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    push_value(&mut key, value)?;
    Some(key)
}

/// A value as blocks have it, of the value as entries have it. Bytes that are no value give others
/// that are none.
pub(crate) fn block_of_entry(entry: &[u8]) -> Vec<u8> {
    let number = || {
        let rest = entry.strip_prefix(&[NUMBER])?;
        let (float, integer) = rest.split_first_chunk()?;
        Some((u64::from_be_bytes(*float), u64::from_be_bytes(integer.try_into().ok()?)))
    };
    let Some((float, integer)) = number() else { return entry.to_vec() };
    let float = f64::from_bits(if float >> 63 == 1 { float ^ 1 << 63 } else { !float });
    let mut key = Vec::new();
    push_block_number(&mut key, float, (integer ^ 1 << 63).cast_signed());
    key
}

/// As [`push_number`], but an integer that the float alone tells takes a byte, not eight.
fn push_block_number(key: &mut Vec<u8>, float: f64, integer: i64) {
    key.push(NUMBER);
    key.extend_from_slice(&ordered_f64(float));
    match integer.cmp(&(float as i64)) {
        Ordering::Less => key.push(SMALLER),
        Ordering::Equal => return key.push(AS_FLOAT),
        Ordering::Greater => key.push(LARGER),
    }
    key.extend_from_slice(&ordered_i64(integer));
}

fn push_value(key: &mut Vec<u8>, value: &Value) -> Option<()> {
    match value {
        Value::Null => key.push(NULL),
        Value::Bool(false) => key.push(FALSE),
        Value::Bool(true) => key.push(TRUE),
        Value::Int(number) => {
            key.push(NUMBER);
            push_number(key, *number as f64, *number);
        }
        Value::Float(number) => {
            key.push(NUMBER);
            // The cast saturates; only a float beyond every integer can then tie with one.
            push_number(key, *number, *number as i64);
        }
        Value::Timestamp(micros) => {
            key.push(TIMESTAMP);
            key.extend_from_slice(&ordered_i64(*micros));
        }
        Value::Text(text) => {
            key.push(TEXT);
            push_text(key, text);
        }
        Value::List(_) => return None,
    }
    Some(())
}

/// f64 in total order, then the exact integer, which separates integers beyond 2^53.
fn push_number(key: &mut Vec<u8>, float: f64, integer: i64) {
    key.extend_from_slice(&ordered_f64(float));
    key.extend_from_slice(&ordered_i64(integer));
}

fn ordered_f64(float: f64) -> [u8; 8] {
    // Adding 0.0 turns -0.0 into 0.0: one number, one key.
    let bits = (float + 0.0).to_bits();
    let ordered = if bits >> 63 == 0 { bits ^ 1 << 63 } else { !bits };
    ordered.to_be_bytes()
}

fn ordered_i64(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ 1 << 63).to_be_bytes()
}

/// Up to 192 bytes with NUL replaced by 1, then 0; then 0, or 1 and a fingerprint if the text
/// does not stand there whole.
fn push_text(key: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let head = push_text_head(key, bytes);
    key.push(0);
    if head.len() < bytes.len() || head.contains(&0) {
        key.push(1);
        key.extend_from_slice(&fingerprint(bytes).to_be_bytes());
    } else {
        key.push(0);
    }
}

fn push_text_head<'t>(key: &mut Vec<u8>, bytes: &'t [u8]) -> &'t [u8] {
    let head = bytes.get(..FIELD_KEY_TEXT_BYTES).unwrap_or(bytes);
    key.extend(head.iter().map(|&byte| byte.max(1)));
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key_of(stored: impl Into<Value>) -> Vec<u8> {
        entry_value(&stored.into()).unwrap()
    }

    #[test]
    fn an_integer_and_a_float_of_the_same_number_share_a_key() {
        assert_eq!(key_of(5_i64), key_of(5.0));
        assert_eq!(key_of(0.0), key_of(-0.0));
        assert_ne!(key_of(9_007_199_254_740_993_i64), key_of(9_007_199_254_740_992_i64));
    }

    #[test]
    fn long_texts_and_nul_bytes_keep_their_identity_and_fit_a_key() {
        let long = "x".repeat(1000);
        assert_ne!(key_of(long.as_str()), key_of(format!("{long}y")));
        assert_ne!(key_of("a\0b"), key_of("a\u{1}b"));
        let name = "n".repeat(128);
        let record = [(name, Value::Text(long))].into();
        let keys = of_record(1, &record, Slot(7));
        assert!(keys[0].len() <= 511, "{}", keys[0].len());
    }

    fn number() -> impl Strategy<Value = Value> {
        let large = 9_007_199_254_740_990..9_007_199_254_740_999_i64;
        let signed =
            (large, any::<bool>()).prop_map(|(number, below)| if below { -number } else { number });
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            signed.clone().prop_map(Value::Int),
            signed.prop_map(|number| Value::Float(number as f64)),
            (-5..5_i64).prop_map(|half| Value::Float(half as f64 / 2.0)),
            (-3..3_i64).prop_map(Value::Int),
            any::<f64>().prop_filter("a number", |x| !x.is_nan()).prop_map(Value::Float),
        ]
    }

    proptest! {
        #[test]
        fn numbers_in_blocks_are_ordered_as_in_entries((a, b) in (number(), number())) {
            let in_entries = entry_value(&a).cmp(&entry_value(&b));
            prop_assert_eq!(block_value(&a).cmp(&block_value(&b)), in_entries);
        }

        #[test]
        fn key_order_is_value_order(
            (a, b) in any::<(i64, i64)>(),
            x in -1e300f64..1e300,
            (s, t) in ("[^\\x00\\x01]{0,20}", "[^\\x00\\x01]{0,20}"),
        ) {
            prop_assert_eq!(a.cmp(&b), key_of(a).cmp(&key_of(b)));
            if (a as f64) != x {
                prop_assert_eq!((a as f64).partial_cmp(&x), Some(key_of(a).cmp(&key_of(x))));
            }
            prop_assert_eq!(s.cmp(&t), key_of(s).cmp(&key_of(t)));
        }
    }
}
