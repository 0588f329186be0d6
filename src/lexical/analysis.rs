//! Words to terms: one form for case, width and accents that are written in two ways; stop words
//! left out; stems. What the index holds and what a query asks for both pass here.

use std::collections::HashSet;
use std::ops::Range;

use frostem::Stemmer;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::language::Language;
use super::stop_words::StopWords;
use super::words::{each_word, is_unspaced};
use crate::format::{TERM_BYTES_MAX, fingerprint};

/// One word of a text, or a pair of neighboring characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'t> {
    /// Place among the words of the text, stop words counted.
    pub(super) position: u32,
    /// Bytes of the text.
    pub(super) at: Range<usize>,
    /// The text as it stands there.
    pub(super) raw: &'t str,
}

/// Calls `each` with every token of a text, in order; a pair after its second character.
pub(super) fn each_token<'t>(text: &'t str, mut each: impl FnMut(Token<'t>)) {
    let mut position = 0;
    let mut unspaced: Option<Range<usize>> = None;
    each_word(text, |at, raw| {
        let next = is_unspaced(raw).then(|| at.clone());
        each(Token { position, at: at.clone(), raw });
        if let (Some(first), Some(second)) = (&unspaced, &next)
            && first.end == second.start
        {
            let pair = first.start..second.end;
            let raw = text.get(pair.clone()).unwrap_or_default();
            each(Token { position: position.saturating_sub(1), at: pair, raw });
        }
        unspaced = next;
        position = position.saturating_add(1);
    });
}

/// The terms of a text, each with the place of its word, as an index of that language has them by
/// default.
pub(crate) fn terms(language: Language, text: &str) -> Vec<(usize, String)> {
    let mut analyzer = Analyzer::new(language, StopWords::default());
    let mut terms = Vec::new();
    each_token(text, |token| {
        if let Some(term) = analyzer.term(token.raw) {
            terms.push((token.position as usize, String::from_utf8_lossy(term).into_owned()));
        }
    });
    terms
}

/// Turns the words of one language into terms.
#[derive(Clone)]
pub(super) struct Analyzer {
    language: Language,
    stop_words: Option<&'static HashSet<String>>,
    stemmer: Option<Stemmer>,
    folded: String,
    term: Vec<u8>,
}

impl Analyzer {
    pub(super) fn new(language: Language, stop_words: StopWords) -> Self {
        let (folded, term) = (String::new(), Vec::new());
        let stop_words = stop_words.list(language).filter(|list| !list.is_empty());
        Self { language, stop_words, stemmer: language.stemmer(), folded, term }
    }

    /// The term of a word; none for a stop word.
    pub(super) fn term(&mut self, raw: &str) -> Option<&[u8]> {
        self.folded.clear();
        fold_into(self.language, raw, &mut self.folded);
        if self.stop_words.is_some_and(|list| list.contains(&self.folded)) {
            return None;
        }
        self.term.clear();
        match self.stemmer {
            Some(stemmer) => {
                self.term.extend_from_slice(stemmer.stem(&self.folded).as_bytes());
            }
            None => self.term.extend_from_slice(self.folded.as_bytes()),
        }
        if self.term.is_empty() {
            // Some stemmers leave nothing of a word that is all ending.
            self.term.extend_from_slice(self.folded.as_bytes());
        }
        cut(&mut self.term);
        (!self.term.is_empty()).then_some(&self.term)
    }

    /// The begin of a word as terms begin with it: folded, not stemmed.
    pub(super) fn prefix(&mut self, raw: &str) -> &str {
        self.folded.clear();
        fold_into(self.language, raw, &mut self.folded);
        &self.folded
    }
}

/// The one form of a word for case, width and accents that are written in two ways.
pub(super) fn fold(language: Language, raw: &str) -> String {
    let mut folded = String::new();
    fold_into(language, raw, &mut folded);
    folded
}

