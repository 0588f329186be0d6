//! Why a command ended early, and the exit code that follows from it.

use std::error::Error;
use std::io;

/// `Result` of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The options do not fit together: exit code 2.
    Usage(String),
    /// The work failed: exit code 1.
    Failed(String),
    /// Nobody reads standard output any more: no failure at all.
    OutputClosed,
}

impl Failure {
    /// A failure of the work.
    pub fn new(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }

    /// Of writing to standard output.
    pub fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }

    /// Of reading or writing a file.
    pub fn of_file(path: &std::path::Path, error: &io::Error) -> Self {
        Self::Failed(format!("cannot access {}: {error}", path.display()))
    }

    /// The same failure with a hint at the end.
    pub fn hint(self, hint: &str) -> Self {
        match self {
            Self::Failed(reason) => Self::Failed(format!("{reason}; {hint}")),
            other => other,
        }
    }
}

/// The error and its causes, each unless the words before it say it already.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_added_once() {
        let missing = portolan::eval::beir::queries("/no/such/file");
        let Err(error) = missing else { panic!("the file exists") };
        let Failure::Failed(text) = Failure::from(error) else { panic!("another failure") };
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert!(text.starts_with("cannot access /no/such/file: "), "{text}");
    }
}
