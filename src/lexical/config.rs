//! What is indexed of a record's text, and how it is scored: the setting of a collection.

use super::analysis::Analyzer;
use super::language::Language;
use super::stop_words::StopWords;
use super::text_error::TextError;
use crate::format::{FIELD_NAME_BYTES_MAX, FormatError, read_u16};
use crate::record::{Record, Value, check_field_name};

/// How words become terms. Raised when another version of this library makes other terms of the
/// same text; an index of another number is to be built anew.
const ANALYSIS: u16 = 1;
/// Most fields of one index.
const FIELDS: usize = 64;
/// Bytes of the encoded setting before its fields.
const HEAD_BYTES: usize = 13;
const WHAT: &str = "text index";
const TITLE: u8 = 0;
const TEXT: u8 = 1;
const METADATA: u8 = 2;

/// A field whose words are indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Title,
    Text,
    Metadata(String),
}

/// Which fields of the records of a collection are searched by words, and how: given to
/// [`CollectionOptions::text`](crate::CollectionOptions::text) or
/// [`Collection::index_text`](crate::Collection::index_text), and stored with the collection.
///
/// Records are scored by BM25 over weighted fields (BM25F): a word that stands once in a field of
/// weight 3 counts as three in one of weight 1, and the field's length grows alike.
///
/// ```
/// use portolan::{Language, TextIndex};
///
/// let index = TextIndex::new(Language::English).title(3).field("author", 2);
/// assert_eq!(index.language(), Language::English);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct TextIndex {
    language: Language,
    stop_words: StopWords,
    fields: Vec<(Source, u8)>,
    k1: f32,
    b: f32,
}

impl Default for TextIndex {
    fn default() -> Self {
        Self::new(Language::None)
    }
}

impl TextIndex {
    /// Title and text, with a weight of 1 each, k1 0.9 and b 0.4.
    pub fn new(language: Language) -> Self {
        let fields = vec![(Source::Title, 1), (Source::Text, 1)];
        Self { language, stop_words: StopWords::default(), fields, k1: 0.9, b: 0.4 }
    }

    /// Which common words are left out. Default: [`StopWords::Short`].
    pub fn stop_words(mut self, stop_words: StopWords) -> Self {
        self.stop_words = stop_words;
        self
    }

    /// The weight of titles, 0 to leave them out.
    pub fn title(self, weight: u8) -> Self {
        self.with(Source::Title, weight)
    }

    /// The weight of texts, 0 to leave them out.
    pub fn text(self, weight: u8) -> Self {
        self.with(Source::Text, weight)
    }

    /// The weight of a metadata field, 0 to leave it out: of its text, or of the texts of its list.
    /// Other values are not indexed.
    pub fn field(self, name: impl Into<String>, weight: u8) -> Self {
        self.with(Source::Metadata(name.into()), weight)
    }

    /// How soon more of the same word stops to matter, 0 (at once) to 100. Default: 0.9.
    pub fn k1(mut self, k1: f32) -> Self {
        self.k1 = k1;
        self
    }

    /// How much longer records must say more, 0 (not at all) to 1. Default: 0.4.
    pub fn b(mut self, b: f32) -> Self {
        self.b = b;
        self
    }

    /// The language.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// What turns words into terms.
    pub(super) fn analyzer(&self) -> Analyzer {
        Analyzer::new(self.language, self.stop_words)
    }

    fn with(mut self, source: Source, weight: u8) -> Self {
        self.fields.retain(|(known, _)| *known != source);
        if weight > 0 {
            self.fields.push((source, weight));
        }
        self
    }

    /// k1 and b.
    pub(super) fn saturation(&self) -> (f32, f32) {
        (self.k1, self.b)
    }

    /// Refuses what cannot be stored or scored by.
    pub(crate) fn check(&self) -> Result<(), TextError> {
        if !(0.0..=100.0).contains(&self.k1) || !(0.0..=1.0).contains(&self.b) {
            return Err(TextError::Saturation { k1: self.k1, b: self.b });
        }
        if self.stop_words.list(self.language).is_none() {
            return Err(TextError::StopWords { language: self.language });
        }
        if self.fields.is_empty() || self.fields.len() > FIELDS {
            return Err(TextError::Fields { found: self.fields.len() });
        }
        for (source, _) in &self.fields {
            if let Source::Metadata(name) = source {
                check_field_name(name)?;
            }
        }
        Ok(())
    }

    /// Calls `each` with every text that is indexed of a record, and its weight.
    pub(super) fn each_text<'r>(&self, record: &'r Record, mut each: impl FnMut(&'r str, u32)) {
        for (source, weight) in &self.fields {
            let weight = u32::from(*weight);
            match source {
                Source::Title => {
                    if let Some(title) = &record.title {
                        each(title, weight);
                    }
                }
                Source::Text => each(&record.text, weight),
                Source::Metadata(name) => match record.metadata.get(name) {
                    Some(Value::Text(text)) => each(text, weight),
                    Some(Value::List(items)) => {
                        for item in items {
                            if let Value::Text(text) = item {
                                each(text, weight);
                            }
                        }
                    }
                    _ => {}
                },
            }
        }
    }

