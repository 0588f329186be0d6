//! Why a search by words, or a phrase of one, can find nothing, whatever the texts.

use super::analysis::each_token;
use super::config::TextIndex;
use super::phrase::Phrase;
use super::query::{Occur, Part, TextQuery};

pub(super) const PHRASE_LEFT_OUT: &str = "a phrase of the query has no word but stop words of \
     the index and was left out: add another word to it, or index texts with StopWords::None";

impl TextQuery {
    /// What is wrong with a query that looks for no word, or that has a phrase without one; none if
    /// all is well.
    pub(super) fn in_vain(&self, index: &TextIndex) -> Option<&'static str> {
        self.finds_nothing(index).or_else(|| {
            let mut analyzer = index.analyzer();
            let is_lost = self.distinct().into_iter().any(|(_, part, _)| match part {
                Part::Phrase(text) => Phrase::new(text, &mut analyzer).is_none(),
                _ => false,
            });
            is_lost.then_some(PHRASE_LEFT_OUT)
        })
    }

    /// What is wrong with a query that looks for no word; none if it looks for one.
    fn finds_nothing(&self, index: &TextIndex) -> Option<&'static str> {
        let mut analyzer = index.analyzer();
        let (mut words, mut excluded) = (false, false);
        for (occur, part) in &self.parts {
            let text = match part {
                Part::Words(text) | Part::Phrase(text) | Part::Prefix(text) => text,
            };
            let (mut has_word, mut has_term) = (false, false);
            each_token(text, |token| {
                has_word = true;
                has_term = has_term || analyzer.term(token.raw).is_some();
            });
            let looks = match part {
                Part::Words(_) => has_term,
                Part::Phrase(text) => Phrase::new(text, &mut analyzer).is_some(),
                // Whatever words begin so.
                Part::Prefix(_) => has_word,
            };
            match occur {
                Occur::Not => excluded |= has_word,
                _ if looks => return None,
                _ => words |= has_word,
            }
        }
        Some(match (words, excluded) {
            (true, _) => {
                "the words of the query find nothing: all of them are stop words of the index; add \
                 another word, or index texts with StopWords::None"
            }
            (false, true) => {
                "the words of the query find nothing: all of them are excluded; add one to look for"
            }
            (false, false) => "the query has no word, so that its words find nothing: give one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexical::{Language, StopWords};

    #[test]
    fn a_query_that_looks_for_no_word_is_told_why() {
        let index = TextIndex::new(Language::English);
        for (text, reason) in [
            ("", Some("has no word")),
            ("?! --", Some("has no word")),
            ("-modern -\"sea chart\"", Some("are excluded")),
            ("the of", Some("are stop words")),
            ("+the \"of the\" -modern", Some("are stop words")),
            ("the sea", None),
            ("of*", None),
            ("\"of the sea\"", None),
            ("sea \"of the\"", Some("was left out")),
            ("sea -\"of the\"", Some("was left out")),
            ("sea \"of a chart\" the", None),
        ] {
            let found = TextQuery::parse(text).in_vain(&index);
            let is_it = |reason| found.is_some_and(|found: &str| found.contains(reason));
            assert!(reason.map_or(found.is_none(), is_it), "{text}: {found:?}");
        }
        let all = index.stop_words(StopWords::None);
        assert_eq!(TextQuery::parse("the of").in_vain(&all), None);
    }
}
