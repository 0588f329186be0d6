//! What calls cost: requests, bytes, time; for one call and for a client since it was made.
//! Not tokens (see the answers) and not prices. Layer: leaf of `nim`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What one call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallCost {
    /// HTTP requests sent, retries and status requests included.
    pub requests: u32,
    /// Requests sent again after a passing failure.
    pub retries: u32,
    /// Bytes of request bodies, without headers.
    pub bytes_sent: u64,
    /// Bytes of answers as far as they were read, without headers.
    pub bytes_received: u64,
    /// Time from sending to the end of the answer, over all requests.
    pub exchange: Duration,
    /// Time spent waiting between requests: after failures, for status requests, and for the
    /// limit of requests per minute.
    pub paused: Duration,
}

/// The counter that a call fills.
pub(super) type Tally = CallCost;

/// What the requests of a call have taken so far, whatever becomes of them.
pub(super) type Spent = Mutex<Tally>;

/// What they have taken, once none is under way.
pub(super) fn total(spent: Spent) -> CallCost {
    spent.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The counter of one request, added to those of its call when it ends: answered, failed, or
/// dropped because its time was up.
pub(super) struct Counted<'a> {
    pub(super) tally: Tally,
    call: &'a Spent,
}

impl<'a> Counted<'a> {
    pub(super) fn of(call: &'a Spent) -> Self {
        Self { tally: Tally::default(), call }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.call.lock().unwrap_or_else(PoisonError::into_inner).add(self.tally);
    }
}

impl CallCost {
    pub(super) fn add(&mut self, other: Self) {
        *self = self.plus(other);
    }

    /// The cost of both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            retries: self.retries.saturating_add(other.retries),
            bytes_sent: self.bytes_sent.saturating_add(other.bytes_sent),
            bytes_received: self.bytes_received.saturating_add(other.bytes_received),
            exchange: self.exchange.saturating_add(other.exchange),
            paused: self.paused.saturating_add(other.paused),
        }
    }
}

/// What a client and its clones have done since it was made. The figures are read one after the
/// other, so while calls run they may be a request apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MeterSnapshot {
    /// Cost of all calls, failed and dropped ones included.
    pub cost: CallCost,
    /// Tries that failed, whether or not the next one succeeded.
    pub failures: u64,
    /// Retries that were not made because the retry budget was spent.
    pub retries_denied: u64,
    /// Times that a circuit breaker opened.
    pub circuits_opened: u64,
    /// Calls that were refused at once because a circuit breaker was open.
    pub circuit_refusals: u64,
}

/// Totals of a client.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    exchange_micros: AtomicU64,
    paused_micros: AtomicU64,
    failures: AtomicU64,
    retries_denied: AtomicU64,
    circuits_opened: AtomicU64,
    circuit_refusals: AtomicU64,
}

impl Meter {
    pub(super) fn snapshot(&self) -> MeterSnapshot {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let small = |count: &AtomicU64| u32::try_from(read(count)).unwrap_or(u32::MAX);
        MeterSnapshot {
            cost: CallCost {
                requests: small(&self.requests),
                retries: small(&self.retries),
                bytes_sent: read(&self.bytes_sent),
                bytes_received: read(&self.bytes_received),
                exchange: Duration::from_micros(read(&self.exchange_micros)),
                paused: Duration::from_micros(read(&self.paused_micros)),
            },
            failures: read(&self.failures),
            retries_denied: read(&self.retries_denied),
            circuits_opened: read(&self.circuits_opened),
            circuit_refusals: read(&self.circuit_refusals),
        }
    }

    pub(super) fn failure(&self) {
        add(&self.failures, 1);
    }

    pub(super) fn retry_denied(&self) {
        add(&self.retries_denied, 1);
    }

    pub(super) fn circuit_opened(&self) {
        add(&self.circuits_opened, 1);
    }

    pub(super) fn circuit_refused(&self) {
        add(&self.circuit_refusals, 1);
    }
}

/// Writes to the tally of a call and to the totals alike, at the moment that something happens: a
/// call that is dropped has still been counted.
pub(super) struct Ledger<'a> {
    pub(super) meter: &'a Meter,
    pub(super) tally: &'a mut Tally,
}

impl Ledger<'_> {
    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.tally.requests = self.tally.requests.saturating_add(1);
        self.tally.bytes_sent = self.tally.bytes_sent.saturating_add(bytes);
        add(&self.meter.requests, 1);
        add(&self.meter.bytes_sent, bytes);
    }

    pub(super) fn received(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.tally.bytes_received = self.tally.bytes_received.saturating_add(bytes);
        add(&self.meter.bytes_received, bytes);
    }

    pub(super) fn retried(&mut self) {
        self.tally.retries = self.tally.retries.saturating_add(1);
        add(&self.meter.retries, 1);
    }

    pub(super) fn exchanged(&mut self, time: Duration) {
        self.tally.exchange = self.tally.exchange.saturating_add(time);
        add(&self.meter.exchange_micros, micros(time));
    }

    pub(super) fn paused(&mut self, time: Duration) {
        self.tally.paused = self.tally.paused.saturating_add(time);
        add(&self.meter.paused_micros, micros(time));
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_and_the_totals_count_the_same_things() {
        let meter = Meter::default();
        let mut calls = [Tally::default(), Tally::default()];
        for tally in &mut calls {
            let mut ledger = Ledger { meter: &meter, tally };
            ledger.sent(10);
            ledger.received(7);
            ledger.retried();
            ledger.sent(10);
            ledger.exchanged(Duration::from_millis(3));
            ledger.paused(Duration::from_millis(2));
        }
        meter.failure();
        let seen = meter.snapshot();
        assert_eq!(seen.cost, calls[0].plus(calls[1]));
        assert_eq!((calls[0].requests, calls[0].bytes_sent, calls[0].retries), (2, 20, 1));
        assert_eq!((seen.failures, seen.cost.paused), (1, Duration::from_millis(4)));
    }
}
