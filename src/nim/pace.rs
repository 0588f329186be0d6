//! The client-side limit of requests per minute: the hosted catalog has one, tells of it only by
//! refusing, and sends no header with what is left. Layer: leaf of `nim`; pure, the time is given.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// When requests were sent: never more than `limit` in any 60 s.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Option<u32>,
    sent: Mutex<VecDeque<Instant>>,
}

impl Pace {
    /// `None` or 0 for no limit.
    pub(super) fn new(limit: Option<u32>) -> Self {
        Self { limit: limit.filter(|limit| *limit > 0), sent: Mutex::new(VecDeque::new()) }
    }

    /// The limit.
    pub(super) fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Counts a request that is sent now, or says how long to wait before asking again.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        while sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE) {
            sent.pop_front();
        }
        match sent.front() {
            Some(oldest) if sent.len() >= limit as usize => {
                Err(MINUTE.saturating_sub(now.saturating_duration_since(*oldest)))
            }
            _ => {
                sent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_sees_more_requests_than_the_limit() {
        let (pace, start) = (Pace::new(Some(2)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.take(at(0)), Ok(()));
        assert_eq!(pace.take(at(20)), Ok(()));
        assert_eq!(pace.take(at(30)), Err(Duration::from_secs(30)));
        assert_eq!(pace.take(at(60)), Ok(()));
        assert_eq!(pace.take(at(60)), Err(Duration::from_secs(20)));
        assert_eq!(pace.take(at(80)), Ok(()));
    }

    #[test]
    fn no_limit_never_waits() {
        for none in [None, Some(0)] {
            let (pace, now) = (Pace::new(none), Instant::now());
            assert!((0..1_000).all(|_| pace.take(now).is_ok()));
        }
    }
}
