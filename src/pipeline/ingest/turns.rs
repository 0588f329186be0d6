//! How many calls of the model are under way at once: fewer after one that came to no answer in
//! time, since a server goes on with what it was given up for, and what comes meanwhile waits
//! behind that.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Turns of calls. The first to ask is not always the first to go.
#[derive(Debug)]
pub(super) struct Turns {
    counts: Mutex<Counts>,
    changed: Notify,
    /// Calls at once, at most.
    most: usize,
}

#[derive(Debug)]
struct Counts {
    allowed: usize,
    taken: usize,
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    /// How many were allowed when it began.
    allowed: usize,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let counts = Mutex::new(Counts { allowed: most, taken: 0 });
        Self { counts, changed: Notify::new(), most }
    }

    /// Waits until a call may begin.
    pub(super) async fn take(&self) -> Turn<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Heard of from here on, so that no change is missed.
            changed.as_mut().enable();
            {
                let mut counts = self.counts();
                if counts.taken < counts.allowed {
                    counts.taken += 1;
                    return Turn { turns: self, allowed: counts.allowed };
                }
            }
            changed.await;
        }
    }

    /// Twice as many from here on, as far as there were to begin with.
    pub(super) fn widen(&self) {
        let mut counts = self.counts();
        counts.allowed = counts.allowed.saturating_mul(2).min(self.most);
        drop(counts);
        self.changed.notify_waiters();
    }

    pub(super) fn is_narrowed(&self) -> bool {
        self.counts().allowed < self.most
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The call came to no answer in time: half as many as when it began.
    pub(super) fn late(&self) {
        let mut counts = self.turns.counts();
        counts.allowed = counts.allowed.min((self.allowed / 2).max(1));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.counts().taken -= 1;
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_halved_by_calls_that_are_late_together_and_doubled_later() {
        let turns = Turns::new(4);
        let calls = [turns.take().await, turns.take().await, turns.take().await];
        calls.iter().for_each(Turn::late);
        assert!(turns.is_narrowed());
        let [first, second, third] = calls;
        drop((first, second));
        // Two are allowed, of which the third call still has one.
        let fourth = turns.take().await;
        let soon = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, turns.take()).await.is_err());
        let (fifth, ()) = tokio::join!(turns.take(), async { drop(third) });
        drop((fourth, fifth));
        let late = turns.take().await;
        late.late();
        drop(late);
        turns.widen();
        turns.widen();
        assert!(!turns.is_narrowed());
    }
}
