//! JSON numbers of vectors: the text of one at the front of some bytes, as the `f32` nearest to it.
//! Not lists (see `components`) nor objects (see `wire`). Layer: leaf of `nim`; pure.
//!
//! The digits make an integer of at most 18 digits, which is scaled by a power of ten in double
//! precision. That is off by at most 3 units in the last place; where so little could turn the
//! rounding to single precision, and for whatever else is rare, the standard library reads it.

/// Most digits that always fit 63 bits; servers write 17.
const DIGITS: usize = 18;
/// Largest power of ten in the table: 18 digits and a value that single precision can tell from
/// zero stay below it.
const POWER: i32 = 60;
/// Ten to the power of the place.
const SHIFTS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Bits of a double that single precision has no room for, and how near to the middle of their
/// range a value may be while its rounding is certain.
const SPARE: u64 = (1 << 29) - 1;
const MIDDLE: u64 = 1 << 28;
const DOUBT: u64 = 8;

/// Ten to the power of the place less [`POWER`], as the compiler rounds it.
const SCALES: [f64; 2 * POWER as usize + 1] = [
    1e-60, 1e-59, 1e-58, 1e-57, 1e-56, 1e-55, 1e-54, 1e-53, 1e-52, 1e-51, 1e-50, 1e-49, 1e-48,
    1e-47, 1e-46, 1e-45, 1e-44, 1e-43, 1e-42, 1e-41, 1e-40, 1e-39, 1e-38, 1e-37, 1e-36, 1e-35,
    1e-34, 1e-33, 1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27, 1e-26, 1e-25, 1e-24, 1e-23, 1e-22,
    1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8,
    1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
    1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25,
    1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41,
    1e42, 1e43, 1e44, 1e45, 1e46, 1e47, 1e48, 1e49, 1e50, 1e51, 1e52, 1e53, 1e54, 1e55, 1e56, 1e57,
    1e58, 1e59, 1e60,
];

/// The number at the front of `text` and what follows it; none where there is no JSON number, or
/// none of single precision.
#[inline]
pub(super) fn read(text: &[u8]) -> Option<(f32, &[u8])> {
    // Without a branch: the sign is as good as random.
    let is_negative = text.first() == Some(&b'-');
    let unsigned = text.get(usize::from(is_negative)..)?;
    let (mut digits, mut rest) = whole(unsigned)?;
    // Modulo 2^64, so digits are counted and not judged by what they make.
    let mut count = match unsigned {
        [b'0', ..] => 0,
        _ => unsigned.len().saturating_sub(rest.len()),
    };
    let mut exponent = 0_i32;
    if let [b'.', fraction @ ..] = rest {
        let after;
        (digits, after) = run(digits, fraction);
        let places = fraction.len().saturating_sub(after.len());
        if places == 0 {
            return None;
        }
        count = count.saturating_add(places);
        exponent = i32::try_from(places).ok()?.checked_neg()?;
        rest = after;
    }
    if let [b'e' | b'E', power @ ..] = rest {
        let told;
        (told, rest) = signed(power)?;
        exponent = exponent.checked_add(told)?;
    }
    let text = text.get(..text.len().saturating_sub(rest.len()))?;
    let is_exact = count <= DIGITS || significant(text) <= DIGITS;
    let quick = if is_exact { scaled(digits, exponent) } else { None };
    match quick {
        Some(number) => {
            let sign = u32::from(is_negative) << 31;
            Some((f32::from_bits(number.to_bits() | sign), rest))
        }
        None => Some((slow(text)?, rest)),
    }
}

/// Without the white space of JSON in front.
#[inline]
pub(super) fn skip_space(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The digits before the point: one zero, or some that do not begin with one.
#[inline]
fn whole(text: &[u8]) -> Option<(u64, &[u8])> {
    match text {
        [b'0', b'0'..=b'9', ..] => None,
        [b'0', rest @ ..] => Some((0, rest)),
        [b'1'..=b'9', ..] => Some(run(0, text)),
        _ => None,
    }
}

/// Appends digits as long as there are some, modulo 2^64.
#[inline]
fn run(mut value: u64, mut text: &[u8]) -> (u64, &[u8]) {
    while let Some((eight, rest)) = text.split_first_chunk::<8>() {
        let (more, digits) = up_to_eight(*eight);
        if digits < 8 {
            let scale = SHIFTS.get(digits).copied().unwrap_or_default();
            value = value.wrapping_mul(scale).wrapping_add(more);
            return (value, text.get(digits..).unwrap_or_default());
        }
        value = value.wrapping_mul(100_000_000).wrapping_add(more);
        text = rest;
    }
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        text = rest;
    }
    (value, text)
}

/// The number that the digits in front make, and how many they are. Without a branch: how many
/// digits a number has is as good as random.
#[inline]
fn up_to_eight(text: [u8; 8]) -> (u64, usize) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The first character lowest, whatever the order of bytes here; digits become their values.
    let values = u64::from_be_bytes(text).swap_bytes() ^ 0x3030_3030_3030_3030;
    // The high bit of each byte that is more than nine.
    let foreign = ((values & !HIGH).wrapping_add(0x7676_7676_7676_7676) | values) & HIGH;
    let bits = foreign.trailing_zeros() & !7;
    // Zeros in front instead of what follows; then pairs, fours, and all eight at once.
    let ones = values.unbounded_shl(64 - bits);
    let twos = (ones.wrapping_mul(10 * 256 + 1) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (twos.wrapping_mul(100 * 65_536 + 1) >> 16) & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul(10_000 * 4_294_967_296 + 1) >> 32, (bits / 8) as usize)
}

