//! Hugging Face Text Embeddings Inference: `POST /embed` and `POST /rerank`. A server runs one
//! model, so requests name none; vectors come in order without an index.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::{Scores, Vectors};
use crate::nim::components::Numbers;
use crate::nim::embed::Truncate;

#[derive(Debug, Serialize)]
pub(in crate::nim) struct EmbedRequest<'a> {
    inputs: Vec<Cow<'a, str>>,
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncation_direction: Option<&'static str>,
}

impl<'a> EmbedRequest<'a> {
    pub(in crate::nim) fn new(inputs: Vec<Cow<'a, str>>, truncate: Truncate) -> Self {
        let (truncate, truncation_direction) = match truncate {
            Truncate::None => (false, None),
            Truncate::Start => (true, Some("Left")),
            Truncate::End => (true, Some("Right")),
        };
        Self { inputs, truncate, truncation_direction }
    }
}

#[derive(Debug, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Deserialize<'de>"))]
pub(in crate::nim) struct EmbedAnswer<T>(Vec<Numbers<T>>);

impl<T> From<EmbedAnswer<T>> for Vectors<T> {
    fn from(answer: EmbedAnswer<T>) -> Self {
        Self::in_order(answer.0)
    }
}

#[derive(Debug, Serialize)]
pub(in crate::nim) struct RankRequest<'a> {
    pub(in crate::nim) query: &'a str,
    pub(in crate::nim) texts: Vec<&'a str>,
    /// Logits instead of their sigmoid.
    pub(in crate::nim) raw_scores: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) truncate: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(in crate::nim) struct RankAnswer(Vec<Rank>);

#[derive(Debug, Deserialize)]
struct Rank {
    index: Number,
    score: f32,
}

impl From<RankAnswer> for Scores {
    fn from(answer: RankAnswer) -> Self {
        let items = answer.0.into_iter().map(|rank| (rank.index, rank.score)).collect();
        Self { items, tokens: None, model: None }
    }
}
