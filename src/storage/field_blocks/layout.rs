//! The bytes of a block, and what it holds once decoded.

use super::key_table::{self, KeyTable};
use super::{GROUP, SPAN, VALUES_MAX, WORDS};
use crate::format::{FormatError, LIST_ITEMS_MAX, read_u16, read_u32};

pub(super) const WHAT: &str = "block of a field index";
/// Values u32, pairs u32, bytes of the table u32, layers u16.
const HEAD_BYTES: usize = 14;
/// Bytes of a slice: a bit for each slot.
pub(super) const SLICE_BYTES: usize = WORDS * 8;
/// Number of a value u32, offset of a slot u16.
pub(super) const PAIR_BYTES: usize = 6;
/// What tells the slots of the values stands in the directory if it takes no more than this.
const INLINE_MAX: usize = 512;
/// Values that a block may have: full, and then a word of slots with a list each. More are damage.
const VALUES_LIMIT: u32 = (VALUES_MAX + 64 * LIST_ITEMS_MAX) as u32;

/// What a search of a block reads first.
#[derive(Debug)]
pub(super) struct Directory<'b> {
    /// Distinct values.
    pub(super) values: u32,
    /// Slots are told by so many layers of slices: the first has the first value of each slot.
    pub(super) layers: usize,
    /// Values that no layer has, as pairs.
    pub(super) pairs: usize,
    /// All values, if they are one group; or the first of each group, and the last of all.
    pub(super) table: KeyTable<'b>,
    /// Slices and pairs, if they stand here.
    pub(super) inline: Option<&'b [u8]>,
}

/// Slices of a layer: enough for the numbers of all values and for 0, which means none.
pub(super) fn bits_of(values: u32) -> usize {
    (u32::BITS - values.leading_zeros()) as usize
}

/// Groups of that many values that do not stand in the directory.
pub(super) fn groups_of(values: u32) -> usize {
    if values as usize <= GROUP { 0 } else { (values as usize).div_ceil(GROUP) }
}

impl<'b> Directory<'b> {
    pub(super) fn read(payload: &'b [u8]) -> Result<Self, FormatError> {
        let found = payload.len();
        let short = |expected| FormatError::Length { what: WHAT, expected, found };
        let (head, rest) = payload.split_at_checked(HEAD_BYTES).ok_or_else(|| short(HEAD_BYTES))?;
        let (values, pairs) = (read_u32(head, 0), read_u32(head, 4));
        let (table, layers) = (read_u32(head, 8) as usize, read_u16(head, 12));
        if values == 0 || values > VALUES_LIMIT {
            let value = u64::from(values);
            return Err(FormatError::Field { what: WHAT, field: "values", value });
        }
        let (table, rest) = rest.split_at_checked(table).ok_or_else(|| short(table))?;
        let table = KeyTable::read(table)?;
        let groups = groups_of(values);
        let expected = if groups == 0 { values as usize } else { groups + 1 };
        if table.count != expected {
            let value = table.count as u64;
            return Err(FormatError::Field { what: WHAT, field: "keys", value });
        }
        let mut directory = Self {
            values,
            layers: usize::from(layers),
            pairs: pairs as usize,
            table,
            inline: None,
        };
        if !rest.is_empty() {
            directory.check_slots(rest)?;
            directory.inline = Some(rest);
        }
        Ok(directory)
    }

    /// Checks the length of what tells the slots.
    pub(super) fn check_slots(&self, slots: &[u8]) -> Result<(), FormatError> {
        let layer = (bits_of(self.values) * SLICE_BYTES) as u64;
        let expected = self.layers as u64 * layer + self.pairs as u64 * PAIR_BYTES as u64;
        if slots.len() as u64 != expected {
            let expected = usize::try_from(expected).unwrap_or(usize::MAX);
            return Err(FormatError::Length { what: WHAT, expected, found: slots.len() });
        }
        Ok(())
    }

    /// Each layer, and the pairs, of what tells the slots.
    pub(super) fn split<'s>(
        &self,
        slots: &'s [u8],
    ) -> (impl Iterator<Item = &'s [u8]>, &'s [[u8; PAIR_BYTES]]) {
        let layer = bits_of(self.values) * SLICE_BYTES;
        let (layers, pairs) = slots.split_at_checked(self.layers * layer).unwrap_or((slots, &[]));
        (layers.chunks_exact(layer), pairs.as_chunks().0)
    }
}

/// Number of the value, from 0, and offset of the slot of a pair.
pub(super) fn pair(bytes: &[u8; PAIR_BYTES]) -> (u32, u16) {
    (read_u32(bytes, 0), read_u16(bytes, 4))
}

/// A decoded block: values in order, each with the slots that have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// The bytes of all values, one after the other.
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<u32>,
    /// Number of a value and offset of a slot from the first of the block, in order.
    pub(super) pairs: Vec<(u32, u16)>,
}

/// A block as bytes, each of them to be sealed under its key.
pub(super) struct Parts {
    pub(super) directory: Vec<u8>,
    pub(super) slots: Option<Vec<u8>>,
    pub(super) groups: Vec<Vec<u8>>,
}

