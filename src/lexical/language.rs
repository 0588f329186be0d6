//! The languages that words can be reduced to stems in. The numbers are on disk: never renumber.

use frostem::{Algorithm, Stemmer};

/// How the words of a text index are reduced to stems, so that "sailing" finds "sails".
///
/// Stems are those of the Snowball project. Where a language has no stemmer, or texts are of many
/// languages, [`Language::None`] leaves words as they are but for case. Words of scripts without
/// spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are characters and pairs of
/// neighboring characters in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum Language {
    /// No stems.
    #[default]
    None = 0,
    /// Arabic.
    Arabic = 1,
    /// Danish.
    Danish = 2,
    /// Dutch.
    Dutch = 3,
    /// English.
    English = 4,
    /// Finnish.
    Finnish = 5,
    /// French.
    French = 6,
    /// German.
    German = 7,
    /// Greek.
    Greek = 8,
    /// Hindi.
    Hindi = 9,
    /// Hungarian.
    Hungarian = 10,
    /// Indonesian.
    Indonesian = 11,
    /// Italian.
    Italian = 12,
    /// Norwegian.
    Norwegian = 13,
    /// Portuguese.
    Portuguese = 14,
    /// Romanian.
    Romanian = 15,
    /// Russian.
    Russian = 16,
    /// Spanish.
    Spanish = 17,
    /// Swedish.
    Swedish = 18,
    /// Tamil.
    Tamil = 19,
    /// Turkish; `I` and `i` are two letters.
    Turkish = 20,
}

/// Every language with its ISO 639-1 code and its stemmer, in the order of their numbers.
pub(super) const LANGUAGES: [(Language, &str, Option<Algorithm>); 21] = [
    (Language::None, "none", None),
    (Language::Arabic, "ar", Some(Algorithm::Arabic)),
    (Language::Danish, "da", Some(Algorithm::Danish)),
    (Language::Dutch, "nl", Some(Algorithm::Dutch)),
    (Language::English, "en", Some(Algorithm::English)),
    (Language::Finnish, "fi", Some(Algorithm::Finnish)),
    (Language::French, "fr", Some(Algorithm::French)),
    (Language::German, "de", Some(Algorithm::German)),
    (Language::Greek, "el", Some(Algorithm::Greek)),
    (Language::Hindi, "hi", Some(Algorithm::Hindi)),
    (Language::Hungarian, "hu", Some(Algorithm::Hungarian)),
    (Language::Indonesian, "id", Some(Algorithm::Indonesian)),
    (Language::Italian, "it", Some(Algorithm::Italian)),
    (Language::Norwegian, "no", Some(Algorithm::Norwegian)),
    (Language::Portuguese, "pt", Some(Algorithm::Portuguese)),
    (Language::Romanian, "ro", Some(Algorithm::Romanian)),
    (Language::Russian, "ru", Some(Algorithm::Russian)),
    (Language::Spanish, "es", Some(Algorithm::Spanish)),
    (Language::Swedish, "sv", Some(Algorithm::Swedish)),
    (Language::Tamil, "ta", Some(Algorithm::Tamil)),
    (Language::Turkish, "tr", Some(Algorithm::Turkish)),
];

impl Language {
    /// The language of an ISO 639-1 code (`en`, `de`; `none` for [`Language::None`]), if it is
    /// known.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        LANGUAGES.iter().find(|(_, known, _)| *known == code).map(|(language, ..)| *language)
    }

    /// The ISO 639-1 code.
    #[must_use]
    pub fn code(self) -> &'static str {
        LANGUAGES.get(self as usize).map_or("none", |(_, code, _)| code)
    }

    /// The codes of all languages.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        LANGUAGES.iter().map(|(_, code, _)| *code)
    }

    /// The language of that number, if there is one.
    pub(super) fn from_u8(number: u8) -> Option<Self> {
        LANGUAGES.get(usize::from(number)).map(|(language, ..)| *language)
    }

    pub(super) fn stemmer(self) -> Option<Stemmer> {
        LANGUAGES.get(self as usize)?.2.map(Stemmer::new)
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::str::FromStr for Language {
    type Err = ParseLanguageError;

    /// A code as of [`Language::from_code`], or the language's English name.
    fn from_str(text: &str) -> Result<Self, ParseLanguageError> {
        let is_named = |language: &Self| format!("{language:?}").eq_ignore_ascii_case(text);
        let all = || LANGUAGES.iter().map(|(language, ..)| *language);
        let found = Self::from_code(text).or_else(|| all().find(is_named));
        found.ok_or_else(|| ParseLanguageError { text: text.to_owned() })
    }
}

/// A text that names no [`Language`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{text:?} is no language that is known: use one of {}", known())]
pub struct ParseLanguageError {
    /// The text.
    pub text: String,
}

fn known() -> String {
    Language::codes().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_and_each_code_leads_to_its_language() {
        for (number, (language, code, _)) in LANGUAGES.iter().enumerate() {
            assert_eq!(*language as usize, number);
            assert_eq!(Language::from_u8(number as u8), Some(*language));
            assert_eq!(Language::from_code(code), Some(*language));
            assert_eq!(language.code(), *code);
        }
        assert_eq!(Language::from_u8(LANGUAGES.len() as u8), None);
        assert_eq!("German".parse(), Ok(Language::German));
        assert_eq!("english".parse(), Ok(Language::English));
        let error = "klingon".parse::<Language>().unwrap_err().to_string();
        assert!(error.contains("\"klingon\"") && error.contains("en, fi"), "{error}");
    }
}
