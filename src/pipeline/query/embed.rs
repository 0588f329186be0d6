//! The first stage of a query: what each collection is asked, and the vector of the text, once for
//! each model that is needed.

use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument;

use super::budget::{Run, Until};
use super::report::StageOutcome;
use super::{Mode, OnEmbedFailure, Query};
use crate::db::Collection;
use crate::error::{Error, Result};
use crate::pipeline::blocking;
use crate::pipeline::cost::Cost;
use crate::pipeline::stage::{Embedder, Role};
use crate::record::ModelContract;

const NEITHER: Error =
    Error::Query { reason: "it has neither an embedder nor a vector: add one of them" };

/// What a collection is asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) vector: Option<Arc<[f32]>>,
    /// The model that made it, if one was asked.
    pub(super) model: Option<String>,
    /// Whether for the words of the text.
    pub(super) words: bool,
}

/// What a collection is to be asked.
struct Choice {
    words: bool,
    /// The embedder it needs.
    embedder: Option<usize>,
    /// What the cache knows of its answer.
    known: Option<Vec<f32>>,
}

/// Collections that need an embedder, with what the cache knows of its answer.
type Members = Vec<(usize, Option<Vec<f32>>)>;

impl Query<'_> {
    /// What each collection is asked; none for one that is left out.
    pub(super) async fn ask(&self, run: &mut Run) -> Result<Vec<Option<Asked>>> {
        let begin = Instant::now();
        let until = run.until(self.search_reserve, None);
        let choices = if self.asks_no_model() {
            self.choices().await
        } else {
            until.bound(self.choices()).await.unwrap_or_else(|| Err(until.late("embed")))
        };
        let choices = choices.map_err(|error| run.failing("embed", begin, error))?;
        let mut asked = vec![None; self.collections.len()];
        let mut needed: Vec<Members> = vec![Vec::new(); self.embedders.len()];
        for (at, (choice, asked)) in choices.into_iter().zip(&mut asked).enumerate() {
            match choice {
                Ok(Choice { words, embedder, known }) => {
                    let vector = self.vector.as_deref().filter(|_| self.is_dense());
                    *asked = Some(Asked { vector: vector.map(Arc::from), model: None, words });
                    let members = embedder.and_then(|at| needed.get_mut(at));
                    members.into_iter().for_each(|members| members.push((at, known.clone())));
                }
                Err(error @ Error::Query { .. }) => self.leave_out(run, at, error)?,
                Err(error) => {
                    let error = run.failing("embed", begin, error);
                    self.leave_out(run, at, error)?;
                }
            }
        }
        if needed.iter().all(Vec::is_empty) {
            run.report("embed", None, StageOutcome::Skipped, begin, Cost::new());
        }
        for (embedder, members) in self.embedders.iter().zip(needed) {
            if !members.is_empty() {
                self.by_one(run, &until, *embedder, members, &mut asked).await?;
            }
        }
        Ok(asked)
    }

    fn is_dense(&self) -> bool {
        self.mode != Some(Mode::Lexical)
    }

    fn asks_no_model(&self) -> bool {
        self.vector.is_some() || self.embedders.is_empty() || !self.is_dense()
    }

    /// Asks one embedder for all collections that need it.
    async fn by_one(
        &self,
        run: &mut Run,
        until: &Until,
        embedder: &dyn Embedder,
        members: Members,
        asked: &mut [Option<Asked>],
    ) -> Result<()> {
        let begin = Instant::now();
        let model = embedder.contract().model;
        let bytes = self.text.len();
        let span = tracing::debug_span!("embed", model = model.as_str(), texts = 1, bytes);
        let (places, known): (Vec<usize>, Vec<Option<Vec<f32>>>) = members.into_iter().unzip();
        let known = known.into_iter().flatten().next();
        let encoded = async {
            match known {
                Some(vector) => Ok((vector, StageOutcome::Cached, Cost::new())),
                None => self.encoded(run, until, embedder, &places).await,
            }
        };
        match encoded.instrument(span).await {
            Ok((vector, outcome, cost)) => {
                run.report.cache.embedding |= outcome == StageOutcome::Cached;
                run.report("embed", Some(&model), outcome, begin, cost);
                let vector: Arc<[f32]> = vector.into();
                for at in places {
                    if let Some(Some(asked)) = asked.get_mut(at) {
                        asked.vector = Some(Arc::clone(&vector));
                        asked.model = Some(model.clone());
                    }
                }
            }
            Err(error) => {
                let (reason, outcome) = (error.to_string(), StageOutcome::failed(&error));
                let mut error = Some(run.failing("embed", begin, error));
                for at in places {
                    let Some(one) = asked.get_mut(at) else { continue };
                    let words = one.as_ref().is_some_and(|asked| asked.words);
                    if words && self.on_embed_failure == OnEmbedFailure::Lexical {
                        continue;
                    }
                    *one = None;
                    match error.take() {
                        Some(error) => self.leave_out(run, at, error)?,
                        None => run.left_out(at, &reason),
                    }
                }
                run.report_failed("embed", Some(&model), outcome, begin);
            }
        }
        Ok(())
    }

    async fn encoded(
        &self,
        run: &mut Run,
        until: &Until,
        embedder: &dyn Embedder,
        places: &[usize],
    ) -> Result<(Vec<f32>, StageOutcome, Cost)> {
        let texts = [self.text.as_str()];
        let embedded = until.bound(embedder.embed(&texts, Role::Query, until.at)).await;
        let embedded = embedded.ok_or_else(|| until.late("embed"))?;
        let embedded = embedded.map_err(|error| until.failed("embed", error))?;
        let vector = embedded.vectors.into_iter().next();
        let missing = Error::Query { reason: "the embedder returned no vector: check the model" };
        let vector = vector.ok_or(missing)?;
        if vector.iter().all(|x| x.is_finite()) {
            let members = places.iter().filter_map(|&at| self.collections.get(at));
            let mut caching = members.filter(|one| self.caches_in(one));
            if let Some(one) = caching.find(|one| one.dimensions() == vector.len()) {
                let (key, contract) = (embedder.cache_key(), embedder.contract());
                run.cache_is_due |= one.keep_vector(&key, &contract, &self.text, &vector);
            }
        }
        Ok((vector, StageOutcome::Done, embedded.cost))
    }

    /// What each collection is to be asked, before any model is paid for a query that would be
    /// refused.
    async fn choices(&self) -> Result<Vec<Result<Choice>>> {
        let known = |of: &&dyn Embedder| (of.cache_key().into_owned(), of.contract());
        let contracts: Vec<(String, ModelContract)> = self.embedders.iter().map(known).collect();
        let asks = Asks {
            mode: self.mode,
            has_words: self.words.is_some(),
            has_vector: self.vector.is_some(),
            contracts,
            text: self.text.clone(),
        };
        let collections: Vec<(Collection, bool)> =
            self.collections.iter().map(|one| (one.clone(), self.caches_in(one))).collect();
        blocking(move || {
            Ok(collections.iter().map(|(one, caches)| asks.choose(one, *caches)).collect())
        })
        .await
    }
}

