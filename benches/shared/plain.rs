//! The least that any client does with a service of models: the same HTTP client, requests made of
//! texts and answers read by serde_json, base64 by the crate of that name. No check, no order, no
//! retry.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Serialize)]
struct EmbeddingRequest<'r> {
    model: &'r str,
    input: &'r [String],
    input_type: &'r str,
    encoding_format: &'r str,
    truncate: &'r str,
}

/// Answers of either form; `E` is the form of a vector.
#[derive(Deserialize)]
struct EmbeddingAnswer<E> {
    data: Vec<EmbeddingItem<E>>,
}

#[derive(Deserialize)]
struct EmbeddingItem<E> {
    embedding: E,
}

#[derive(Serialize)]
struct RankingRequest<'r> {
    model: &'r str,
    query: Text<'r>,
    passages: Vec<Text<'r>>,
    truncate: &'r str,
}

#[derive(Serialize)]
struct Text<'r> {
    text: &'r str,
}

#[derive(Deserialize)]
struct RankingAnswer {
    rankings: Vec<RankingItem>,
}

/// What stands beside a passage's number.
#[derive(Deserialize)]
pub struct RankingItem {
    pub index: usize,
    pub logit: f32,
}

/// A client of one service.
#[derive(Clone)]
pub struct Plain {
    http: reqwest::Client,
    base: Arc<str>,
}

impl Plain {
    pub fn new(http: reqwest::Client, base: &str) -> Self {
        Self { http, base: base.into() }
    }

    async fn exchange(&self, path: &str, body: Vec<u8>) -> Result<bytes::Bytes, Failed> {
        let request = self.http.post(format!("{}{path}", self.base)).body(body);
        let request = request.header("content-type", "application/json");
        Ok(request.header("accept", "application/json").send().await?.bytes().await?)
    }

    async fn embed_one(&self, input: &[String], encoding: &str) -> Result<Vec<Vec<f32>>, Failed> {
        let request = EmbeddingRequest {
            model: "nvidia/e",
            input,
            input_type: "passage",
            encoding_format: encoding,
            truncate: "NONE",
        };
        let answer = self.exchange("/embeddings", serde_json::to_vec(&request)?).await?;
        if encoding == "float" {
            let answer: EmbeddingAnswer<Vec<f32>> = serde_json::from_slice(&answer)?;
            return Ok(answer.data.into_iter().map(|item| item.embedding).collect());
        }
        let answer: EmbeddingAnswer<&str> = serde_json::from_slice(&answer)?;
        let vector = |text: &str| -> Result<Vec<f32>, Failed> {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
            let numbers = bytes.as_chunks::<4>().0;
            Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
        };
        answer.data.iter().map(|item| vector(item.embedding)).collect()
    }

    /// All texts, in batches, `width` of them in flight; vectors in the order of the texts.
    pub async fn embed(
        &self,
        batches: &Arc<[Vec<String>]>,
        encoding: &'static str,
        width: usize,
    ) -> Result<Vec<Vec<f32>>, Failed> {
        if width == 1 {
            let mut vectors = Vec::new();
            for batch in batches.iter() {
                vectors.extend(self.embed_one(batch, encoding).await?);
            }
            return Ok(vectors);
        }
        let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..width {
            let (plain, batches, next) = (self.clone(), Arc::clone(batches), Arc::clone(&next));
            tasks.spawn(async move {
                let mut found = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(batch) = batches.get(at) else { return Ok::<_, Failed>(found) };
                    found.push((at, plain.embed_one(batch, encoding).await?));
                }
            });
        }
        let mut found = Vec::new();
        while let Some(done) = tasks.join_next().await {
            found.extend(done??);
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found.into_iter().flat_map(|(_, vectors)| vectors).collect())
    }

    /// Numbers of the passages and their logits, best first.
    pub async fn rank(&self, query: &str, passages: &[&str]) -> Result<Vec<RankingItem>, Failed> {
        let request = RankingRequest {
            model: "nvidia/r",
            query: Text { text: query },
            passages: passages.iter().map(|text| Text { text }).collect(),
            truncate: "END",
        };
        let answer = self.exchange("/ranking", serde_json::to_vec(&request)?).await?;
        let mut answer: RankingAnswer = serde_json::from_slice(&answer)?;
        answer.rankings.sort_by(|a, b| b.logit.total_cmp(&a.logit).then(a.index.cmp(&b.index)));
        Ok(answer.rankings)
    }
}
