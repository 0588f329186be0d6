//! The modes of `eval`: those of a search, and those that cost more.

use clap::ValueEnum;

use crate::mode::Mode;

/// A row of the evaluation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum EvalMode {
    /// By vector
    Dense,
    /// By words: BM25
    Lexical,
    /// By both, fused by rank
    Hybrid,
    /// The candidates of hybrid search (of dense search without an index of words), in the order
    /// of the reranker
    Reranked,
    /// By vector, over all of them
    Exact,
}

/// How a row is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A search, as an application runs it.
    Search(Mode),
    /// A search whose candidates a reranker orders.
    Rerank(Mode),
    /// Comparing with every vector.
    Exact,
}

impl Way {
    pub fn needs_vector(self) -> bool {
        match self {
            Self::Search(mode) | Self::Rerank(mode) => mode.needs_vector(),
            Self::Exact => true,
        }
    }
}

/// A row: its name, and how it is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub name: String,
    pub way: Way,
}

impl Row {
    fn new(name: impl Into<String>, way: Way) -> Self {
        Self { name: name.into(), way }
    }
}

/// What the rows are decided by.
pub struct Asked<'a> {
    pub modes: &'a [EvalMode],
    pub exact: bool,
    pub has_reranker: bool,
    pub has_words: bool,
}

/// The rows, in the order they were asked for, each once.
pub fn rows(asked: &Asked<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let first_stage = if asked.has_words { Mode::Hybrid } else { Mode::Dense };
    for mode in asked.modes {
        rows.push(match mode {
            EvalMode::Dense => Row::new("dense", Way::Search(Mode::Dense)),
            EvalMode::Lexical => Row::new("lexical", Way::Search(Mode::Lexical)),
            EvalMode::Hybrid => Row::new("hybrid", Way::Search(Mode::Hybrid)),
            EvalMode::Reranked => Row::new("reranked", Way::Rerank(first_stage)),
            EvalMode::Exact => Row::new("exact", Way::Exact),
        });
    }
    if asked.exact {
        rows.push(Row::new("exact", Way::Exact));
    }
    let reranks = rows.iter().any(|row| matches!(row.way, Way::Rerank(_)));
    if asked.has_reranker && !reranks {
        let searches = rows.iter().filter_map(|row| match row.way {
            Way::Search(mode) => Some(mode),
            Way::Rerank(_) | Way::Exact => None,
        });
        let added =
            searches.map(|mode| Row::new(format!("{}+rerank", mode.name()), Way::Rerank(mode)));
        let added: Vec<Row> = added.collect();
        rows.extend(added);
    }
    let mut seen = std::collections::HashSet::new();
    rows.retain(|row| seen.insert(row.name.clone()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(modes: &[EvalMode], exact: bool, has_reranker: bool, has_words: bool) -> Vec<String> {
        let rows = rows(&Asked { modes, exact, has_reranker, has_words });
        rows.into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn a_reranker_adds_a_row_for_each_search_unless_a_mode_reranks() {
        use EvalMode::{Dense, Exact, Hybrid, Reranked};
        let added = ["dense", "hybrid", "exact", "dense+rerank", "hybrid+rerank"];
        assert_eq!(names(&[Dense, Hybrid], true, true, true), added);
        assert_eq!(names(&[Reranked, Dense], false, true, true), ["reranked", "dense"]);
        assert_eq!(names(&[Exact, Dense, Dense], true, false, true), ["exact", "dense"]);
    }

    #[test]
    fn without_an_index_of_words_dense_candidates_are_reranked() {
        let way = |has_words| {
            let modes = &[EvalMode::Reranked];
            rows(&Asked { modes, exact: false, has_reranker: true, has_words })[0].way
        };
        assert_eq!(way(true), Way::Rerank(Mode::Hybrid));
        assert_eq!(way(false), Way::Rerank(Mode::Dense));
    }
}
