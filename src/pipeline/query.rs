//! A query over stages under one deadline: embed, search, rerank. Over one collection or several.

mod blend;
pub(super) mod budget;
mod chain;
mod describe;
mod embed;
mod explain;
mod merge;
mod policy;
mod report;
mod rerank;
mod search;

use std::time::Duration;

use tracing::Instrument;

pub use blend::Blend;
pub use chain::Rerank;
pub use explain::QueryExplanation;
pub use merge::Merge;
pub use policy::{Mode, OnCollectionFailure, OnEmbedFailure, OnRerankFailure};
pub use report::{Answer, CacheUse, CollectionReport, QueryReport, StageOutcome, StageReport};

use super::cost::CostMeter;
use super::stage::{Embedder, Reranker};
use crate::db::{Collection, Find};
use crate::error::Result;
use crate::filter::Filter;
use crate::fusion::Fusion;
use crate::lexical::TextQuery;
use budget::Run;
use report::Shape;

/// Adds to the search of a collection.
type Shaping<'q> = Box<dyn Fn(Find) -> Find + Send + Sync + 'q>;

/// A query by text. Made by [`Collection::query`] and [`query_all`].
#[must_use]
pub struct Query<'q> {
    collections: Vec<Collection>,
    text: String,
    words: Option<TextQuery>,
    vector: Option<Vec<f32>>,
    embedders: Vec<&'q dyn Embedder>,
    stages: Vec<Rerank<'q>>,
    candidates: Option<usize>,
    limit: usize,
    ef: Option<usize>,
    recall: Option<f32>,
    filter: Option<Filter>,
    mode: Option<Mode>,
    fusion: Fusion,
    shapes: Vec<Shaping<'q>>,
    on_embed_failure: OnEmbedFailure,
    deadline: Option<Duration>,
    search_reserve: Duration,
    rerank_within: Option<Duration>,
    on_rerank_failure: OnRerankFailure,
    merge: Merge,
    on_collection_failure: OnCollectionFailure,
    cache: Option<bool>,
    meter: Option<CostMeter>,
}

/// Candidates for a reranker unless the query says otherwise.
const CANDIDATES: usize = 50;

impl Collection {
    /// Asks in words: embeds the text, searches, and lets rerankers order what was found.
    pub fn query<'q>(&self, text: impl Into<String>) -> Query<'q> {
        Query::new(vec![self.clone()], text.into())
    }
}

/// Asks several collections at once, of one file or of many: each is searched alike, their lists
/// are merged ([`Query::merge`]), and rerankers put them on one scale. The question is embedded
/// once for each model: a collection takes the first [`Query::embedder`] that made its vectors.
///
/// ```
/// use portolan::{CollectionOptions, Database, Metric, Record, query_all};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let file = |name: &str| Database::open(dir.path().join(name));
/// let options = || CollectionOptions::new(2, Metric::Cosine);
/// let winds = file("winds.portolan")?.create_collection("docs", options())?;
/// let tides = file("tides.portolan")?.create_collection("docs", options())?;
/// winds.upsert(Record::new("a").text("a north wind").vector([1.0, 0.0]))?;
/// tides.upsert(Record::new("a").text("a spring tide").vector([0.9, 0.1]))?;
/// let answer = query_all([&winds, &tides], "weather").vector([1.0, 0.0]).run().await?;
/// let files: Vec<_> = answer.hits.iter().filter_map(|hit| hit.origin.as_ref()).collect();
/// assert!(files[0].path.ends_with("winds.portolan"));
/// assert!(files[1].path.ends_with("tides.portolan"));
/// # Ok(()) }
/// ```
pub fn query_all<'q, 'c>(
    collections: impl IntoIterator<Item = &'c Collection>,
    text: impl Into<String>,
) -> Query<'q> {
    Query::new(collections.into_iter().cloned().collect(), text.into())
}

