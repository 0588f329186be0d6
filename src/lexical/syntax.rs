//! Text as people type it to a query. Never fails: what is no sign is text.

use super::query::{Occur, Part, TextQuery};

/// Reads a query.
pub(super) fn parse(text: &str) -> TextQuery {
    let mut query = TextQuery::default();
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (occur, body) = sign(rest);
        let (part, tail) = match quoted(body) {
            Some((phrase, tail)) => {
                let occur = if occur == Occur::Should { Occur::Must } else { occur };
                (Some((occur, Part::Phrase(phrase.to_owned()))), tail)
            }
            None => {
                let (word, tail) =
                    body.split_at(body.find(char::is_whitespace).unwrap_or(body.len()));
                match (occur, begin(word)) {
                    (occur, Some(begin)) => (Some((occur, Part::Prefix(begin.to_owned()))), tail),
                    (Occur::Should, None) => {
                        words.push(word);
                        (None, tail)
                    }
                    (occur, None) => (Some((occur, Part::Words(word.to_owned()))), tail),
                }
            }
        };
        if let Some((occur, part)) = part {
            query = query.with(occur, part);
        }
        rest = tail.trim_start();
    }
    if !words.is_empty() {
        // In front, as one text: characters of scripts without spaces stay together.
        query.parts.insert(0, (Occur::Should, Part::Words(words.join(" "))));
    }
    query
}

/// A sign stands before a word or a phrase.
fn sign(text: &str) -> (Occur, &str) {
    for (sign, occur) in [('+', Occur::Must), ('-', Occur::Not)] {
        if let Some(body) = text.strip_prefix(sign)
            && (body.starts_with(char::is_alphanumeric) || quoted(body).is_some())
        {
            return (occur, body);
        }
    }
    (Occur::Should, text)
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let (phrase, tail) = text.strip_prefix('"')?.split_once('"')?;
    phrase.contains(char::is_alphanumeric).then_some((phrase, tail))
}

/// The begin of words, if a star ends it.
fn begin(word: &str) -> Option<&str> {
    word.strip_suffix('*').filter(|begin| begin.ends_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn signs_quotes_and_stars_are_read_in_their_places() {
        let expected = TextQuery::new("x-ray C++ 5")
            .must("sea")
            .not("old")
            .phrase("sea chart")
            .not_phrase("of the")
            .prefix("port")
            .must_prefix("ital");
        let found = parse("x-ray +sea  -old C++ \"sea chart\" -\"of the\" port* +ital* 5");
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_sign_in_its_place_is_text() {
        assert_eq!(parse("a - b + \" * -- \"\""), TextQuery::new("a - b + \" * -- \"\""));
        assert_eq!(parse("\"open"), TextQuery::new("\"open"));
        assert_eq!(parse("  "), TextQuery::default());
    }

    proptest! {
        #[test]
        fn every_text_can_be_read_and_none_of_its_words_is_lost(text in "[a-c +\"*-]{0,24}") {
            let query = parse(&text);
            let parts = query.parts.iter().map(|(_, part)| match part {
                Part::Words(text) | Part::Phrase(text) | Part::Prefix(text) => text.as_str(),
            });
            let letters = |text: &str| {
                let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
                letters.sort_unstable();
                letters
            };
            let found: Vec<&str> = parts.collect();
            prop_assert_eq!(letters(&found.concat()), letters(&text));
        }
    }
}
