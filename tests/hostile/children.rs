//! A parent and its children: a child works through numbered cases and tells each one before it
//! begins and after it ends; the parent notes deaths and hangs and starts the next child behind
//! the case that did it.

use std::time::Duration;

use crate::common::process::{Heard, Role, limited, tell};

/// Where a child begins.
const FROM: &str = "PORTOLAN_TEST_FROM";
/// Where it finds what it needs.
const PLACE: &str = "PORTOLAN_TEST_PATH";
/// Nothing takes longer from one line of a child to the next, but for [`searching`].
const PATIENCE: Duration = Duration::from_secs(20);
/// A survey and a repair each look for changed bytes: at most `STEPS_MAX` of `src/storage/mend.rs`,
/// which is minutes of one thread. The work grows with the square of an extent, and those of the
/// files here have some KiB, so that it takes less than a second. But a file that lies about a
/// length where its manifest is damaged as well may ask for all of it, which is no hang.
const SEARCH_PATIENCE: Duration = Duration::from_secs(600);
/// What a child tells before such a search.
const SEARCH: &str = "search";
/// Address space of a child, in KiB: maps, of which that of a repaired file is the largest with
/// 256 MiB, stacks and arenas of its threads.
const SPACE_KIB: u64 = 3 << 19;

/// In a child: where it finds what it needs.
pub fn place() -> std::path::PathBuf {
    std::env::var_os(PLACE).expect("a place").into()
}

/// In a child: works through the cases.
pub fn work(total: usize, mut case: impl FnMut(usize) -> String) {
    let from = std::env::var(FROM).expect("a begin").parse().expect("a number");
    for at in from..total {
        tell(format!("begin {at}"));
        let memory = Memory::before();
        let told = case(at).replace('\n', " ");
        tell(format!("end {} {told}", memory.grown_kib()));
    }
    tell("done");
}

/// In a child: does what may look for changed bytes, of which the parent is told.
pub fn searching<T>(work: impl FnOnce() -> T) -> T {
    tell(SEARCH);
    let done = work();
    tell("searched");
    done
}

/// What became of a case.
pub struct Told {
    pub case: usize,
    /// What the child told; a death or a hang is in words.
    pub result: Result<String, String>,
    /// By how much the child's memory had grown at its peak, in KiB; 0 where it is not known.
    pub grown_kib: u64,
}

/// Runs a test of this binary in a role until it has worked through `total` cases.
pub fn run(test: &str, role: &str, place: &std::path::Path, total: usize) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::with_capacity(total);
    while all.len() < total {
        let mut command = limited(test, role, SPACE_KIB);
        command.env(PLACE, place).env(FROM, all.len().to_string());
        // Arenas for every thread would be most of the address space.
        command.env("MALLOC_ARENA_MAX", "2").env("RAYON_NUM_THREADS", "2");
        let mut child = Role::start(command);
        // Making the bases takes its time.
        let mut patience = Duration::from_secs(300);
        loop {
            let case = all.len();
            let failure = match child.hear_within(patience) {
                Heard::Line(line) if line == "done" => break,
                Heard::Line(line) => {
                    patience = if line == SEARCH { SEARCH_PATIENCE } else { PATIENCE };
                    if let Some(told) = line.strip_prefix("end ") {
                        let (grown, told) = told.split_once(' ').expect("what became of it");
                        let grown_kib = grown.parse().expect("a number");
                        all.push(Told { case, result: Ok(told.to_owned()), grown_kib });
                        if all.len().is_multiple_of(100_000) {
                            println!("{} cases", all.len());
                        }
                    }
                    continue;
                }
                Heard::End => format!("the process died: {}", child.status()),
                Heard::Silence => {
                    child.kill();
                    format!("no end within {} s", patience.as_secs())
                }
            };
            all.push(Told { case, result: Err(failure), grown_kib: 0 });
            break;
        }
    }
    all
}

/// The peak of this process's memory, where the system tells it.
struct Memory {
    before_kib: u64,
}

impl Memory {
    fn before() -> Self {
        // Sets the peak to what is in use now.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self { before_kib: Self::read("VmRSS:") }
    }

    fn grown_kib(&self) -> u64 {
        Self::read("VmHWM:").saturating_sub(self.before_kib)
    }

    fn read(field: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}
