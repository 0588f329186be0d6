//! Finds the one byte of a damaged extent that was changed, and what it was: the only change that
//! gives its checksum again. A checksum of 128 bits makes that proof, not a guess.
//!
//! XXH3 (<https://github.com/Cyan4973/xxHash>, `doc/xxhash_spec.md`) adds up 64-byte stripes in
//! eight lanes and scrambles each lane after a block of 1024 bytes. A byte changes its own lane and
//! the neighbor, and lanes mix at the end alone: to try another value takes two steps for each
//! block behind it, no second look at the bytes.

use std::ops::Range;

use rayon::prelude::*;

use crate::format::{EXTENT_HEADER_BYTES, verify_extent};

/// The default secret of XXH3, in little-endian words.
const SECRET: [u64; 24] = [
    0xBE4BA423396CFEB8,
    0x1CAD21F72C81017C,
    0xDB979083E96DD4DE,
    0x1F67B3B7A4A44072,
    0x78E5C0CC4EE679CB,
    0x2172FFCC7DD05A82,
    0x8E2443F7744608B8,
    0x4C263A81E69035E0,
    0xCB00C391BB52283C,
    0xA32E531B8B65D088,
    0x4EF90DA297486471,
    0xD8ACDEA946EF1938,
    0x3F349CE33F76FAA8,
    0x1D4F0BC7C7BBDCF9,
    0x3159B4CD4BE0518A,
    0x647378D9C97E9FC8,
    0xC3EBD33483ACC5EA,
    0xEB6313FAFFA081C5,
    0x49DAF0B751DD0D17,
    0x9E68D429265516D3,
    0xFCA1477D58BE162B,
    0xCE31D07AD1B8F88F,
    0x280416958F3ACB45,
    0x7E404BBBCAFBD7AF,
];
const PRIME32_1: u64 = 0x9E37_79B1;
const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
/// What the lanes begin with.
const BEGIN: Lanes = [
    0xC2B2_AE3D,
    PRIME64_1,
    PRIME64_2,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x85EB_CA77,
    0x27D4_EB2F_1656_67C5,
    PRIME32_1,
];
const STRIPE: usize = 64;
const BLOCK: usize = 16 * STRIPE;
/// Of the header, what the checksum covers.
const HEAD: usize = 32;
/// Where the secret of the last stripe, of scrambling and of the two halves of the sum begins.
const LAST_AT: usize = 121;
const SCRAMBLE_AT: usize = 128;
const MERGE_AT: [usize; 2] = [11, 117];

type Lanes = [u64; 8];

/// Which values of a byte are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// Those with one bit changed.
    Bits,
    All,
}

impl Tried {
    fn values(self, byte: u8) -> impl Iterator<Item = u8> {
        let masks = match self {
            Self::Bits => 8,
            Self::All => 255_u8,
        };
        (0..masks).map(move |at| byte ^ if self == Self::Bits { 1 << at } else { at + 1 })
    }
}

/// The steps that it takes to try so many bytes of an extent.
pub(super) fn steps(extent: usize, bytes: usize, tried: Tried) -> u64 {
    let values = if tried == Tried::Bits { 8 } else { 255 };
    (extent / BLOCK + 1) as u64 * bytes as u64 * values
}

/// Gives the extent with one byte of `places` (behind the header) changed so that its checksum is
/// right, if there is such a byte. Work: [`steps`], on all threads of the pool.
pub(super) fn put_right(extent: &[u8], places: &[Range<usize>], tried: Tried) -> Option<Vec<u8>> {
    let sum = Sum::of(extent)?;
    let places: Vec<usize> = places.iter().flat_map(Clone::clone).collect();
    places.into_par_iter().find_map_any(|at| {
        let byte = *extent.get(at).filter(|_| at >= EXTENT_HEADER_BYTES)?;
        let value = sum.right_value(at - EXTENT_HEADER_BYTES + HEAD, byte, tried)?;
        let mut right = extent.to_vec();
        *right.get_mut(at)? = value;
        verify_extent(&right).is_ok().then_some(right)
    })
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word))
}

/// Eight bytes of the secret.
fn secret(at: usize) -> u64 {
    let of = |at: usize| u128::from(SECRET.get(at).copied().unwrap_or(0));
    let both = of(at / 8) | of(at / 8 + 1) << 64;
    (both >> (8 * (at % 8))) as u64
}

fn product(lane: u64, secret: u64) -> u64 {
    let both = lane ^ secret;
    (both & 0xFFFF_FFFF).wrapping_mul(both >> 32)
}