impl<'q> Query<'q> {
    fn new(collections: Vec<Collection>, text: String) -> Self {
        Self {
            collections,
            text,
            words: None,
            vector: None,
            embedders: Vec::new(),
            stages: Vec::new(),
            candidates: None,
            limit: 10,
            ef: None,
            recall: None,
            filter: None,
            mode: None,
            fusion: Fusion::default(),
            shapes: Vec::new(),
            on_embed_failure: OnEmbedFailure::default(),
            deadline: None,
            search_reserve: Duration::ZERO,
            rerank_within: None,
            on_rerank_failure: OnRerankFailure::default(),
            merge: Merge::default(),
            on_collection_failure: OnCollectionFailure::default(),
            cache: None,
            meter: None,
        }
    }

    /// The model that encodes the text. Must be the collection's. Called again it adds a model,
    /// for collections of other vectors.
    pub fn embedder(mut self, embedder: &'q dyn Embedder) -> Self {
        self.embedders.push(embedder);
        self
    }

    /// The vector of the text, if the application has it: then no embedder is asked.
    pub fn vector(mut self, vector: impl Into<Vec<f32>>) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// The model that orders the candidates: `rerank(Rerank::new(reranker))`.
    pub fn reranker(self, reranker: &'q dyn Reranker) -> Self {
        self.rerank(Rerank::new(reranker))
    }

    /// Adds a stage that orders what the one before left: a cascade, for which [`Rerank`] has an
    /// example. A hit's `rerank_score` is that of the last stage that ranked it.
    pub fn rerank(mut self, stage: Rerank<'q>) -> Self {
        self.stages.push(stage);
        self
    }

    /// Candidates of the rerank stages that do not say how many they take. Default: 50, or the
    /// limit if that is more.
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// At most so many hits. Default: 10.
    pub fn limit(mut self, hits: usize) -> Self {
        self.limit = hits;
        self
    }

    /// See [`Search::ef`](crate::Search::ef).
    pub fn ef(mut self, candidates: usize) -> Self {
        (self.ef, self.recall) = (Some(candidates), None);
        self
    }

    /// See [`Search::recall`](crate::Search::recall).
    pub fn recall(mut self, target: f32) -> Self {
        (self.ef, self.recall) = (None, Some(target));
        self
    }

