//! How candidates are found: by vector, by words, or by both.

use clap::ValueEnum;

/// A mode of `search` and `eval`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// By vector
    Dense,
    /// By words: BM25
    Lexical,
    /// By both, fused by rank
    Hybrid,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Lexical => "lexical",
            Self::Hybrid => "hybrid",
        }
    }

    /// The same as a query knows it.
    pub fn of_query(self) -> portolan::Mode {
        match self {
            Self::Dense => portolan::Mode::Dense,
            Self::Lexical => portolan::Mode::Lexical,
            Self::Hybrid => portolan::Mode::Hybrid,
        }
    }

    pub fn needs_vector(self) -> bool {
        self != Self::Lexical
    }

    pub fn needs_words(self) -> bool {
        self != Self::Dense
    }
}
