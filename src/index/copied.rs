//! A copy of the navigation codes that pass a filter, one after another.
//!
//! Rows that pass lie scattered over the array of all rows, and a scan that jumps from one to the
//! next waits for memory and for addresses: it takes up to twice as long as over a copy.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use bytes::Bytes;

use super::Passing;
use crate::kernels::nav::LINE;
use crate::vectors::Rows;

/// Most bytes of a copy: what scans that beat a walk read, or find more than one.
const BYTES_MAX: usize = 16 << 20;

/// The copy, made by the second scan: a filter that is used once is not worth one.
#[derive(Debug, Default)]
pub struct Copied(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    /// A scan went over the rows in place.
    Wanted,
    Made(Arc<Copy>),
}

/// Positions, ascending, and their rows, one after another.
#[derive(Debug)]
pub struct Copy {
    pub positions: Vec<u32>,
    pub rows: Rows,
}

impl Copied {
    /// The copy, from the second call on; none where it is not worth its bytes, and while another
    /// thread makes it.
    pub fn get(&self, passing: &Passing, rows: &Rows) -> Option<Arc<Copy>> {
        if !is_worth(passing, rows.stride()) {
            return None;
        }
        let mut state = match self.0.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        match &*state {
            State::Unused => {
                *state = State::Wanted;
                None
            }
            State::Wanted => {
                let made = Arc::new(copy(passing, rows)?);
                *state = State::Made(Arc::clone(&made));
                Some(made)
            }
            State::Made(copy) => Some(Arc::clone(copy)),
        }
    }

    /// Bytes of the copy; none while there is none, or one is being made.
    pub fn bytes(&self) -> usize {
        match self.0.try_lock().as_deref() {
            Ok(State::Made(copy)) => copy.bytes(),
            _ => 0,
        }
    }

    /// Lets go of the copy. It is made anew by the second scan from here.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Unused;
    }
}

impl Copy {
    fn bytes(&self) -> usize {
        self.positions.len() * (size_of::<u32>() + self.rows.stride())
    }
}

/// Where most rows pass, they lie one after another as they are.
fn is_worth(passing: &Passing, stride: usize) -> bool {
    let bytes = passing.count() as usize * (stride + size_of::<u32>());
    bytes <= BYTES_MAX && passing.count() <= passing.len() / 2
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