fn scramble(lane: u64, secret: u64) -> u64 {
    (lane ^ (lane >> 47) ^ secret).wrapping_mul(PRIME32_1)
}

fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn avalanche(of: u64) -> u64 {
    let of = (of ^ (of >> 37)).wrapping_mul(0x1656_6791_9E37_79F9);
    of ^ (of >> 32)
}

/// Adds a stripe to the lanes.
fn add(lanes: &mut Lanes, stripe: &[u8], secret_at: usize) {
    for lane in 0..8 {
        let of = word(stripe, 8 * lane);
        lanes[lane ^ 1] = lanes[lane ^ 1].wrapping_add(of);
        lanes[lane] = lanes[lane].wrapping_add(product(of, secret(secret_at + 8 * lane)));
    }
}

/// The sum of the stripes of a block, from lanes that begin with so much.
fn block_sum(mut lanes: Lanes, block: &[u8]) -> Lanes {
    for (at, stripe) in block.chunks_exact(STRIPE).enumerate() {
        add(&mut lanes, stripe, 8 * at);
    }
    lanes
}

/// The sums of an extent, taken apart.
struct Sum {
    /// What the checksum covers.
    message: Vec<u8>,
    /// Lanes before each block and behind the last, and what each block adds.
    before: Vec<Lanes>,
    adds: Vec<Lanes>,
    /// What the rest adds.
    rest: Lanes,
    /// At the end.
    lanes: Lanes,
    /// The stored checksum, lower half first.
    stored: [u64; 2],
}

impl Sum {
    /// None if the extent is too short to have more than one block.
    fn of(extent: &[u8]) -> Option<Self> {
        let (head, payload) = extent.split_at_checked(EXTENT_HEADER_BYTES)?;
        let message = [head.get(..HEAD)?, payload].concat();
        if message.len() <= BLOCK || !message.len().is_multiple_of(8) {
            return None;
        }
        let stored = [word(head, HEAD), word(head, HEAD + 8)];
        let (mut before, mut adds) = (vec![BEGIN], Vec::new());
        let mut lanes = BEGIN;
        for block in message.get(..Self::rest_at(&message))?.chunks_exact(BLOCK) {
            let added = block_sum([0; 8], block);
            for (lane, added) in added.iter().enumerate() {
                let sum = lanes[lane].wrapping_add(*added);
                lanes[lane] = scramble(sum, secret(SCRAMBLE_AT + 8 * lane));
            }
            adds.push(added);
            before.push(lanes);
        }
        let rest = Self::rest_sum(message.get(Self::rest_at(&message)..)?);
        for (lane, added) in lanes.iter_mut().zip(rest) {
            *lane = lane.wrapping_add(added);
        }
        Some(Self { message, before, adds, rest, lanes, stored })
    }

    /// Where the part begins that is no whole block with something behind it.
    fn rest_at(message: &[u8]) -> usize {
        (message.len() - 1) / BLOCK * BLOCK
    }

    /// The last stripe is the last 64 bytes, whether they were added before or not. The rest is
    /// shorter than that only in messages of other lengths than extents have.
    fn rest_sum(rest: &[u8]) -> Lanes {
        let whole = rest.get(..(rest.len() - 1) / STRIPE * STRIPE).unwrap_or_default();
        let mut lanes = block_sum([0; 8], whole);
        add(&mut lanes, rest.last_chunk::<STRIPE>().map_or(&[], |last| &last[..]), LAST_AT);
        lanes
    }

