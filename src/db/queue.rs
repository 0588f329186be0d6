//! What waits for a thread that is there only while something waits.
//! `tests/interleavings` compiles this file once more, to run its threads in every order.

use std::collections::VecDeque;
use std::sync::PoisonError;
#[cfg(not(shuttle))]
use std::sync::{Mutex, MutexGuard};

#[cfg(shuttle)]
use shuttle::sync::{Mutex, MutexGuard};

/// What waits, the newest of each space, and whether a thread is at work.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
}

/// Both under one lock, so that what comes while the thread finds nothing left to do is either
/// seen by it or starts the next one.
struct State<T> {
    /// By number of the space, in turn.
    waiting: VecDeque<(u32, T)>,
    /// One thread at a time, whatever happens meanwhile.
    busy: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), busy: false }) }
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets something wait, in the place of an older one of its space: with a place of its own
    /// each time, a space that changes often would keep the others waiting. If no thread is at
    /// work, `start` is to start one, and tells whether it could: else what waits goes on waiting,
    /// until something comes again. The thread gets nothing before this call is done.
    pub(super) fn line_up(&self, space: u32, newest: T, start: impl FnOnce() -> bool) {
        let mut state = self.lock();
        match state.waiting.iter_mut().find(|(of, _)| *of == space) {
            Some((_, waiting)) => *waiting = newest,
            None => state.waiting.push_back((space, newest)),
        }
        if !state.busy {
            state.busy = start();
        }
    }

    /// What the thread does next. If there is nothing it must end: whoever comes from now on
    /// starts another.
    pub(super) fn take(&self) -> Option<(u32, T)> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        state.busy = next.is_some();
        next
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        self.lock().waiting.clear();
    }

    /// Whether a thread is at work.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.lock().busy
    }

    /// The spaces that wait, in turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<u32> {
        self.lock().waiting.iter().map(|(space, _)| *space).collect()
    }
}
