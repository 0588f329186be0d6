//! A copy of the navigation codes that pass a filter, one after another.
//!
//! Rows that pass lie scattered over the array of all rows, and a scan that jumps from one to the
//! next waits for memory and for addresses: it takes up to twice as long as over a copy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Passing;
use crate::kernels::nav::LINE;
use crate::vectors::Rows;

/// Most bytes of a copy: what scans that beat a walk read, or find more than one.
const BYTES_MAX: usize = 16 << 20;

/// The copy, made by the second scan: a filter that is used once is not worth one.
#[derive(Debug, Default)]
pub struct Copied {
    state: Mutex<State>,
    /// Bytes of this copy and of others that are counted with it.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    /// A scan went over the rows in place.
    Wanted,
    /// By another thread.
    BeingMade,
    Made(Arc<Copy>),
}

/// Positions, ascending, and their rows, one after another.
#[derive(Debug)]
pub struct Copy {
    pub positions: Vec<u32>,
    pub rows: Rows,
    counted: Arc<AtomicUsize>,
}

impl Copied {
    /// One whose bytes are counted in a sum, while the copy lives.
    pub fn counted_in(bytes: &Arc<AtomicUsize>) -> Self {
        Self { state: Mutex::default(), bytes: Arc::clone(bytes) }
    }

    /// The copy, from the second call on; none where it is not worth its bytes, and while another
    /// thread makes it.
    pub fn get(&self, passing: &Passing, rows: &Rows) -> Option<Arc<Copy>> {
        if !is_worth(passing, rows.stride()) {
            return None;
        }
        let mut state = self.state();
        match &*state {
            State::Made(copy) => return Some(Arc::clone(copy)),
            State::BeingMade => return None,
            State::Unused => {
                *state = State::Wanted;
                return None;
            }
            State::Wanted => *state = State::BeingMade,
        }
        drop(state);
        let made = copy(passing, rows, &self.bytes).map(Arc::new);
        *self.state() = made.as_ref().map_or(State::Wanted, |made| State::Made(Arc::clone(made)));
        made
    }

    /// Lets go of the copy. It is made anew by the second scan from here.
    pub fn clear(&self) {
        let mut state = self.state();
        if matches!(*state, State::Made(_)) {
            *state = State::Unused;
        }
    }

    #[cfg(test)]
    pub fn is_made(&self) -> bool {
        matches!(*self.state(), State::Made(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copy {
    fn bytes(&self) -> usize {
        self.positions.len() * (size_of::<u32>() + self.rows.stride())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// Whether a copy is to be made. Where most rows pass, they lie one after another as they are.
pub fn is_worth(passing: &Passing, stride: usize) -> bool {
    let bytes = passing.count() as usize * (stride + size_of::<u32>());
    bytes <= BYTES_MAX && passing.count() <= passing.len() / 2
}

fn copy(passing: &Passing, rows: &Rows, counted: &Arc<AtomicUsize>) -> Option<Copy> {
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
    let rows = Rows::contiguous(codes, stride).ok()?;
    let copy = Copy { positions, rows, counted: Arc::clone(counted) };
    counted.fetch_add(copy.bytes(), Ordering::Relaxed);
    Some(copy)
}
