//! What is known of a model before it is asked: length of its vectors, longest input, what it
//! takes. The rows are in `models_table`. Layer: leaf of `nim`; pure.
//!
//! Source: support matrices and references of NVIDIA's embedding and reranking NIMs (releases 1.5
//! to 2.4), the model table of `langchain-nvidia-ai-endpoints`, as of November 2026. Where releases
//! disagree the smaller limit stands.

use super::embed::EmbeddingType;
use super::models_table::{FAMILIES, ROWS};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Task {
    /// One vector per input.
    Embedding,
    /// One logit per passage.
    Ranking,
    /// Many vectors per input, compared token by token; the embedding service does not serve it.
    MultiVector,
}

/// What is known of a model. Requests that it says will be refused fail before they are sent.
///
/// For a model that the table does not know, or that changed since, pass your own to
/// [`EmbeddingModel::facts`](super::EmbeddingModel::facts) or
/// [`RankingModel::facts`](super::RankingModel::facts). What is unknown is never refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use]
pub struct ModelFacts {
    /// What the model is for.
    pub task: Option<Task>,
    /// Length of a vector when no other is asked for.
    pub dimensions: Option<u32>,
    /// Whether shorter vectors can be asked for (Matryoshka training).
    pub reducible: Option<bool>,
    /// Lengths that are documented. Others up to [`dimensions`](Self::dimensions) are served too by
    /// some releases, so they are not refused.
    pub listed_dimensions: &'static [u32],
    /// Longest input in tokens; for ranking, of query and passage together.
    pub max_tokens: Option<u32>,
    /// Whether it takes images.
    pub images: Option<bool>,
    /// Types of vector components it can give.
    pub embedding_types: Option<&'static [EmbeddingType]>,
    /// It encodes queries and passages alike, and refuses an input type.
    pub symmetric: bool,
    /// What its NIM puts in front of a query and of a passage. Servers other than NIMs do not, so
    /// there the client does.
    pub prefixes: Option<(&'static str, &'static str)>,
    /// It is withdrawn, or will be.
    pub deprecated: bool,
    /// The model that takes its place.
    pub replacement: Option<&'static str>,
}

impl ModelFacts {
    /// Nothing is known, so nothing is refused.
    pub const fn unknown() -> Self {
        Self {
            task: None,
            dimensions: None,
            reducible: None,
            listed_dimensions: &[],
            max_tokens: None,
            images: None,
            embedding_types: None,
            symmetric: false,
            prefixes: None,
            deprecated: false,
            replacement: None,
        }
    }

    /// What the table knows of a model. Letter case, a missing organization, `nvdev/` in front and
    /// the old endings `-query` and `-passage` make no difference.
    pub fn of(model: &str) -> Self {
        match find(model) {
            Some(row) => row.facts,
            None => family(model).unwrap_or(Self::unknown()),
        }
    }

    /// Names and facts of all models in the table.
    pub fn table() -> impl Iterator<Item = (&'static str, Self)> {
        ROWS.iter().map(|row| (row.name, row.facts))
    }

    /// Whether the table, or the caller, knows what the model is for.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.task.is_some()
    }

    /// Sets what the model is for.
    pub const fn task(mut self, task: Task) -> Self {
        self.task = Some(task);
        self
    }

    /// Sets the length of a vector.
    pub const fn dimensions(mut self, dimensions: u32) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets whether shorter vectors can be asked for.
    pub const fn reducible(mut self, reducible: bool) -> Self {
        self.reducible = Some(reducible);
        self
    }

    /// Sets the longest input in tokens.
    pub const fn max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets whether it takes images.
    pub const fn images(mut self, images: bool) -> Self {
        self.images = Some(images);
        self
    }

    /// Sets the types of components it can give.
    pub const fn embedding_types(mut self, types: &'static [EmbeddingType]) -> Self {
        self.embedding_types = Some(types);
        self
    }

    /// Says that it encodes queries and passages alike and refuses an input type.
    pub const fn symmetric(mut self, symmetric: bool) -> Self {
        self.symmetric = symmetric;
        self
    }

    pub(super) const fn listed(mut self, dimensions: &'static [u32]) -> Self {
        self.listed_dimensions = dimensions;
        self
    }

    pub(super) const fn prefixed(mut self, query: &'static str, passage: &'static str) -> Self {
        self.prefixes = Some((query, passage));
        self
    }

    pub(super) const fn replaced(mut self, by: Option<&'static str>) -> Self {
        self.deprecated = true;
        self.replacement = by;
        self
    }
}

