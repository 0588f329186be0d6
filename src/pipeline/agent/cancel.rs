//! How an agent is told to stop from outside, and how it waits for anything no longer than it may.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::sync::watch;

/// Ends agents early: they stop asking the model and answer with what they have found so far.
/// Clones are one flag. (Dropping the future of a run ends it too, without an answer.)
///
/// ```
/// let cancel = portolan::agent::Cancel::new();
/// let handle = cancel.clone();
/// assert!(!cancel.is_cancelled());
/// handle.cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// A flag that is down.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Raises the flag, for good.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    async fn raised(&self) {
        // The sender lives as long as `self`, so that the wait ends by the flag alone.
        let _ = self.0.subscribe().wait_for(|up| *up).await;
    }
}

/// Why something was not waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// By the application.
    Cancelled,
    /// The deadline passed.
    Late,
}

/// What a run may be ended by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience<'r> {
    pub(super) until: Option<Instant>,
    pub(super) cancel: Option<&'r Cancel>,
}

impl Patience<'_> {
    /// The result of some work, unless it takes too long. Work that comes too late is not begun.
    pub(super) async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        if self.cancel.is_some_and(Cancel::is_cancelled) {
            return Err(Stopped::Cancelled);
        }
        let work = self.unless_cancelled(work);
        match self.until {
            None => work.await,
            Some(at) if at <= Instant::now() => Err(Stopped::Late),
            Some(at) => {
                tokio::time::timeout_at(at.into(), work).await.unwrap_or(Err(Stopped::Late))
            }
        }
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let Some(cancel) = self.cancel else { return Ok(work.await) };
        let (mut work, mut raised) = (pin!(work), pin!(cancel.raised()));
        poll_fn(|context| {
            if raised.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Stopped::Cancelled));
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Whether nothing more is begun.
    pub(super) fn is_over(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_cancelled) || self.is_late()
    }

    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.until.is_some_and(|at| at <= Instant::now())
    }
}
