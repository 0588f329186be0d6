//! Phrases: whether the words of one stand one behind the other in a field of a record. Read in
//! the text itself, as the index holds no positions.

use std::collections::HashMap;

use super::analysis::{Analyzer, each_token};
use super::config::TextIndex;
use crate::record::Record;

/// The words of a phrase and their places from its first word on; stop words leave gaps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Phrase {
    words: Vec<(u32, Vec<u8>)>,
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
        words.iter_mut().for_each(|(at, _)| *at -= first);
        Some(Self { words })
    }

    /// Its terms, in the order of its words.
    pub(super) fn terms(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(|(_, term)| term.as_slice())
    }
}

/// The phrases of a query, looked for together: a text is read once for all of them.
pub(super) struct Phrases {
    /// Their distinct terms, numbered.
    terms: HashMap<Vec<u8>, usize>,
    /// Of each phrase the words, as place and number of the term, and whether a hit has it.
    all: Vec<(Vec<(u32, usize)>, bool)>,
    /// The phrases that begin with a term, by its number: the others need no look at a text that
    /// lacks it.
    beginning: Vec<Vec<usize>>,
    places: Places,
}

impl Phrases {
    /// Of phrases, each with whether a hit has it.
    pub(super) fn new(phrases: impl IntoIterator<Item = (Phrase, bool)>) -> Self {
        let mut terms: HashMap<Vec<u8>, usize> = HashMap::new();
        let (mut all, mut beginning) = (Vec::new(), Vec::<Vec<usize>>::new());
        for (number, (phrase, wanted)) in phrases.into_iter().enumerate() {
            let mut numbered = |(at, term): (u32, Vec<u8>)| {
                let next = terms.len();
                (at, *terms.entry(term).or_insert(next))
            };
            let words: Vec<_> = phrase.words.into_iter().map(&mut numbered).collect();
            beginning.resize_with(terms.len(), Vec::new);
            let first = words.first().and_then(|(_, term)| beginning.get_mut(*term));
            if let Some(list) = first {
                list.push(number);
            }
            all.push((words, wanted));
        }
        let places = Places::new(terms.len());
        Self { terms, all, beginning, places }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the fields of the record have each phrase that is wanted, and none of the others.
    pub(super) fn are_met(
        &mut self,
        record: &Record,
        index: &TextIndex,
        analyzer: &mut Analyzer,
    ) -> bool {
        let mut found = vec![false; self.all.len()];
        index.each_text(record, |text, _| self.find(text, analyzer, &mut found));
        self.all.iter().zip(found).all(|((_, wanted), found)| found == *wanted)
    }

    /// Marks the phrases that a text has.
    fn find(&mut self, text: &str, analyzer: &mut Analyzer, found: &mut [bool]) {
        let Self { terms, all, beginning, places } = self;
        places.read(text, terms, analyzer);
        let here = places.terms.clone();
        for number in here.iter().filter_map(|term| beginning.get(*term)).flatten() {
            if let (Some((words, _)), Some(found)) = (all.get(*number), found.get_mut(*number)) {
                *found = *found || places.have(words);
            }
        }
    }
}

/// Where a text has the terms of phrases.
struct Places {
    /// Of each term, ascending, as the words of the text are.
    of: Vec<Vec<u32>>,
    /// The same as bits, made when asked for.
    bits: Vec<Option<Bits>>,
    /// The terms that the text has.
    terms: Vec<usize>,
    /// All places are below.
    end: usize,
}

impl Places {
    /// Of so many terms, in no text.
    fn new(terms: usize) -> Self {
        Self { of: vec![Vec::new(); terms], bits: vec![None; terms], terms: Vec::new(), end: 0 }
    }

    /// Reads a text in place of the one before.
    fn read(&mut self, text: &str, terms: &HashMap<Vec<u8>, usize>, analyzer: &mut Analyzer) {
        for term in self.terms.drain(..) {
            if let (Some(of), Some(bits)) = (self.of.get_mut(term), self.bits.get_mut(term)) {
                of.clear();
                *bits = None;
            }
        }
        self.end = 0;
        each_token(text, |token| {
            let term = analyzer.term(token.raw).and_then(|term| terms.get(term));
            let Some((term, of)) = term.and_then(|term| Some((term, self.of.get_mut(*term)?)))
            else {
                return;
            };
            if of.is_empty() {
                self.terms.push(*term);
            }
            of.push(token.position);
            self.end = self.end.max(token.position as usize + 1);
        });
    }

