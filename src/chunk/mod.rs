//! Documents to chunks: pieces of text of a bounded number of tokens, cut where the text itself
//! has a boundary. Pure: knows records, no database and no model.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use crate::record::{Record, estimated_tokens};

/// Counts the tokens of a text.
type Counter = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// Tokens of a chunk unless told otherwise: most embedding models read 512, and an estimate may
/// be off.
const TOKENS: usize = 256;
/// Tokens that a chunk repeats of the one before unless told otherwise.
const OVERLAP: usize = 32;

/// Bytes of text that are cut at once, unless a chunk is larger.
const WINDOW: usize = 16 << 10;

/// Cuts documents into chunks that a model can read whole.
///
/// Text is cut at line breaks first, the longest runs of them before shorter ones; then between
/// sentences, words and graphemes of Unicode (UAX 29): always at the highest boundary that gives
/// chunks within the budget, and neighbors are put together while they fit. Space at the ends of
/// chunks goes, every other character of the text is in a chunk. A chunk exceeds the budget only
/// where a single character does.
///
/// ```
/// use portolan::{Chunker, Record};
///
/// let document = Record::new("guide").title("Sailing").field("lang", "en").text(
///     "Winds blow from high to low pressure. They turn with the earth.\n\n\
///      Tides follow the moon. They come twice a day.",
/// );
/// let chunks = Chunker::new().tokens(18).overlap(0).split(&document);
/// assert_eq!(chunks[0].id, "guide#0".into());
/// assert_eq!(chunks[0].metadata["document"], "guide".into());
/// assert_eq!(chunks[1].metadata["chunk"], 1.into());
/// assert_eq!(chunks[1].title.as_deref(), Some("Sailing"));
/// assert!(chunks.iter().all(|chunk| chunk.metadata["lang"] == "en".into()));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Chunker {
    tokens: usize,
    overlap: usize,
    markdown: bool,
    counter: Counter,
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunker {
    /// Chunks of 256 tokens by estimate, of which 32 repeat the end of the chunk before.
    pub fn new() -> Self {
        let counter: Counter = Arc::new(estimated_tokens);
        Self { tokens: TOKENS, overlap: OVERLAP, markdown: false, counter }
    }

    /// Tokens of a chunk at most, at least 1: of title and text together, since models read both,
    /// but the title leaves at least half of them to the text.
    ///
    /// ```
    /// # use portolan::{Chunker, Record};
    /// let text = Record::new(1).text("First sentence. Second sentence.");
    /// assert_eq!(Chunker::new().tokens(5).overlap(0).split(&text).len(), 2);
    /// assert_eq!(Chunker::new().tokens(100).split(&text).len(), 1);
    /// ```
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = tokens.max(1);
        self
    }

    /// Tokens of the end of a chunk that the next one repeats, at most, in whole sentences or
    /// words; more than half of the budget is taken as half.
    ///
    /// ```
    /// # use portolan::{Chunker, Record};
    /// let text = Record::new(1).text("One. Two. Three. Four.");
    /// let chunks = Chunker::new().tokens(6).overlap(3).split(&text);
    /// assert_eq!(chunks[0].text, "One. Two.");
    /// assert_eq!(chunks[1].text, "Two. Three.");
    /// ```
    pub fn overlap(mut self, tokens: usize) -> Self {
        self.overlap = tokens;
        self
    }

    /// Counts tokens by the tokenizer of the model. Must grow with the text. Default: an estimate,
    /// of a quarter token for a letter, digit or space of ASCII, one for any other character of
    /// ASCII, half a token for letters of alphabets beyond ASCII (below U+0800), and one for all
    /// other characters.
    ///
    /// ```
    /// # use portolan::{Chunker, Record};
    /// let words = Chunker::new().counter(|text| text.split_whitespace().count());
    /// let chunks = words.tokens(2).overlap(0).split(&Record::new(1).text("a b c"));
    /// assert_eq!(chunks[0].text, "a b");
    /// ```
    pub fn counter(mut self, count: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        self.counter = Arc::new(count);
        self
    }

    /// Reads texts as Markdown: headings and blocks of it come before sentences.
    ///
    /// ```
    /// # use portolan::{Chunker, Record};
    /// let text = Record::new(1).text("# Winds\nThey blow.\n# Tides\nThey come.");
    /// let chunks = Chunker::new().markdown(true).tokens(8).overlap(0).split(&text);
    /// assert_eq!(chunks[1].text, "# Tides\nThey come.");
    /// ```
    pub fn markdown(mut self, markdown: bool) -> Self {
        self.markdown = markdown;
        self
    }

    /// The chunks of a document, in their order. The n-th, from 0, has the id `<document>#<n>`
    /// ([`RecordId::chunk`](crate::RecordId::chunk)), title and metadata of the document, and the
    /// fields `document`, the id of the document, and `chunk`, its place. A text of nothing but
    /// space has none. A vector of the document says nothing about its parts and is left out.
    ///
    /// Cost: about 10 ms for 100 KiB, and a call of the counter for each piece looked at. A text
    /// without any boundary takes twenty times as long.
    #[must_use]
    pub fn split(&self, document: &Record) -> Vec<Record> {
        let title = document.title.as_deref().filter(|title| !title.is_empty());
        let title = title.map_or(0, |title| (self.counter)(&format!("{title} ")));
        let budget = self.tokens.saturating_sub(title).max(self.tokens / 2).max(1);
        let mut chunks = Vec::new();
        for place in self.places(&document.text, budget, WINDOW) {
            let Some(text) = document.text.get(place) else { continue };
            let mut chunk = Record::new("").text(text);
            chunk.title.clone_from(&document.title);
            chunk.metadata.clone_from(&document.metadata);
            let position = chunks.len();
            chunks.push(chunk.into_chunk(&document.id, position));
        }
        chunks
    }

    /// Where the chunks of a text are. The splitter gets a window of it at a time, since its time
    /// grows with the square of a text that has no boundaries. What it made last of a window may
    /// have been cut by the end of that, so the next window begins there.
    fn places(&self, text: &str, budget: usize, window: usize) -> Vec<Range<usize>> {
        let (mut places, mut from, mut size) = (Vec::new(), 0, window);
        while from < text.len() {
            let mut end = text.len().min(from.saturating_add(size));
            while !text.is_char_boundary(end) {
                end += 1;
            }
            let mut pieces = self.pieces(text.get(from..end).unwrap_or_default(), budget);
            let next = if end == text.len() {
                text.len()
            } else if let ([_, _, ..], Some((begin, _))) = (pieces.as_slice(), pieces.last()) {
                let next = from + begin;
                pieces.pop();
                next
            } else {
                size = size.saturating_mul(2);
                continue;
            };
            for (start, piece) in pieces {
                self.cut(from + start, piece, budget, &mut places);
            }
            (from, size) = (next, window);
        }
        places
    }

    fn pieces<'t>(&self, text: &'t str, budget: usize) -> Vec<(usize, &'t str)> {
        let config = ChunkConfig::new(budget).with_sizer(Sizer(&self.counter));
        // It is below the budget, so it is not refused.
        let Ok(config) = config.with_overlap(self.overlap.min(budget / 2)) else {
            return vec![(0, text)];
        };
        if self.markdown {
            MarkdownSplitter::new(config).chunk_indices(text).collect()
        } else {
            TextSplitter::new(config).chunk_indices(text).collect()
        }
    }

    /// Adds a piece, in parts if it exceeds the budget: the splitter keeps to it but for a few
    /// pieces of as few characters as the budget has tokens.
    fn cut(&self, start: usize, piece: &str, budget: usize, places: &mut Vec<Range<usize>>) {
        let (mut start, mut rest) = (start, piece);
        while !rest.is_empty() {
            let ends: Vec<usize> = if (self.counter)(rest) <= budget {
                vec![rest.len()]
            } else {
                rest.char_indices().skip(1).map(|(at, _)| at).collect()
            };
            let fits =
                |end: &usize| rest.get(..*end).is_some_and(|it| (self.counter)(it) <= budget);
            let last = ends.partition_point(fits).saturating_sub(1);
            let end = ends.get(last).copied().unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            if !part.trim().is_empty() {
                places.push(start..start + end);
            }
            (start, rest) = (start + end, after);
        }
    }
}

impl fmt::Debug for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunker")
            .field("tokens", &self.tokens)
            .field("overlap", &self.overlap)
            .field("markdown", &self.markdown)
            .finish_non_exhaustive()
    }
}

struct Sizer<'c>(&'c Counter);

impl ChunkSizer for Sizer<'_> {
    fn size(&self, chunk: &str) -> usize {
        (self.0)(chunk)
    }
}

#[cfg(test)]
mod tests;