/// Appends the folded word.
fn fold_into(language: Language, raw: &str, folded: &mut String) {
    if raw.is_ascii() && language != Language::Turkish {
        folded.push_str(raw);
        folded.make_ascii_lowercase();
        return;
    }
    let one_form = |text: &str| match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => text.to_owned(),
        _ => text.nfkc().collect(),
    };
    let mut text = one_form(raw).replace('\u{2019}', "'");
    if language == Language::Turkish {
        text = text.replace('I', "\u{131}").replace('\u{130}', "i");
    }
    // Lower case of some letters is two characters, which have another form as one.
    folded.push_str(&one_form(&text.to_lowercase()));
}

/// Bytes of the hash that stands at the end of a term that was cut.
const HASH_BYTES: usize = 16;

/// Cuts a term that is longer than keys can hold; its hash keeps it apart from others.
fn cut(term: &mut Vec<u8>) {
    if term.len() > TERM_BYTES_MAX {
        let hash = fingerprint(term).to_be_bytes();
        term.truncate(TERM_BYTES_MAX - HASH_BYTES);
        term.extend_from_slice(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(language: Language, text: &str) -> Vec<(u32, String)> {
        let mut analyzer = Analyzer::new(language, StopWords::Short);
        let mut terms = Vec::new();
        each_token(text, |token| {
            if let Some(term) = analyzer.term(token.raw) {
                terms.push((token.position, String::from_utf8_lossy(term).into_owned()));
            }
        });
        terms
    }

    fn plain(language: Language, text: &str) -> Vec<String> {
        terms(language, text).into_iter().map(|(_, term)| term).collect()
    }

    #[test]
    fn english_loses_case_possessives_endings_and_stop_words() {
        let found = terms(Language::English, "The Sailors\u{2019} ship's SAILING to Venice");
        let expected = [(1, "sailor"), (2, "ship"), (3, "sail"), (5, "venic")];
        assert_eq!(found, expected.map(|(at, term)| (at, term.to_owned())));
    }

    #[test]
    fn two_ways_to_write_a_letter_are_one_term() {
        let composed = plain(Language::None, "caf\u{e9} \u{fb01}n \u{ff21}\u{ff22}");
        assert_eq!(composed, plain(Language::None, "CAFE\u{301} fin ab"));
    }

    #[test]
    fn turkish_knows_two_letters_i() {
        assert_eq!(plain(Language::Turkish, "I"), ["\u{131}"]);
        assert_eq!(plain(Language::Turkish, "\u{130}"), ["i"]);
        assert_eq!(plain(Language::None, "I"), ["i"]);
    }

    #[test]
    fn scripts_without_spaces_give_characters_and_pairs() {
        let found = terms(Language::None, "\u{6d77}\u{56fe}, \u{8239} a");
        let expected =
            [(0, "\u{6d77}"), (1, "\u{56fe}"), (0, "\u{6d77}\u{56fe}"), (2, "\u{8239}"), (3, "a")];
        assert_eq!(found, expected.map(|(at, term)| (at, term.to_owned())));
    }

    #[test]
    fn long_words_are_cut_and_still_told_apart() {
        let long = "x".repeat(400);
        let a = plain(Language::None, &format!("{long}1"));
        let b = plain(Language::None, &format!("{long}2"));
        let mut analyzer = Analyzer::new(Language::None, StopWords::Full);
        assert_eq!(analyzer.term(&long).map(<[u8]>::len), Some(TERM_BYTES_MAX));
        assert_ne!(a, b);
    }

    proptest! {
        #[test]
        fn every_language_takes_any_text(
            text in "\\PC{0,40}", number in 0u8..21, stop_words in 0u8..3,
        ) {
            let language = Language::from_u8(number).unwrap();
            let mut analyzer = Analyzer::new(language, StopWords::from_u8(stop_words).unwrap());
            each_token(&text, |token| {
                assert_eq!(text.get(token.at.clone()), Some(token.raw));
                if let Some(term) = analyzer.term(token.raw) {
                    assert!((1..=TERM_BYTES_MAX).contains(&term.len()));
                }
            });
        }
    }
}
