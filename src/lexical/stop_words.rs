//! Words that are too common to search by: which are left out. The numbers are on disk: never
//! renumber.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::analysis::fold;
use super::language::{LANGUAGES, Language};

/// Which common words of the language ("the", "of") a text index leaves out. They make postings
/// long and say little; without them, a phrase of common words alone is not found.
///
/// ```
/// use portolan::{CollectionOptions, Database, Language, Metric, Record, StopWords, TextIndex};
///
/// # fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("kb.portolan");
/// let db = Database::open(&path)?;
/// let all = TextIndex::new(Language::English).stop_words(StopWords::None);
/// let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine).text(all))?;
/// docs.upsert(Record::new("hamlet").text("To be, or not to be"))?;
/// assert_eq!(docs.search_text("\"to be or not to be\"").run()?.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum StopWords {
    /// No word is left out.
    None = 0,
    /// In English the 33 of Lucene, in other languages none.
    #[default]
    Short = 1,
    /// The list of NLTK for the language, 50 to 800 words; refused for languages without one
    /// ([`Language::None`] and Hindi).
    Full = 2,
}

const ALL: [(StopWords, &str); 3] =
    [(StopWords::None, "none"), (StopWords::Short, "short"), (StopWords::Full, "full")];

/// The stop words of Lucene's analyzer of English.
const ENGLISH: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "was", "will", "with",
];

impl StopWords {
    /// The choice of that number, if there is one.
    pub(super) fn from_u8(number: u8) -> Option<Self> {
        ALL.get(usize::from(number)).map(|(choice, _)| *choice)
    }

    /// The words to leave out, as words are folded; none if there is no list for the language.
    pub(super) fn list(self, language: Language) -> Option<&'static HashSet<String>> {
        static NONE: OnceLock<HashSet<String>> = OnceLock::new();
        static SHORT: OnceLock<HashSet<String>> = OnceLock::new();
        static FULL: [OnceLock<HashSet<String>>; LANGUAGES.len()] =
            [const { OnceLock::new() }; LANGUAGES.len()];
        match self {
            Self::Full => {
                let words = stop_words::lookup(language.code())?;
                let folded = || words.iter().map(|word| fold(language, word)).collect();
                Some(FULL.get(language as usize)?.get_or_init(folded))
            }
            Self::Short if language == Language::English => {
                Some(SHORT.get_or_init(|| ENGLISH.map(str::to_owned).into()))
            }
            Self::None | Self::Short => Some(NONE.get_or_init(HashSet::new)),
        }
    }
}

impl std::fmt::Display for StopWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(ALL.get(*self as usize).map_or("", |(_, name)| name))
    }
}

impl std::str::FromStr for StopWords {
    type Err = ParseStopWordsError;

    fn from_str(name: &str) -> Result<Self, ParseStopWordsError> {
        let found = ALL.iter().find(|(_, known)| *known == name);
        let wrong = || ParseStopWordsError { text: name.to_owned() };
        found.map(|(choice, _)| *choice).ok_or_else(wrong)
    }
}

/// A text that names no choice of [`StopWords`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{text:?} is no choice of stop words: use none, short or full")]
pub struct ParseStopWordsError {
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_and_each_name_leads_to_its_choice() {
        for (number, (choice, name)) in ALL.iter().enumerate() {
            assert_eq!(*choice as usize, number);
            assert_eq!(StopWords::from_u8(number as u8), Some(*choice));
            assert_eq!((choice.to_string().as_str(), name.parse()), (*name, Ok(*choice)));
        }
        assert_eq!(StopWords::from_u8(3), None);
        assert!("some".parse::<StopWords>().is_err());
    }

    #[test]
    fn lists_are_those_of_their_language_as_words_are_folded() {
        let has = |choice: StopWords, language: Language, word: &str| {
            choice.list(language).is_some_and(|list| list.contains(word))
        };
        assert!(has(StopWords::Short, Language::English, "the"));
        assert!(!has(StopWords::Short, Language::English, "while"));
        assert!(has(StopWords::Full, Language::English, "while"));
        assert!(has(StopWords::Full, Language::German, "w\u{fc}rde"));
        assert!(!has(StopWords::None, Language::English, "the"));
        assert!(!has(StopWords::Short, Language::German, "und"));
        let without: Vec<Language> = LANGUAGES
            .iter()
            .map(|(language, ..)| *language)
            .filter(|language| StopWords::Full.list(*language).is_none())
            .collect();
        assert_eq!(without, [Language::None, Language::Hindi]);
    }

    /// The lists decide which terms are in the file: another list is another number.
    #[test]
    fn lists_are_those_that_files_were_made_with() {
        let mut sum = 0;
        let mut count = 0;
        for (language, ..) in LANGUAGES {
            let Some(list) = StopWords::Full.list(language) else { continue };
            let mut list: Vec<&str> = list.iter().map(String::as_str).collect();
            list.sort_unstable();
            count += list.len();
            let text = format!("{language} {}", list.join(" "));
            sum ^= xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        }
        assert_eq!((count, sum), (4_700, 991_199_135_022_894_999));
    }
}
