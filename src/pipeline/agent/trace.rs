//! One run as a JSON document: what was asked, with which settings, every step, and how it ended.
//! Plain data; reading and writing of files is in `store`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::{AgentFailure, IdForm, ResultSource, SearchSuccess, ids};
use super::settings::AgentSettings;
use crate::record::RecordId;

/// The version of the format that is written, and the only one that is read.
pub const TRACE_VERSION: u32 = 1;

/// The whole course of one query. Holds queries and texts of documents, and no key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentTrace {
    /// [`TRACE_VERSION`].
    pub trace_version: u32,
    /// What was asked.
    pub query: QueryTrace,
    /// What was searched.
    pub collection: CollectionTrace,
    /// The chat model.
    pub model: String,
    /// The model that the server says has answered, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// How the agent was set up.
    pub settings: AgentSettings,
    /// Hash of all that decides on the run but the contents of the collection: query, settings,
    /// and the chat model with its own settings.
    pub key: String,
    /// The functions that were offered, in chat format.
    pub tools: Vec<Value>,
    /// The conversation, in chat format: as it was sent, and the last answer.
    pub messages: Vec<Value>,
    /// The calls of the model, in order, those of the selection too.
    pub steps: Vec<StepTrace>,
    /// The searches, in order; the first was made before the model was asked.
    pub retrievals: Vec<RetrievalTrace>,
    /// The selection, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionTrace>,
    /// How it ended.
    pub outcome: OutcomeTrace,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueryTrace {
    /// Its id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its text.
    pub text: String,
    /// Documents that were not to be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ids")]
    pub exclude: Vec<RecordId>,
}

/// What was searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectionTrace {
    /// Name of the file, without its folder; empty for one in memory.
    pub file: String,
    /// Name of the collection.
    pub name: String,
    /// Number of the commit that was there when the run began.
    pub commit: u64,
    /// Records at that time.
    pub records: u64,
    /// Tells these contents of the collection from others.
    pub contents: String,
    /// Whether a commit to the collection came in between: then it is no trace of one version.
    pub changed: bool,
}

/// One call of the chat model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepTrace {
    /// Its number, from 1, over search and selection.
    pub step: usize,
    /// Whether it belongs to the selection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub selection: bool,
    /// Time until the model had answered, in milliseconds.
    pub took_ms: f64,
    /// Tokens of the conversation.
    pub prompt_tokens: u64,
    /// Tokens of the answer, thoughts included.
    pub completion_tokens: u64,
    /// Whether the server told no tokens: then they are estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Why the model stopped; empty if it did not answer.
    pub finish: String,
    /// What it thought aloud before it answered; not part of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The functions it called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallTrace>,
    /// Whether it called none and was told to go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nudged: bool,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A call of a function.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallTrace {
    /// The function, as the model wrote it.
    pub name: String,
    /// Its arguments, as the model wrote them.
    pub arguments: String,
    /// Why it was refused; none if it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Place of its search in [`AgentTrace::retrievals`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<usize>,
    /// Time it took, in milliseconds.
    pub took_ms: f64,
}

/// One search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetrievalTrace {
    /// The step that made it; 0 for the one before the first.
    pub step: usize,
    /// What was searched for.
    pub query: String,
    /// How many new passages were wanted.
    pub top_k: usize,
    /// Time it took, in milliseconds.
    pub took_ms: f64,
    /// Requests to models for it, those sent again included.
    pub requests: u64,
    /// Tokens that embedder and reranker read, as far as they tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Those of the requests that were to rerankers; the others were to the embedder.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rerank_requests: u64,
    /// Passages that rerankers were asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rerank_passages: u64,
    /// Stages that failed or were late and were left out, with the reason: then the run is not used
    /// again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What was shown, best first.
    pub hits: Vec<RetrievedTrace>,
}

/// What is left out of the JSON.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RetrievalTrace {
    /// The documents, best first, each once.
    #[must_use]
    pub fn ranking(&self) -> Vec<RecordId> {
        let mut seen = HashSet::new();
        let ids = self.hits.iter().map(RetrievedTrace::id);
        ids.filter(|id| seen.insert(id.clone())).collect()
    }
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetrievedTrace {
    id: IdForm,
    /// Its score: the reranker's, if there is one.
    pub score: f32,
    /// Whether its text was shown: it had not been shown before.
    pub new: bool,
}

impl RetrievedTrace {
    pub(super) fn new(id: &RecordId, score: f32, new: bool) -> Self {
        // What JSON has no number for could not be read again.
        let score = if score.is_finite() { score } else { 0.0 };
        Self { id: id.into(), score, new }
    }

    /// The document.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id.clone().into()
    }
}

/// The second conversation, in which the model selects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SelectionTrace {
    /// Documents it could choose from, best first.
    pub candidates: usize,
    /// The functions that were offered.
    pub tools: Vec<Value>,
    /// The conversation; the second one, if the first was too long for the model.
    pub messages: Vec<Value>,
    /// Why it gave no selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AgentFailure>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutcomeTrace {
    /// The documents, best first.
    #[serde(with = "ids")]
    pub ids: Vec<RecordId>,
    /// Where they come from.
    pub result_source: ResultSource,
    /// What went wrong; none after `final_results`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AgentFailure>,
    /// What the model said of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it found what was asked for, in its own view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_successful: Option<SearchSuccess>,
    /// Tokens of all conversations that were sent.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// Whether some of the tokens are estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tokens_estimated: bool,
    /// Money, by the price that was set, in its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Time of the whole run, in milliseconds.
    pub took_ms: f64,
}
