//! Base64 as RFC 4648, section 4: to write images into data URLs and to read vectors.
//! Layer: leaf of `nim`; pure. The reader is strict: no line breaks, padding in its place.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What stands for a character that is none of the alphabet: a bit that no value has.
const FOREIGN: u32 = 1 << 31;

/// What each character adds to the three bytes of its group, the first byte lowest; one table for
/// each place in the group.
static PARTS: [[u32; 256]; 4] = {
    let mut parts = [[FOREIGN; 256]; 4];
    let mut value = 0;
    while value < 64 {
        let (letter, bits) = (ALPHABET[value as usize] as usize, value);
        parts[0][letter] = bits << 2;
        parts[1][letter] = bits >> 4 | (bits & 15) << 12;
        parts[2][letter] = (bits >> 2) << 8 | (bits & 3) << 22;
        parts[3][letter] = bits << 16;
        value += 1;
    }
    parts
};

/// Appends the text of `bytes`.
pub(super) fn encode_into(text: &mut String, bytes: &[u8]) {
    text.reserve(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let sextet = group >> (18 - 6 * at) & 63;
            let letter = ALPHABET.get(sextet as usize).copied().unwrap_or(b'=');
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
}

/// The bytes of `text`, or none where it is not base64.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (groups, rest) = text.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let Some((last, groups)) = groups.split_last() else {
        return Some(Vec::new());
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in groups {
        bytes.extend(three(*group)?);
    }
    let (letters, held) = match last {
        [a, b, b'=', b'='] => ([*a, *b, b'A', b'A'], 1),
        [a, b, c, b'='] => ([*a, *b, *c, b'A'], 2),
        whole => (*whole, 3),
    };
    let group = three(letters)?;
    let (held, unused) = group.split_at(held);
    if unused.iter().any(|byte| *byte != 0) {
        return None;
    }
    bytes.extend_from_slice(held);
    Some(bytes)
}

fn three(letters: [u8; 4]) -> Option<[u8; 3]> {
    let group = three_low(letters);
    let [a, b, c, _] = group.swap_bytes().to_be_bytes();
    (group & FOREIGN == 0).then_some([a, b, c])
}

/// Three bytes, the first lowest, and [`FOREIGN`] where a character is none of the alphabet.
#[inline]
fn three_low(letters: [u8; 4]) -> u32 {
    let [first, second, third, fourth] = &PARTS;
    let [a, b, c, d] = letters.map(usize::from);
    // No byte is beyond 255: the compiler leaves out the checks.
    first[a] | second[b] | third[c] | fourth[d]
}

/// Appends the 32-bit words, the first byte of each lowest, that begin `text` in groups of three,
/// and gives what follows them: what is shorter, and where no character of the alphabet is.
#[inline]
pub(super) fn words(text: &[u8], mut take: impl FnMut([u32; 3])) -> &[u8] {
    let (groups, _) = text.as_chunks::<16>();
    let mut read = 0_usize;
    for group in groups {
        let [a, b, c, d] = fours(group).map(three_low);
        if (a | b | c | d) & FOREIGN != 0 {
            break;
        }
        take([a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8]);
        read = read.saturating_add(16);
    }
    text.get(read..).unwrap_or_default()
}

#[inline]
fn fours(letters: &[u8; 16]) -> [[u8; 4]; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *letters;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(bytes: &[u8]) -> String {
        let mut text = String::new();
        encode_into(&mut text, bytes);
        text
    }

    #[test]
    fn the_vectors_of_the_rfc_hold_both_ways() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in cases {
            assert_eq!(encoded(plain.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(encoded(&all).as_bytes()), Some(all));
    }

    #[test]
    fn what_is_not_base64_is_none() {
        for text in ["A", "AA", "AAA", "====", "AA==AAAA", "A=AA", "Zg=a", "AAA\n", "AA-_", "Zh=="]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    /// Bit by bit, and then what the strict form forbids.
    fn naive(text: &[u8]) -> Option<Vec<u8>> {
        let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
        let (letters, padding) = text.split_at(end);
        let is_whole = text.len().is_multiple_of(4) && padding.len() < 3;
        let mut bits = Vec::new();
        for letter in letters {
            let value = ALPHABET.iter().position(|known| known == letter)?;
            bits.extend((0..6).rev().map(|at| value >> at & 1));
        }
        let unused = bits.split_off(bits.len() / 8 * 8);
        let is_strict =
            padding.iter().all(|byte| *byte == b'=') && unused.iter().all(|bit| *bit == 0);
        let bytes =
            bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8));
        (is_whole && is_strict).then(|| bytes.collect())
    }

    proptest! {
        #[test]
        fn bytes_are_read_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = encoded(&bytes);
            prop_assert_eq!(decode(text.as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(naive(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn any_text_is_read_as_bit_by_bit(text in "[A-Za-z0-9+/]{0,40}[A-Za-z0-9+/=_]{0,3}={0,3}") {
            prop_assert_eq!(decode(text.as_bytes()), naive(text.as_bytes()));
        }

        #[test]
        fn words_are_the_whole_groups_up_to_what_is_foreign(
            bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..300, foreign: u8,
        ) {
            let mut text = encoded(&bytes).into_bytes();
            if let Some(byte) = text.get_mut(at) {
                *byte = foreign;
            }
            let mut found = Vec::new();
            let rest = words(&text, |words| found.extend(words));
            let is_known = |byte: &&u8| ALPHABET.contains(byte);
            let read = text.iter().take_while(is_known).count() / 16 * 16;
            prop_assert_eq!(rest, &text[read..]);
            let bytes = naive(&text[..read]).expect("base64");
            let expected: Vec<u32> = bytes
                .chunks(4)
                .map(|word| word.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