/// What decides on what a collection is asked.
struct Asks {
    mode: Option<Mode>,
    /// Whether it says which words are searched for.
    has_words: bool,
    has_vector: bool,
    /// Of each embedder, with what the cache knows it by.
    contracts: Vec<(String, ModelContract)>,
    text: String,
}

impl Asks {
    fn choose(&self, collection: &Collection, caches: bool) -> Result<Choice> {
        let has_text = !self.text.trim().is_empty();
        let words = match self.mode {
            Some(Mode::Dense) => false,
            Some(Mode::Lexical | Mode::Hybrid) => true,
            None if self.has_words => true,
            None => has_text && collection.text_index()?.is_some(),
        };
        let by_itself = Choice { words, embedder: None, known: None };
        match self.mode {
            Some(Mode::Lexical) => return Ok(by_itself),
            _ if self.has_vector => return Ok(by_itself),
            None if words && self.contracts.is_empty() => return Ok(by_itself),
            _ if self.contracts.is_empty() => return Err(NEITHER),
            _ if !has_text => {
                return Err(Error::Query { reason: "its text is empty: ask something" });
            }
            _ => {}
        }
        let embedder = Some(self.embedder(collection)?);
        let contract = embedder.and_then(|at| self.contracts.get(at)).filter(|_| caches);
        // A cache that cannot be read is no reason to fail.
        let said = |(key, contract): &(String, ModelContract)| {
            collection.said_vector(key, contract, &self.text).ok().flatten()
        };
        Ok(Choice { words, embedder, known: contract.and_then(said) })
    }

    /// The first whose vectors the collection takes.
    fn embedder(&self, collection: &Collection) -> Result<usize> {
        let mut refused = None;
        for (at, (_, contract)) in self.contracts.iter().enumerate() {
            match collection.refuse_other_model(contract) {
                Ok(()) => return Ok(at),
                Err(error @ Error::ModelMismatch { .. }) => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or(NEITHER))
    }
}
