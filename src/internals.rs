//! What the fuzz targets and benches drive: parsers over arbitrary bytes, none of which may
//! panic, and the kernels. Not API.

use crate::format;
use crate::storage::{field_blocks, slot_sets, tables};

/// The kernels and their scalar twins.
pub mod kernels {
    pub use crate::kernels::{
        Level, NavQuery, Panel, available, dot_f16_le, dot_f16_le_at, dot_f32, dot_i8, dot4_i8,
        f16_le_to_f32, f32_le, l2sq_f16_le, l2sq_f16_le_at, l2sq_f32, max_abs, nav, round_i8,
        scalar, sum_of_squares,
    };
}

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
