//! Child processes: the test binary runs itself again with one test selected and a variable set,
//! and talks to its parent in lines.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Lines meant for the parent begin so; the test harness prints lines of its own.
const MARK: &str = "@portolan ";

/// Names the role of a child; a test that plays a role returns at once without it.
const ROLE: &str = "PORTOLAN_TEST_ROLE";

/// What this process is asked to be, if it is a child.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Whether this process is a child of that role.
pub fn is(wanted: &str) -> bool {
    role().as_deref() == Some(wanted)
}

/// Tells the parent a line.
pub fn tell(line: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // The harness may have begun a line of its own. A parent that is gone needs no line.
    let _ = writeln!(out, "\n{MARK}{line}").and_then(|()| out.flush());
}

/// The command that runs one test of this binary in a role.
pub fn command(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// A running child; killed when dropped.
pub struct Role {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Role {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// The next line that the child tells; none at its end.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.expect("a line");
            if let Some(told) = line.strip_prefix(MARK) {
                return Some(told.to_owned());
            }
        }
    }

    /// Kills the child at once; what it had told before is still heard.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("an end");
    }

    /// Closes the child's input, which tells it to end, and waits; whether it succeeded.
    pub fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        for line in self.lines.by_ref() {
            line.expect("a line");
        }
        self.child.wait().expect("an end").success()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a child: waits until the parent closes the input.
pub fn wait_for_parent() {
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        line.clear();
    }
}
