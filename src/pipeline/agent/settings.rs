//! How an agent is set up, as data: part of a trace, and of what tells whether it can be used
//! again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prompts::AgentPrompts;
use crate::error::{Error, Result};

/// The price of tokens, in any currency: that of [`Agent::max_cost`](super::Agent::max_cost).
///
/// ```
/// let price = portolan::agent::Price::per_million(3.0, 15.0);
/// assert!((price.of(1_000, 200) - 0.006).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Price {
    /// Of a million tokens of conversations that are sent.
    pub prompt_per_million: f64,
    /// Of a million tokens of answers.
    pub completion_per_million: f64,
}

impl Price {
    /// The price of a million tokens sent, and of a million tokens answered.
    #[must_use]
    pub fn per_million(prompt: f64, completion: f64) -> Self {
        Self { prompt_per_million: prompt, completion_per_million: completion }
    }

    /// What so many tokens cost.
    #[must_use]
    pub fn of(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        let each = |tokens: u64, price: f64| tokens as f64 / 1e6 * price;
        each(prompt_tokens, self.prompt_per_million)
            + each(completion_tokens, self.completion_per_million)
    }
}

/// How an agent is set up, as a trace tells it. See the methods of [`Agent`](super::Agent).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentSettings {
    /// Documents of a result.
    pub limit: usize,
    /// Whether the model must name so many, not fewer.
    pub exact: bool,
    /// Documents of a search unless the model says.
    pub top_k: usize,
    /// Most passages of a search.
    pub top_k_max: usize,
    /// Most calls of the model in the search.
    pub max_steps: usize,
    /// Whether `think` is offered.
    pub think: bool,
    /// Whether the model may select after a failure.
    pub selection: bool,
    /// Most characters of a text that are shown.
    pub text_chars: usize,
    /// The field that names the document of a record.
    pub documents_by: Option<String>,
    /// What the model is told about the task.
    pub instruction: Option<String>,
    /// Most tokens of a run.
    pub max_tokens: Option<u64>,
    /// Most tokens of a conversation.
    pub context_tokens: Option<u64>,
    /// Longest time of a run, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// The price of tokens.
    pub price: Option<Price>,
    /// Most money of a run.
    pub max_cost: Option<f64>,
    /// Hash of the prompts.
    pub prompts: String,
    /// What the application calls all that cannot be told here.
    pub label: Option<String>,
    /// How is searched: mode, models, filter, rerankers.
    pub query: Value,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            limit: 10,
            exact: true,
            top_k: 10,
            top_k_max: 100,
            max_steps: 50,
            think: true,
            selection: true,
            text_chars: 4_000,
            documents_by: None,
            instruction: None,
            max_tokens: None,
            context_tokens: None,
            deadline_ms: None,
            price: None,
            max_cost: None,
            prompts: String::new(),
            label: None,
            query: Value::Null,
        }
    }
}

impl AgentSettings {
    /// Refuses what no run can go by.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason| Err(Error::Query { reason });
        let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
        match self {
            Self { limit: 0, .. } => refuse("an agent is to find 0 documents: give 1 or more"),
            Self { max_steps: 0, .. } => refuse("an agent has 0 steps: give 1 or more"),
            Self { top_k: 0, .. } => refuse("a search is to give 0 passages: give 1 or more"),
            Self { max_cost: Some(_), price: None, .. } => {
                refuse("a limit of money needs the price of tokens: set it with Agent::price")
            }
            Self { max_cost: Some(cost), .. } if !is_amount(*cost) => {
                refuse("a limit of money is negative or no number: give 0 or more")
            }
            Self { price: Some(price), .. }
                if !is_amount(price.prompt_per_million)
                    || !is_amount(price.completion_per_million) =>
            {
                refuse("a price is negative or no number: give 0 or more")
            }
            _ => Ok(()),
        }
    }

    /// How many documents are wanted, in words.
    pub(super) fn count(&self) -> String {
        format!("{} {}", if self.exact { "exactly" } else { "at most" }, self.limit)
    }

    /// The limit of time.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline_ms.map(Duration::from_millis)
    }
}

/// What tells prompts apart.
pub(super) fn hash_of(prompts: &AgentPrompts) -> String {
    hash(&format!("{:?}", (&prompts.system, &prompts.nudge, &prompts.selection)))
}

/// A short name of a text, in 32 hexadecimal digits.
pub(super) fn hash(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}
