//! Text to words: the boundaries of Unicode's annex 29, read fast where text is ASCII.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Calls `each` with the place and the text of every word that has a letter or digit, in order.
///
/// Gives what the annex gives for the whole text, but for the space in front of a combining mark
/// that follows one, which the annex takes as the mark's letter. No word reaches over a space, so
/// pieces between spaces can be read on their own, and only those that are not ASCII need the
/// tables.
pub(super) fn each_word<'t>(text: &'t str, mut each: impl FnMut(Range<usize>, &'t str)) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while from < bytes.len() {
        let rest = &bytes[from..];
        let foreign = rest.iter().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        // Up to the last space before what is not ASCII; then up to the first space after it.
        let plain = match rest.get(foreign) {
            None => rest.len(),
            Some(_) => {
                rest[..foreign].iter().rposition(|&byte| byte == b' ').map_or(0, |at| at + 1)
            }
        };
        let tail = &rest[foreign..];
        let other = foreign + tail.iter().position(|&byte| byte == b' ').unwrap_or(tail.len());
        for piece in [from..from + plain, from + plain..from + other] {
            // Both ends are the ends of the text or beside a space.
            let words = text.get(piece.clone()).unwrap_or_default().unicode_word_indices();
            for (at, word) in words {
                let at = piece.start + at;
                each(at..at + word.len(), word);
            }
        }
        from += other;
    }
}

/// Whether a word is of a script that sets no spaces between words, in which the annex takes each
/// character for a word.
pub(super) fn is_unspaced(word: &str) -> bool {
    word.chars().next().is_some_and(|first| {
        matches!(u32::from(first),
            0x0E00..=0x0EFF // Thai, Lao
            | 0x1000..=0x109F // Burmese
            | 0x1780..=0x17FF // Khmer
            | 0x3040..=0x309F // Hiragana
            | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF // Han
            | 0x20000..=0x3FFFF)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<(usize, &str)> {
        let mut words = Vec::new();
        each_word(text, |at, word| {
            assert_eq!(text.get(at.clone()), Some(word));
            words.push((at.start, word));
        });
        words
    }

    fn mixed() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            6 => proptest::char::range(' ', '~'),
            2 => Just(' '),
            2 => prop_oneof![
                Just('\u{301}'), Just('\u{200d}'), Just('\u{2019}'), Just('\u{e9}'),
                Just('\u{4e2d}'), Just('\u{6587}'), Just('\u{0e01}'), Just('\u{0e31}'),
                Just('\u{3042}'), Just('\u{30ab}'), Just('\u{5d0}'), Just('\u{a0}'),
            ],
            1 => any::<char>(),
        ];
        proptest::collection::vec(char, 0..60).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn pieces_have_the_words_of_the_whole_text(text in mixed()) {
            let whole = text.unicode_word_indices().map(|(at, word)| {
                let bare = word.trim_start_matches(' ');
                (at + word.len() - bare.len(), bare)
            });
            let whole: Vec<(usize, &str)> = whole.collect();
            prop_assert_eq!(words(&text), whole);
        }
    }

    #[test]
    fn words_keep_their_inner_points_and_apostrophes() {
        let found: Vec<&str> =
            words("Dr. O'Neil's 3.14 caf\u{e9}s, e-mail!").iter().map(|w| w.1).collect();
        assert_eq!(found, ["Dr", "O'Neil's", "3.14", "caf\u{e9}s", "e", "mail"]);
    }
}
