//! Cohere's and Jina's `POST /v1/rerank` and `/v2/rerank`, also served by vLLM, llama.cpp and
//! NVIDIA's `LiteLLM` gateway. What scale the scores have is up to the server.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::Scores;
use super::openai::Usage;

#[derive(Debug, Serialize)]
pub(in crate::nim) struct RankRequest<'a> {
    pub(in crate::nim) model: &'a str,
    pub(in crate::nim) query: &'a str,
    pub(in crate::nim) documents: Vec<&'a str>,
    /// All of them: the best are chosen here, over all requests of a call.
    pub(in crate::nim) top_n: usize,
}

#[derive(Debug, Deserialize)]
pub(in crate::nim) struct RankAnswer {
    results: Vec<Rank>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Rank {
    index: Number,
    relevance_score: f32,
}

impl From<RankAnswer> for Scores {
    fn from(answer: RankAnswer) -> Self {
        let items = answer.results.into_iter().map(|rank| (rank.index, rank.relevance_score));
        let tokens = answer.usage.and_then(|usage| usage.read());
        Self { items: items.collect(), tokens, model: answer.model }
    }
}
