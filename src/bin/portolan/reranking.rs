//! Hits of any mode in the order of a reranker.

use portolan::{Hit, Reranker};
use tokio::runtime::Runtime;

use crate::failure::{Failure, Result};

/// The hits in the reranker's order; those without text after them.
pub fn rerank(
    runtime: &Runtime,
    reranker: &dyn Reranker,
    question: &str,
    mut hits: Vec<Hit>,
) -> Result<Vec<Hit>> {
    let passages: Vec<String> = hits.iter().map(|hit| hit.record.passage()).collect();
    let (places, passages): (Vec<usize>, Vec<&str>) = passages
        .iter()
        .map(String::as_str)
        .enumerate()
        .filter(|(_, text)| !text.trim().is_empty())
        .unzip();
    if passages.is_empty() {
        return Ok(hits);
    }
    let ranked = runtime.block_on(reranker.rank(question, &passages, None))?;
    for ranked in ranked.ranking {
        let hit = places.get(ranked.index).and_then(|&place| hits.get_mut(place));
        let unknown = || Failure::new("the reranker named a passage that it was not given");
        hit.ok_or_else(unknown)?.rerank_score = Some(ranked.score);
    }
    let score = |hit: &Hit| hit.rerank_score.unwrap_or(f32::NEG_INFINITY);
    hits.sort_by(|a, b| score(b).total_cmp(&score(a)));
    Ok(hits)
}