impl Block {
    pub(super) fn values(&self) -> usize {
        self.ends.len()
    }

    /// A value by its number.
    pub(super) fn value(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends.get(at - 1).map_or(0, |end| *end as usize) };
        let to = self.ends.get(at).map_or(from, |end| *end as usize);
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Appends a value, which must be above all others unless it is the last again, with a slot.
    fn push(&mut self, value: &[u8], offset: u16) {
        if self.ends.is_empty() || self.value(self.ends.len() - 1) != value {
            self.bytes.extend_from_slice(value);
            self.ends.push(self.bytes.len() as u32);
        }
        self.pairs.push((self.ends.len() as u32 - 1, offset));
    }

    /// The block without some offsets and with more values, which must be sorted.
    pub(super) fn changed(&self, removed: &[u16], added: &[(&[u8], u16)]) -> Self {
        let mut gone = vec![false; SPAN as usize];
        for offset in removed {
            if let Some(gone) = gone.get_mut(usize::from(*offset)) {
                *gone = true;
            }
        }
        let mut made = Self::default();
        let mut added = added.iter().copied().peekable();
        for &(number, offset) in &self.pairs {
            if gone.get(usize::from(offset)).copied().unwrap_or(false) {
                continue;
            }
            let value = self.value(number as usize);
            while let Some((value, offset)) = added.next_if(|new| *new < (value, offset)) {
                made.push(value, offset);
            }
            made.push(value, offset);
        }
        added.for_each(|(value, offset)| made.push(value, offset));
        made
    }

    /// The last offset that has a value.
    pub(super) fn last(&self) -> Option<u16> {
        self.pairs.iter().map(|(_, offset)| *offset).max()
    }

    pub(super) fn encode(&self) -> Parts {
        let values: Vec<&[u8]> = (0..self.values()).map(|at| self.value(at)).collect();
        let mut groups = Vec::new();
        let table = if values.len() <= GROUP {
            key_table::encode(&values)
        } else {
            let (mut firsts, mut last) = (Vec::new(), None);
            for group in values.chunks(GROUP) {
                firsts.extend(group.first());
                last = group.last();
                groups.push(key_table::encode(group));
            }
            firsts.extend(last);
            key_table::encode(&firsts)
        };
        let (layers, pairs, slots) = self.slots();
        let mut directory = Vec::with_capacity(HEAD_BYTES + table.len() + INLINE_MAX);
        for number in [values.len(), pairs, table.len()] {
            directory.extend_from_slice(&(number as u32).to_le_bytes());
        }
        directory.extend_from_slice(&(layers as u16).to_le_bytes());
        directory.extend_from_slice(&table);
        let slots = if slots.len() <= INLINE_MAX {
            directory.extend_from_slice(&slots);
            None
        } else {
            Some(slots)
        };
        Parts { directory, slots, groups }
    }

    /// Layers, pairs, and the bytes of both. A layer is made while pairs would take more.
    fn slots(&self) -> (usize, usize, Vec<u8>) {
        let bits = bits_of(self.values() as u32);
        let layer_bytes = bits * SLICE_BYTES;
        let (mut seen, mut counts) = (vec![0_u32; SPAN as usize], Vec::<usize>::new());
        for (_, offset) in &self.pairs {
            let Some(seen) = seen.get_mut(usize::from(*offset)) else { continue };
            match counts.get_mut(*seen as usize) {
                Some(count) => *count += 1,
                None => counts.push(1),
            }
            *seen += 1;
        }
        let worth = |count: &&usize| **count * PAIR_BYTES > layer_bytes;
        let layers = counts.iter().take_while(worth).count().min(usize::from(u16::MAX));
        let mut bytes = vec![0; layers * layer_bytes];
        let (mut pairs, mut seen) = (0, vec![0_usize; SPAN as usize]);
        for (number, offset) in &self.pairs {
            let Some(seen) = seen.get_mut(usize::from(*offset)) else { continue };
            let layer = *seen;
            *seen += 1;
            if layer >= layers {
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&offset.to_le_bytes());
                pairs += 1;
                continue;
            }
            let (byte, bit) = (usize::from(offset / 8), offset % 8);
            for slice in 0..bits {
                let is_set = (number + 1) >> (bits - 1 - slice) & 1 == 1;
                let at = layer * layer_bytes + slice * SLICE_BYTES + byte;
                if let Some(byte) = bytes.get_mut(at).filter(|_| is_set) {
                    *byte |= 1 << bit;
                }
            }
        }
        (layers, pairs, bytes)
    }

    /// Decodes a block of what its parts hold, groups in order.
    pub(super) fn decode(
        directory: &Directory<'_>,
        slots: &[u8],
        groups: &[KeyTable<'_>],
    ) -> Result<Self, FormatError> {
        let damaged = |reason: &str| FormatError::Decode { what: WHAT, reason: reason.to_owned() };
        let mut block = Self::default();
        let tables =
            if groups.is_empty() { std::slice::from_ref(&directory.table) } else { groups };
        for table in tables {
            for at in 0..table.count {
                let before = block.bytes.len();
                table.copy(at, &mut block.bytes);
                block.ends.push(block.bytes.len() as u32);
                let number = block.ends.len() - 1;
                if number > 0 && block.value(number - 1) >= block.value(number) {
                    return Err(damaged("values are out of order"));
                }
                if block.bytes.len() == before {
                    return Err(damaged("a value is empty"));
                }
            }
        }
        if block.values() != directory.values as usize {
            return Err(damaged("a group of values has another number of them"));
        }
        let (layers, pairs) = directory.split(slots);
        for layer in layers {
            for offset in 0..SPAN as u16 {
                let stored = stored(layer, offset);
                if stored > directory.values {
                    return Err(damaged("a slot has a value that is not there"));
                }
                block.pairs.extend(stored.checked_sub(1).map(|number| (number, offset)));
            }
        }
        if !pairs.is_sorted_by(|a, b| pair(a) < pair(b)) {
            return Err(damaged("pairs of values and slots are out of order"));
        }
        for bytes in pairs {
            let (number, offset) = pair(bytes);
            if number >= directory.values || u32::from(offset) >= SPAN {
                return Err(damaged("a pair of a value and a slot is out of range"));
            }
            block.pairs.push((number, offset));
        }
        block.pairs.sort_unstable();
        if !block.pairs.is_sorted_by(|a, b| a < b) {
            return Err(damaged("a slot has a value twice"));
        }
        Ok(block)
    }
}

