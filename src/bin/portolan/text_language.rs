//! The option that tells in which language the words of a new collection are indexed.

use portolan::{CollectionOptions, Language, ParseLanguageError, StopWords, TextIndex};

/// A language to index words in, or none to index no words.
#[derive(Clone, Copy)]
pub struct TextLanguage(Option<Language>);

impl TextLanguage {
    /// Options with the index.
    pub fn of(self, options: CollectionOptions, stop_words: StopWords) -> CollectionOptions {
        match self.0 {
            Some(language) => options.text(TextIndex::new(language).stop_words(stop_words)),
            None => options,
        }
    }
}

impl Default for TextLanguage {
    fn default() -> Self {
        Self(Some(Language::English))
    }
}

impl std::str::FromStr for TextLanguage {
    type Err = ParseLanguageError;

    fn from_str(code: &str) -> Result<Self, ParseLanguageError> {
        if code == "off" { Ok(Self(None)) } else { code.parse().map(|of| Self(Some(of))) }
    }
}
