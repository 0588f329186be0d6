//! When to try again and how long to wait. Not the trying (see `transport`).
//! Layer: leaf of `nim`. Full jitter as in "Exponential Backoff And Jitter" (AWS, 2015).

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

/// How often and how patiently a failed request is tried again.
///
/// The wait after failure `n`, from 0, is uniform between zero and `base * 2^n`, at most `cap`; a
/// quarter of that where no connection can be made. The server's Retry-After replaces it; one
/// longer than `retry_after_cap` ends the call at once and the error carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct RetryPolicy {
    tries: u32,
    base: Duration,
    cap: Duration,
    retry_after_cap: Duration,
}

impl Default for RetryPolicy {
    /// 5 tries, 1 s to 10 s, Retry-After up to 60 s.
    fn default() -> Self {
        Self {
            tries: 5,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(10),
            retry_after_cap: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The defaults: 5 tries, 1 s to 10 s, Retry-After up to 60 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tries in all; 1 means no retry, and so does 0.
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// Upper end of the first wait.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Upper end of any wait that the server did not ask for.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Longest Retry-After that is waited for.
    pub fn retry_after_cap(mut self, cap: Duration) -> Self {
        self.retry_after_cap = cap;
        self
    }

    /// The wait after failed try number `failed` (from 1), or none when it is time to give up.
    pub(super) fn wait(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.tries {
            return None;
        }
        match asked {
            Some(asked) => (asked <= self.retry_after_cap).then_some(asked),
            None => {
                let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
                Some(self.base.saturating_mul(doubled).min(self.cap).mul_f64(fraction()))
            }
        }
    }
}

/// A number in [0, 1) from the standard library's per-process random hash keys: enough to spread
/// clients out, and no generator to depend on.
fn fraction() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// Retry-After as seconds or as an HTTP date (RFC 9110, section 10.2.3). Anything else is ignored,
/// and so are zero and a date that has passed: a server in trouble that asks for no wait gets the
/// back-off, with its jitter and within the budget, instead of retries without end at once.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX);
        return (seconds > 0).then(|| Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(now).ok().filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_end_with_the_tries() {
        let policy = RetryPolicy::new();
        for (failed, most) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)] {
            let waits: Vec<_> = (0..200).filter_map(|_| policy.wait(failed, None)).collect();
            assert_eq!(waits.len(), 200);
            assert!(waits.iter().all(|w| *w < Duration::from_millis(most)));
            assert!(waits.iter().any(|w| *w > Duration::from_millis(most / 2)));
            assert!(waits.iter().any(|w| *w < Duration::from_millis(most / 2)));
        }
        assert_eq!(policy.wait(5, None), None);
        let endless = policy.tries(u32::MAX);
        let late = endless.wait(1000, None).expect("a wait");
        assert!(late <= Duration::from_secs(10));
    }

    #[test]
    fn an_asked_wait_is_kept_up_to_its_own_cap() {
        let policy = RetryPolicy::new();
        let asked = |seconds| policy.wait(1, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(1), Some(Duration::from_secs(1)));
        assert_eq!(asked(60), Some(Duration::from_secs(60)));
        assert_eq!(asked(61), None);
    }

    #[test]
    fn retry_after_reads_seconds_and_dates_and_ignores_the_rest() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let cases = [
            ("7", Some(7)),
            (" 1 ", Some(1)),
            (" 0 ", None),
            ("00", None),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:31 GMT", Some(1)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", None),
            ("Sun, 06 Nov 1994 08:49:00 GMT", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
