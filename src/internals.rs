//! What the fuzz targets and benches drive: parsers over arbitrary bytes, none of which may
//! panic, and the kernels. Not API.

use crate::format;
use crate::storage::tables;

/// The kernels and their scalar twins.
pub mod kernels {
    pub use crate::kernels::{
        Level, NavQuery, Panel, available, dot_f16_le, dot_f32, dot_i8, dot4_i8, f16_le_to_f32,
        f32_le, l2sq_f16_le, l2sq_f32, max_abs, nav, round_i8, scalar, sum_of_squares,
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
    tables::decode_tombstones(&sealed, key).is_ok()
}
