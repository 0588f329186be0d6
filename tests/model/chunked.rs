//! Documents that a chunker cuts: every word of the text is in a chunk, in its place, and chunks
//! overlap by no more than was asked for.

use portolan::{Record, RecordId};

use super::common::Rng;
use super::records::{document, record_of};
use super::searches::WORDS;

/// Words of a chunk at most, and those that it repeats.
#[cfg(feature = "chunk")]
const BUDGET: (usize, usize) = (4, 1);

/// The chunks of a document of some words, as they are stored, each with a vector.
pub fn cut(number: u8, seed: u64, length: u8, dimensions: usize) -> Vec<Record> {
    let rng = &mut Rng::new(seed);
    let words: Vec<&str> = (0..length * 3).map(|_| WORDS[rng.below(8) as usize]).collect();
    let id = RecordId::from(document(number));
    let mut whole = record_of(id.clone(), seed, dimensions, true).text(words.join(" "));
    whole.title = None;
    let mut chunks = pieces(&whole, &words);
    for (at, chunk) in chunks.iter_mut().enumerate() {
        assert_eq!(chunk.id, id.chunk(at));
        assert_eq!(chunk.metadata.get("document"), Some(&document(number).into()));
        assert_eq!(chunk.metadata.get("chunk"), Some(&(at as i64).into()));
        assert_eq!(chunk.metadata.get("tag"), whole.metadata.get("tag"));
        assert_eq!(chunk.vector, None, "what stands for the whole says nothing of a part");
        chunk.vector = Some(rng.vector(dimensions));
    }
    chunks
}

#[cfg(feature = "chunk")]
fn pieces(whole: &Record, words: &[&str]) -> Vec<Record> {
    let (most, repeated) = BUDGET;
    let count = |text: &str| text.split_whitespace().count();
    let chunks = portolan::Chunker::new().counter(count).tokens(most).overlap(repeated);
    let chunks = chunks.split(whole);
    let mut next = 0;
    for chunk in &chunks {
        let own: Vec<&str> = chunk.text.split(' ').collect();
        assert!(own.len() <= most, "{:?} is too long", chunk.text);
        // It begins behind the one before, or with the last of its words.
        let from = (next.max(repeated) - repeated..=next)
            .find(|from| *from + own.len() > next && words[*from..].starts_with(&own));
        next = from.expect("words that follow") + own.len();
    }
    assert_eq!(next, words.len(), "words that are in no chunk");
    chunks
}

/// Without the chunker: one chunk for all.
#[cfg(not(feature = "chunk"))]
fn pieces(whole: &Record, words: &[&str]) -> Vec<Record> {
    let mut chunk = whole.clone().field("document", whole.id.to_string()).field("chunk", 0);
    chunk.id = whole.id.chunk(0);
    chunk.vector = None;
    chunk.named_vectors.clear();
    if words.is_empty() { Vec::new() } else { vec![chunk] }
}
