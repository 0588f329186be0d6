//! Base64 as RFC 4648, section 4: to write images into data URLs and to read vectors.
//! Layer: leaf of `nim`; pure. The reader is strict: no line breaks, padding in its place.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What stands for a character that is none of the alphabet: a bit that no value has.
const FOREIGN: u8 = 0x80;

/// The value of each character.
const VALUES: [u8; 256] = {
    let mut values = [FOREIGN; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
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
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
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
    let [a, b, c, d] = letters.map(|letter| VALUES[usize::from(letter)]);
    if (a | b | c | d) & FOREIGN != 0 {
        return None;
    }
    let [a, b, c, d] = [a, b, c, d].map(u32::from);
    let [_, a, b, c] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
    Some([a, b, c])
}

#[cfg(test)]
mod tests {
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
            assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encoded(&all)), Some(all));
    }

    #[test]
    fn what_is_not_base64_is_none() {
        for text in ["A", "AA", "AAA", "====", "AA==AAAA", "A=AA", "Zg=a", "AAA\n", "AA-_", "Zh=="]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
