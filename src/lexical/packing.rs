//! Blocks of 128 numbers, each in the same number of bits, laid out so that four are unpacked at
//! once: number `i` stands in lane `i % 4`; word `w` of lane `l` is u32 number `4 w + l`.

/// Numbers of a full block.
pub(super) const BLOCK: usize = 128;
const LANES: usize = 4;
const ROWS: usize = BLOCK / LANES;

/// Bytes of a block of so many bits a number.
pub(super) fn packed_bytes(bits: u8) -> usize {
    usize::from(bits) * BLOCK / 8
}

/// Bits that the largest number needs.
pub(super) fn bits_of(numbers: &[u32]) -> u8 {
    let all = numbers.iter().fold(0, |all, number| all | number);
    (u32::BITS - all.leading_zeros()) as u8
}

/// Appends a block. No number may need more than `bits`.
pub(super) fn pack(numbers: &[u32; BLOCK], bits: u8, out: &mut Vec<u8>) {
    let width = usize::from(bits);
    let mut words = [[0_u32; LANES]; 32];
    for (row, numbers) in numbers.as_chunks::<LANES>().0.iter().enumerate() {
        let (word, shift) = (row * width / 32, row * width % 32);
        for (lane, &number) in numbers.iter().enumerate() {
            if width > 0 {
                words[word][lane] |= number << shift;
            }
            if shift + width > 32 {
                words[word + 1][lane] |= number >> (32 - shift);
            }
        }
    }
    let words = words.iter().take(width).flatten();
    out.extend(words.flat_map(|word| word.to_le_bytes()));
}

/// Unpacks what [`pack`] wrote. `bytes` must be [`packed_bytes`] long and `bits` up to 32;
/// otherwise the numbers are zeros.
pub(super) fn unpack(bytes: &[u8], bits: u8, out: &mut [u32; BLOCK]) {
    macro_rules! widths {
        ($($bits:literal)*) => {
            match bits {
                $($bits => unpack_width::<$bits>(bytes, out),)*
                _ => out.fill(0),
            }
        };
    }
    widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

fn unpack_width<const BITS: usize>(bytes: &[u8], out: &mut [u32; BLOCK]) {
    let (words, rest) = bytes.as_chunks::<16>();
    let Some(words) = words.first_chunk::<BITS>().filter(|_| rest.is_empty()) else {
        out.fill(0);
        return;
    };
    let mask = u32::MAX >> (32 - BITS);
    let mut lanes = [[0_u32; LANES]; BITS];
    for (lanes, word) in lanes.iter_mut().zip(words) {
        for (lane, bytes) in lanes.iter_mut().zip(word.as_chunks::<4>().0) {
            *lane = u32::from_le_bytes(*bytes);
        }
    }
    for (row, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(ROWS) {
        let (word, shift) = (row * BITS / 32, row * BITS % 32);
        for (lane, out) in out.iter_mut().enumerate() {
            let mut number = lanes[word][lane] >> shift;
            if shift + BITS > 32 {
                number |= lanes[word + 1][lane] << (32 - shift);
            }
            *out = number & mask;
        }
    }
}

/// Appends a number, seven bits a byte, the lowest first.
pub(super) fn put_varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number from the front; none if it does not end or does not fit.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for at in 0..5 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 4 && byte > 0x0f {
            return None;
        }
        number |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_of_every_width_read_back(width in 0u32..=32, seed in any::<u64>()) {
            let mut state = seed | 1;
            let numbers: [u32; BLOCK] = std::array::from_fn(|_| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e);
                if width == 0 { 0 } else { (state >> 32) as u32 >> (32 - width) }
            });
            let bits = bits_of(&numbers);
            prop_assert!(u32::from(bits) <= width);
            let mut bytes = Vec::new();
            pack(&numbers, bits, &mut bytes);
            prop_assert_eq!(bytes.len(), packed_bytes(bits));
            let mut found = [7; BLOCK];
            unpack(&bytes, bits, &mut found);
            prop_assert_eq!(found, numbers);
        }

        #[test]
        fn numbers_of_seven_bits_a_byte_read_back(
            numbers in proptest::collection::vec(any::<u32>(), 0..9),
        ) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|&number| put_varint(number, &mut bytes));
            let mut rest = bytes.as_slice();
            for number in numbers {
                prop_assert_eq!(take_varint(&mut rest), Some(number));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn numbers_from_any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            while take_varint(&mut rest).is_some() {}
            prop_assert!(rest.len() <= bytes.len());
        }
    }

    #[test]
    fn the_layout_is_that_of_the_format() {
        let numbers: [u32; BLOCK] = std::array::from_fn(|at| (at % 8) as u32);
        let mut bytes = Vec::new();
        pack(&numbers, 3, &mut bytes);
        // Lane 0 holds 0, 4, 0, 4, ...: bits 2, 8, 14, ... of its words.
        assert_eq!(bytes[..4], [0b0010_0000, 0b0000_1000, 0b1000_0010, 0b0010_0000]);
        assert!(take_varint(&mut [0xff, 0xff, 0xff, 0xff, 0x1f].as_slice()).is_none());
    }
}
