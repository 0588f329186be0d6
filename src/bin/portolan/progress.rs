//! Progress on standard error: a bar on a terminal; else, as in the log of a job, a line now and
//! then.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use portolan::{Collection, Maintain, Maintained};

use crate::failure::Result;

/// Time between two lines: work that takes less writes none.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// A bar of `total` steps; it is gone when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    what: Cow<'static, str>,
    /// When it began, and when the last line was due.
    times: (Instant, Mutex<Instant>),
}

impl Progress {
    /// Begins at 0.
    pub fn new(what: impl Into<Cow<'static, str>>, total: usize) -> Self {
        let (bar, what) = (ProgressBar::new(total as u64), what.into());
        let template = "{msg:>10} [{bar:40}] {human_pos}/{human_len} {per_sec} eta {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.clone());
        let begin = Instant::now();
        Self { bar, what, times: (begin, Mutex::new(begin)) }
    }

    /// Sets how many steps are done.
    pub fn at(&self, done: usize) {
        self.bar.set_position(done as u64);
        self.line("");
    }

    /// Sets how many steps of how many are done.
    pub fn of(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.line("");
    }

    /// One step more is done.
    pub fn step(&self) {
        self.bar.inc(1);
        self.line("");
    }

    /// Says why it does not go on, or that it does.
    pub fn waits(&self, why: Option<&'static str>) {
        self.bar.set_message(why.map_or_else(|| self.what.clone(), Cow::Borrowed));
        if let Some(why) = why {
            self.line(why);
        }
    }

    /// A line where there is no bar, if one is due.
    fn line(&self, why: &str) {
        if !self.bar.is_hidden() {
            return;
        }
        let mut last = self.times.1.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits is told at once, though not of every try.
        let is_due = last.elapsed() >= BETWEEN_LINES || (!why.is_empty() && *last == self.times.0);
        if is_due {
            *last = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let told = line(&self.what, done, total, self.times.0.elapsed(), why);
            // Whoever closed standard error wants no progress.
            let _ = writeln!(io::stderr().lock(), "{told}");
        }
    }
}

/// How far some work is, and what is left of it at this speed.
fn line(what: &str, done: u64, total: u64, took: Duration, why: &str) -> String {
    let line = format!("{what}: {done} of {total} after {} s", took.as_secs());
    match (why, done) {
        ("", 0) => line,
        ("", _) => {
            let left = total.saturating_sub(done) as f64 * took.as_secs_f64() / done as f64;
            format!("{line}, {left:.0} s left")
        }
        (why, _) => format!("{line}; {why}"),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Folds the vectors of a collection, with a bar while the graph is built.
pub fn maintain(
    collection: &Collection,
    set: impl FnOnce(Maintain<'_>) -> Maintain<'_>,
) -> Result<Maintained> {
    let progress = Progress::new("indexing", 0);
    let told = |done, total| {
        progress.of(done, total);
        ControlFlow::Continue(())
    };
    Ok(set(collection.maintain()).progress(told).run()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_the_work_is_and_what_is_left_or_why_it_waits() {
        let after = Duration::from_secs(30);
        assert_eq!(line("storing", 0, 9, after, ""), "storing: 0 of 9 after 30 s");
        assert_eq!(line("storing", 3, 9, after, ""), "storing: 3 of 9 after 30 s, 60 s left");
        assert_eq!(line("storing", 3, 9, after, "why"), "storing: 3 of 9 after 30 s; why");
    }
}
