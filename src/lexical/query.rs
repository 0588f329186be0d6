//! What to search for: words, phrases and prefixes, wanted, required or excluded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::str::FromStr;

use super::syntax;

/// How a part of a query decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Occur {
    /// Adds to the score.
    Should,
    /// Adds to the score, and every hit has it.
    Must,
    /// No hit has it.
    Not,
}

/// What a part of a query looks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Each word of a text.
    Words(String),
    /// The words of a text, one behind the other in one field.
    Phrase(String),
    /// Words that begin so.
    Prefix(String),
}

/// A search by words. A `&str` is one that looks for any of its words, whatever signs are in it;
/// [`TextQuery::parse`] reads a small syntax.
///
/// The records found have at least one of the words, all that is required and nothing that is
/// excluded; they are ordered by BM25.
///
/// ```
/// use portolan::TextQuery;
///
/// let built = TextQuery::new("harbor lights").must("venice").phrase("sea chart").not("modern");
/// assert_eq!(built, TextQuery::parse("harbor lights +venice \"sea chart\" -modern"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct TextQuery {
    pub(super) parts: Vec<(Occur, Part)>,
    pub(super) at_least: usize,
}

impl TextQuery {
    /// Any of the words of a text.
    pub fn new(words: impl Into<String>) -> Self {
        Self::default().words(words)
    }

    /// Reads a query as people type it: `word`, `"a phrase"` (required), `begin*`, `+required`,
    /// `-excluded`; signs can stand before phrases and prefixes as well. What is no sign in its
    /// place is text, so every text can be read.
    pub fn parse(text: &str) -> Self {
        syntax::parse(text)
    }

    /// Looks for any of the words of a text too.
    pub fn words(self, words: impl Into<String>) -> Self {
        self.with(Occur::Should, Part::Words(words.into()))
    }

    /// Requires each word of a text.
    pub fn must(self, words: impl Into<String>) -> Self {
        self.with(Occur::Must, Part::Words(words.into()))
    }

    /// Excludes each word of a text.
    pub fn not(self, words: impl Into<String>) -> Self {
        self.with(Occur::Not, Part::Words(words.into()))
    }

    /// Requires the words of a text, one behind the other in one field. Stop words stand for any
    /// word. Its words are scored as words; whether they are neighbors is read in the text of
    /// records that would be among the hits.
    pub fn phrase(self, words: impl Into<String>) -> Self {
        self.with(Occur::Must, Part::Phrase(words.into()))
    }

    /// Excludes records that have a phrase, as [`TextQuery::phrase`] finds it; its words may stand
    /// in them apart.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::TextQuery;
    ///
    /// let query = TextQuery::new("harbor").not_phrase("harbor mouth");
    /// let all = docs.search_text("harbor").run()?;
    /// assert!(all.iter().any(|hit| hit.text().contains("harbor mouth")));
    /// let hits = docs.search_text(query).run()?;
    /// assert!(!hits.iter().any(|hit| hit.text().contains("harbor mouth")));
    /// # Ok(()) }
    /// ```
    pub fn not_phrase(self, words: impl Into<String>) -> Self {
        self.with(Occur::Not, Part::Phrase(words.into()))
    }

    /// Looks for words that begin so too: scored by the 64 that most records have, of the first
    /// 65,536 as bytes are ordered, each as the first of these, so that a rare one does not
    /// outweigh all else. Records that have only others of them come last, with nothing added to
    /// their score; where the 64 leave room for them among the hits, the postings of all are read.
    /// Terms are stems: `sailings*` begins none, so the stem of the prefix itself is looked for as
    /// well. Of a text of several words, as `e-mai`, the last is the prefix and the others are
    /// whole.
    pub fn prefix(self, begin: impl Into<String>) -> Self {
        self.with(Occur::Should, Part::Prefix(begin.into()))
    }

    /// Requires a word that begins so, however rare it is. Beyond the 64 words of
    /// [`TextQuery::prefix`] a word adds nothing to the score, and the postings of all are read.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::TextQuery;
    ///
    /// let hits = docs.search_text(TextQuery::new("harbor").must_prefix("dep")).run()?;
    /// assert_eq!(hits.len(), 1);
    /// assert_eq!(hits[0].text(), "depths of the harbor mouth");
    /// # Ok(()) }
    /// ```
    pub fn must_prefix(self, begin: impl Into<String>) -> Self {
        self.with(Occur::Must, Part::Prefix(begin.into()))
    }

    /// How many of the words and prefixes that are neither required nor excluded a hit has at
    /// least; all of them if there are fewer. Default: 1, or 0 where something is required.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
    /// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
    /// use portolan::TextQuery;
    ///
    /// let query = TextQuery::new("depths mouth volcano").at_least(2);
    /// let hits = docs.search_text(query).run()?;
    /// assert_eq!(hits.len(), 1);
    /// assert_eq!(hits[0].text(), "depths of the harbor mouth");
    /// # Ok(()) }
    /// ```
    pub fn at_least(mut self, words: usize) -> Self {
        self.at_least = words;
        self
    }

    pub(super) fn with(mut self, occur: Occur, part: Part) -> Self {
        self.parts.push((occur, part));
        self
    }

    /// Its parts, each once, where it is there last, with how often it is there: of prefixes that
    /// share a word the last says how frequent the word counts.
    pub(super) fn distinct(&self) -> Vec<(Occur, &Part, u32)> {
        let mut known: HashMap<(Occur, &Part), usize> = HashMap::new();
        let mut distinct: Vec<(Occur, &Part, u32)> = Vec::new();
        for (occur, part) in self.parts.iter().rev() {
            let at = *known.entry((*occur, part)).or_insert(distinct.len());
            match distinct.get_mut(at) {
                Some((_, _, times)) => *times += 1,
                None => distinct.push((*occur, part, 1)),
            }
        }
        distinct.reverse();
        distinct
    }
}

impl From<&str> for TextQuery {
    fn from(words: &str) -> Self {
        Self::new(words)
    }
}
impl From<String> for TextQuery {
    fn from(words: String) -> Self {
        Self::new(words)
    }
}
impl From<&String> for TextQuery {
    fn from(words: &String) -> Self {
        Self::new(words.as_str())
    }
}
impl From<&TextQuery> for TextQuery {
    fn from(query: &TextQuery) -> Self {
        query.clone()
    }
}

impl FromStr for TextQuery {
    type Err = Infallible;

    /// [`TextQuery::parse`].
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::parse(text))
    }
}
