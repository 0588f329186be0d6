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
    /// The candidates of hybrid search (of what there is, without vectors or an index of words), in
    /// the order of the reranker
    Reranked,
    /// What a chat model finds in many steps, each a search, reranked if there is a reranker; it
    /// names ten at most
    Agentic,
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
    /// Searches that a chat model asks for; behind what it names stands one search.
    Agent(Mode),
    /// Comparing with every vector.
    Exact,
}

impl Way {
    pub fn needs_vector(self) -> bool {
        match self {
            Self::Search(mode) | Self::Rerank(mode) | Self::Agent(mode) => mode.needs_vector(),
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
    pub has_vectors: bool,
}

impl Asked<'_> {
    /// The modes that were asked for, or all that can be had without a service that was not given.
    fn chosen(&self) -> Vec<EvalMode> {
        if !self.modes.is_empty() {
            return self.modes.to_vec();
        }
        let mut chosen = match (self.has_words, self.has_vectors) {
            (true, true) => vec![EvalMode::Dense, EvalMode::Lexical, EvalMode::Hybrid],
            (true, false) => vec![EvalMode::Lexical],
            // Without vectors too: that tells what is missing.
            (false, _) => vec![EvalMode::Dense],
        };
        chosen.extend(self.has_reranker.then_some(EvalMode::Reranked));
        chosen
    }
}

/// The rows, in the order they were asked for, each once.
pub fn rows(asked: &Asked<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let first_stage = match (asked.has_words, asked.has_vectors) {
        (true, true) => Mode::Hybrid,
        (true, false) => Mode::Lexical,
        (false, _) => Mode::Dense,
    };
    for mode in asked.chosen() {
        rows.push(match mode {
            EvalMode::Dense => Row::new("dense", Way::Search(Mode::Dense)),
            EvalMode::Lexical => Row::new("lexical", Way::Search(Mode::Lexical)),
            EvalMode::Hybrid => Row::new("hybrid", Way::Search(Mode::Hybrid)),
            EvalMode::Reranked => Row::new("reranked", Way::Rerank(first_stage)),
            EvalMode::Agentic => Row::new("agentic", Way::Agent(first_stage)),
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
            Way::Rerank(_) | Way::Agent(_) | Way::Exact => None,
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
        let rows = rows(&Asked { modes, exact, has_reranker, has_words, has_vectors: true });
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
    fn without_modes_there_is_a_row_for_all_that_can_be_had() {
        let names = |has_words, has_vectors, has_reranker| {
            let asked = Asked { modes: &[], exact: false, has_reranker, has_words, has_vectors };
            let names: Vec<String> = rows(&asked).into_iter().map(|row| row.name).collect();
            names.join(",")
        };
        assert_eq!(names(true, true, false), "dense,lexical,hybrid");
        assert_eq!(names(true, true, true), "dense,lexical,hybrid,reranked");
        assert_eq!(names(true, false, false), "lexical");
        assert_eq!(names(true, false, true), "lexical,reranked");
        assert_eq!(names(false, true, true), "dense,reranked");
        assert_eq!(names(false, false, false), "dense");
    }

    #[test]
    fn what_is_reranked_is_found_by_all_that_there_is() {
        let way = |has_words, has_vectors| {
            let modes = &[EvalMode::Reranked, EvalMode::Agentic];
            let asked = Asked { modes, exact: false, has_reranker: true, has_words, has_vectors };
            rows(&asked).into_iter().map(|row| row.way).collect::<Vec<_>>()
        };
        let both = |mode| vec![Way::Rerank(mode), Way::Agent(mode)];
        assert_eq!(way(true, true), both(Mode::Hybrid));
        assert_eq!(way(false, true), both(Mode::Dense));
        assert_eq!(way(true, false), both(Mode::Lexical));
    }
}
