//! What the tests of power loss and of failing calls share: the C library `io.c` that stands
//! between a child and its file system, the workloads that the child plays, and what is known of
//! them.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod disk;
pub mod log;
pub mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Name of the database in each directory.
pub const DATABASE: &str = "crash.portolan";
/// Name of the file in which the child tells the parent, and the log, what is promised.
pub const ACKNOWLEDGED: &str = "acknowledged";

/// The compiled library.
pub struct Shim {
    _dir: TempDir,
    library: PathBuf,
}

impl Shim {
    /// Compiles `io.c`: the C compiler that LMDB needs is there.
    pub fn build() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let library = dir.path().join("io.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/io.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut cc = Command::new(compiler);
        cc.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        let output = cc.args(["-ldl", "-lpthread"]).output().expect("a C compiler");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && messages.is_empty(), "{messages}");
        Self { _dir: dir, library }
    }

    /// Puts the library between the command and that directory.
    pub fn watch(&self, command: &mut Command, directory: &Path) {
        command.env("LD_PRELOAD", &self.library).env("PORTOLAN_SHIM_DIR", directory);
    }
}

/// A directory in memory where there is one: the tests write gigabytes that nobody keeps. Its path
/// has no links.
pub fn scratch() -> (TempDir, PathBuf) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.or_else(|_| tempfile::tempdir()).expect("a directory");
    let path = dir.path().canonicalize().expect("its path");
    (dir, path)
}

/// Lets as many threads as there are processors work on the numbers below `count`.
pub fn share_out(count: usize, work: impl Fn(usize) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}
