//! Comparisons of the numbers in bit slices with bounds, 64 slots at a time.
//!
//! O'Neil and Quass, "Improved Query Performance with Variant Indexes", 1997.

use super::WORDS;
use super::layout::SLICE_BYTES;

/// A bit for each slot of a block.
pub(super) type Words = [u64; WORDS];

/// A bit for each slot whose value has a number from `low` on and below `high`, of `values`.
pub(super) fn between(layer: &[u8], low: u32, high: u32, values: u32) -> Words {
    // Stored numbers begin at 1; 0 is a slot without a value.
    match (low, high) {
        (low, high) if low >= high => [0; WORDS],
        (0, high) if high >= values => with_value(layer),
        (low, high) if low + 1 == high => equal(layer, high),
        // Two quick passes, of which the first need not see all slices, are quicker than one.
        (0, high) => {
            let mut found = with_value(layer);
            let less = below(layer, high + 1);
            found.iter_mut().zip(&less).for_each(|(found, less)| *found &= less);
            found
        }
        (low, high) if high >= values => below(layer, low + 1).map(|word| !word),
        (low, high) => inside(layer, low + 1, high),
    }
}

/// The slices of a layer, from the highest bit down, with the place of that bit.
fn slices(layer: &[u8]) -> impl Iterator<Item = (u32, &[[u8; 8]; WORDS])> {
    let count = (layer.len() / SLICE_BYTES) as u32;
    let whole =
        layer.chunks_exact(SLICE_BYTES).filter_map(|slice| slice.as_chunks().0.first_chunk());
    (0..count).rev().zip(whole)
}

/// A bit for each slot that has a value.
fn with_value(layer: &[u8]) -> Words {
    let mut found = [0; WORDS];
    for (_, slice) in slices(layer) {
        for (word, bytes) in found.iter_mut().zip(slice) {
            *word |= u64::from_le_bytes(*bytes);
        }
    }
    found
}

/// A bit for each slot whose stored number is that one.
fn equal(layer: &[u8], number: u32) -> Words {
    let mut found = [u64::MAX; WORDS];
    for (shift, slice) in slices(layer) {
        // All bits where the number has a 0 at that place.
        let flip = (u64::from(number) >> shift & 1).wrapping_sub(1);
        for (word, bytes) in found.iter_mut().zip(slice) {
            *word &= u64::from_le_bytes(*bytes) ^ flip;
        }
    }
    found
}

/// A bit for each slot whose stored number is below `limit`.
fn below(layer: &[u8], limit: u32) -> Words {
    let (mut less, mut equal) = ([0; WORDS], [u64::MAX; WORDS]);
    for (shift, slice) in slices(layer) {
        let rest = u64::from(limit) & ((2 << shift) - 1);
        // Bits that are 0 to the end make nothing less.
        if rest == 0 {
            break;
        }
        let words = less.iter_mut().zip(&mut equal).zip(slice);
        if rest >> shift & 1 == 1 {
            for ((less, equal), bytes) in words {
                let word = u64::from_le_bytes(*bytes);
                *less |= *equal & !word;
                *equal &= word;
            }
        } else {
            for ((_, equal), bytes) in words {
                *equal &= !u64::from_le_bytes(*bytes);
            }
        }
    }
    less
}

/// A bit for each slot whose stored number is from `first` to `last`, both included.
fn inside(layer: &[u8], first: u32, last: u32) -> Words {
    // Slots that are still as the bounds are, and those that are no longer and outside.
    let (mut at_first, mut at_last, mut outside) =
        ([u64::MAX; WORDS], [u64::MAX; WORDS], [0; WORDS]);
    for (shift, slice) in slices(layer) {
        let bit = |bound: u32| (u64::from(bound) >> shift & 1).wrapping_neg();
        let (first, last) = (bit(first), bit(last));
        let bounds = at_first.iter_mut().zip(&mut at_last);
        for (((at_first, at_last), outside), bytes) in bounds.zip(&mut outside).zip(slice) {
            let word = u64::from_le_bytes(*bytes);
            *outside |= *at_first & first & !word | *at_last & !last & word;
            *at_first &= !(word ^ first);
            *at_last &= !(word ^ last);
        }
    }
    outside.map(|word| !word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers as bit slices, the highest bit first.
    fn layer(stored: &[u32], bits: u32) -> Vec<u8> {
        let word = |shift: u32, at: usize| -> u64 {
            let own = stored.iter().enumerate().skip(at * 64).take(64);
            own.map(|(slot, number)| u64::from(number >> shift & 1) << (slot % 64)).sum()
        };
        let words = |shift| (0..WORDS).map(move |at| word(shift, at));
        (0..bits).rev().flat_map(words).flat_map(u64::to_le_bytes).collect()
    }

    proptest! {
        #[test]
        fn a_range_has_the_slots_whose_numbers_are_in_it(
            values in 1..40_u32, seed in any::<u64>(), (a, b) in (0..42_u32, 0..42_u32),
            length in 1..SLICE_BYTES * 8,
        ) {
            let number = |at: u64| {
                let mixed = at.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                (mixed >> 33) as u32 % (values + 1)
            };
            let stored: Vec<u32> = (0..length as u64).map(number).collect();
            let layer = layer(&stored, 32 - values.leading_zeros());
            for (low, high) in [(a.min(b), a.max(b)), (0, b), (a, values), (a, a + 1), (0, 1)] {
                let (low, high) = (low.min(values), high.min(values));
                let found = between(&layer, low, high, values);
                // To the end of the block: slots behind those that are stored have no value.
                for slot in 0..WORDS * 64 {
                    let stored = stored.get(slot).copied().unwrap_or(0);
                    let is_in = stored.checked_sub(1).is_some_and(|n| low <= n && n < high);
                    prop_assert_eq!(found[slot / 64] >> (slot % 64) & 1 == 1, is_in, "{}", stored);
                }
            }
        }
    }
}
