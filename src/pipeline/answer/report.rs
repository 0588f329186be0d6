//! An answer with its citations, and how it came about. Plain data.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::sentences;
use crate::db::Origin;
use crate::nim::{ChatUsage, FinishReason};
use crate::pipeline::query::QueryReport;
use crate::record::RecordId;

/// Whether a model was asked, and if not, why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AnswerOutcome {
    /// The model answered.
    #[default]
    Answered,
    /// Nothing was found, or only records without text: no model was asked.
    NothingFound,
    /// What was found does not fit into the budget of tokens: no model was asked.
    NothingFits,
}

/// A passage that the model was given.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Source {
    /// Its number in the prompt, by which the model cites it; from 1.
    pub number: usize,
    /// Its place among the hits, from 1. The same as the number unless hits were left out.
    pub rank: usize,
    /// The record.
    pub id: RecordId,
    /// Its collection, if the query was over several.
    pub origin: Option<Arc<Origin>>,
    /// The record's title.
    pub title: Option<String>,
    /// The text the model was given, before what could pass for markup or citations was made
    /// harmless.
    pub text: String,
    /// Whether it is only the beginning of the passage.
    pub is_cut: bool,
    /// The hit's score.
    pub score: f32,
    /// The hit's score by the last reranker, if one ranked it.
    pub rerank_score: Option<f32>,
}

/// Why a hit was not given to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOutReason {
    /// It has no text.
    Empty,
    /// The budget of tokens had no room for it.
    Budget,
}

/// A hit that was not given to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its place among the hits, from 1.
    pub rank: usize,
    /// The record.
    pub id: RecordId,
    /// Its collection, if the query was over several.
    pub origin: Option<Arc<Origin>>,
    /// Why.
    pub reason: LeftOutReason,
}

/// A citation of a passage that the model was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Citation {
    /// Bytes of the marker in the text. A marker of several numbers makes as many citations.
    pub span: Range<usize>,
    /// The number in the marker: [`Source::number`].
    pub number: usize,
    /// The record.
    pub id: RecordId,
    /// Its place among the hits, from 1.
    pub rank: usize,
}

/// A marker that named a passage which the model was not given. It is not in the text; whatever
/// else it named is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownCitation {
    /// Byte of the text at which it stood.
    pub at: usize,
    /// The marker as the model wrote it.
    pub marker: String,
}

/// What an answer took and was made of.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct AnswerReport {
    /// The stages, those of the query first, then `chat` with its time, tokens and requests.
    pub query: QueryReport,
    /// Tokens that the passages may have.
    pub context_budget: usize,
    /// Tokens of the passages with their marks, as they were counted.
    pub context_tokens: usize,
    /// Tokens of the texts of the whole prompt, as they were counted.
    pub prompt_tokens: usize,
    /// Hits that the model was not given, in their order.
    pub left_out: Vec<LeftOut>,
    /// Time from the call of the model to its first words; none without a stream.
    pub first_words: Option<Duration>,
    /// Tokens as the server counted them, if it told.
    pub usage: Option<ChatUsage>,
    /// Wall time of all.
    pub took: Duration,
}

/// An answer by a chat model, with citations of what it was given.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CitedAnswer {
    /// Whether a model was asked.
    pub outcome: AnswerOutcome,
    /// What the model said, with the markers of [`citations`](Self::citations) and no others.
    pub text: String,
    /// In the order of the text. Each names a passage of [`sources`](Self::sources); whether the
    /// passage says what it is cited for is not checked.
    pub citations: Vec<Citation>,
    /// Markers of passages that are not there, which were taken out of the text.
    pub unknown: Vec<UnknownCitation>,
    /// The passages that the model was given, in the order of the hits.
    pub sources: Vec<Source>,
    /// What the model thought aloud, if it did.
    pub reasoning: Option<String>,
    /// Why the model stopped; none if it was not asked, or has not stopped.
    pub finish: Option<FinishReason>,
    /// How the answer came about.
    pub report: AnswerReport,
}

impl CitedAnswer {
    /// Whether the model was stopped by the limit of tokens: the end of the answer is missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.finish == Some(FinishReason::Length)
    }

    /// The sources that are cited, each once, in the order of the hits.
    pub fn cited(&self) -> impl Iterator<Item = &Source> {
        let is_cited =
            |source: &&Source| self.citations.iter().any(|of| of.number == source.number);
        self.sources.iter().filter(is_cited)
    }

    /// Bytes of the sentences that cite nothing, by Unicode's rules for sentences (UAX 29). A
    /// marker after the end of a sentence belongs to that sentence. What has no letter or digit is
    /// no sentence; headings and the words before a list are.
    #[must_use]
    pub fn uncited_sentences(&self) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> =
            self.citations.iter().map(|of| of.span.clone()).collect();
        spans.dedup();
        sentences::without(&self.text, &spans)
    }

    /// The source of a number.
    #[must_use]
    pub fn source(&self, number: usize) -> Option<&Source> {
        self.sources.iter().find(|source| source.number == number)
    }
}
