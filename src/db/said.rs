//! What models said before, as a query asks for it and leaves it. For the pipeline; the cache
//! itself is in `cache`.

use std::collections::BTreeMap;

use super::cache::{Waiting, new_seed};
use super::{Collection, StoreKind};
use crate::error::Result;
use crate::record::{ModelContract, Roles};
use crate::storage::cache::{self, Change, Said, State, Subject};

/// Changes that wait before they are written.
const WRITE_AT: usize = 64;
/// Changes that wait at most while another writer is at work; more are dropped.
const WAIT_MOST: usize = 1_024;

impl Waiting {
    /// The seed to digest by; changes made by another are of no use.
    fn seed(&mut self, state: Option<&State>) -> u64 {
        let seed = match (state, self.seed) {
            (Some(state), _) => state.seed,
            (None, Some(seed)) => seed,
            (None, None) => new_seed(),
        };
        if self.seed != Some(seed) {
            self.changes.clear();
            self.touched.clear();
            self.seed = Some(seed);
        }
        seed
    }
}

impl Collection {
    /// Whether queries use the cache unless they say otherwise.
    pub(crate) fn caches(&self) -> bool {
        self.inner.cache.options.is_some()
    }

    /// The vector that a model gave a query.
    pub(crate) fn said_vector(
        &self,
        key: &str,
        contract: &ModelContract,
        query: &str,
    ) -> Result<Option<Vec<f32>>> {
        let (said, _) = self.said(&self.vector_subject(key, contract, query))?;
        Ok(match said {
            Some(Said::Vector(vector)) if vector.len() == self.dimensions() => Some(vector),
            _ => None,
        })
    }

    /// Keeps the vector that a model gave a query. Whether it is time to write.
    pub(crate) fn keep_vector(
        &self,
        key: &str,
        contract: &ModelContract,
        query: &str,
        vector: &[f32],
    ) -> bool {
        let subject = self.vector_subject(key, contract, query);
        self.keep(subject, |_| Change { said: Said::Vector(vector.to_vec()), merge: false })
    }

    /// `key` tells model and settings, as the model itself has it.
    fn vector_subject(&self, key: &str, contract: &ModelContract, query: &str) -> Subject {
        let dimensions = self.dimensions().to_string();
        let (roles, prefixes) = match &contract.roles {
            Roles::Same => ("same", ["", ""]),
            Roles::InputType => ("input type", ["", ""]),
            Roles::Prefix { query, passage } => ("prefix", [query.as_str(), passage.as_str()]),
        };
        Subject::vector(&[key, roles, prefixes[0], prefixes[1], &dimensions], query)
    }

    /// The logits that a reranker gave these passages; `key` tells model and settings.
    pub(crate) fn said_logits(
        &self,
        key: &str,
        query: &str,
        passages: &[&str],
    ) -> Result<Vec<Option<f32>>> {
        let (said, seed) = self.said(&Subject::logits(key, query))?;
        let Some(Said::Logits(logits)) = said else { return Ok(vec![None; passages.len()]) };
        let known = |passage: &&str| logits.get(&cache::digest(passage, seed)).copied();
        Ok(passages.iter().map(known).collect())
    }

    /// Keeps logits, beside those that are known (`merge`) or instead of them. Whether it is time
    /// to write.
    pub(crate) fn keep_logits(
        &self,
        key: &str,
        query: &str,
        logits: &[(&str, f32)],
        merge: bool,
    ) -> bool {
        self.keep(Subject::logits(key, query), |seed| {
            let rows = logits.iter().map(|(passage, logit)| (cache::digest(passage, seed), *logit));
            let rows: BTreeMap<u128, f32> = rows.take(cache::PASSAGES_MAX).collect();
            Change { said: Said::Logits(rows), merge }
        })
    }

    /// What is known about a subject, and the seed of digests. Damage reads like absence: it is
    /// for `verify` to tell, and the next write removes it.
    fn said(&self, subject: &Subject) -> Result<(Option<Said>, u64)> {
        let snapshot = self.inner.snapshot()?;
        let state = match cache::state(snapshot.as_ref()) {
            Err(error) if error.is_corruption() => None,
            state => state?,
        };
        let stored = match state.map(|state| cache::find(snapshot.as_ref(), &state, subject)) {
            Some(Err(error)) if error.is_corruption() => None,
            found => found.transpose()?.flatten(),
        };
        let mut waiting = self.inner.cache.waiting();
        let seed = waiting.seed(state.as_ref());
        let is_writable = matches!(self.inner.store, StoreKind::Lmdb(_));
        Ok(match (waiting.changes.get(subject), stored) {
            (None, None) => (None, seed),
            (None, Some((stored, is_old))) => {
                if is_old && is_writable {
                    waiting.touched.insert(subject.clone());
                }
                (Some(stored), seed)
            }
            (Some(change), stored) => {
                let mut said = change.said.clone();
                if let Some((before, _)) = stored.filter(|_| change.merge) {
                    said.merge(before);
                }
                (Some(said), seed)
            }
        })
    }

    fn keep(&self, subject: Subject, change: impl FnOnce(u64) -> Change) -> bool {
        if matches!(self.inner.store, StoreKind::File(_)) {
            return false;
        }
        let mut waiting = self.inner.cache.waiting();
        // Known since the query was looked up.
        let Some(seed) = waiting.seed else { return false };
        let mut change = change(seed);
        waiting.touched.remove(&subject);
        match waiting.changes.remove(&subject) {
            Some(before) if change.merge => {
                change.merge = before.merge;
                change.said.merge(before.said);
            }
            Some(_) => {}
            None if waiting.len() >= WAIT_MOST => {
                waiting.skipped += 1;
                return true;
            }
            None => {}
        }
        waiting.changes.insert(subject, change);
        waiting.len() >= WRITE_AT
    }

    /// Writes what waits, unless another writer is at work.
    pub(crate) fn try_write_cache(&self) {
        // What is not written is asked for again, and counted.
        let _ = self.inner.try_write_cache();
    }

    /// Changes that were dropped because the file could not be written.
    pub(crate) fn cache_skipped(&self) -> u64 {
        self.inner.cache.waiting().skipped
    }
}
