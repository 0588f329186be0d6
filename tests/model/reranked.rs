//! Searches by words that rerankers order: one that sees all that is found, and a second that sees
//! the first of those.

use std::collections::BTreeMap;

use portolan::{Answer, Collection, Mode, RecordId, Rerank, Reranker, rerank_fn};

use super::common::Rng;
use super::searches::WORDS;
use super::{Predicate, Side};

/// A score of few values, so that there are ties.
pub fn score(seed: u64, passage: &str) -> f32 {
    let hash = passage.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    Rng::new(hash).below(40) as f32 / 4.0 - 5.0
}

pub fn reranker(seed: u64) -> impl Reranker {
    rerank_fn(move |_, passages| passages.iter().map(|text| score(seed, text)).collect())
}

pub fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime")
}

fn scored(answer: &Answer) -> Vec<(RecordId, Option<f32>)> {
    answer.hits.iter().map(|hit| (hit.id.clone(), hit.rerank_score)).collect()
}

/// All records with a word, best first by the text that they have now, equal ones in the order of
/// the search; and of two stages the second orders what the first put in front.
pub fn check_reranked(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let runtime = runtime();
    let word = WORDS[rng.below(8) as usize];
    let (first_seed, second_seed) = (rng.next(), rng.next());
    let (first, second) = (reranker(first_seed), reranker(second_seed));
    let few = 1 + rng.below(30) as usize;
    let wanted = side.with_word(word, filter);
    let filter = filter.map(|filter| filter.filter(rng));
    let query = || {
        let query = docs.query(word).mode(Mode::Lexical).limit(wanted.len() + 1);
        let query = match &filter {
            Some(filter) => query.filter(filter.clone()),
            None => query,
        };
        query.rerank(Rerank::new(&first).candidates(wanted.len() + 1))
    };

    let ordered = runtime.block_on(query().run()).expect("an answer");
    let by_text = |seed: u64, id: &RecordId| score(seed, &side.model[id].0.passage());
    let found: BTreeMap<RecordId, Option<f32>> = scored(&ordered).into_iter().collect();
    assert_eq!(found.len(), ordered.hits.len(), "a record twice");
    let expected = wanted.iter().map(|id| (id.clone(), Some(by_text(first_seed, id))));
    assert_eq!(found, expected.collect(), "what {word} finds, with the score of its text");
    let key = |hit: &portolan::Hit| (hit.rerank_score, Some(hit.score));
    assert!(ordered.hits.is_sorted_by(|a, b| key(a) >= key(b)), "out of order");

    let cascade = query().limit(few).rerank(Rerank::new(&second).candidates(few));
    let cascade = runtime.block_on(cascade.run()).expect("an answer");
    let mut expected: Vec<RecordId> =
        ordered.hits.into_iter().take(few).map(|hit| hit.id).collect();
    // Stable, as the stage is.
    expected.sort_by(|a, b| by_text(second_seed, b).total_cmp(&by_text(second_seed, a)));
    let expected: Vec<_> =
        expected.into_iter().map(|id| (id.clone(), Some(by_text(second_seed, &id)))).collect();
    assert_eq!(scored(&cascade), expected, "the second of two stages");
}
