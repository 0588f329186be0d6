//! The retry budget: a token bucket that all calls of a client share, so that a service in trouble
//! meets a few more requests and not several times as many. Not the decision whether a failure may
//! pass (see `retry`). Layer: leaf of `nim`; pure, the time is given.
//!
//! As in Finagle (RetryBudget: a share of the requests plus some per second) and gRPC (proposal A6,
//! retry throttling).

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many retries the calls of a client may make together.
///
/// A bucket holds at most `burst` retries and starts full. Each call adds `share`, each second
/// `per_second`; each retry takes 1. When less than 1 is left the failure is returned at once. A
/// retry that the server asked for by Retry-After is free.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct RetryBudget {
    burst: f64,
    share: f64,
    per_second: f64,
}

impl Default for RetryBudget {
    /// 20 retries at once, one for every 5 calls, one a second.
    fn default() -> Self {
        Self { burst: 20.0, share: 0.2, per_second: 1.0 }
    }
}

impl RetryBudget {
    /// The defaults: 20 retries at once, one for every 5 calls, one a second.
    pub fn new() -> Self {
        Self::default()
    }

    /// No limit but that of each call.
    pub fn unlimited() -> Self {
        Self { burst: f64::INFINITY, share: 0.0, per_second: 0.0 }
    }

    /// Most retries that can be saved up; the bucket starts with them.
    pub fn burst(mut self, retries: u32) -> Self {
        self.burst = f64::from(retries);
        self
    }

    /// Retries that each call adds, such as 0.2 for one in five; below 0 or no number counts as 0.
    pub fn share(mut self, retries: f64) -> Self {
        self.share = positive(retries);
        self
    }

    /// Retries that each second adds; below 0 or no number counts as 0.
    pub fn per_second(mut self, retries: f64) -> Self {
        self.per_second = positive(retries);
        self
    }
}

fn positive(number: f64) -> f64 {
    if number.is_finite() { number.max(0.0) } else { 0.0 }
}

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    budget: RetryBudget,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(budget: RetryBudget, now: Instant) -> Self {
        Self { budget, level: Mutex::new((budget.burst, now)) }
    }

    /// A call begins.
    pub(super) fn call(&self, now: Instant) {
        self.change(now, |tokens| (tokens + self.budget.share, ()));
    }

    /// Takes one retry out, if there is one.
    pub(super) fn retry(&self, now: Instant) -> bool {
        self.change(now, |tokens| match tokens >= 1.0 {
            true => (tokens - 1.0, true),
            false => (tokens, false),
        })
    }

    fn change<T>(&self, now: Instant, change: impl FnOnce(f64) -> (f64, T)) -> T {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = now.saturating_duration_since(level.1).as_secs_f64();
        let filled = level.0 + seconds * self.budget.per_second;
        let (tokens, result) = change(filled.min(self.budget.burst));
        *level = (tokens.min(self.budget.burst), now.max(level.1));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn retries_end_with_the_burst_and_come_back_with_calls_and_time() {
        let start = Instant::now();
        let budget = RetryBudget::new().burst(2).share(0.5).per_second(0.25);
        let bucket = Bucket::new(budget, start);
        let taken = |at| (0..9).take_while(|_| bucket.retry(at)).count();
        assert_eq!(taken(start), 2);
        bucket.call(start);
        assert_eq!(taken(start), 0);
        bucket.call(start);
        assert_eq!(taken(start), 1);
        assert_eq!(taken(start + Duration::from_secs(3)), 0);
        assert_eq!(taken(start + Duration::from_secs(4)), 1);
        assert_eq!(taken(start + Duration::from_secs(4_000)), 2);
        // A clock that was read earlier takes nothing back.
        assert_eq!(taken(start), 0);
    }

    #[test]
    fn odd_numbers_count_as_zero_and_unlimited_has_no_end() {
        let start = Instant::now();
        let odd = RetryBudget::new().burst(0).share(f64::NAN).per_second(-1.0);
        let bucket = Bucket::new(odd, start);
        bucket.call(start);
        assert!(!bucket.retry(start + Duration::from_secs(9)));
        let endless = Bucket::new(RetryBudget::unlimited(), start);
        assert!((0..10_000).all(|_| endless.retry(start)));
    }
}
