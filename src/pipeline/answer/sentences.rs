//! Which sentences of an answer cite nothing. Pure.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Bytes of the sentences of `text` that no marker belongs to. Markers are given by their bytes, in
/// order and apart from each other.
pub(super) fn without(text: &str, markers: &[Range<usize>]) -> Vec<Range<usize>> {
    // A bracket behind a period would be the end of the sentence, and the number in it the
    // beginning of the next: sentences are those of the text without its markers.
    let mut bare = String::with_capacity(text.len());
    let (mut cuts, mut from) = (Vec::with_capacity(markers.len()), 0);
    for marker in markers {
        bare.push_str(text.get(from..marker.start).unwrap_or_default());
        cuts.push((bare.len(), marker.len()));
        from = marker.end;
    }
    bare.push_str(text.get(from..).unwrap_or_default());

    let mut uncited = Vec::new();
    for (at, sentence) in bare.split_sentence_bound_indices() {
        if !sentence.contains(char::is_alphanumeric) {
            continue;
        }
        let end = at + sentence.trim_end().len();
        let begin = end - sentence.trim().len();
        let is_of = |&(cut, _): &(usize, usize)| {
            if cut > begin {
                // In it, or behind it.
                cut <= end || is_blank(&bare, end, cut)
            } else {
                // Before it, at the beginning of a line.
                let line =
                    bare.get(..cut).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
                is_blank(&bare, cut, begin) && is_blank(&bare, line, cut)
            }
        };
        if !cuts.iter().any(is_of) {
            uncited.push(placed(&cuts, begin, true)..placed(&cuts, end, false));
        }
    }
    uncited
}

fn is_blank(text: &str, from: usize, to: usize) -> bool {
    text.get(from..to).is_some_and(|text| text.trim_matches([' ', '\t']).is_empty())
}

/// Where a byte of the bare text is in the text; behind the markers that stand there, or before.
fn placed(cuts: &[(usize, usize)], at: usize, behind: bool) -> usize {
    let before = cuts.iter().filter(|(cut, _)| *cut < at || (behind && *cut == at));
    before.fold(at, |at, (_, length)| at.saturating_add(*length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts of the sentences that have no `[1]`.
    fn uncited(text: &str) -> Vec<&str> {
        let markers = text.match_indices("[1]").map(|(at, marker)| at..at + marker.len());
        let markers: Vec<Range<usize>> = markers.collect();
        without(text, &markers).into_iter().map(|of| &text[of]).collect()
    }

    #[test]
    fn a_marker_belongs_to_the_sentence_it_stands_in_or_behind() {
        for (text, expected) in [
            ("It is so [1]. It is not. Is it [1]?", vec!["It is not."]),
            ("It is so.[1] It is not.", vec!["It is not."]),
            ("It is so. [1] It is not. [1][1] Or is it?", vec!["Or is it?"]),
            ("[1] It is so. It is not.", vec!["It is not."]),
            ("Two things:\n- one [1]\n- two\n", vec!["Two things:", "- two"]),
            ("One.\n[1] Two.", vec!["One."]),
            ("About 3.5 [1] m. [1]", vec![]),
            ("*** [1] ...", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(uncited(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn spans_are_in_order_and_hold_words_and_no_cited_sentence(
            text in "(\\[1\\]|[A-C][a-c]{0,3}|[.?!] |\n| |\u{e9}){0,30}",
        ) {
            let markers = text.match_indices("[1]").map(|(at, marker)| at..at + marker.len());
            let markers: Vec<Range<usize>> = markers.collect();
            let mut end = 0;
            for of in without(&text, &markers) {
                prop_assert!(of.start >= end && of.end > of.start);
                end = of.end;
                let sentence = text.get(of).expect("whole characters");
                prop_assert!(sentence.contains(char::is_alphanumeric));
                prop_assert!(!sentence.contains("[1]"), "{sentence}");
            }
        }
    }
}
