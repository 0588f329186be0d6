//! The positions of one segment that may be returned, as a flat bitset with its count: what a
//! search asks about a row costs one load, and passing rows are visited without looking at the
//! others one by one.
//!
//! Made once per filter and version of the file, from bitmaps of slots ([`Slots::passing`]);
//! knows no slots itself.
//!
//! [`Slots::passing`]: super::slots::Slots::passing

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::copied::Copied;

/// Positions of the sample, at most.
const SAMPLE: u32 = 64;

/// Which positions of a segment pass. Takes `len / 8` bytes and little more, or nothing when all
/// pass.
#[derive(Debug)]
pub struct Passing {
    len: u32,
    count: u32,
    /// One bit per position; empty when all pass.
    words: Vec<u64>,
    /// One bit per word that is not zero, so that empty stretches are skipped.
    filled: Vec<u64>,
    /// Up to [`SAMPLE`] passing positions, spread evenly over their ranks.
    sample: Vec<u32>,
    pub(super) copied: Copied,
}

impl Passing {
    /// Every position of a segment of `len` rows.
    #[must_use]
    pub fn all(len: u32) -> Self {
        let (words, filled, sample) = (Vec::new(), Vec::new(), Vec::new());
        Self { len, count: len, words, filled, sample, copied: Copied::default() }
    }

    /// How many positions pass.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number of positions, passing or not.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether every position passes.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.count == self.len
    }

    /// Bytes it takes, but for copied codes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let words = self.words.capacity() + self.filled.capacity();
        size_of::<Self>() + words * size_of::<u64>() + self.sample.capacity() * size_of::<u32>()
    }

    /// The same; bytes of the codes that scans copy are counted in a sum as long as they live.
    #[must_use]
    pub fn copies_counted_in(self, bytes: &Arc<AtomicUsize>) -> Self {
        Self { copied: Copied::counted_in(bytes), ..self }
    }

    /// Whether a scan has copied codes.
    #[cfg(test)]
    pub fn is_copied(&self) -> bool {
        self.copied.is_made()
    }

    /// Lets go of copied codes.
    pub fn clear_copied(&self) {
        self.copied.clear();
    }

    /// Whether a position passes; none out of range does.
    #[inline]
    #[must_use]
    pub fn contains(&self, position: u32) -> bool {
        match self.words.get((position / u64::BITS) as usize) {
            Some(word) => word >> (position % u64::BITS) & 1 == 1,
            None => self.is_all() && position < self.len,
        }
    }

    /// Some of the passing positions, spread evenly; none when all pass.
    #[must_use]
    pub fn sample(&self) -> &[u32] {
        &self.sample
    }

    /// Visits the passing positions, ascending.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(u32)) {
        if self.is_all() {
            (0..self.len).for_each(visit);
            return;
        }
        for at in bits(&self.filled) {
            let mut word = self.words.get(at as usize).copied().unwrap_or(0);
            while word != 0 {
                visit(at * u64::BITS + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }
}

/// The numbers of the bits that are set.
fn bits(words: &[u64]) -> impl Iterator<Item = u32> {
    (0..).zip(words).flat_map(|(at, &word): (u32, &u64)| {
        let rest = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
        std::iter::successors(Some(word).filter(|word| *word != 0), rest)
            .map(move |word| at * u64::BITS + word.trailing_zeros())
    })
}

/// A set of positions that is being made.
pub struct Words {
    len: u32,
    words: Vec<u64>,
}

impl Words {
    /// No position.
    pub fn none(len: u32) -> Self {
        Self { len, words: vec![0; len.div_ceil(u64::BITS) as usize] }
    }

    /// Every position.
    pub fn all(len: u32) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(u64::BITS) as usize];
        if let Some(last) = words.last_mut().filter(|_| !len.is_multiple_of(u64::BITS)) {
            *last = (1 << (len % u64::BITS)) - 1;
        }
        Self { len, words }
    }

    #[inline]
    pub fn insert(&mut self, position: u32) {
        if let Some(word) = self.words.get_mut((position / u64::BITS) as usize) {
            *word |= u64::from(position < self.len) << (position % u64::BITS);
        }
    }

    /// Inserts up to 64 positions: those of the bits, whose first is `at`, less `distance`. What is
    /// below zero or too large is left out.
    #[inline]
    pub fn insert_bits(&mut self, at: u64, bits: u64, distance: u32) {
        for (at, bits) in shifted(at, bits, distance) {
            let is_last = at + 1 == self.words.len() && !self.len.is_multiple_of(u64::BITS);
            let kept = if is_last { (1 << (self.len % u64::BITS)) - 1 } else { u64::MAX };
            if let Some(word) = self.words.get_mut(at) {
                *word |= bits & kept;
            }
        }
    }

    /// Removes positions that are given as [`insert_bits`](Self::insert_bits) takes them.
    #[inline]
    pub fn remove_bits(&mut self, at: u64, bits: u64, distance: u32) {
        for (at, bits) in shifted(at, bits, distance) {
            if let Some(word) = self.words.get_mut(at) {
                *word &= !bits;
            }
        }
    }

    #[inline]
    pub fn remove(&mut self, position: u32) {
        if let Some(word) = self.words.get_mut((position / u64::BITS) as usize) {
            *word &= !(1 << (position % u64::BITS));
        }
    }

    pub fn finish(self) -> Passing {
        let Self { len, words } = self;
        let count = words.iter().map(|word| word.count_ones()).sum();
        if count == len {
            return Passing::all(len);
        }
        let mut filled = vec![0; words.len().div_ceil(u64::BITS as usize)];
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
            filled[at / u64::BITS as usize] |= 1_u64 << (at % u64::BITS as usize);
        }
        let (sample, copied) = (sample(&words, count), Copied::default());
        Passing { len, count, words, filled, sample, copied }
    }
}

