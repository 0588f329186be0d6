//! Phrases: whether the words of one stand one behind the other in a field of a record. Read in
//! the text itself, as the index holds no positions.

use super::analysis::{Analyzer, each_token};
use super::config::TextIndex;
use crate::record::Record;

/// The words of a phrase and their places from its first word on; stop words leave gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrase {
    /// Its distinct terms, sorted.
    terms: Vec<Vec<u8>>,
    /// Each word: its place, and which of the terms it is.
    words: Vec<(u32, usize)>,
}

impl Phrase {
    /// None if the text has no word, or stop words alone.
    pub(super) fn new(text: &str, analyzer: &mut Analyzer) -> Option<Self> {
        let mut words: Vec<(u32, Vec<u8>)> = Vec::new();
        each_token(text, |token| {
            if let Some(term) = analyzer.term(token.raw) {
                words.push((token.position, term.to_vec()));
            }
        });
        let &(first, _) = words.first()?;
        let mut terms: Vec<Vec<u8>> = words.iter().map(|(_, term)| term.clone()).collect();
        terms.sort_unstable();
        terms.dedup();
        let number = |term: &Vec<u8>| terms.binary_search(term).ok();
        let words = words.iter().filter_map(|(at, term)| Some((at - first, number(term)?)));
        Some(Self { words: words.collect(), terms })
    }

    /// Its terms, in the order of its words.
    pub(super) fn terms(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().filter_map(|(_, term)| self.terms.get(*term).map(Vec::as_slice))
    }

    /// Whether a field of the record has the phrase.
    pub(super) fn is_in(
        &self,
        record: &Record,
        index: &TextIndex,
        analyzer: &mut Analyzer,
    ) -> bool {
        let mut found = false;
        index.each_text(record, |text, _| found = found || self.is_in_text(text, analyzer));
        found
    }

    /// Begins with the places of the rarest word and keeps those that have each other word where
    /// it must be, so that a text costs its words, and each word of the phrase a bit of each place
    /// at most, however often one is repeated.
    fn is_in_text(&self, text: &str, analyzer: &mut Analyzer) -> bool {
        // Ascending, as the words of the text are.
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); self.terms.len()];
        each_token(text, |token| {
            let Some(term) = analyzer.term(token.raw) else { return };
            let number = self.terms.binary_search_by(|own| own.as_slice().cmp(term));
            if let Some(of_term) = number.ok().and_then(|number| places.get_mut(number)) {
                of_term.push(token.position);
            }
        });
        let mut words: Vec<(u32, &[u32], usize)> = Vec::with_capacity(self.words.len());
        for &(offset, term) in &self.words {
            match places.get(term).map(Vec::as_slice) {
                None | Some([]) => return false,
                Some(places) => words.push((offset, places, term)),
            }
        }
        words.sort_by_key(|(_, places, _)| places.len());
        let last = words.iter().filter_map(|(_, places, _)| places.last()).max();
        let end = last.map_or(0, |last| *last as usize + 1);
        let mut all: Vec<Option<Bits>> = vec![None; self.terms.len()];
        let mut starts: Option<Bits> = None;
        for (offset, places, term) in words {
            let is_rare = places.len() < end / 64;
            let kept = match (&mut starts, all.get_mut(term)) {
                (Some(starts), Some(bits)) if !is_rare => {
                    let bits = bits.get_or_insert_with(|| Bits::of(places.iter().copied(), end));
                    starts.and_shifted(bits, offset);
                    starts
                }
                (starts, _) => {
                    let starting = places.iter().filter_map(|at| at.checked_sub(offset));
                    let known = starting.filter(|at| starts.as_ref().is_none_or(|s| s.has(*at)));
                    let kept = Bits::of(known, end);
                    starts.insert(kept)
                }
            };
            if kept.is_empty() {
                return false;
            }
        }
        starts.is_some()
    }
}

/// Places in a text as bits.
#[derive(Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(places: impl Iterator<Item = u32>, end: usize) -> Self {
        let mut words = vec![0_u64; end.div_ceil(64)];
        for at in places {
            if let Some(word) = words.get_mut(at as usize / 64) {
                *word |= 1 << (at % 64);
            }
        }
        Self(words)
    }

    fn has(&self, at: u32) -> bool {
        self.0.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Keeps the places from which another is so far ahead.
    fn and_shifted(&mut self, others: &Self, ahead: u32) {
        let (skipped, shift) = (ahead as usize / 64, ahead % 64);
        let ahead = others.0.get(skipped..).unwrap_or_default();
        let next = ahead.iter().skip(1).copied().chain(std::iter::once(0));
        let mut shifted = ahead.iter().zip(next).map(|(word, next)| {
            // Not by 64, which no shift does.
            word >> shift | if shift == 0 { 0 } else { next << (64 - shift) }
        });
        self.0.iter_mut().for_each(|word| *word &= shifted.next().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lexical::Language;

    /// Each place of the text, each word of the phrase.
    fn naive(phrase: &str, text: &str, analyzer: &mut Analyzer) -> bool {
        let mut words = |text: &str| {
            let mut words: Vec<(u32, Vec<u8>)> = Vec::new();
            each_token(text, |token| {
                words.extend(analyzer.term(token.raw).map(|term| (token.position, term.to_vec())));
            });
            words
        };
        let (phrase, text) = (words(phrase), words(text));
        text.iter().any(|(start, _)| {
            phrase.iter().all(|(at, term)| {
                let place = start + at - phrase[0].0;
                text.iter().any(|(own, word)| *own == place && word == term)
            })
        })
    }

    proptest! {
        /// Few words, so that they repeat; "the" leaves a gap.
        #[test]
        fn a_phrase_is_where_a_look_at_each_place_finds_it(
            text in "((sea|tide|cape|the|of) ){0,300}",
            phrase in "((sea|tide|cape|the) ){0,8}(sea|tide)( (sea|tide|cape|the|reef)){0,8}",
            from in 0..200_usize,
            length in 1..150_usize,
        ) {
            let mut analyzer = TextIndex::new(Language::English).analyzer();
            let own: Vec<&str> = text.split(' ').skip(from).take(length).collect();
            for phrase in [phrase, own.join(" ")] {
                let Some(read) = Phrase::new(&phrase, &mut analyzer) else { continue };
                let expected = naive(&phrase, &text, &mut analyzer);
                prop_assert_eq!(read.is_in_text(&text, &mut analyzer), expected, "{}", phrase);
            }
        }
    }

    fn has(language: Language, phrase: &str, text: &str) -> bool {
        let mut analyzer = TextIndex::new(language).analyzer();
        let phrase = Phrase::new(phrase, &mut analyzer).unwrap();
        let record = Record::new(1).title("sea").text(text);
        phrase.is_in(&record, &TextIndex::new(language), &mut analyzer)
    }

    #[test]
    fn words_must_be_neighbors_in_order_in_one_field() {
        assert!(has(Language::English, "sea charts", "An old Sea Chart of 1300"));
        assert!(!has(Language::English, "sea chart", "chart sea"));
        assert!(!has(Language::English, "sea chart", "chart"));
        assert!(!has(Language::English, "sea chart", "sea of chart"));
        assert!(has(Language::English, "chart of the sea", "chart in a sea"));
        assert!(has(Language::None, "a b a c", "a b a b a c"));
        assert!(has(Language::None, "\u{6d77}\u{56fe}", "x\u{6d77}\u{56fe}y"));
        assert!(!has(Language::None, "\u{6d77}\u{56fe}", "\u{6d77} \u{56fe}"));
    }
}
