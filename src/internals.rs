//! What the fuzz targets and benches drive: parsers over arbitrary bytes, none of which may
//! panic, and the kernels. Not API.

use crate::format;
use crate::lexical::{self, Language};
use crate::storage::{field_blocks, slot_sets, tables, vector_fields};

/// The kernels and their scalar twins.
pub mod kernels {
    pub use crate::kernels::{
        Level, NavQuery, Panel, Tiled, available, dot_f16_le, dot_f16_le_at, dot_f32, dot_i8,
        dot4_i8, f16_le_to_f32, f32_le, l2sq_f16_le, l2sq_f16_le_at, l2sq_f32, level, max_abs, nav,
        ranked, round_i8, scalar, sum_of_squares,
    };
}

/// How far the score of a navigation code may be off.
pub use crate::vectors::nav::error_bound;

/// A whole database file with pages of another size, a power of two from 512 to 32,768; below
/// 2,048 its keys must be short enough for two to fit a page.
pub fn rewrite(file: &[u8], page_bytes: usize) -> Option<Vec<u8>> {
    let fits = page_bytes.is_power_of_two() && (512..=32_768).contains(&page_bytes);
    if fits { crate::storage::rewrite(file, page_bytes).ok() } else { None }
}

/// Reads an extent.
pub fn extent(bytes: &[u8]) -> bool {
    format::verify_extent(bytes).is_ok()
}

/// Decodes a record value stored under a key.
pub fn record(key: &[u8], bytes: &[u8]) -> bool {
    // With the right seal in front, so that the fuzzer reaches the decoder behind it.
    let sealed = format::seal(crate::storage::Table::Records as u8, key, bytes);
    tables::decode_record(&sealed, key).is_ok() | tables::decode_record(bytes, key).is_ok()
}

/// Decodes a manifest.
pub fn manifest(bytes: &[u8]) -> bool {
    tables::decode_manifest(bytes).is_ok()
}

/// Decodes tombstones stored under a key.
pub fn tombstones(key: &[u8], bytes: &[u8]) -> bool {
    let sealed = format::seal(crate::storage::Table::Tombstones as u8, key, bytes);
    slot_sets::decode_tombstones(&sealed, key).is_ok()
}

/// Reads a matrix of rows of that many dimensions, stored under a key, and scores it.
pub fn matrix(key: &[u8], bytes: &[u8], dim: usize) -> bool {
    use crate::vectors::{MatrixRef, MaxSimQuery, MaxSimScratch};
    let sealed = vector_fields::seal_matrix(bytes, key);
    let Ok(payload) = vector_fields::unseal_matrix(&sealed, key) else { return false };
    let Ok(matrix) = MatrixRef::read(payload, format::MATRIX_ROWS_MAX, dim) else { return false };
    let values = matrix.decode();
    let query = MaxSimQuery::new(dim, dim, &vec![0.5; 2 * dim]);
    let mut scratch = MaxSimScratch::default();
    query.is_ok_and(|query| query.score(&matrix, &mut scratch).is_finite())
        && values.len() == matrix.rows() * dim
}

/// Reads a sparse vector.
pub fn sparse(bytes: &[u8]) -> bool {
    crate::vectors::SparseRef::read(bytes, format::SPARSE_PAIRS_MAX)
        .is_ok_and(|found| found.pairs().all(|(_, code)| code > 0))
}

/// Decodes the definition of a vector field.
pub fn vector_field(bytes: &[u8]) -> bool {
    vector_fields::decode(bytes).is_ok()
}

/// The terms of a text, each with the place of its word.
pub fn text_terms(language: Language, text: &str) -> Vec<(usize, String)> {
    lexical::terms(language, text)
}

/// Decodes the value of a term, and a run of its own.
pub fn postings(bytes: &[u8]) -> bool {
    lexical::decode_postings(bytes)
}

/// Decodes a setting of a text index.
pub fn text_setting(bytes: &[u8]) -> bool {
    lexical::TextIndex::decode(bytes).is_ok()
}

/// Reads a text as a query, and marks its words in the text itself.
///
/// # Panics
/// When a mark is no part of the text.
pub fn text_query(language: u8, text: &str) {
    let language = Language::codes().nth(usize::from(language)).and_then(Language::from_code);
    let index = lexical::TextIndex::new(language.unwrap_or_default());
    for at in index.highlight(&lexical::TextQuery::parse(text), text) {
        assert!(text.get(at).is_some());
    }
}

/// Decodes and searches a block of the field index, for the values from a number on.
///
/// # Panics
/// When the search finds other slots than the decoder.
pub fn field_block(directory: &[u8], slots: &[u8], group: &[u8], low: u32) -> bool {
    field_blocks::probe(directory, slots, group, low)
}

/// Reads events whole and in pieces of some size.
///
/// # Panics
/// When the pieces give other events.
#[cfg(feature = "nim")]
pub fn event_cuts(bytes: &[u8], size: usize) {
    use crate::nim::events::EventParser;
    let read = |size: usize| {
        let mut parser = EventParser::default();
        let mut events = std::collections::VecDeque::new();
        let told = bytes.chunks(size.max(1)).try_for_each(|part| parser.push(part, &mut events));
        told.map(|()| {
            events.extend(parser.end());
            events
        })
    };
    assert_eq!(read(bytes.len()), read(size));
}

/// Takes a text's thoughts apart whole and in pieces of some size.
///
/// # Panics
/// When the pieces give another answer.
#[cfg(feature = "nim")]
pub fn thought_cuts(bytes: &[u8], size: usize) {
    use crate::nim::chat::think::{Part, ThinkSplitter, split};
    let text = String::from_utf8_lossy(bytes);
    let chars: Vec<char> = text.chars().collect();
    let mut splitter = ThinkSplitter::default();
    let (mut thought, mut answer) = (String::new(), String::new());
    let pieces = chars.chunks(size.max(1)).map(|piece| piece.iter().collect::<String>());
    let mut parts: Vec<Part> = pieces.flat_map(|piece| splitter.push(&piece)).collect();
    parts.extend(splitter.end());
    for part in parts {
        match part {
            Part::Thought(text) => thought.push_str(&text),
            Part::Text(text) => answer.push_str(&text),
        }
    }
    let (whole_thought, whole_answer) = split(&text);
    // A lone closing tag is known at the end only.
    if text.trim_start().starts_with("<think>") || !text.contains("</think>") {
        assert_eq!(whole_thought.unwrap_or_default(), thought.trim());
        assert_eq!(whole_answer, answer);
    }
}