/// What a layer has for an offset: the number of a value from 1, or 0.
fn stored(layer: &[u8], offset: u16) -> u32 {
    let (byte, bit) = (usize::from(offset / 8), offset % 8);
    layer.chunks_exact(SLICE_BYTES).fold(0, |number, slice| {
        number << 1 | slice.get(byte).map_or(0, |byte| u32::from(byte >> bit & 1))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values with their slots, sorted: few values of many slots, many, and lists.
    fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, u16)>> {
        let values = prop_oneof![1..4_u16, 100..300_u16, 900..5_000_u16];
        let slots = prop_oneof![1..40_u16, 3_000..SPAN as u16];
        (values, slots, 0..3_usize, any::<u16>()).prop_map(|(values, slots, lists, seed)| {
            let mut entries = std::collections::BTreeSet::new();
            for at in 0..usize::from(slots) {
                let value = |item: usize| (at * 31 + item * 17 + usize::from(seed)) as u16 % values;
                let items = if at % 7 == 0 { lists * 9 } else { lists };
                for item in 0..=items {
                    let value = value(item).to_be_bytes();
                    entries.insert(([&[4], value.as_slice()].concat(), at as u16));
                }
            }
            entries.into_iter().collect()
        })
    }

    fn borrowed(entries: &[(Vec<u8>, u16)]) -> Vec<(&[u8], u16)> {
        entries.iter().map(|(value, offset)| (value.as_slice(), *offset)).collect()
    }

    fn decoded(parts: &Parts) -> Block {
        let directory = Directory::read(&parts.directory).unwrap();
        let slots = directory.inline.or(parts.slots.as_deref()).unwrap();
        directory.check_slots(slots).unwrap();
        let groups: Vec<_> = parts.groups.iter().map(|of| KeyTable::read(of).unwrap()).collect();
        assert_eq!(groups.len(), groups_of(directory.values));
        Block::decode(&directory, slots, &groups).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn what_is_encoded_is_decoded_and_what_is_taken_out_is_gone(
            entries in entries(),
            every in 2..9_usize,
        ) {
            let block = Block::default().changed(&[], &borrowed(&entries));
            prop_assert_eq!(&decoded(&block.encode()), &block);
            let listed = |block: &Block| -> Vec<(Vec<u8>, u16)> {
                let pairs = block.pairs.iter();
                pairs.map(|(at, offset)| (block.value(*at as usize).to_vec(), *offset)).collect()
            };
            prop_assert_eq!(&listed(&block), &entries);
            let gone: Vec<u16> = (0..SPAN as u16).step_by(every).collect();
            let (out, kept): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|(_, offset)| usize::from(*offset) % every == 0);
            let smaller = decoded(&block.encode()).changed(&gone, &[]);
            prop_assert_eq!(listed(&smaller), kept);
            let again = smaller.changed(&[], &borrowed(&out));
            prop_assert_eq!(again, block);
        }
    }

    #[test]
    fn a_block_of_two_values_takes_two_bits_a_slot_and_one_of_few_slots_no_slices() {
        let of = |slots: u16| -> Vec<(Vec<u8>, u16)> {
            let mut entries: Vec<_> = (0..slots).map(|at| (vec![2 + at as u8 % 2], at)).collect();
            entries.sort();
            entries
        };
        let parts = Block::default().changed(&[], &borrowed(&of(SPAN as u16))).encode();
        assert_eq!(parts.slots.map(|slots| slots.len()), Some(2 * SLICE_BYTES));
        let parts = Block::default().changed(&[], &borrowed(&of(20))).encode();
        assert!(parts.slots.is_none() && parts.directory.len() < 20 * PAIR_BYTES + 40);
    }
}
