//! Phrases: whether the words of one stand one behind the other in a field of a record. Read in
//! the text itself, as the index holds no positions.

use std::collections::HashSet;

use super::analysis::{Analyzer, each_token};
use super::config::TextIndex;
use crate::record::Record;

/// The words of a phrase and their places from its first word on; stop words leave gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        words.iter_mut().for_each(|(position, _)| *position -= first);
        Some(Self { words })
    }

    /// Its terms.
    pub(super) fn terms(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(|(_, term)| term.as_slice())
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

    fn is_in_text(&self, text: &str, analyzer: &mut Analyzer) -> bool {
        // Each place at which a word stands, by the first of the phrase's words that is it.
        let mut places: HashSet<(u32, &[u8])> = HashSet::new();
        each_token(text, |token| {
            if let Some(term) = analyzer.term(token.raw)
                && let Some((_, own)) = self.words.iter().find(|(_, own)| own == term)
            {
                places.insert((token.position, own.as_slice()));
            }
        });
        let Some((_, first)) = self.words.first() else { return false };
        let starts = places.iter().filter(|(_, term)| term == first);
        starts.map(|(at, _)| *at).any(|start| {
            self.words.iter().all(|(offset, term)| {
                let at = start.checked_add(*offset);
                at.is_some_and(|at| places.contains(&(at, term.as_slice())))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexical::Language;

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
