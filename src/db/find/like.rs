//! Lists of recommendation: the nearest to records of the collection, and far from others.

use std::collections::BTreeSet;

use super::dense::Nearest;
use super::list::{Common, Given, ListReport, Ranking, common_setters};
use crate::db::search::check_effort;
use crate::error::{Error, Result};
use crate::index::{Effort, Neighbor};
use crate::record::{RecordId, Slot};
use crate::storage::tables;

/// How examples become an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LikeStrategy {
    /// One vector search for `2 p - n`, where `p` and `n` are the means of the positive and of
    /// the negative examples; for `p` where there are no negatives. Scores are those of that
    /// search.
    #[default]
    Average,
    /// Each record is compared with each example, by the collection's metric. Nearer to a positive
    /// than to any negative it scores `s(p)`, else `-s(n)`, where `p` and `n` are the best scores
    /// against both kinds and `s(x) = (1 + x / (1 + |x|)) / 2`. For examples that are unlike each
    /// other. Records are looked for around each positive example, twice as deep as the list.
    BestScore,
}

/// A list of records like some and unlike others, for [`Find::like_with`](crate::Find::like_with).
/// The examples themselves are never in it. Other setters are those of [`Dense`](crate::Dense).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/harbor.rs"));
/// # fn main() -> portolan::Result<()> { let (_dir, docs) = harbor()?;
/// use portolan::{Like, LikeStrategy};
///
/// let like = Like::new(["pilot#0"], ["storm#0"]).strategy(LikeStrategy::BestScore);
/// let found = docs.find().like_with(like).limit(3).run()?;
/// assert!(found.hits.iter().all(|hit| hit.id.to_string() != "pilot#0"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Like {
    positive: Vec<RecordId>,
    negative: Vec<RecordId>,
    strategy: LikeStrategy,
    field: Option<String>,
    effort: Effort,
    exact: bool,
    pub(super) common: Common,
}

impl Like {
    /// Records like the positive examples and unlike the negative ones, of which there may be
    /// none.
    pub fn new<P: Into<RecordId>, N: Into<RecordId>>(
        positive: impl IntoIterator<Item = P>,
        negative: impl IntoIterator<Item = N>,
    ) -> Self {
        Self {
            positive: positive.into_iter().map(Into::into).collect(),
            negative: negative.into_iter().map(Into::into).collect(),
            strategy: LikeStrategy::default(),
            field: None,
            effort: Effort::default(),
            exact: false,
            common: Common::default(),
        }
    }

