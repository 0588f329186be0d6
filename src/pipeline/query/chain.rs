//! One stage of a cascade of rerankers, as the application describes it.

use std::borrow::Cow;
use std::time::Duration;

use super::blend::Blend;
use super::{CANDIDATES, OnRerankFailure, Query};
use crate::pipeline::closure::RecordReranker;
use crate::pipeline::stage::Reranker;
use crate::record::{Record, Template};

/// A rerank stage of a [`Query`]: who orders how many candidates, by which text, and what becomes
/// of the order before it.
///
/// A cascade lets a cheap reranker choose what a good one gets to read:
///
/// ```
/// # use portolan::{CollectionOptions, Database, Metric, Record, rerank_fn};
/// use portolan::{Blend, Rerank, Template};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> portolan::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = Database::open(dir.path().join("kb.portolan"))?;
/// # let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine))?;
/// # docs.upsert(Record::new("a").text("of the sea").vector([1.0, 0.0]))?;
/// # let cheap = rerank_fn(|_, passages| vec![0.0; passages.len()]);
/// # let good = rerank_fn(|_, passages| vec![0.0; passages.len()]);
/// let answer = docs
///     .query("sea")
///     .vector([1.0, 0.0])
///     .rerank(Rerank::new(&cheap).candidates(200))
///     .rerank(
///         Rerank::new(&good)
///             .candidates(50)
///             .passage(Template::parse("{title}\n{text} ({lang})")?)
///             .blend(Blend::weighted(0.7)),
///     )
///     .limit(10)
///     .run()
///     .await?;
/// # assert_eq!(answer.hits.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Rerank<'q> {
    pub(super) by: Orders<'q>,
    pub(super) candidates: Option<usize>,
    template: Option<Template>,
    pub(super) blend: Blend,
    pub(super) within: Option<Duration>,
    pub(super) on_failure: Option<OnRerankFailure>,
}

/// What orders the candidates.
#[derive(Clone, Copy)]
pub(super) enum Orders<'q> {
    Texts(&'q dyn Reranker),
    Records(&'q dyn RecordReranker),
}

impl Orders<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Texts(reranker) => reranker.model(),
            Self::Records(reranker) => reranker.name(),
        }
    }
}

impl<'q> Rerank<'q> {
    /// By a model or a closure that reads texts.
    pub fn new(reranker: &'q dyn Reranker) -> Self {
        Self::by(Orders::Texts(reranker))
    }

    /// By records: what is stored beside them, such as matrices
    /// ([`MaxSimReranker`](crate::MaxSimReranker)), or their fields.
    pub fn records(reranker: &'q dyn RecordReranker) -> Self {
        Self::by(Orders::Records(reranker))
    }

    fn by(by: Orders<'q>) -> Self {
        let (blend, within, on_failure) = (Blend::default(), None, None);
        Self { by, candidates: None, template: None, blend, within, on_failure }
    }

    /// So many of the best before it, at least as many as the query's limit; what is beyond them
    /// is left out. A stage never gets more than the one before it. Default:
    /// [`Query::candidates`].
    ///
    /// ```
    /// # use portolan::{Rerank, rerank_fn};
    /// # let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    /// let stage = Rerank::new(&model).candidates(200);
    /// ```
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// The text that is read of a record. Default: title, a space, text; or the text alone.
    ///
    /// ```
    /// # use portolan::{Rerank, Template, rerank_fn};
    /// # let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    /// let stage = Rerank::new(&model).passage(Template::parse("{title}\n{text} ({lang})")?);
    /// # Ok::<(), portolan::Error>(())
    /// ```
    pub fn passage(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// What becomes of the scores before it. Default: [`Blend::Replace`].
    ///
    /// ```
    /// # use portolan::{Blend, Rerank, rerank_fn};
    /// # let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    /// let stage = Rerank::new(&model).blend(Blend::rrf());
    /// ```
    pub fn blend(mut self, blend: Blend) -> Self {
        self.blend = blend;
        self
    }

    /// Longest time for this stage, within the deadline if there is one. Default:
    /// [`Query::rerank_within`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use portolan::{Rerank, rerank_fn};
    /// # let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    /// let stage = Rerank::new(&model).within(Duration::from_millis(100));
    /// ```
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// What becomes of the query when this stage fails or is late. Default:
    /// [`Query::on_rerank_failure`].
    ///
    /// ```
    /// # use portolan::{OnRerankFailure, Rerank, rerank_fn};
    /// # let model = rerank_fn(|_, passages| vec![0.0; passages.len()]);
    /// let stage = Rerank::new(&model).on_failure(OnRerankFailure::Fail);
    /// ```
    pub fn on_failure(mut self, policy: OnRerankFailure) -> Self {
        self.on_failure = Some(policy);
        self
    }

    /// What it is set to, as data.
    pub(super) fn describe(&self) -> serde_json::Value {
        let settings = match self.by {
            Orders::Texts(reranker) => reranker.cache_key(),
            Orders::Records(_) => Cow::Borrowed(""),
        };
        serde_json::json!({
            "by": self.by.name(),
            "settings": settings,
            "candidates": self.candidates,
            "template": self.template.as_ref().map(ToString::to_string),
            "blend": format!("{:?}", self.blend),
            "within_ms": self.within.map(|time| time.as_millis() as u64),
        })
    }

    /// Whether that tells all of it: of a closure it does not.
    pub(super) fn is_told(&self) -> bool {
        matches!(self.by, Orders::Texts(reranker) if reranker.is_cacheable())
    }

    pub(super) fn text(&self, record: &Record) -> String {
        self.template.as_ref().map_or_else(|| record.passage(), |template| template.render(record))
    }
}

impl Query<'_> {
    /// How many candidates each stage gets at most.
    pub(super) fn narrowing(&self) -> Vec<usize> {
        let default = self.candidates.unwrap_or(CANDIDATES);
        let mut narrowest = usize::MAX;
        let stages = self.stages.iter().map(|stage| {
            let asked = stage.candidates.unwrap_or(default).max(self.limit);
            narrowest = narrowest.min(asked);
            narrowest
        });
        stages.collect()
    }
}