    /// Begins with the places of the rarest word and keeps those that have each other word where
    /// it must be, so that each word of the phrase costs a bit of each place at most, however
    /// often one is repeated.
    fn have(&mut self, words: &[(u32, usize)]) -> bool {
        let Self { of, bits, end, .. } = self;
        let mut rarest_first: Vec<(&[u32], u32, usize)> = Vec::with_capacity(words.len());
        for &(offset, term) in words {
            match of.get(term).map(Vec::as_slice) {
                None | Some([]) => return false,
                Some(places) => rarest_first.push((places, offset, term)),
            }
        }
        rarest_first.sort_by_key(|(places, ..)| places.len());
        let mut starts: Option<Bits> = None;
        for (places, offset, term) in rarest_first {
            let is_rare = places.len() < *end / 64;
            let kept = match (&mut starts, bits.get_mut(term)) {
                (Some(starts), Some(bits)) if !is_rare => {
                    let bits = bits.get_or_insert_with(|| Bits::of(places.iter().copied(), *end));
                    starts.and_shifted(bits, offset);
                    starts
                }
                (starts, _) => {
                    let starting = places.iter().filter_map(|at| at.checked_sub(offset));
                    let known = starting.filter(|at| starts.as_ref().is_none_or(|s| s.has(*at)));
                    let kept = Bits::of(known, *end);
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

    /// Which of the phrases a record has that has these texts.
    fn found(phrases: &[Phrase], texts: &[&str], analyzer: &mut Analyzer) -> Vec<bool> {
        let mut read = Phrases::new(phrases.iter().map(|phrase| (phrase.clone(), true)));
        let mut found = vec![false; phrases.len()];
        texts.iter().for_each(|text| read.find(text, analyzer, &mut found));
        found
    }

    /// Texts of few words, so that they repeat; "the" leaves a gap, and of characters without
    /// spaces a pair stands in the place of its first.
    fn texts() -> impl Strategy<Value = (String, String)> {
        let latin = (
            "((sea|tide|cape|the|of) ){0,300}",
            "((sea|tide|cape|the) ){0,8}(sea|tide)( (sea|tide|cape|the|reef)){0,8}",
        );
        let unspaced = (
            "([\u{6d77}\u{56fe}\u{8239}]|\u{6d77}\u{56fe}|sea | the ){0,120}",
            "([\u{6d77}\u{56fe}\u{8239}]| the | ){0,5}[\u{6d77}\u{56fe}]( ?sea)?",
        );
        prop_oneof![latin, unspaced]
    }

    proptest! {
        #[test]
        fn phrases_are_where_a_look_at_each_place_finds_them(
            drawn in proptest::collection::vec(texts(), 1..4),
            from in 0..200_usize,
            length in 1..150_usize,
        ) {
            let index = TextIndex::new(Language::English);
            let mut analyzer = index.analyzer();
            let texts: Vec<&str> = drawn.iter().map(|(text, _)| text.as_str()).collect();
            let own = texts.iter().map(|text| text.chars().skip(from).take(length).collect());
            let drawn = drawn.iter().map(|(_, phrase)| phrase.clone());
            let (mut phrases, mut expected) = (Vec::new(), Vec::new());
            for text in drawn.chain(own).collect::<Vec<String>>() {
                if let Some(phrase) = Phrase::new(&text, &mut analyzer) {
                    let mut is_in = |within: &&str| naive(&text, within, &mut analyzer);
                    expected.push(texts.iter().any(&mut is_in));
                    phrases.push(phrase);
                }
            }
            prop_assert_eq!(&found(&phrases, &texts, &mut analyzer), &expected, "{:?}", phrases);
            // Wanted and excluded so, the record meets them; with one the other way, not.
            let record = Record::new(1).title(texts[0]).text(texts[1..].join(" q q q "));
            let in_record = [texts[0], record.text.as_str()];
            let mut sides: Vec<(Phrase, bool)> = phrases.clone().into_iter()
                .zip(found(&phrases, &in_record, &mut analyzer)).collect();
            prop_assert!(Phrases::new(sides.clone()).are_met(&record, &index, &mut analyzer));
            if let Some((_, wanted)) = sides.last_mut() {
                *wanted = !*wanted;
                prop_assert!(!Phrases::new(sides).are_met(&record, &index, &mut analyzer));
            }
        }
    }

    fn has(language: Language, phrase: &str, text: &str) -> bool {
        let mut analyzer = TextIndex::new(language).analyzer();
        let phrase = Phrase::new(phrase, &mut analyzer).unwrap();
        let record = Record::new(1).title("sea").text(text);
        Phrases::new([(phrase, true)]).are_met(&record, &TextIndex::new(language), &mut analyzer)
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