fn signed(text: &[u8]) -> Option<(i32, &[u8])> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (value, rest) = run(0, digits);
    let value = match digits.len().saturating_sub(rest.len()) {
        0 => return None,
        1..=5 => i32::try_from(value).ok()?,
        // Out of every table: left to the standard library.
        _ => i32::MAX / 2,
    };
    Some((if is_negative { -value } else { value }, rest))
}

/// Digits from the first that is not zero to the exponent.
#[cold]
fn significant(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    digits.filter(|byte| byte.is_ascii_digit()).skip_while(|byte| **byte == b'0').count()
}

/// The nearest `f32` of a number of at most 18 digits, where it is certain.
#[inline]
fn scaled(digits: u64, exponent: i32) -> Option<f32> {
    let place = usize::try_from(exponent.checked_add(POWER)?).ok()?;
    // At most 18 digits are less than 2^63, and signed numbers convert faster.
    let value = digits.cast_signed() as f64 * SCALES.get(place)?;
    let doubt = (value.to_bits() & SPARE).abs_diff(MIDDLE);
    let is_certain = doubt > DOUBT && value >= f64::from(f32::MIN_POSITIVE) && value < 3e38;
    (is_certain || digits == 0).then_some(value as f32)
}

/// What the standard library makes of it, which is the nearest; none beyond the range.
#[cold]
fn slow(text: &[u8]) -> Option<f32> {
    let number: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the standard library reads, if JSON allows the text; serde judges that.
    fn nearest(text: &str) -> Option<f32> {
        serde_json::from_str::<f64>(text).ok()?;
        text.parse::<f32>().ok().filter(|number| number.is_finite())
    }

    fn all(text: &str) -> Option<f32> {
        read(text.as_bytes()).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
    }

    #[track_caller]
    fn agree(text: &str) {
        assert_eq!(all(text).map(f32::to_bits), nearest(text).map(f32::to_bits), "{text}");
    }

    #[test]
    fn odd_numbers_are_read_as_the_standard_library_reads_them() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "0.0e5",
            "1",
            "-1.5",
            "10",
            "1e5",
            "1E+5",
            "1e-5",
            "0.1",
            "16777217",
            "16777216.5",
            "16777219",
            "1.17549435e-38",
            "1e-45",
            "7e-46",
            "1e-46",
            "1e-60",
            "1e-400",
            "3.4028234e38",
            "3.4028235e38",
            "3.4028236e38",
            "1e38",
            "0.5000000298023224",
            "0.50000002980232238769531249",
            "0.50000002980232238769531250",
            "0.50000002980232238769531251",
            "9999999999999999999",
            "99999999999999999999",
            "18446744073709551616",
            "0.00000000000000000000000000001234567890123456789",
            "1e00005",
            "123456789012345678901234567890e-30",
            "0.10000000149011612",
            "1.0000000596046448",
        ] {
            agree(text);
        }
    }

    #[test]
    fn what_is_no_number_of_json_is_none() {
        for text in [
            "",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e5",
            "01",
            "-01",
            "00",
            "1e",
            "1e+",
            "e5",
            "NaN",
            "inf",
            "Infinity",
            "-Infinity",
            "0x1",
            "1_0",
            "\u{0661}",
            "1e39",
            "-1e39",
            "1e400",
        ] {
            assert_eq!(all(text), None, "{text}");
        }
    }

    #[test]
    fn what_follows_a_number_is_left() {
        for (text, left) in [("1.5,2", ",2"), ("1]", "]"), ("12345678 9", " 9"), ("0.1-", "-")] {
            let (_, rest) = read(text.as_bytes()).expect(text);
            assert_eq!(rest, left.as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn every_float_in_either_precision_is_read_exactly(bits: u32) {
            let number = f32::from_bits(bits);
            prop_assume!(number.is_finite());
            for text in [
                format!("{number:?}"),
                format!("{number:e}"),
                format!("{:?}", f64::from(number)),
                format!("{:.25e}", f64::from(number)),
            ] {
                prop_assert_eq!(all(&text).map(f32::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn numbers_about_the_middle_of_two_floats_go_to_the_nearest(
            bits in 0..0x7F00_0000_u32, step in -12_i64..=12, digits in 1_usize..25,
        ) {
            let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
            let middle = f64::midpoint(f64::from(low), f64::from(high));
            let near = f64::from_bits(middle.to_bits().saturating_add_signed(step));
            for text in [format!("{near:?}"), format!("{near:.digits$e}"), format!("{near:e}")] {
                let found = all(&text).map(f32::to_bits);
                prop_assert_eq!(found, nearest(&text).map(f32::to_bits), "{}", text);
            }
        }

        #[test]
        fn any_digits_are_read_as_the_standard_library_reads_them(
            text in "-?(0|[1-9][0-9]{0,24})([.][0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
        ) {
            let found = all(&text).map(f32::to_bits);
            prop_assert_eq!(found, nearest(&text).map(f32::to_bits), "{}", text);
        }

        #[test]
        fn text_that_only_resembles_a_number_is_judged_as_serde_does(
            text in "[-+0-9.eE]{0,12}",
        ) {
            let found = all(&text).map(f32::to_bits);
            prop_assert_eq!(found, nearest(&text).map(f32::to_bits), "{}", text);
        }
    }
}