    /// The value of a byte of the message that gives the stored sum.
    fn right_value(&self, at: usize, byte: u8, tried: Tried) -> Option<u8> {
        let block = at / BLOCK;
        let Some(adds) = self.adds.get(block..) else { return self.in_rest(at, byte, tried) };
        let Some((own, behind)) = adds.split_first() else {
            return self.in_rest(at, byte, tried);
        };
        let (lane, stripe) = (at % STRIPE / 8, at % BLOCK / STRIPE);
        let twin = lane ^ 1;
        let old = word(&self.message, at / 8 * 8);
        let key = secret(8 * stripe + 8 * lane);
        let base = self.before.get(block)?;
        let less_own = base[lane].wrapping_add(own[lane]).wrapping_sub(product(old, key));
        let less_twin = base[twin].wrapping_add(own[twin]).wrapping_sub(old);
        let scrambles = [lane, twin].map(|lane| secret(SCRAMBLE_AT + 8 * lane));
        let shift = 8 * (at % 8);
        let values: Vec<u8> = tried.values(byte).collect();
        // Side by side, so that the steps of one value do not wait for each other.
        let mut sums: Vec<[u64; 2]> = (values.iter())
            .map(|value| {
                let new = old ^ (u64::from(value ^ byte) << shift);
                let own = less_own.wrapping_add(product(new, key));
                [scramble(own, scrambles[0]), scramble(less_twin.wrapping_add(new), scrambles[1])]
            })
            .collect();
        for added in behind {
            for [own, neighbor] in &mut sums {
                *own = scramble(own.wrapping_add(added[lane]), scrambles[0]);
                *neighbor = scramble(neighbor.wrapping_add(added[twin]), scrambles[1]);
            }
        }
        let right = sums.into_iter().position(|[own, neighbor]| {
            let mut lanes = self.lanes;
            lanes[lane] = own.wrapping_add(self.rest[lane]);
            lanes[twin] = neighbor.wrapping_add(self.rest[twin]);
            self.is_right(&lanes)
        });
        values.get(right?).copied()
    }

    fn in_rest(&self, at: usize, byte: u8, tried: Tried) -> Option<u8> {
        let begin = Self::rest_at(&self.message);
        let mut rest = self.message.get(begin..)?.to_vec();
        let before = *self.before.last()?;
        tried.values(byte).find(|value| {
            if let Some(of) = rest.get_mut(at - begin) {
                *of = *value;
            }
            let added = Self::rest_sum(&rest);
            let lanes = std::array::from_fn(|lane| before[lane].wrapping_add(added[lane]));
            self.is_right(&lanes)
        })
    }

    fn is_right(&self, lanes: &Lanes) -> bool {
        let length = self.message.len() as u64;
        let begin = [length.wrapping_mul(PRIME64_1), !length.wrapping_mul(PRIME64_2)];
        let half = |which: usize| {
            let pairs = lanes.chunks_exact(2).enumerate().map(|(at, pair)| {
                let key = MERGE_AT[which] + 16 * at;
                folded(pair[0] ^ secret(key), pair[1] ^ secret(key + 8))
            });
            avalanche(pairs.fold(begin[which], u64::wrapping_add))
        };
        half(0) == self.stored[0] && half(1) == self.stored[1]
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::format::{ExtentHeader, SectionKind, extent_value_bytes};

    fn extent(payload: usize) -> Vec<u8> {
        let mut value = vec![0; extent_value_bytes(payload)];
        for (at, byte) in (0_u64..).zip(&mut value) {
            *byte = (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 29) as u8;
        }
        let (kind, rows) = (SectionKind::Raw, (payload / 4) as u32);
        let header = ExtentHeader { kind, index: 0, rows, stride: 4, segment: 1, collection: 2 };
        header.write(&mut value).unwrap();
        value
    }

    #[test]
    fn every_byte_of_an_extent_is_put_right_whatever_it_became() {
        let whole = extent(5000);
        for at in (EXTENT_HEADER_BYTES..whole.len()).step_by(11) {
            let mut damaged = whole.clone();
            damaged[at] ^= (at % 255) as u8 + 1;
            let found = put_right(&damaged, from_ref(&(at..at + 1)), Tried::All);
            assert!(found.as_ref() == Some(&whole), "{at}");
        }
    }

    #[test]
    fn the_byte_is_found_wherever_it_is_and_two_are_not() {
        let whole = extent(5000);
        let all = EXTENT_HEADER_BYTES..whole.len();
        for at in [48, 777, 4000, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            let found = put_right(&damaged, from_ref(&all), Tried::Bits);
            assert!(found.as_ref() == Some(&whole), "{at}");
            damaged[at + 1 - 2 * (at % 2)] ^= 1;
            assert_eq!(put_right(&damaged, from_ref(&all), Tried::Bits), None);
        }
        let mut damaged = whole.clone();
        damaged[1234] ^= 0x7E;
        assert_eq!(put_right(&damaged, from_ref(&all), Tried::Bits), None);
        assert_eq!(put_right(&damaged, from_ref(&all), Tried::All), Some(whole));
    }

    #[test]
    fn extents_that_are_none_give_nothing() {
        for length in [0, 10, 48, 100, 1079, 1080] {
            assert_eq!(put_right(&vec![1; length], from_ref(&(0..length)), Tried::Bits), None);
        }
    }
}
