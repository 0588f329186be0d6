//! Child processes: the test binary runs itself again with one test selected and a variable set,
//! and talks to its parent in lines.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

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

/// As [`command`], with so many KiB of address space where the system can limit it.
pub fn limited(test: &str, role: &str, kib: u64) -> Command {
    let plain = command(test, role);
    if !cfg!(target_os = "linux") {
        return plain;
    }
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -v {kib}; exec \"$0\" \"$@\""));
    limited.arg(plain.get_program()).args(plain.get_args()).env(ROLE, role);
    limited
}

/// A running child; killed when dropped.
pub struct Role {
    child: Child,
    lines: Receiver<String>,
}

/// What a parent hears in some time.
pub enum Heard {
    Line(String),
    /// The child has ended.
    End,
    /// Nothing.
    Silence,
}

impl Role {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (teller, heard) = channel();
        std::thread::spawn(move || {
            for line in lines {
                let line = line.expect("a line");
                let told = line.strip_prefix(MARK).map(str::to_owned);
                // A parent that hears no more needs no line.
                let _ = told.map(|told| teller.send(told));
            }
        });
        Self { child, lines: heard }
    }

    /// The next line that the child tells; none at its end.
    pub fn hear(&mut self) -> Option<String> {
        self.lines.recv().ok()
    }

    /// As [`Role::hear`], but waits no longer than that.
    pub fn hear_within(&mut self, time: Duration) -> Heard {
        match self.lines.recv_timeout(time) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Disconnected) => Heard::End,
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
        }
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// How the child ended, which it has.
    pub fn status(&mut self) -> ExitStatus {
        self.child.wait().expect("an end")
    }

    /// Closes the child's input, which tells it to end.
    pub fn close(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Kills the child at once; what it had told before is still heard.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("an end");
    }

    /// Closes the child's input, which tells it to end, and waits; whether it succeeded.
    pub fn end(mut self) -> bool {
        self.close();
        while self.hear().is_some() {}
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