/// The two words in which bits are, whose first stands for the number `at`, less `distance`.
#[inline]
fn shifted(at: u64, bits: u64, distance: u32) -> [(usize, u64); 2] {
    let distance = u64::from(distance);
    let (from, bits) = match at.checked_sub(distance) {
        Some(from) => (from, bits),
        None => (0, bits.checked_shr((distance - at).min(64) as u32).unwrap_or(0)),
    };
    let (word, shift) = ((from / 64) as usize, (from % 64) as u32);
    // No bit goes over where nothing is shifted.
    [(word, bits << shift), (word + 1, bits.checked_shr(64 - shift).unwrap_or(0))]
}

/// The positions in the middle of [`SAMPLE`] equal parts of all ranks, of `count` set bits.
fn sample(words: &[u64], count: u32) -> Vec<u32> {
    let samples = u64::from(count.min(SAMPLE));
    let mut middles = (0..samples).map(|part| (2 * part + 1) * u64::from(count) / (2 * samples));
    let mut sample = Vec::with_capacity(samples as usize);
    let (mut rank, mut next) = (0, middles.next());
    for (at, &word) in (0..).zip(words) {
        let after = rank + u64::from(word.count_ones());
        while let Some(middle) = next.filter(|middle| *middle < after) {
            // The bits of the word below the one of that rank are taken away.
            let below = middle - rank;
            let word = (0..below).fold(word, |word, _| word & word.wrapping_sub(1));
            sample.push(at * u64::BITS + word.trailing_zeros());
            next = middles.next();
        }
        rank = after;
    }
    sample
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_agrees_with_its_model(
            len in 0_u32..9_000,
            from_all in any::<bool>(),
            changes in proptest::collection::vec((0_u32..9_100, any::<bool>()), 0..400),
        ) {
            let mut model: BTreeSet<u32> = if from_all { (0..len).collect() } else { [].into() };
            let mut words = if from_all { Words::all(len) } else { Words::none(len) };
            for (position, insert) in changes {
                if insert {
                    words.insert(position);
                    model.extend((position < len).then_some(position));
                } else {
                    words.remove(position);
                    model.remove(&position);
                }
            }
            let passing = words.finish();
            let mut found = Vec::new();
            passing.for_each(|position| found.push(position));
            prop_assert_eq!(passing.count() as usize, model.len());
            prop_assert!(found.iter().eq(&model));
            for position in 0..len + 70 {
                prop_assert_eq!(passing.contains(position), model.contains(&position));
            }
            prop_assert!(!passing.contains(u32::MAX));
            prop_assert_eq!(passing.is_all(), model.len() == len as usize);
            let sample = passing.sample();
            if !passing.is_all() {
                prop_assert_eq!(sample.len(), model.len().min(SAMPLE as usize));
            }
            prop_assert!(sample.is_sorted_by(|a, b| a < b));
            let (count, samples) = (model.len(), sample.len());
            let expected: Vec<u32> = (0..samples)
                .filter_map(|part| model.iter().nth((2 * part + 1) * count / (2 * samples)))
                .copied()
                .collect();
            prop_assert_eq!(sample, expected);
        }
    }

    #[test]
    fn a_sample_is_spread_evenly_over_what_passes() {
        let mut words = Words::none(200_000);
        (70_000..70_000 + 2 * SAMPLE).for_each(|position| words.insert(position));
        let passing = words.finish();
        assert_eq!(passing.sample().len(), SAMPLE as usize);
        assert!(passing.sample().windows(2).all(|pair| pair[1] - pair[0] == 2));
    }
}
