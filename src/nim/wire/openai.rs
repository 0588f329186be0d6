//! OpenAI's `POST /v1/embeddings`, as vLLM, llama.cpp, Ollama and others serve it. It has no input
//! type and no truncation. The answer is that of the NIM too.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::Vectors;
use crate::nim::components::Numbers;
use crate::nim::embed::Encoding;

#[derive(Debug, Serialize)]
pub(in crate::nim) struct EmbedRequest<'a> {
    pub(in crate::nim) model: &'a str,
    /// Written behind the other fields.
    #[serde(skip)]
    pub(in crate::nim) input: Vec<Cow<'a, str>>,
    pub(in crate::nim) encoding_format: Encoding,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::nim) dimensions: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(in crate::nim) struct EmbedAnswer<T> {
    data: Vec<Item<T>>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Item<T> {
    index: Number,
    embedding: Numbers<T>,
}

/// Token counts; older servers leave them out.
#[derive(Debug, Deserialize)]
pub(in crate::nim) struct Usage {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl Usage {
    /// Tokens read. Jina tells only the total, which is the same where nothing is generated.
    pub(in crate::nim) fn read(&self) -> Option<u64> {
        self.prompt_tokens.or(self.total_tokens)
    }
}

impl<T> From<EmbedAnswer<T>> for Vectors<T> {
    fn from(answer: EmbedAnswer<T>) -> Self {
        let items = answer.data.into_iter().map(|item| (item.index, item.embedding)).collect();
        Self { items, tokens: answer.usage.and_then(|usage| usage.read()), model: answer.model }
    }
}
