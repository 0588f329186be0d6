//! Progress on standard error: a bar on a terminal; else, as in the log of a job, a line now and
//! then.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use portolan::{Collection, Maintain, Maintained};

use crate::failure::Result;

/// Time between two lines: work that takes less writes none.
const BETWEEN_LINES: Duration = Duration::from_secs(30);
/// What is said while a model is out of order, late, or wants fewer requests.
const WAITING: &str = "the model does not answer, or wants fewer requests: waiting for it";

/// A bar of `total` steps; it is gone when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    phase: Mutex<Phase>,
    lines: Mutex<Lines>,
}

/// What is being done.
struct Phase {
    what: Cow<'static, str>,
    begin: Instant,
    /// Steps that took no time, since they were done before.
    free: u64,
}

/// What was written where there is no bar.
struct Lines {
    last: Instant,
    /// When a wait was told last.
    told_wait: Option<Instant>,
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
        let lines = Mutex::new(Lines { last: begin, told_wait: None });
        Self { bar, phase: Mutex::new(Phase { what, begin, free: 0 }), lines }
    }

    /// Says what is being done from here on, unless that was said before.
    pub fn now(&self, what: &'static str, done: usize) {
        let mut phase = locked(&self.phase);
        if phase.what != what {
            *phase = Phase { what: what.into(), begin: Instant::now(), free: done as u64 };
            self.bar.set_message(what);
        }
    }

    /// Sets how many steps are done, and how many of them were done before all this.
    pub fn at_beside(&self, done: usize, before: usize) {
        let mut phase = locked(&self.phase);
        phase.free = phase.free.max(before as u64);
        drop(phase);
        self.at(done);
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

    /// Says that work waits for a model, or that it goes on.
    pub fn waits(&self, waits: bool) {
        let what = locked(&self.phase).what.clone();
        self.bar.set_message(if waits { Cow::Borrowed(WAITING) } else { what });
        self.line(if waits { WAITING } else { "" });
    }

    /// A line where there is no bar, if one is due.
    fn line(&self, why: &str) {
        let mut lines = locked(&self.lines);
        if self.bar.is_hidden() && lines.is_due(Instant::now(), !why.is_empty()) {
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let told = locked(&self.phase).line(done, total, Instant::now(), why);
            // Whoever closed standard error wants no progress.
            let _ = writeln!(io::stderr().lock(), "{told}");
        }
    }
}

impl Lines {
    /// Whether a line is due, which is noted as written. Whoever begins to wait is told at once,
    /// though not of every try.
    fn is_due(&mut self, now: Instant, waits: bool) -> bool {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= BETWEEN_LINES;
        let is_due = is_old(self.last) || waits && self.told_wait.is_none_or(is_old);
        if is_due {
            self.last = now;
            self.told_wait = if waits { Some(now) } else { self.told_wait };
        }
        is_due
    }
}

impl Phase {
    /// How far it is, how fast, and what is left of it at this speed.
    fn line(&self, done: u64, total: u64, now: Instant, why: &str) -> String {
        let took = now.saturating_duration_since(self.begin);
        let line = format!("{}: {done} of {total} after {} s", self.what, took.as_secs());
        match (why, done.saturating_sub(self.free)) {
            ("", 0) => line,
            ("", made) => {
                let rate = made as f64 / took.as_secs_f64();
                let digits = if rate < 10.0 { 1 } else { 0 };
                let left = total.saturating_sub(done) as f64 / rate;
                format!("{line}, {rate:.digits$} a second, {left:.0} s left")
            }
            (why, _) => format!("{line}; {why}"),
        }
    }
}

/// A poisoned lock is taken all the same: what it holds is whole between two steps.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn lines_are_due_every_half_minute_and_when_a_wait_begins() {
        let begin = Instant::now();
        let mut lines = Lines { last: begin, told_wait: None };
        let mut due = |second, waits| lines.is_due(begin + Duration::from_secs(second), waits);
        assert!(!due(29, false) && due(30, false));
        // Told at once, however short ago the last line was; not again until it has ended.
        assert!(due(31, true) && !due(32, true) && !due(33, false));
        // A wait soon after is one of many short ones.
        assert!(!due(34, true) && !due(60, false) && due(61, false));
        assert!(due(62, true) && due(92, true));
    }

    #[test]
    fn a_line_tells_how_far_the_work_is_and_what_is_left_or_why_it_waits() {
        let phase = |free| Phase { what: "storing".into(), begin: Instant::now(), free };
        let line = |free, done, total, why| {
            let phase = phase(free);
            phase.line(done, total, phase.begin + Duration::from_secs(30), why)
        };
        assert_eq!(line(0, 0, 9, ""), "storing: 0 of 9 after 30 s");
        assert_eq!(line(0, 3, 9, ""), "storing: 3 of 9 after 30 s, 0.1 a second, 60 s left");
        assert_eq!(line(0, 3, 9, "why"), "storing: 3 of 9 after 30 s; why");
        // What was there before was not done in this time.
        let left = "storing: 900 of 2000 after 30 s, 10 a second, 110 s left";
        assert_eq!(line(600, 900, 2_000, ""), left);
        assert_eq!(line(600, 600, 2_000, ""), "storing: 600 of 2000 after 30 s");
    }
}