/// The name to send for `model`: an old alias gives way to the name it stands for, and the endings
/// `-query` and `-passage`, which would override the role of a call, are dropped.
pub(super) fn sent_name(model: String) -> String {
    match find(&model) {
        Some(row) if row.aliases.iter().any(|alias| same(alias, &model)) => row.name.to_owned(),
        Some(_) => without_role(&model).to_owned(),
        None => model,
    }
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) facts: ModelFacts,
}

fn find(model: &str) -> Option<&'static Row> {
    let model = model.strip_prefix("nvdev/").unwrap_or(model);
    let row = |name: &str| {
        ROWS.iter().find(|row| same(row.name, name) || row.aliases.iter().any(|a| same(a, name)))
    };
    row(model).or_else(|| row(without_role(model)))
}

/// Facts that follow from how the name begins.
fn family(model: &str) -> Option<ModelFacts> {
    let bare = bare(model).to_ascii_lowercase();
    FAMILIES.iter().find(|(start, _)| bare.starts_with(start)).map(|(_, facts)| *facts)
}

fn without_role(model: &str) -> &str {
    let cut = |end| model.strip_suffix(end);
    cut("-query").or_else(|| cut("-passage")).unwrap_or(model)
}

fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// Equal, or equal but for the organization that only the known name has.
fn same(known: &str, asked: &str) -> bool {
    known.eq_ignore_ascii_case(asked)
        || (!asked.contains('/') && bare(known).eq_ignore_ascii_case(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_under_every_spelling() {
        let facts = ModelFacts::of("nvidia/nv-embedqa-e5-v5");
        assert_eq!((facts.dimensions, facts.max_tokens), (Some(1024), Some(512)));
        assert_eq!(facts.reducible, Some(false));
        for name in [
            "NV-EmbedQA-E5-v5",
            "nvidia/nv-embedqa-e5-v5-query",
            "nv-embedqa-e5-v5-passage",
            "nvdev/nvidia/nv-embedqa-e5-v5",
        ] {
            assert_eq!(ModelFacts::of(name), facts, "{name}");
        }
        assert_eq!(ModelFacts::of("other/nv-embedqa-e5-v5"), ModelFacts::unknown());
        assert!(ModelFacts::of("Alibaba-NLP/gte-large-en-v1.5").symmetric);
    }

    #[test]
    fn old_names_are_sent_as_the_names_they_stand_for() {
        let sent = |name: &str| sent_name(name.to_owned());
        assert_eq!(sent("ai-embed-qa-4"), "NV-Embed-QA");
        assert_eq!(sent("NV-Embed-QA-query"), "NV-Embed-QA");
        assert_eq!(sent("ai-rerank-qa-mistral-4b"), "nv-rerank-qa-mistral-4b:1");
        assert_eq!(sent("nvidia/nv-embedqa-e5-v5-passage"), "nvidia/nv-embedqa-e5-v5");
        assert_eq!(sent("my/model-query"), "my/model-query");
    }

    #[test]
    fn every_row_is_found_by_its_own_name_and_is_consistent() {
        for row in ROWS {
            assert_eq!(find(row.name).map(|found| found.name), Some(row.name));
            let facts = row.facts;
            assert!(facts.is_known(), "{}", row.name);
            let longest = facts.listed_dimensions.iter().max().copied();
            assert!(longest.is_none() || longest == facts.dimensions, "{}", row.name);
            if let Some(replacement) = facts.replacement {
                assert!(find(replacement).is_some_and(|by| !by.facts.deprecated), "{}", row.name);
            }
        }
        assert_eq!(ModelFacts::table().count(), ROWS.len());
    }
}
