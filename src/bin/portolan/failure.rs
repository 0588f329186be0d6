//! Why a command ended early, and the exit code that follows from it.

use std::error::Error;
use std::io;

use portolan::StorageError;

/// `Result` of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The options do not fit together: exit code 2.
    Usage(String),
    /// The work failed: exit code 1.
    Failed(String),
    /// As [`Failed`](Self::Failed), because the database file is damaged.
    Damaged(String),
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
            Self::Damaged(reason) => Self::Damaged(format!("{reason}; {hint}")),
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
        if is_damage(&error) {
            // It says all itself; behind it are the words of the layers below.
            return Self::Damaged(in_commands(&error.to_string()));
        }
        Self::Failed(in_commands(&chain(&error)))
    }
}

/// Whether it tells of damage in the database file, and not of a file that is none.
fn is_damage(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(portolan::Error::Storage(StorageError::NotADatabase { .. })) => false,
        Some(error) => portolan::Error::is_corruption(error),
        None => false,
    }
}

/// What the library advises an application to do, and how it is done by a command.
const ADVICE: [(&str, &str); 25] = [
    (
        "create it with `CollectionOptions::text`, or build one with `Collection::index_text`",
        "make one with `portolan index-text`",
    ),
    ("with `Collection::index_text`", "with `portolan index-text`"),
    ("declare it with Collection::declare_field", "index it with `portolan index-field`"),
    ("call `Database::compact` on it (or `portolan compact`), which", "`portolan compact`"),
    ("`Database::verify` (or `portolan verify`)", "`portolan verify`"),
    ("`Database::repair` (or `portolan repair`)", "`portolan repair`"),
    ("use Database::collection to open it", "choose another --collection"),
    (
        "open it with Database::collection, which takes it as it is, or choose another name",
        "choose another --collection",
    ),
    ("set NVIDIA_API_KEY or pass one to the builder", "set NVIDIA_API_KEY"),
    (
        "check NVIDIA_API_KEY, or what was set in its place",
        "check NVIDIA_API_KEY, or the variable that --embed-key-env or the like names",
    ),
    (
        "send less or raise the timeout",
        "raise --timeout-ms (--chat-timeout-ms of a chat model), or send less at once \
         (--batch-size, --in-flight of an ingest)",
    ),
    (
        "use the same model with the same roles or prefixes",
        "use its --embed-model, --query-prefix and --passage-prefix (see `info --json`)",
    ),
    (
        "rate limit reached, slow down and try later",
        "rate limit reached, set --requests-per-minute",
    ),
    ("use https or allow_insecure_http", "use https, or --allow-http in a network you trust"),
    ("nim configuration: base_url", "NVIDIA_BASE_URL"),
    ("nim configuration: embed_url", "--embed-url"),
    ("nim configuration: rerank_url", "--rerank-url"),
    ("nim configuration: chat_url", "--chat-url"),
    ("nim configuration: proxy", "--proxy"),
    ("name it as http://user:password@host:port", "--proxy http://user:password@host:port"),
    ("nim configuration: api_key", "NVIDIA_API_KEY"),
    ("nim configuration: embed_key", "the key that --embed-key-env names"),
    ("nim configuration: rerank_key", "the key that --rerank-key-env names"),
    ("nim configuration: chat_key", "the key that --chat-key-env names"),
    ("try again, or open with WriterPolicy::Wait", "try again once it has ended"),
];

/// A message of the library with the advice for somebody who types commands.
pub fn in_commands(text: &str) -> String {
    let replace = |text: String, (library, command): &(&str, &str)| text.replace(library, command);
    ADVICE.iter().fold(text.to_owned(), replace)
}

#[cfg(test)]
mod tests {
    use portolan::{CollectionOptions, Metric, TextError};

    use super::*;

    #[test]
    fn advice_to_applications_becomes_that_of_a_command() {
        let folder = tempfile::tempdir().unwrap();
        let db = portolan::Database::open(folder.path().join("kb.portolan")).unwrap();
        let options = |dimensions| CollectionOptions::new(dimensions, Metric::Dot);
        let docs = db.create_collection("docs", options(2)).unwrap();
        let older = StorageError::Older { found: 2, needed: 3 };
        let disagrees = TextError::Disagrees { slot: 1 };
        let errors: [(portolan::Error, &str); 6] = [
            (docs.search_text("sea").run().unwrap_err(), "`portolan index-text`"),
            (disagrees.into(), "`portolan index-text`"),
            (db.create_collection("docs", options(2)).unwrap_err(), "--collection"),
            (db.collection_or_create("docs", options(3)).unwrap_err(), "--collection"),
            (older.into(), "`portolan compact`"),
            (StorageError::WriterBusy.into(), "once it has ended"),
        ];
        for (error, command) in errors {
            let (Failure::Failed(text) | Failure::Damaged(text)) = Failure::from(error) else {
                panic!("another failure");
            };
            assert!(text.contains(command), "{text}");
            assert!(!text.contains("::"), "{text}");
        }
    }

    #[test]
    fn damage_is_told_from_files_that_are_none() {
        let of = |error: StorageError| Failure::from(portolan::Error::from(error));
        let missing = StorageError::Missing { what: "a slot" };
        assert!(matches!(of(missing), Failure::Damaged(_)));
        let (path, reason) = ("x".into(), "magic".to_owned());
        let foreign = StorageError::NotADatabase { path, reason };
        assert!(matches!(of(foreign), Failure::Failed(_)));
    }

    #[test]
    fn a_cause_is_added_once() {
        let missing = portolan::eval::beir::queries("/no/such/file");
        let Err(error) = missing else { panic!("the file exists") };
        let Failure::Failed(text) = Failure::from(error) else { panic!("another failure") };
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert!(text.starts_with("cannot access /no/such/file: "), "{text}");
    }
}
