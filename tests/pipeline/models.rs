//! An embedder and a reranker that are plain functions of their texts, count what they get, and
//! can be told to fail, to hang, or to do something while they are asked.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use portolan::{
    BoxFuture, Cost, Embedded, Embedder, ModelContract, RankedPassage, Reranked, Reranker, Role,
    StageError,
};

pub const DIMENSIONS: usize = 64;

/// What a model does at its next calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Answer,
    /// Fails at the call of that number, from 0.
    FailAt(usize),
    /// Never answers the call of that number, from 0.
    HangAt(usize),
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_lowercase)
}

/// Counts of words, each at a place given by its hash (FNV-1a); like texts, like vectors.
pub fn bag_of_words(text: &str) -> Vec<f32> {
    let mut vector = vec![0.01; DIMENSIONS];
    for word in words(text) {
        let hash = word.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        vector[(hash >> 20) as usize % DIMENSIONS] += 1.0;
    }
    vector
}

/// Share of the query's words that the passage has; shorter passages first among equals.
pub fn overlap(query: &str, passage: &str) -> f32 {
    let held: Vec<String> = words(passage).collect();
    let shared = words(query).filter(|word| held.contains(word)).count();
    shared as f32 - 0.001 * held.len() as f32
}

type During = Box<dyn Fn() + Send + Sync>;

pub struct WordEmbedder {
    model: &'static str,
    fate: Fate,
    batch_size: usize,
    calls: AtomicUsize,
    /// How often each text was embedded, by role.
    seen: Mutex<BTreeMap<(bool, String), usize>>,
    during: Option<During>,
}

impl WordEmbedder {
    pub fn new(fate: Fate) -> Self {
        let (calls, seen) = (AtomicUsize::new(0), Mutex::default());
        Self { model: "test/words", fate, batch_size: 8, calls, seen, during: None }
    }

    pub fn model(mut self, model: &'static str) -> Self {
        self.model = model;
        self
    }

    /// Done in each call, before the answer.
    pub fn during(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.during = Some(Box::new(act));
        self
    }

    pub fn fated(mut self, fate: Fate) -> Self {
        self.fate = fate;
        *self.calls.get_mut() = 0;
        self
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How often each passage was embedded.
    pub fn passages(&self) -> BTreeMap<String, usize> {
        let seen = self.seen.lock().expect("the log");
        let passages = seen.iter().filter(|((query, _), _)| !query);
        passages.map(|((_, text), times)| (text.clone(), *times)).collect()
    }
}

impl Embedder for WordEmbedder {
    fn contract(&self) -> ModelContract {
        ModelContract::new(self.model)
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        role: Role,
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        Box::pin(async move {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            assert!(texts.iter().all(|text| !text.trim().is_empty()), "an empty text");
            assert!(texts.len() <= self.batch_size, "{} texts", texts.len());
            match self.fate {
                Fate::FailAt(at) if at == call => {
                    return Err(StageError::new("the words ran out"));
                }
                Fate::HangAt(at) if at == call => std::future::pending().await,
                _ => {}
            }
            if let Some(act) = &self.during {
                act();
            }
            let mut seen = self.seen.lock().expect("the log");
            for text in texts {
                *seen.entry((role == Role::Query, (*text).to_owned())).or_insert(0) += 1;
            }
            let vectors = texts.iter().map(|text| bag_of_words(text)).collect();
            let cost = Cost::new().requests(1, 0).tokens(texts.len() as u64);
            Ok(Embedded::new(vectors).cost(cost))
        })
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }
}

type Answer = Box<dyn Fn(&str, &[&str]) -> Vec<RankedPassage> + Send + Sync>;

pub struct OverlapReranker {
    fate: Fate,
    answer: Answer,
    is_pointwise: bool,
    calls: AtomicUsize,
    /// Passages of the last call.
    last: Mutex<Vec<String>>,
}

impl OverlapReranker {
    pub fn new(fate: Fate) -> Self {
        Self::answering(fate, |query, passages| {
            let scores = passages.iter().map(|passage| overlap(query, passage));
            let mut ranking: Vec<RankedPassage> =
                scores.enumerate().map(|(index, score)| RankedPassage { index, score }).collect();
            ranking.sort_by(|a, b| b.score.total_cmp(&a.score));
            ranking
        })
    }

    /// A reranker that answers so.
    pub fn answering(
        fate: Fate,
        answer: impl Fn(&str, &[&str]) -> Vec<RankedPassage> + Send + Sync + 'static,
    ) -> Self {
        let (calls, last) = (AtomicUsize::new(0), Mutex::default());
        Self { fate, answer: Box::new(answer), is_pointwise: false, calls, last }
    }

    /// Says that scores of several calls compare.
    pub fn pointwise(mut self) -> Self {
        self.is_pointwise = true;
        self
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn last(&self) -> Vec<String> {
        self.last.lock().expect("the log").clone()
    }
}

impl Reranker for OverlapReranker {
    fn model(&self) -> &str {
        "test/overlap"
    }

    fn is_pointwise(&self) -> bool {
        self.is_pointwise
    }

    fn rank<'a>(
        &'a self,
        query: &'a str,
        passages: &'a [&'a str],
        _deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Reranked, StageError>> {
        Box::pin(async move {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            let texts = passages.iter().map(|passage| (*passage).to_owned());
            *self.last.lock().expect("the log") = texts.collect();
            match self.fate {
                Fate::FailAt(at) if at == call => Err(StageError::new("no opinion")),
                Fate::HangAt(at) if at == call => std::future::pending().await,
                _ => {
                    let cost = Cost::new().requests(1, 0).tokens(5);
                    Ok(Reranked::new((self.answer)(query, passages)).cost(cost))
                }
            }
        })
    }
}