    /// The payload of the setting.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = ANALYSIS.to_le_bytes().to_vec();
        bytes.extend([self.language as u8, self.stop_words as u8, self.fields.len() as u8]);
        bytes.extend(self.k1.to_le_bytes());
        bytes.extend(self.b.to_le_bytes());
        for (source, weight) in &self.fields {
            let (kind, name) = match source {
                Source::Title => (TITLE, ""),
                Source::Text => (TEXT, ""),
                Source::Metadata(name) => (METADATA, name.as_str()),
            };
            bytes.extend([kind, *weight, name.len() as u8]);
            bytes.extend(name.as_bytes());
        }
        bytes
    }

    /// The inverse of [`TextIndex::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, TextError> {
        let field = |field, value| FormatError::Field { what: WHAT, field, value };
        let short = FormatError::Length { what: WHAT, expected: HEAD_BYTES, found: bytes.len() };
        let (head, mut rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(short)?;
        let found = read_u16(head, 0);
        if found != ANALYSIS {
            return Err(TextError::Analysis { found });
        }
        let language = Language::from_u8(head[2]);
        let language = language.ok_or_else(|| field("language", u64::from(head[2])))?;
        let stop_words = StopWords::from_u8(head[3]);
        let stop_words = stop_words.ok_or_else(|| field("stop words", u64::from(head[3])))?;
        let float = |at: usize| {
            head.get(at..)
                .and_then(<[u8]>::first_chunk)
                .map_or(f32::NAN, |b| f32::from_le_bytes(*b))
        };
        let (k1, b) = (float(5), float(9));
        let mut index = Self { language, stop_words, fields: Vec::new(), k1, b };
        for _ in 0..head[4] {
            let cut = || FormatError::Length { what: WHAT, expected: 3, found: rest.len() };
            let (&[kind, weight, length], tail) = rest.split_first_chunk().ok_or_else(cut)?;
            let length = usize::from(length);
            let (name, tail) = tail
                .split_at_checked(length)
                .filter(|_| weight > 0 && length <= FIELD_NAME_BYTES_MAX)
                .ok_or_else(|| field("field", length as u64))?;
            let source = match (kind, std::str::from_utf8(name)) {
                (TITLE, Ok("")) => Source::Title,
                (TEXT, Ok("")) => Source::Text,
                (METADATA, Ok(name)) => Source::Metadata(name.to_owned()),
                _ => return Err(field("field", u64::from(kind)).into()),
            };
            if index.fields.iter().any(|(known, _)| *known == source) {
                return Err(field("field", u64::from(kind)).into());
            }
            index.fields.push((source, weight));
            rest = tail;
        }
        if !rest.is_empty() || index.check().is_err() {
            return Err(field("length", bytes.len() as u64).into());
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> TextIndex {
        TextIndex::new(Language::German)
            .title(3)
            .field("author", 255)
            .text(0)
            .k1(1.2)
            .b(0.75)
            .stop_words(StopWords::Full)
    }

    #[test]
    fn a_setting_has_fixed_bytes_and_reads_back() {
        let bytes = full().encode();
        let mut expected = vec![1, 0, 7, 2, 2];
        expected.extend(1.2_f32.to_le_bytes());
        expected.extend(0.75_f32.to_le_bytes());
        expected.extend([0, 3, 0, 2, 255, 6]);
        expected.extend(b"author");
        assert_eq!(bytes, expected);
        assert_eq!(TextIndex::decode(&bytes).unwrap(), full());
        assert_eq!(
            TextIndex::decode(&TextIndex::default().encode()).unwrap(),
            TextIndex::default()
        );
    }

    #[test]
    fn damaged_settings_are_errors_and_another_analysis_says_what_to_do() {
        let bytes = full().encode();
        for length in 0..bytes.len() {
            assert!(TextIndex::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        for at in 2..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x80;
            // A flipped bit of a weight or name may be another setting, never the same.
            assert!(TextIndex::decode(&other).map_or(true, |index| index != full()), "byte {at}");
        }
        let mut newer = bytes;
        newer[0] = 2;
        let error = TextIndex::decode(&newer).unwrap_err();
        assert!(matches!(error, TextError::Analysis { found: 2 }));
        assert!(error.to_string().contains("index_text"));
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let none = TextIndex::default().title(0).text(0);
        assert!(matches!(none.check(), Err(TextError::Fields { found: 0 })));
        assert!(TextIndex::default().k1(f32::NAN).check().is_err());
        assert!(TextIndex::default().b(1.5).check().is_err());
        assert!(TextIndex::default().field("a\0", 1).check().is_err());
        let none = TextIndex::new(Language::Hindi).stop_words(StopWords::Full);
        let language = Language::Hindi;
        assert!(
            matches!(none.check(), Err(TextError::StopWords { language: of }) if of == language)
        );
    }

    #[test]
    fn fields_give_their_texts_and_the_texts_of_their_lists() {
        let tags = Value::List(vec!["a".into(), 1.into(), "b".into()]);
        let record = Record::new(1).title("t").text("x").field("tags", tags).field("n", 1);
        let index = TextIndex::default().field("tags", 2).field("n", 1).field("absent", 1);
        let mut found = Vec::new();
        index.each_text(&record, |text, weight| found.push((text, weight)));
        assert_eq!(found, [("t", 1), ("x", 1), ("a", 2), ("b", 2)]);
    }
}
