//! Ollama's `POST /api/embed`. Vectors come in order without an index; there is no ranking.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Outcome, Vectors};
use crate::nim::components::Numbers;

#[derive(Debug, Serialize)]
pub(in crate::nim) struct EmbedRequest<'a> {
    pub(in crate::nim) model: &'a str,
    pub(in crate::nim) input: Vec<Cow<'a, str>>,
    /// Drops the end of a text that is too long. The server's default is true.
    pub(in crate::nim) truncate: bool,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(in crate::nim) struct EmbedAnswer<T> {
    embeddings: Vec<Numbers<T>>,
    model: Option<String>,
    prompt_eval_count: Option<u64>,
}

impl<T> From<EmbedAnswer<T>> for Vectors<T> {
    fn from(answer: EmbedAnswer<T>) -> Self {
        let EmbedAnswer { embeddings, model, prompt_eval_count } = answer;
        Self { tokens: prompt_eval_count, model, ..Outcome::in_order(embeddings) }
    }
}
