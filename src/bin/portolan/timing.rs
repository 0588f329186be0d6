//! Durations as numbers for reports, and percentiles over them.

use std::time::Duration;

/// A time in milliseconds on the command line: a day at most.
pub fn parse_millis(text: &str) -> std::result::Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=86_400_000).contains(number));
    number.ok_or_else(|| "expected milliseconds from 1 to 86400000".to_owned())
}

/// Milliseconds, to the microsecond.
pub fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Seconds, to the millisecond.
pub fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

/// The smallest of `sorted` times that is not exceeded by `percent` of them, in microseconds.
pub fn percentile_us(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |time| time.as_nanos() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<Duration> = (1..=10).map(Duration::from_micros).collect();
        assert_eq!(percentile_us(&times, 50), 5.0);
        assert_eq!(percentile_us(&times, 99), 10.0);
        assert_eq!(percentile_us(&times[..1], 50), 1.0);
        assert_eq!(percentile_us(&[], 50), 0.0);
    }
}
