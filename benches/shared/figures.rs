//! Settings and statistics of the benches.

/// A number from the environment; else the default of `cargo bench`, or a tiny one when a test
/// run starts the bench only to see that it works.
pub fn setting(name: &str, bench: usize, smoke: usize) -> usize {
    let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    given.unwrap_or(if is_bench { bench } else { smoke })
}

/// The middle value; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
