//! A copy of the navigation codes that pass a filter, one after another.
//!
//! Rows that pass lie scattered over the array of all rows, and a scan that jumps from one to the
//! next waits for memory and for addresses: it takes up to twice as long as over a copy.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::Passing;
use crate::kernels::nav::LINE;
use crate::vectors::Rows;

/// Most bytes of a copy: what scans that beat a walk read.
const BYTES_MAX: usize = 4 << 20;

/// The copy, made by the second scan: a filter that is used once is not worth one.
#[derive(Debug, Default)]
pub struct Copied {
    wanted: AtomicBool,
    copy: OnceLock<Option<Copy>>,
}

/// Positions, ascending, and their rows, one after another.
#[derive(Debug)]
pub struct Copy {
    pub positions: Vec<u32>,
    pub rows: Rows,
}

/// Bytes of the copy of a filter; 0 where it is not worth them: where most rows pass, they lie
/// one after another as they are.
pub fn bytes(passing: &Passing, stride: usize) -> usize {
    let bytes = passing.count() as usize * (stride + size_of::<u32>());
    let is_worth = bytes <= BYTES_MAX && passing.count() <= passing.len() / 2;
    if is_worth { bytes } else { 0 }
}

impl Copied {
    /// The copy, from the second call on.
    pub fn get(&self, passing: &Passing, rows: &Rows) -> Option<&Copy> {
        if bytes(passing, rows.stride()) == 0 || !self.wanted.swap(true, Ordering::Relaxed) {
            return None;
        }
        self.copy.get_or_init(|| copy(passing, rows)).as_ref()
    }
}

fn copy(passing: &Passing, rows: &Rows) -> Option<Copy> {
    let stride = rows.stride();
    let len = passing.count() as usize * stride;
    let mut bytes = vec![0; len + LINE];
    let start = bytes.as_ptr().align_offset(LINE).min(LINE);
    let mut positions = Vec::with_capacity(passing.count() as usize);
    passing.for_each(|position| positions.push(position));
    for (position, to) in positions.iter().zip(bytes[start..].chunks_exact_mut(stride)) {
        to.copy_from_slice(rows.row(*position)?);
    }
    // A row then begins where a cache line does.
    let codes = Bytes::from_owner(bytes).slice(start..start + len);
    Some(Copy { positions, rows: Rows::contiguous(codes, stride).ok()? })
}
