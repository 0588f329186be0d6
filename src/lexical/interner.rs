//! Byte strings to small numbers: what words a batch of texts has, each kept once.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// Gives every byte string a number, in the order they come.
#[derive(Default)]
pub(super) struct Interner {
    bytes: Vec<u8>,
    /// Where each string lies, and its hash.
    strings: Vec<(u32, u32, u32)>,
    /// Numbers plus one by hash, open addressing; a power of two of places.
    places: Vec<u32>,
}

impl Interner {
    pub(super) fn len(&self) -> usize {
        self.strings.len()
    }

    /// The string of a number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        self.range(number).and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }

    fn range(&self, number: u32) -> Option<Range<usize>> {
        let &(from, to, _) = self.strings.get(number as usize)?;
        Some(from as usize..to as usize)
    }

    /// The number of a string, and whether it is new.
    pub(super) fn insert(&mut self, string: &[u8]) -> (u32, bool) {
        if self.strings.len() * 2 >= self.places.len() {
            self.grow();
        }
        let hash = xxh3_64(string) as u32;
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(number) = self.places.get(at).and_then(|place| place.checked_sub(1)) {
            let known = self.strings.get(number as usize);
            if known.is_some_and(|known| known.2 == hash) && self.get(number) == string {
                return (number, false);
            }
            at = (at + 1) & mask;
        }
        let number = self.strings.len() as u32;
        let from = self.bytes.len() as u32;
        self.bytes.extend_from_slice(string);
        self.strings.push((from, self.bytes.len() as u32, hash));
        if let Some(place) = self.places.get_mut(at) {
            *place = number + 1;
        }
        (number, true)
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(1024);
        self.places.clear();
        self.places.resize(size, 0);
        for (number, &(_, _, hash)) in self.strings.iter().enumerate() {
            let mut at = hash as usize & (size - 1);
            while self.places.get(at).is_some_and(|&place| place != 0) {
                at = (at + 1) & (size - 1);
            }
            if let Some(place) = self.places.get_mut(at) {
                *place = number as u32 + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_strings_have_one_number(
            strings in proptest::collection::vec("[a-d]{0,4}", 0..3000),
        ) {
            let mut interner = Interner::default();
            let mut known: HashMap<String, u32> = HashMap::new();
            for string in strings {
                let (number, new) = interner.insert(string.as_bytes());
                prop_assert_eq!(new, !known.contains_key(&string));
                prop_assert_eq!(*known.entry(string.clone()).or_insert(number), number);
                prop_assert_eq!(interner.get(number), string.as_bytes());
            }
            prop_assert_eq!(interner.len(), known.len());
        }
    }
}
