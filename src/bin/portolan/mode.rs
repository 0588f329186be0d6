//! How candidates are found: by vector, by words, or by both.

use clap::ValueEnum;
use portolan::{Collection, Dense, Find};

use crate::failure::{Failure, Result};

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

/// What the vector search of a query is told.
#[derive(Clone, Default)]
pub struct Effort {
    pub ef: Option<usize>,
    pub recall: Option<f32>,
    /// The model of the vector, if it is known: another than the collection's is refused.
    pub model: Option<String>,
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

    /// The query of this mode.
    pub fn find(
        self,
        collection: &Collection,
        question: &str,
        vector: Option<&[f32]>,
        effort: &Effort,
    ) -> Result<Find> {
        let mut find = collection.find();
        if self.needs_vector() {
            let missing = || Failure::Usage("--vector or --embed-model is missing".to_owned());
            let dense = Dense::new(vector.ok_or_else(missing)?);
            let dense = match (effort.ef, effort.recall) {
                (Some(ef), _) => dense.ef(ef),
                (None, Some(recall)) => dense.recall(recall),
                (None, None) => dense,
            };
            find = find.dense_with(match &effort.model {
                Some(model) => dense.model(model.as_str()),
                None => dense,
            });
        }
        Ok(if self == Self::Dense { find } else { find.text(question) })
    }
}
