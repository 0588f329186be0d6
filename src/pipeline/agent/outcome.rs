//! How a run ended: where its ids come from, and what went wrong. Plain data with a JSON form.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::RecordId;

/// Where the documents of a result come from, best source first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResultSource {
    /// The model called `final_results` in order.
    FinalResults,
    /// The model's last call of `final_results` was refused: its ids that had been shown, filled
    /// up by reciprocal rank fusion.
    SalvagedResults,
    /// A second conversation, in which the model only selects among what was found.
    SelectionAgent,
    /// Reciprocal rank fusion (k = 60) over all calls of `retrieve`.
    Rrf,
    /// The order of the first search: the model made no other.
    FirstStage,
}

impl ResultSource {
    /// Its name, as in a trace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FinalResults => "final_results",
            Self::SalvagedResults => "salvaged_results",
            Self::SelectionAgent => "selection_agent",
            Self::Rrf => "rrf",
            Self::FirstStage => "first_stage",
        }
    }

    /// All of them, best first.
    pub const ALL: [Self; 5] = [
        Self::FinalResults,
        Self::SalvagedResults,
        Self::SelectionAgent,
        Self::Rrf,
        Self::FirstStage,
    ];
}

impl fmt::Display for ResultSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for ResultSource {
    type Err = ParseResultSourceError;

    /// Its name; the error tells the names there are.
    fn from_str(text: &str) -> Result<Self, ParseResultSourceError> {
        let found = Self::ALL.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| ParseResultSourceError { text: text.to_owned() })
    }
}

/// A text that names no [`ResultSource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{text:?} is no result source: use one of {}", names())]
pub struct ParseResultSourceError {
    /// The text.
    pub text: String,
}

fn names() -> String {
    ResultSource::ALL.map(ResultSource::name).join(", ")
}

/// What kept the model from calling `final_results` in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// It was not done within the steps it had.
    MaxSteps,
    /// It answered in words, time after time, and called nothing.
    NoToolCall,
    /// The conversation grew longer than the model's context, or than the limit set for it.
    ContextLimit,
    /// The next call could have exceeded the limit of tokens.
    TokenLimit,
    /// The deadline passed.
    TimeLimit,
    /// The next call could have exceeded the limit of money.
    MoneyLimit,
    /// A content policy stopped it.
    ContentPolicy,
    /// Its answer was cut off, or ended for a reason that is not known.
    BadFinishReason,
    /// It could not be asked: the service, its address, the key.
    LlmCallFailed,
    /// A search failed: the embedding service, the file.
    ToolFailed,
    /// The application stopped it.
    Cancelled,
}

impl FailureKind {
    /// Its name, as in a trace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxSteps => "max_steps",
            Self::NoToolCall => "no_tool_call",
            Self::ContextLimit => "context_limit",
            Self::TokenLimit => "token_limit",
            Self::TimeLimit => "time_limit",
            Self::MoneyLimit => "money_limit",
            Self::ContentPolicy => "content_policy",
            Self::BadFinishReason => "bad_finish_reason",
            Self::LlmCallFailed => "llm_call_failed",
            Self::ToolFailed => "tool_failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether something is broken that should work: the result is a fallback that says little of
    /// what the agent can do. The others belong to the work of an agent.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::LlmCallFailed | Self::ToolFailed)
    }

    /// Whether the same run would end alike: then its trace is used again.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        !self.is_fatal() && !matches!(self, Self::TimeLimit | Self::Cancelled)
    }

    /// Whether the model can be asked once more, to select among what was found.
    pub(super) fn leaves_the_model(self) -> bool {
        matches!(
            self,
            Self::MaxSteps
                | Self::NoToolCall
                | Self::ContextLimit
                | Self::ContentPolicy
                | Self::BadFinishReason
                | Self::ToolFailed
        )
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a run ended without a call of `final_results` in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentFailure {
    /// Its sort.
    pub kind: FailureKind,
    /// What happened, in words.
    pub message: String,
    /// The step that failed, from 1: as many as were begun.
    pub step: usize,
}

impl fmt::Display for AgentFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at step {}: {}", self.kind, self.step, self.message)
    }
}

/// What the model said of its own search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SearchSuccess {
    /// It found what was asked for.
    True,
    /// It did not.
    False,
    /// It found a part.
    Partial,
}

/// An id in a trace: integers as numbers, strings as strings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum IdForm {
    Int(i64),
    Text(String),
}

/// `RecordId` as [`IdForm`], for serde's `with`.
pub(super) mod ids {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{IdForm, RecordId};

    pub(in super::super) fn serialize<S: Serializer>(
        ids: &[RecordId],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        ids.iter().map(IdForm::from).collect::<Vec<_>>().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<RecordId>, D::Error> {
        let forms = Vec::<IdForm>::deserialize(deserializer)?;
        Ok(forms.into_iter().map(RecordId::from).collect())
    }
}

impl From<&RecordId> for IdForm {
    fn from(id: &RecordId) -> Self {
        match id {
            RecordId::Int(number) => Self::Int(*number),
            RecordId::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl From<IdForm> for RecordId {
    fn from(form: IdForm) -> Self {
        match form {
            IdForm::Int(number) => Self::Int(number),
            IdForm::Text(text) => Self::Text(text),
        }
    }
}
