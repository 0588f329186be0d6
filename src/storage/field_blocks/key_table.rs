//! Sorted keys of values, searched in place: what they begin with alike once, then what is left of
//! each, side by side if that is of one length.

use crate::format::{FIELD_KEY_TEXT_BYTES, FormatError, read_u16, read_u32};

const WHAT: &str = "value table of a field index";
/// Count u32, length of the common begin u16, length of each rest u16 (0: they differ).
const HEAD_BYTES: usize = 8;

/// The longest begin: that of a whole text.
const COMMON_MAX: usize = FIELD_KEY_TEXT_BYTES + 19;

/// A table over its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyTable<'b> {
    pub(super) count: usize,
    common: &'b [u8],
    stride: usize,
    /// Where each rest ends, u32, if their lengths differ.
    ends: &'b [u8],
    rests: &'b [u8],
}

/// Lays out keys in the order they come.
pub(super) fn encode(keys: &[&[u8]]) -> Vec<u8> {
    let first = keys.first().copied().unwrap_or_default();
    let alike = |key: &[u8]| first.iter().zip(key).take_while(|(a, b)| a == b).count();
    let common = keys.iter().map(|key| alike(key)).min().unwrap_or_default();
    let rest = |key: &[u8]| key.len().saturating_sub(common);
    let length = rest(first);
    let stride = if keys.iter().all(|key| rest(key) == length) { length } else { 0 };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + common + keys.len() * (length + 4));
    bytes.extend_from_slice(&(keys.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(common as u16).to_le_bytes());
    bytes.extend_from_slice(&(stride as u16).to_le_bytes());
    bytes.extend_from_slice(first.get(..common).unwrap_or_default());
    if stride == 0 {
        let mut end = 0_u32;
        for key in keys {
            end += rest(key) as u32;
            bytes.extend_from_slice(&end.to_le_bytes());
        }
    }
    for key in keys {
        bytes.extend_from_slice(key.get(common..).unwrap_or_default());
    }
    bytes
}

impl<'b> KeyTable<'b> {
    /// Reads a table that fills its bytes.
    ///
    /// # Errors
    /// [`FormatError`] if the lengths do not fit.
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self, FormatError> {
        let short = |expected| FormatError::Length { what: WHAT, expected, found: bytes.len() };
        let head = bytes.get(..HEAD_BYTES).ok_or_else(|| short(HEAD_BYTES))?;
        let count = read_u32(head, 0) as usize;
        let (common, stride) = (usize::from(read_u16(head, 4)), usize::from(read_u16(head, 6)));
        if common > COMMON_MAX {
            let value = common as u64;
            return Err(FormatError::Field { what: WHAT, field: "common begin", value });
        }
        let rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
        let (common, rest) = rest.split_at_checked(common).ok_or_else(|| short(common))?;
        let ends = if stride == 0 { count.saturating_mul(4) } else { 0 };
        let (ends, rests) = rest.split_at_checked(ends).ok_or_else(|| short(ends))?;
        let expected = match (count, stride) {
            (0, _) => 0,
            (count, 0) => read_u32(ends, (count - 1) * 4) as usize,
            (count, stride) => count.saturating_mul(stride),
        };
        if rests.len() != expected {
            return Err(short(expected));
        }
        Ok(Self { count, common, stride, ends, rests })
    }

    fn rest(&self, at: usize) -> &'b [u8] {
        let (from, to) = if self.stride > 0 {
            (at * self.stride, (at + 1) * self.stride)
        } else {
            let from = if at == 0 { 0 } else { read_u32(self.ends, (at - 1) * 4) as usize };
            (from, read_u32(self.ends, at * 4) as usize)
        };
        self.rests.get(from..to).unwrap_or_default()
    }

    /// How many of the first `count` keys are below a key.
    pub(super) fn below(&self, count: usize, key: &[u8]) -> usize {
        let head = key.len().min(self.common.len());
        let (head, rest) = key.split_at(head);
        match head.cmp(self.common.get(..head.len()).unwrap_or_default()) {
            std::cmp::Ordering::Less => return 0,
            std::cmp::Ordering::Greater => return count,
            std::cmp::Ordering::Equal if head.len() < self.common.len() => return 0,
            std::cmp::Ordering::Equal => {}
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if self.rest(middle) < rest { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Whether that key stands there.
    pub(super) fn is(&self, at: usize, key: &[u8]) -> bool {
        at < self.count && key.strip_prefix(self.common) == Some(self.rest(at))
    }

    /// Appends a whole key.
    pub(super) fn copy(&self, at: usize, to: &mut Vec<u8>) {
        to.extend_from_slice(self.common);
        to.extend_from_slice(self.rest(at));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_found_where_a_sorted_list_has_it(
            keys in prop::collection::btree_set("[ab]{0,4}", 0..40),
            asked in "[abc]{0,5}",
        ) {
            let sorted: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
            let bytes = encode(&sorted);
            let table = KeyTable::read(&bytes).unwrap();
            prop_assert_eq!(table.count, sorted.len());
            let below = sorted.iter().filter(|key| **key < asked.as_bytes()).count();
            prop_assert_eq!(table.below(table.count, asked.as_bytes()), below);
            prop_assert_eq!(table.is(below, asked.as_bytes()), keys.contains(&asked));
            let copied: BTreeSet<String> = (0..table.count).map(|at| {
                let mut key = Vec::new();
                table.copy(at, &mut key);
                String::from_utf8(key).unwrap()
            }).collect();
            prop_assert_eq!(copied, keys);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60),
            count in 0_u32..5,
            key in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            if let Some(head) = bytes.first_chunk_mut() {
                *head = count.to_le_bytes();
            }
            if let Ok(table) = KeyTable::read(&bytes) {
                let at = table.below(table.count, &key);
                prop_assert!(at <= table.count);
                table.is(at, &key);
            }
        }
    }
}
