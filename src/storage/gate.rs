//! Counts the live readers of a map, so that the map moves only when there is none.
//! `tests/interleavings` compiles this file once more, to run its threads in every order.

#[cfg(not(shuttle))]
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[cfg(shuttle)]
use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
use std::sync::PoisonError;

/// Counts the live read transactions, so that the map moves only when there is none.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    evict: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct GateState {
    live: usize,
    closed: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>) -> Ticket {
        let mut state = self.state();
        while state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.live += 1;
        Ticket(Arc::clone(self))
    }

    /// `drop_views` is called when the cached views must go.
    pub(super) fn on_evict(&self, drop_views: Box<dyn Fn() + Send + Sync>) {
        *self.evict.lock().unwrap_or_else(PoisonError::into_inner) = Some(drop_views);
    }

    /// Lets nobody in, drops the cached views and waits until everybody is out.
    pub(super) fn close(&self) -> ClosedGate<'_> {
        let mut state = self.state();
        while state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.closed = true;
        while state.live > 0 {
            drop(state);
            // Again in each round: a query that was under way may have cached a new view.
            if let Some(evict) = &*self.evict.lock().unwrap_or_else(PoisonError::into_inner) {
                evict();
            }
            state = self.state();
            if state.live > 0 {
                state = self.pause(state);
            }
        }
        ClosedGate(self)
    }

    /// Waits for a reader to leave, but not for long.
    #[cfg(not(shuttle))]
    fn pause<'g>(&'g self, state: MutexGuard<'g, GateState>) -> MutexGuard<'g, GateState> {
        let waited = self.changed.wait_timeout(state, std::time::Duration::from_millis(5));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// There, time does not pass: another thread has a turn.
    #[cfg(shuttle)]
    fn pause<'g>(&'g self, state: MutexGuard<'g, GateState>) -> MutexGuard<'g, GateState> {
        drop(state);
        shuttle::thread::yield_now();
        self.state()
    }
}

/// Keeps the gate closed until it is dropped.
pub(super) struct ClosedGate<'g>(&'g Gate);

impl Drop for ClosedGate<'_> {
    fn drop(&mut self) {
        self.0.state().closed = false;
        self.0.changed.notify_all();
    }
}

/// One live reader.
pub(super) struct Ticket(Arc<Gate>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.state().live -= 1;
        self.0.changed.notify_all();
    }
}
