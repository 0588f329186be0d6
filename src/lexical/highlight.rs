//! Where the words of a query stand in a text.

use std::collections::HashSet;
use std::ops::Range;

use super::analysis::{Analyzer, each_token};
use super::config::TextIndex;
use super::prefix::last_word;
use super::query::{Occur, Part, TextQuery};

impl TextIndex {
    /// Where a text has what a query looks for, as bytes of the text, in order and apart from
    /// each other: words in whatever form, the words of phrases wherever they stand, and words
    /// that begin with its prefixes.
    ///
    /// ```
    /// use portolan::{Language, TextIndex, TextQuery};
    ///
    /// let index = TextIndex::new(Language::English);
    /// let text = "Sailing by old charts";
    /// let found = index.highlight(&TextQuery::parse("sails chart*"), text);
    /// let found: Vec<&str> = found.into_iter().map(|at| &text[at]).collect();
    /// assert_eq!(found, ["Sailing", "charts"]);
    /// ```
    #[must_use]
    pub fn highlight(&self, query: &TextQuery, text: &str) -> Vec<Range<usize>> {
        Marker::new(self, query).ranges(text)
    }
}

/// What a query looks for, analyzed once for any number of texts.
pub(crate) struct Marker {
    analyzer: Analyzer,
    terms: HashSet<Vec<u8>>,
    /// Sorted, and none begins with another.
    begins: Vec<Vec<u8>>,
}

impl Marker {
    /// For the words of a query as an index knows them.
    pub(crate) fn new(index: &TextIndex, query: &TextQuery) -> Self {
        let mut analyzer = index.analyzer();
        let mut terms: HashSet<Vec<u8>> = HashSet::new();
        let mut begins: Vec<Vec<u8>> = Vec::new();
        for (_, part) in query.parts.iter().filter(|(occur, _)| *occur != Occur::Not) {
            match part {
                Part::Words(words) | Part::Phrase(words) => each_token(words, |token| {
                    terms.extend(analyzer.term(token.raw).map(<[u8]>::to_vec));
                }),
                Part::Prefix(begin) => {
                    let (words, begin) = last_word(begin);
                    for word in words.into_iter().chain([begin]) {
                        terms.extend(analyzer.term(word).map(<[u8]>::to_vec));
                    }
                    begins.push(analyzer.prefix(begin).as_bytes().to_vec());
                }
            }
        }
        begins.sort_unstable();
        // The later one, if it begins with the one before.
        begins.dedup_by(|later, before| later.starts_with(before));
        Self { analyzer, terms, begins }
    }

    /// Bytes of `text` that the query looks for, in order and apart from each other: its words, the
    /// words of its phrases wherever they stand, and words that begin with its prefixes.
    pub(crate) fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let Self { analyzer, terms, begins } = self;
        let mut analyzer = analyzer.clone();
        let mut found: Vec<Range<usize>> = Vec::new();
        each_token(text, |token| {
            let Some(term) = analyzer.term(token.raw) else { return };
            // The only one that the term can begin with.
            let below = begins.partition_point(|begin| begin.as_slice() <= term);
            let begin = below.checked_sub(1).and_then(|at| begins.get(at));
            if terms.contains(term) || begin.is_some_and(|begin| term.starts_with(begin)) {
                let mut at = token.at;
                // A pair of characters comes after each of them.
                while let Some(last) = found.pop_if(|last| at.start < last.end) {
                    at = last.start.min(at.start)..last.end.max(at.end);
                }
                found.push(at);
            }
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexical::Language;

    fn marked(language: Language, query: &str, text: &str) -> Vec<String> {
        let query = TextQuery::parse(query);
        let found = Marker::new(&TextIndex::new(language), &query).ranges(text);
        assert!(found.is_sorted_by(|a, b| a.end <= b.start));
        found.into_iter().map(|at| text[at].to_owned()).collect()
    }

    #[test]
    fn marks_stand_on_the_words_of_the_text_whatever_their_form() {
        let text = "Sailing to Caf\u{e9}s: the SHIPS sailed; charts, Portolans";
        let found = marked(Language::English, "sail caf\u{e9} +ship \"sea chart\" port* -to", text);
        assert_eq!(found, ["Sailing", "Caf\u{e9}s", "SHIPS", "sailed", "charts", "Portolans"]);
        assert_eq!(marked(Language::None, "e-mai*", "Mailed, e: ma"), ["Mailed", "e"]);
        let many = marked(Language::None, "po* por* t* ab* po* b*", "port po abc tea sea p b");
        assert_eq!(many, ["port", "po", "abc", "tea", "b"]);
        let han = "\u{53e4}\u{6d77}\u{56fe}\u{8bf4}";
        assert_eq!(marked(Language::None, "\u{6d77}\u{56fe}", han), ["\u{6d77}\u{56fe}"]);
    }
}