    /// Finds only records that match.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// By what candidates are found. Default, for each collection: by vector and words if its
    /// words are indexed and there is an embedder or a vector; without an index by vector, without
    /// embedder and vector by words.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Metric, Record};
    /// use portolan::{Language, Mode, TextIndex};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// let words = TextIndex::new(Language::English);
    /// let options = CollectionOptions::new(2, Metric::Cosine).text(words);
    /// let docs = db.create_collection("docs", options)?;
    /// docs.upsert(Record::new("a").text("a spring tide").vector([1.0, 0.0]))?;
    /// docs.upsert(Record::new("b").text("a north wind").vector([0.9, 0.1]))?;
    /// let query = || docs.query("north wind").vector([1.0, 0.0]);
    /// assert_eq!(query().mode(Mode::Dense).run().await?.hits[0].id, "a".into());
    /// assert_eq!(query().mode(Mode::Lexical).run().await?.hits.len(), 1);
    /// let both = query().run().await?;
    /// assert_eq!(both.report.collections[0].find.lists.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// How lists by vector and by words become one: see [`Find::fusion`].
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Language, Metric, Record, TextIndex};
    /// use portolan::Fusion;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let words = TextIndex::new(Language::English);
    /// # let options = CollectionOptions::new(2, Metric::Cosine).text(words);
    /// # let docs = db.create_collection("docs", options)?;
    /// # docs.upsert(Record::new("a").text("a spring tide").vector([1.0, 0.0]))?;
    /// let query = docs.query("tide").vector([1.0, 0.0]);
    /// let answer = query.fusion(Fusion::weighted()).run().await?;
    /// assert_eq!(answer.hits[0].score, 2.0);
    /// # Ok(()) }
    /// ```
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Adds to the search of each collection: more lists, a threshold, diversity, groups, facets,
    /// an order, highlights, neighbors, all that [`Find`] can. It is done before rerankers; the
    /// limit is that of this query.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Metric, Record};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine))?;
    /// let chunk = |text: &str, x: f32| Record::new("").text(text).vector([x, 1.0]);
    /// docs.replace_document("winds", [chunk("north", 0.1), chunk("south", 0.2)])?;
    /// docs.replace_document("tides", [chunk("spring", 0.3)])?;
    /// let query = docs.query("").vector([0.0, 1.0]);
    /// let answer = query.find(|find| find.group_by("document", 1)).limit(2).run().await?;
    /// let best: Vec<&str> = answer.groups().map(|group| group.hits[0].text()).collect();
    /// assert_eq!(best, ["north", "spring"]);
    /// # Ok(()) }
    /// ```
    pub fn find(mut self, shape: impl Fn(Find) -> Find + Send + Sync + 'q) -> Self {
        self.shapes.push(Box::new(shape));
        self
    }

    /// What becomes of a query by vector and words when the embedder fails or is late.
    ///
    /// ```
    /// # use portolan::{BoxFuture, CollectionOptions, Database, Embedded, Embedder, Metric};
    /// # use portolan::{Language, ModelContract, Record, Role, StageError, TextIndex};
    /// use portolan::OnEmbedFailure;
    ///
    /// # struct Down;
    /// # impl Embedder for Down {
    /// #     fn contract(&self) -> ModelContract { ModelContract::new("down") }
    /// #     fn embed<'a>(
    /// #         &'a self, _: &'a [&'a str], _: Role, _: Option<std::time::Instant>,
    /// #     ) -> BoxFuture<'a, Result<Embedded, StageError>> {
    /// #         Box::pin(async { Err(StageError::new("nobody there")) })
    /// #     }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let words = TextIndex::new(Language::English);
    /// # let options = CollectionOptions::new(2, Metric::Cosine).text(words);
    /// # let docs = db.create_collection("docs", options)?;
    /// # docs.upsert(Record::new("a").text("a spring tide").vector([1.0, 0.0]))?;
    /// # let down = Down;
    /// let query = docs.query("tide").embedder(&down);
    /// let answer = query.on_embed_failure(OnEmbedFailure::Lexical).run().await?;
    /// assert_eq!(answer.hits.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn on_embed_failure(mut self, policy: OnEmbedFailure) -> Self {
        self.on_embed_failure = policy;
        self
    }

    /// Time for all stages together, from [`run`](Self::run) on. Each stage gets what is left, and
    /// so do the retries in it. A reranker that is late is left out, or fails the query
    /// ([`on_rerank_failure`](Self::on_rerank_failure)); an embedder that is
    /// late too ([`on_embed_failure`](Self::on_embed_failure)), a search that is late fails the
    /// query. Default: none.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// The part of the deadline that embedding leaves alone: a vector that comes at the last
    /// moment is worth nothing without the time to search with it. Default: none.
    pub fn search_reserve(mut self, time: Duration) -> Self {
        self.search_reserve = time;
        self
    }

    /// How the lists of several collections are merged. Default: by rank.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Merge, Metric, Record, query_all};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let a = db.create_collection("a", CollectionOptions::new(2, Metric::Cosine))?;
    /// # let b = db.create_collection("b", CollectionOptions::new(2, Metric::Cosine))?;
    /// # a.upsert(Record::new("far").vector([0.0, 1.0]))?;
    /// # b.upsert(Record::new("near").vector([1.0, 0.1]))?;
    /// let query = query_all([&a, &b], "sea").vector([1.0, 0.0]);
    /// let answer = query.merge(Merge::Score).run().await?;
    /// assert_eq!(answer.hits[0].id, "near".into());
    /// # Ok(()) }
    /// ```
    pub fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// What becomes of a query over several collections when one fails.
    ///
    /// ```
    /// # use portolan::{CollectionOptions, Database, Metric, OnCollectionFailure, Record};
    /// # use portolan::{StageOutcome, query_all};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("kb.portolan"))?;
    /// # let a = db.create_collection("a", CollectionOptions::new(2, Metric::Cosine))?;
    /// # let b = db.create_collection("b", CollectionOptions::new(2, Metric::Cosine))?;
    /// # a.upsert(Record::new("near").vector([1.0, 0.0]))?;
    /// db.delete_collection("b")?;
    /// let query = query_all([&a, &b], "sea").vector([1.0, 0.0]);
    /// let answer = query.on_collection_failure(OnCollectionFailure::LeaveOut).run().await?;
    /// assert_eq!(answer.hits.len(), 1);
    /// assert!(matches!(answer.report.collections[1].outcome, StageOutcome::Failed(_)));
    /// # Ok(()) }
    /// ```
    pub fn on_collection_failure(mut self, policy: OnCollectionFailure) -> Self {
        self.on_collection_failure = policy;
        self
    }

    /// Longest time for each rerank stage that does not say how long it may take, within the
    /// deadline if there is one. Default: what is left.
    pub fn rerank_within(mut self, time: Duration) -> Self {
        self.rerank_within = Some(time);
        self
    }

    /// What becomes of the query when a reranker fails or is late, unless its stage says.
    pub fn on_rerank_failure(mut self, policy: OnRerankFailure) -> Self {
        self.on_rerank_failure = policy;
        self
    }

    /// Whether what models said before is taken from the file and what they say now is kept
    /// there. Default: as the file was opened ([`DatabaseOptions::cache`]). Vectors are looked up
    /// by everything that decides on them and the whole question, logits by model, its settings,
    /// question and passage. Keeping is done after the answer, many queries at a time.
    ///
    /// [`DatabaseOptions::cache`]: crate::DatabaseOptions::cache
    pub fn cache(mut self, cache: bool) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Adds what this query costs to a meter.
    pub fn meter(mut self, meter: &CostMeter) -> Self {
        self.meter = Some(meter.clone());
        self
    }

    /// The question, the time for all and where costs are added up: what follows the query has
    /// them in common with it.
    pub(super) fn terms(&self) -> (String, Option<Duration>, Option<CostMeter>) {
        (self.text.clone(), self.deadline, self.meter.clone())
    }

    fn caches_in(&self, collection: &Collection) -> bool {
        self.cache.unwrap_or_else(|| collection.caches())
    }

    /// The collection whose file caches what rerankers say.
    fn caching(&self) -> Option<&Collection> {
        self.collections.iter().find(|one| self.caches_in(one))
    }

    /// Runs the stages. Must be called in a tokio runtime with time enabled.
    ///
    /// The future can be dropped at any point: a request in flight is closed, a search that has
    /// begun ends by itself on its thread, and nothing is left half done.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) without an embedder or vector, or with an empty text
    /// for a model; [`Error::Model`](crate::Error::Model) and
    /// [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded) when embedding fails or is
    /// late, or reranking under [`OnRerankFailure::Fail`]; those of
    /// [`Search::run`](crate::Search::run).
    pub async fn run(self) -> Result<Answer> {
        let names: Vec<&str> = self.collections.iter().map(Collection::name).collect();
        let span = tracing::debug_span!(
            "query",
            collection = names.join(","),
            limit = self.limit,
            text_bytes = self.text.len(),
            deadline_ms = self.deadline.map(|time| time.as_millis() as u64),
        );
        self.stages().instrument(span).await
    }

    async fn stages(self) -> Result<Answer> {
        self.merge.check()?;
        self.stages.iter().try_for_each(|stage| stage.blend.check())?;
        let mut run = Run::begin(&self.collections, self.deadline, self.meter.clone());
        run.report.cache.used = self.caching().is_some();
        let asked = self.ask(&mut run).await?;
        let (found, shape) = self.search(&mut run, asked).await?;
        let ranked = self.cascade(&mut run, found).await?;
        if run.cache_is_due {
            let caching = self.collections.iter().filter(|one| self.caches_in(one)).cloned();
            let caching: Vec<Collection> = caching.collect();
            // Not waited for: the answer is there.
            drop(tokio::task::spawn_blocking(move || {
                caching.iter().for_each(Collection::try_write_cache);
            }));
        }
        let skipped = self.caching().or(self.collections.first()).map(Collection::cache_skipped);
        run.report.cache.skipped = skipped.unwrap_or_default();
        run.report.took = run.begin.elapsed();
        let hits = ranked.into_iter().map(|one| one.hit).collect();
        let Shape { groups, next } = shape;
        let is_shaped = self.stages.is_empty();
        let (groups, next) = if is_shaped { (groups, next) } else { Default::default() };
        Ok(Answer { hits, report: run.report, next, groups })
    }
}
