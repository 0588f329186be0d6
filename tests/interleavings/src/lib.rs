//! Code of the library in which threads meet, under a scheduler that chooses the next thread at
//! every lock. `check` runs all that, and breaks the code to see that the tests find it.

#![cfg(test)]

#[path = "../../../src/storage/gate.rs"]
mod gate;
#[path = "../../../src/db/queue.rs"]
mod queue;
#[path = "../../../src/db/views.rs"]
mod views;

mod copies;
mod map;
mod swap;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::JoinHandle;
use shuttle::{Config, MaxSteps, Runner};

/// What threads note for the end. Its lock is the system's: nobody else has a turn there.
type Notes<T> = std::sync::Mutex<Vec<T>>;

/// Orders of the threads that each test tries, at random and by priorities.
fn orders() -> usize {
    let asked = std::env::var("PORTOLAN_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(1_000)
}

fn check(model: fn()) {
    let mut config = Config::new();
    // Some hundred are enough, unless somebody asks again and again for ever.
    config.max_steps = MaxSteps::FailAfter(100_000);
    Runner::new(RandomScheduler::new(orders()), config.clone()).run(model);
    Runner::new(PctScheduler::new(3, orders()), config).run(model);
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
