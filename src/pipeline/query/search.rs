//! The second stage of a query: the search of each collection, all at once, and one list of what
//! they found.

use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tracing::Instrument;

use super::budget::{Run, Until};
use super::embed::Asked;
use super::merge::{Merge, Ranked, merge, single};
use super::report::{Shape, StageOutcome};
use super::{OnCollectionFailure, Query};
use crate::db::{Collection, Dense, Find, Findings, Hit};
use crate::error::{Error, Result};
use crate::lexical::TextQuery;
use crate::pipeline::cost::Cost;
use crate::pipeline::joined;
use crate::record::ModelContract;

/// What a collection gave, and the model of its vectors.
type Found = (Findings, Option<ModelContract>);
type Searching = JoinHandle<Result<Found>>;

impl Query<'_> {
    /// What is searched by words, in place of the words of the text: with phrases, prefixes, words
    /// that are required or excluded. Models are given the text, which can be empty where none is
    /// asked. Collections without a text index fail.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Language, Record, TextIndex};
    /// use portolan::TextQuery;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let index = TextIndex::new(Language::English);
    /// # let options = CollectionOptions::without_vectors().text(index);
    /// # let docs = db.create_collection("docs", options)?;
    /// docs.upsert(Record::new("a").text("a spring tide"))?;
    /// docs.upsert(Record::new("b").text("tides in spring"))?;
    /// let words = TextQuery::parse("\"spring tide\" neap*");
    /// let answer = docs.query("How high is a spring tide?").words(words).run().await?;
    /// assert_eq!((answer.hits.len(), &answer.hits[0].id), (1, &"a".into()));
    /// # Ok(()) }
    /// ```
    pub fn words(mut self, words: impl Into<TextQuery>) -> Self {
        self.words = Some(words.into());
        self
    }

    /// What all collections give to the first reranker, best first.
    pub(super) async fn search(
        &self,
        run: &mut Run,
        asked: Vec<Option<Asked>>,
    ) -> Result<(Vec<Ranked>, Shape)> {
        let begin = Instant::now();
        let limit = self.narrowing().first().copied().unwrap_or(self.limit);
        let by_score = self.merge == Merge::Score && self.collections.len() > 1;
        let by_words = asked.iter().flatten().any(|asked| asked.words);
        let mut searches: Vec<(usize, Searching)> = Vec::with_capacity(asked.len());
        for (at, (one, asked)) in self.collections.iter().zip(asked).enumerate() {
            let Some(asked) = asked else { continue };
            let (find, one) = (self.find_in(one, asked, limit), one.clone());
            let searching = spawn_blocking(move || {
                let model = if by_score { one.model()? } else { None };
                Ok((find.run()?, model))
            });
            searches.push((at, searching));
        }
        let span = tracing::debug_span!("search", limit, filtered = self.filter.is_some());
        let until = run.until(Duration::ZERO, None);
        let found = self.ended(run, &until, searches).instrument(span).await;
        let found = found.map_err(|error| run.failing("search", begin, error))?;
        if found.is_empty() {
            // Each is out, or the first would have failed the query.
            let none = Error::Query { reason: "it has no collection: add one" };
            return Err(run.lost.take().unwrap_or(none));
        }
        if by_score && (by_words || !self.is_comparable(&found)) {
            let reason = "its collections differ in metric or model, or are asked for words: \
                          merge them by rank";
            return Err(Error::Query { reason });
        }
        let mut shape = Shape::default();
        let mut lists: Vec<(usize, Vec<Hit>)> = Vec::with_capacity(found.len());
        for (at, (found, _)) in found {
            if self.collections.len() == 1 {
                let groups = found.groups();
                shape.groups = groups.map(|of| (of.value.clone(), of.hits.len())).collect();
                shape.next = found.next;
            }
            lists.push((at, found.hits));
        }
        let ranked = if self.collections.len() == 1 {
            single(lists.pop().map(|(_, hits)| hits).unwrap_or_default())
        } else {
            let with_origin = |(at, hits): (usize, Vec<Hit>)| {
                Some((at, self.collections.get(at)?.origin(), hits))
            };
            merge(self.merge, lists.into_iter().filter_map(with_origin).collect(), limit)
        };
        run.report.candidates = ranked.len();
        run.report("search", None, StageOutcome::Done, begin, Cost::new());
        let lists = run.report.collections.iter().flat_map(|one| &one.find.lists);
        let scored = lists.map(|list| list.scored).sum();
        run.scored(scored);
        Ok((ranked, shape))
    }

    /// The search of one collection.
    fn find_in(&self, collection: &Collection, asked: Asked, limit: usize) -> Find {
        let Asked { vector, model, words } = asked;
        let mut find = collection.find().fusion(self.fusion);
        if let Some(vector) = vector {
            let mut dense = Dense::new(vector.to_vec());
            if let Some(ef) = self.ef {
                dense = dense.ef(ef);
            }
            if let Some(recall) = self.recall {
                dense = dense.recall(recall);
            }
            if let Some(model) = model {
                dense = dense.model(model);
            }
            find = find.dense_with(dense);
        }
        if words {
            find = match &self.words {
                Some(words) => find.text(words),
                None => find.text(self.text.as_str()),
            };
        }
        if let Some(filter) = &self.filter {
            find = find.filter(filter.clone());
        }
        self.shapes.iter().fold(find, |find, shape| shape(find)).limit(limit)
    }

    /// Waits for the searches; one that fails or is late is left out, or fails the query.
    async fn ended(
        &self,
        run: &mut Run,
        until: &Until,
        searches: Vec<(usize, Searching)>,
    ) -> Result<Vec<(usize, Found)>> {
        let mut found = Vec::with_capacity(searches.len());
        for (at, handle) in searches {
            let ended = async { joined(handle.await) };
            match until.bound(ended).await.unwrap_or_else(|| Err(until.late("search"))) {
                Ok((hits, model)) => {
                    run.found(at, &hits);
                    found.push((at, (hits, model)));
                }
                Err(error) => self.leave_out(run, at, error)?,
            }
        }
        Ok(found)
    }

    fn is_comparable(&self, found: &[(usize, Found)]) -> bool {
        let metrics = found.iter().filter_map(|(at, _)| self.collections.get(*at));
        let mut metrics = metrics.map(Collection::metric);
        let first = metrics.next();
        let mut models = found.iter().map(|(_, (_, model))| model);
        let model = models.next();
        metrics.all(|metric| Some(metric) == first) && models.all(|other| Some(other) == model)
    }

    /// Goes on without a collection, if the query may.
    pub(super) fn leave_out(&self, run: &mut Run, at: usize, error: Error) -> Result<()> {
        if self.on_collection_failure == OnCollectionFailure::Fail {
            return Err(error);
        }
        run.left_out(at, &error.to_string());
        run.lost.get_or_insert(error);
        Ok(())
    }
}