    /// How examples become an order. Default: their average.
    pub fn strategy(mut self, strategy: LikeStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Compares the vectors of a named field, of one vector a record. Default: the default vectors.
    ///
    /// ```
    /// use portolan::{CollectionOptions, Database, Like, Metric, Record, VectorField};
    ///
    /// # fn main() -> portolan::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("kb.portolan");
    /// let db = Database::open(&path)?;
    /// let options = CollectionOptions::new(2, Metric::Cosine)
    ///     .vector_field("image", VectorField::new(3, Metric::Dot));
    /// let docs = db.create_collection("docs", options)?;
    /// for (id, image) in [("a", [1.0, 0.0, 0.0]), ("b", [0.9, 0.1, 0.0]), ("c", [0.0, 0.0, 1.0])]
    /// {
    ///     docs.upsert(Record::new(id).named_vector("image", image))?;
    /// }
    /// let like = Like::new(["a"], ["c"]).field("image").recall(0.99);
    /// assert_eq!(docs.find().like_with(like).run()?.hits[0].id.to_string(), "b");
    /// let like = Like::new(["a"], ["c"]).field("image").ef(100);
    /// assert_eq!(docs.find().like_with(like.exact()).run()?.hits.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// Candidates the graph walk keeps; see [`Search::ef`](crate::Search::ef).
    pub fn ef(mut self, candidates: usize) -> Self {
        self.effort = Effort::Ef(candidates);
        self
    }

    /// The share of the true neighbors to find; see [`Search::recall`](crate::Search::recall).
    pub fn recall(mut self, target: f32) -> Self {
        self.effort = Effort::Recall(target);
        self
    }

    /// Compares with every vector at full precision.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    common_setters!();

    pub(super) fn check(&self) -> Result<()> {
        let reason = "a list by example has no positive example: give at least one";
        if self.positive.is_empty() {
            return Err(Error::Query { reason });
        }
        check_effort(self.effort)
    }

    pub(super) fn run(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let Some(field) = &self.field else { return self.run_in(given, depth) };
        let (view, matching) = given.in_field(field)?;
        let of_field = Given { view: &view, matching: &matching, ..given };
        let mut ranking = self.run_in(of_field, depth)?;
        ranking.report.about.push_str(&format!(" of field {field:?}"));
        Ok(ranking)
    }

    fn run_in(&self, given: Given<'_>, depth: usize) -> Result<Ranking> {
        let positive = examples(given, &self.positive)?;
        let negative = examples(given, &self.negative)?;
        let own: BTreeSet<u32> = positive.iter().chain(&negative).map(|(slot, _)| slot.0).collect();
        let wanted = depth.saturating_add(own.len());
        let (mut found, mut report) = match self.strategy {
            LikeStrategy::Average => {
                let vector = average(&positive, &negative);
                self.nearest(&vector).run(given, wanted)?
            }
            LikeStrategy::BestScore => {
                let deeper = depth.saturating_add(wanted);
                self.best_score(given, deeper, &positive, &negative)?
            }
        };
        found.retain(|found| !own.contains(&found.slot));
        found.truncate(depth);
        report.kind = "like";
        let (likes, unlikes) = (positive.len(), negative.len());
        report.about = format!("{likes} positive and {unlikes} negative examples");
        Ok(Ranking::new(found, report))
    }

    fn nearest<'v>(&'v self, vector: &'v [f32]) -> Nearest<'v> {
        Nearest { vector, field: self.field.as_deref(), effort: self.effort, exact: self.exact }
    }

    /// Everything near a positive example, by its score against all of them.
    fn best_score(
        &self,
        given: Given<'_>,
        depth: usize,
        positive: &[Example],
        negative: &[Example],
    ) -> Result<(Vec<Neighbor>, ListReport)> {
        let (mut near, mut report) = (BTreeSet::new(), ListReport::default());
        for (_, vector) in positive {
            let (found, of_one) = self.nearest(vector).run(given, depth)?;
            near.extend(found.into_iter().map(|found| found.slot));
            let scored = report.scored + of_one.scored;
            report = ListReport { scored, ..of_one };
        }
        let metric = given.view.encoding.metric();
        let mut found = Vec::with_capacity(near.len());
        for slot in near {
            let vector = given.view.vector(Slot(slot))?;
            let best = |examples: &[Example]| {
                let scores = examples.iter().map(|(_, example)| metric.score(example, &vector));
                scores.fold(f32::NEG_INFINITY, f32::max)
            };
            let (like, unlike) = (best(positive), best(negative));
            let score = if like > unlike { squashed(like) } else { -squashed(unlike) };
            found.push(Neighbor { slot, score });
        }
        found.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.slot.cmp(&b.slot)));
        Ok((found, report))
    }
}

/// A score of any metric between 0 and 1, in its order.
fn squashed(score: f32) -> f32 {
    (1.0 + score / (1.0 + score.abs())) / 2.0
}

/// A record that others are to be like or unlike.
type Example = (Slot, Vec<f32>);

fn examples(given: Given<'_>, ids: &[RecordId]) -> Result<Vec<Example>> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let refused = |reason| Error::Example { id: id.clone(), reason };
        let slot = tables::slot(given.snapshot, given.collection.id, id)?
            .ok_or_else(|| refused("there is no such record"))?;
        if !given.view.has_vector(slot) {
            return Err(refused("it has no vector"));
        }
        found.push((slot, given.view.vector(slot)?));
    }
    Ok(found)
}

/// The mean of the positive examples, moved away from the mean of the negative ones by as much as
/// lies between both.
fn average(positive: &[Example], negative: &[Example]) -> Vec<f32> {
    let mean = |examples: &[Example]| {
        let mut sum = vec![0.0_f64; examples.first().map_or(0, |(_, vector)| vector.len())];
        for (_, vector) in examples {
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        sum.iter_mut().for_each(|sum| *sum /= examples.len() as f64);
        sum
    };
    let mut target = mean(positive);
    if !negative.is_empty() {
        target.iter_mut().zip(mean(negative)).for_each(|(like, unlike)| *like += *like - unlike);
    }
    target.into_iter().map(|x| x as f32).collect()
}
