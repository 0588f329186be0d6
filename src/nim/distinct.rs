//! Inputs of a call without repetitions, so that equal texts are sent once.
//! Layer: above `input`; pure.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::input::Input;

/// Inputs without repetitions.
pub(super) struct Distinct<'a> {
    pub(super) inputs: Vec<Input<'a>>,
    /// Where each stood first in the caller's slice.
    firsts: Vec<usize>,
    /// For each of the caller's inputs its place in `inputs`.
    pub(super) places: Vec<usize>,
}

impl<'a> Distinct<'a> {
    pub(super) fn of(all: &[Input<'a>]) -> Self {
        let mut known = HashMap::with_capacity_and_hasher(all.len(), Seed::random());
        let mut inputs = Vec::with_capacity(all.len());
        let mut firsts = Vec::with_capacity(all.len());
        let mut places = Vec::with_capacity(all.len());
        for (position, input) in all.iter().enumerate() {
            let place = *known.entry(*input).or_insert_with(|| {
                inputs.push(*input);
                firsts.push(position);
                inputs.len() - 1
            });
            places.push(place);
        }
        Self { inputs, firsts, places }
    }

    /// The caller's position of the input at a place.
    pub(super) fn name(&self, place: usize) -> usize {
        self.firsts.get(place).copied().unwrap_or(place)
    }

    /// The result of each of the caller's inputs.
    pub(super) fn spread<T: Clone>(&self, results: Vec<T>) -> Vec<T> {
        if results.len() == self.places.len() {
            return results;
        }
        self.places.iter().filter_map(|place| results.get(*place).cloned()).collect()
    }
}

/// Makes hashers that read a text at once. Chosen anew for each call, so that nobody can prepare
/// texts that collide.
struct Seed(u64);

impl Seed {
    fn random() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Seed {
    type Hasher = TextHasher;

    fn build_hasher(&self) -> TextHasher {
        TextHasher(self.0)
    }
}

struct TextHasher(u64);

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// What ends a text: it tells nothing that the length in the hash does not.
    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    /// Which kind of input it is.
    fn write_isize(&mut self, kind: isize) {
        self.0 = self.0.rotate_left(5) ^ kind.cast_unsigned() as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_equal_share_a_place_and_get_their_result_each() {
        let image = crate::nim::Image::new(b"GIF89a").expect("an image");
        let all = [
            Input::Text("a"),
            Input::Text("b"),
            Input::Text("a"),
            Input::Image(&image),
            Input::TextAndImage("a", &image),
            Input::Image(&image),
            Input::Text(""),
        ];
        let distinct = Distinct::of(&all);
        assert_eq!(distinct.inputs, [all[0], all[1], all[3], all[4], all[6]]);
        assert_eq!(distinct.places, [0, 1, 0, 2, 3, 2, 4]);
        assert_eq!([0, 1, 2, 3, 4].map(|place| distinct.name(place)), [0, 1, 3, 4, 6]);
        assert_eq!(
            distinct.spread(vec!["p", "q", "r", "s", "t"]),
            ["p", "q", "p", "r", "s", "r", "t"]
        );
    }

    #[test]
    fn texts_that_differ_have_hashes_that_differ_also_in_their_low_bits() {
        let seed = Seed(7);
        let texts: Vec<String> = (0..4096).map(|at| format!("passage {at}")).collect();
        let mut low: Vec<u64> =
            texts.iter().map(|text| seed.hash_one(Input::Text(text)) & 0xFFFF).collect();
        low.sort_unstable();
        low.dedup();
        // 4096 balls in 65,536 boxes fill about 3,970 of them.
        assert!(low.len() > 3_900, "{}", low.len());
    }
}
