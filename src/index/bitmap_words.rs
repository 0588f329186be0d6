//! A roaring bitmap laid out as words, a container at a time. Its iterators take some ten
//! nanoseconds a number, which is most of a new filter that half of the records pass; copying
//! containers out of the portable form takes less than one.
//! Format: RoaringFormatSpec, without an extension.

use roaring::RoaringBitmap;

/// First four bytes of a bitmap without containers of runs; and their low half with some.
const NO_RUNS: u32 = 12_346;
const RUNS: u32 = 12_347;
/// Fewer containers than this have no offsets, if there are containers of runs.
const OFFSETS_FROM: usize = 4;
/// Most numbers of a container that lists them.
const ARRAY_MAX: usize = 4_096;
/// Numbers of a container.
const CONTAINER: u64 = 1 << 16;

/// Calls `set` with words of the bitmap: 64 numbers from a multiple of 64, a number once. None if
/// the portable form is not as it is expected: what was told until then is of the bitmap all the
/// same.
pub(super) fn each_word(bitmap: &RoaringBitmap, mut set: impl FnMut(u64, u64)) -> Option<()> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).ok()?;
    let mut reader = Reader { rest: &bytes };
    let cookie = reader.u32()?;
    let (count, runs) = if cookie == NO_RUNS {
        (reader.u32()? as usize, None)
    } else if cookie & 0xFFFF == RUNS {
        let count = (cookie >> 16) as usize + 1;
        (count, Some(reader.take(count.div_ceil(8))?))
    } else {
        return None;
    };
    let mut heads = Vec::with_capacity(count);
    for _ in 0..count {
        heads.push((u64::from(reader.u16()?), usize::from(reader.u16()?) + 1));
    }
    if runs.is_none() || count >= OFFSETS_FROM {
        reader.take(count.checked_mul(4)?)?;
    }
    for (at, (key, cardinality)) in heads.into_iter().enumerate() {
        let base = key * CONTAINER;
        let has_runs =
            runs.is_some_and(|runs| runs.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1));
        if has_runs {
            for _ in 0..reader.u16()? {
                let first = u64::from(reader.u16()?);
                let last = first + u64::from(reader.u16()?);
                each_of_run(first, last, |word, bits| set(base + word, bits));
            }
        } else if cardinality <= ARRAY_MAX {
            let (mut word, mut bits) = (0, 0);
            for number in reader.take(cardinality * 2)?.as_chunks::<2>().0 {
                let number = u64::from(u16::from_le_bytes(*number));
                if number & !63 != word {
                    set(base + word, bits);
                    (word, bits) = (number & !63, 0);
                }
                bits |= 1 << (number & 63);
            }
            set(base + word, bits);
        } else {
            let words = reader.take(CONTAINER as usize / 8)?.as_chunks::<8>().0;
            for (at, word) in (0..).step_by(64).zip(words) {
                set(base + at, u64::from_le_bytes(*word));
            }
        }
    }
    reader.rest.is_empty().then_some(())
}

/// The words of the numbers from `first` to `last`.
fn each_of_run(first: u64, last: u64, mut set: impl FnMut(u64, u64)) {
    for word in (first & !63..=last).step_by(64) {
        let low = u64::MAX << first.saturating_sub(word).min(63);
        let high = u64::MAX >> (word + 63).saturating_sub(last).min(63);
        set(word, low & high);
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_have_the_numbers_of_the_bitmap(
            single in proptest::collection::vec(any::<u32>(), 0..20),
            near in proptest::collection::vec(0_u32..200_000, 0..200),
            runs in proptest::collection::vec((0_u32..300_000, 0_u32..9_000), 0..12),
            dense in proptest::option::of((0_u32..200_000, 2_u32..9)),
            optimize in any::<bool>(),
        ) {
            let mut bitmap: RoaringBitmap = single.into_iter().chain(near).collect();
            for (first, len) in runs {
                bitmap.insert_range(first..first + len);
            }
            if let Some((first, step)) = dense {
                bitmap.extend((first..first + 70_000).step_by(step as usize));
            }
            bitmap.extend([u32::MAX].into_iter().filter(|_| optimize));
            if optimize {
                bitmap.optimize();
            }
            let mut found = Vec::new();
            each_word(&bitmap, |word, bits| {
                assert_eq!(word % 64, 0);
                let set = (0..64).filter(|bit| bits >> bit & 1 == 1);
                found.extend(set.map(|bit| (word + bit) as u32));
            })
            .expect("the portable form");
            prop_assert!(found.iter().copied().eq(&bitmap));
        }
    }
}
