//! The circuit breaker: an address that failed several times in a row is left alone for a while,
//! then tried by one request. Not the retries of one call (see `retry`). Layer: leaf of `nim`;
//! pure, the time is given. After Nygard, "Release It!", and its states closed, open, half-open.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that have a circuit; a client has two or three. Those that fail while so many do are
/// tried each time.
const ADDRESSES: usize = 64;

/// When an address is left alone.
///
/// Failures are those of the transport and statuses 5xx; any other answer, a refusal too, says that
/// the service is alive and closes the circuit. Each address (URL) has a circuit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct CircuitBreaker {
    failures: u32,
    cooldown: Duration,
}

impl Default for CircuitBreaker {
    /// Opens after 8 failures in a row, for 5 s.
    fn default() -> Self {
        Self { failures: 8, cooldown: Duration::from_secs(5) }
    }
}

impl CircuitBreaker {
    /// The defaults: opens after 8 failures in a row, for 5 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// Never opens.
    pub fn off() -> Self {
        Self::default().failures(0)
    }

    /// Failed tries in a row after which the circuit opens; 0 means never.
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// How long the circuit stays open before one request may try again.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }
}

#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    /// When the last counted failure was.
    failed_at: Option<Instant>,
    open_until: Option<Instant>,
    /// The one request that tries an open circuit is on its way.
    probing: bool,
}

/// The circuits of a client.
#[derive(Debug)]
pub(super) struct Breakers {
    policy: CircuitBreaker,
    circuits: Mutex<HashMap<String, Circuit>>,
}

/// Leave to send one request. Dropped without a verdict, as by a cancelled call, it changes
/// nothing, and another request may try.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breakers: &'a Breakers,
    address: &'a str,
    admitted: Instant,
    probe: bool,
}

impl Breakers {
    pub(super) fn new(policy: CircuitBreaker) -> Self {
        Self { policy, circuits: Mutex::new(HashMap::new()) }
    }

    /// Leave to send a request to `address`, or the time until the next one may try.
    pub(super) fn admit<'a>(
        &'a self,
        address: &'a str,
        now: Instant,
    ) -> Result<Permit<'a>, Duration> {
        let mut circuits = self.lock();
        let circuit = circuits.get_mut(address);
        let mut probe = false;
        if let Some(circuit) = circuit
            && let Some(until) = circuit.open_until
        {
            let left = until.saturating_duration_since(now);
            if circuit.probing || !left.is_zero() {
                // While a probe is out there is no better guess than a short wait.
                return Err(left.max(Duration::from_millis(100)));
            }
            circuit.probing = true;
            probe = true;
        }
        Ok(Permit { breakers: self, address, admitted: now, probe })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Circuit>> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The service answered.
    pub(super) fn alive(self) {
        self.breakers.lock().remove(self.address);
    }

    /// The try failed. True when this opened the circuit or kept it open.
    pub(super) fn failed(self, now: Instant) -> bool {
        let policy = self.breakers.policy;
        if policy.failures == 0 {
            return false;
        }
        let mut circuits = self.breakers.lock();
        if !circuits.contains_key(self.address) && circuits.len() >= ADDRESSES {
            return false;
        }
        let circuit = circuits.entry(self.address.to_owned()).or_default();
        // Requests that were under way side by side fail together: that is one failure, not
        // several in a row.
        if circuit.failed_at.is_none_or(|last| self.admitted >= last) {
            circuit.failures = circuit.failures.saturating_add(1);
            circuit.failed_at = Some(now);
        }
        let opens = circuit.failures >= policy.failures;
        if opens {
            circuit.open_until = now.checked_add(policy.cooldown);
        }
        opens
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe
            && let Some(circuit) = self.breakers.lock().get_mut(self.address)
        {
            circuit.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breakers(failures: u32) -> Breakers {
        Breakers::new(CircuitBreaker::new().failures(failures).cooldown(5 * SECOND))
    }

    fn fail(breakers: &Breakers, now: Instant) -> bool {
        breakers.admit("a", now).expect("a closed circuit").failed(now)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_says_when_to_try() {
        let (all, now) = (breakers(3), Instant::now());
        assert!(!fail(&all, now) && !fail(&all, now));
        all.admit("a", now).expect("closed").alive();
        assert!(!fail(&all, now) && !fail(&all, now) && fail(&all, now));
        assert_eq!(all.admit("a", now + SECOND).expect_err("open"), 4 * SECOND);
        assert!(all.admit("b", now + SECOND).is_ok());
    }

    #[test]
    fn one_request_tries_a_half_open_circuit_and_decides() {
        let (all, now) = (breakers(1), Instant::now());
        assert!(fail(&all, now));
        let later = now + 5 * SECOND;
        let probe = all.admit("a", later).expect("a probe");
        assert!(all.admit("a", later).is_err());
        assert!(probe.failed(later));
        assert_eq!(all.admit("a", later).expect_err("open again"), 5 * SECOND);

        let later = later + 5 * SECOND;
        drop(all.admit("a", later).expect("a probe that is cancelled"));
        all.admit("a", later).expect("another probe").alive();
        assert!(all.admit("a", later).is_ok());
        assert!(all.lock().is_empty());
    }

    #[test]
    fn zero_failures_never_open_and_the_list_of_addresses_is_bounded() {
        let (never, now) = (breakers(0), Instant::now());
        assert!((0..100).all(|_| !fail(&never, now)));
        let all = breakers(1);
        for at in 0..1_000 {
            let opens = all.admit(&at.to_string(), now).expect("closed").failed(now);
            assert_eq!(opens, at < ADDRESSES);
        }
        assert_eq!(all.lock().len(), ADDRESSES);
        assert!(all.admit("63", now).is_err());
        assert!(all.admit("64", now).is_ok());
    }
}
