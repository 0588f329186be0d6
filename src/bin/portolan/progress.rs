//! Progress bars on standard error. Hidden when that is not a terminal.

use std::borrow::Cow;
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use portolan::{Collection, Maintain, Maintained};

use crate::failure::Result;

/// A bar of `total` steps; it is gone when it is dropped.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins at 0.
    pub fn new(what: impl Into<Cow<'static, str>>, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64);
        let template = "{msg:>10} [{bar:40}] {human_pos}/{human_len} {per_sec} eta {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self { bar }
    }

    /// Sets how many steps are done.
    pub fn at(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Sets how many steps of how many are done.
    pub fn of(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// One step more is done.
    pub fn step(&self) {
        self.bar.inc(1);
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
