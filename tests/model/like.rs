//! Records like some and unlike others, by both strategies: never the examples, as many as there
//! are, with the scores and in the order of the definition.

use std::collections::BTreeSet;

use portolan::{Collection, Hit, Like, LikeStrategy, Metric, Record, RecordId};

use super::common::Rng;
use super::searches::{Scores, check_best};
use super::shapes::filtered;
use super::{Predicate, Side};

/// What others are to be like and unlike.
struct Examples {
    positive: Vec<RecordId>,
    negative: Vec<RecordId>,
}

impl Examples {
    fn are(&self, id: &RecordId) -> bool {
        self.positive.contains(id) || self.negative.contains(id)
    }

    fn count(&self) -> usize {
        self.positive.len() + self.negative.len()
    }
}

pub fn check_like(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let with_vector = |record: &&Record| record.vector.is_some();
    let all: Vec<RecordId> =
        side.passing(None).filter(with_vector).map(|record| record.id.clone()).collect();
    let mut positive = rng.sample(all, 4);
    if positive.is_empty() {
        return;
    }
    let negative = positive.split_off(positive.len().min(1 + rng.below(3) as usize));
    let examples = Examples { positive, negative };
    let limit = 1 + rng.below(30) as usize;
    let strategy = if rng.once_in(2) { LikeStrategy::Average } else { LikeStrategy::BestScore };
    let like = Like::new(examples.positive.clone(), examples.negative.clone());
    let given = filter.map(|filter| filter.filter(rng));
    let find = docs.find().like_with(like.strategy(strategy).exact()).limit(limit);
    let hits = match filtered(find, given.as_ref()).run() {
        Ok(found) => found.hits,
        // Examples that cancel each other out are no direction.
        Err(portolan::Error::Vector { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    match strategy {
        LikeStrategy::Average => check_average(&hits, side, &examples, filter, limit),
        _ => check_best_score(&hits, side, &examples, filter, limit),
    }
}

impl Side {
    fn stored(&self, ids: &[RecordId]) -> Vec<&[f32]> {
        let kept = |id| self.model[id].1.as_ref().expect("an example has a vector");
        ids.iter().map(|id| kept(id).values.as_slice()).collect()
    }

    /// The metric of two vectors as they are stored.
    fn metric(&self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
        match self.shape.metric {
            Metric::L2 => -pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f64>(),
            _ => pairs.map(|(x, y)| x * y).sum(),
        }
    }
}

/// One search for twice the mean of the positive examples less that of the negative ones.
fn check_average(
    hits: &[Hit],
    side: &Side,
    examples: &Examples,
    filter: Option<&Predicate>,
    limit: usize,
) {
    let mean = |vectors: &[&[f32]], at: usize| {
        vectors.iter().map(|vector| f64::from(vector[at])).sum::<f64>() / vectors.len() as f64
    };
    let (like, unlike) = (side.stored(&examples.positive), side.stored(&examples.negative));
    let component = |at| match unlike.as_slice() {
        [] => mean(&like, at),
        unlike => mean(&like, at) + (mean(&like, at) - mean(unlike, at)),
    };
    let target: Vec<f32> = (0..side.shape.dimensions).map(|at| component(at) as f32).collect();
    let mut wanted = side.scores(&side.shape.query(&target), filter);
    wanted.retain(|id, _| !examples.are(id));
    check_best(hits, &wanted, limit, side);
}

/// A score of any metric between 0 and 1.
fn squashed(score: f64) -> f64 {
    (1.0 + score / (1.0 + score.abs())) / 2.0
}

/// What can be said of a record by the definition, as far as rounding leaves it open.
struct Judged {
    /// Its scores: two where it is as near to a positive as to a negative example.
    scores: Vec<f64>,
    /// Whether it is surely, or surely not, among the nearest of a positive example.
    is_near: bool,
    is_far: bool,
}

fn judge(side: &Side, examples: &Examples, all: &Scores, deep: usize) -> Vec<(RecordId, Judged)> {
    let (positive, negative) = (side.stored(&examples.positive), side.stored(&examples.negative));
    // As a search scores them, with how far that may be off: the last that is near to each.
    let searched: Vec<Scores> = examples
        .positive
        .iter()
        .map(|id| {
            let asked = side.shape.query(&side.model[id].1.as_ref().expect("a vector").values);
            let mut scores = side.scores(&asked, None);
            scores.retain(|id, _| all.contains_key(id));
            scores
        })
        .collect();
    let last = |scores: &Scores| {
        let mut sorted: Vec<f64> = scores.values().map(|(score, _)| *score).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.get(deep - 1).copied().unwrap_or(f64::NEG_INFINITY)
    };
    let lasts: Vec<f64> = searched.iter().map(last).collect();
    let of = |(id, (_, tolerance)): (&RecordId, &(f64, f64))| {
        let own = &side.model[id].1.as_ref().expect("a vector").values;
        let best = |examples: &[&[f32]]| {
            examples.iter().map(|of| side.metric(of, own)).fold(f64::NEG_INFINITY, f64::max)
        };
        let (like, unlike) = (best(&positive), best(&negative));
        let mut scores = Vec::new();
        if like > unlike - tolerance {
            scores.push(squashed(like));
        }
        if like <= unlike + tolerance {
            scores.push(-squashed(unlike));
        }
        let near = searched.iter().zip(&lasts).map(|(scores, last)| (scores[id], *last));
        let is_near = near.clone().any(|((score, off), last)| score > last + 2.0 * off);
        let is_far = near.into_iter().all(|((score, off), last)| score < last - 2.0 * off);
        (id.clone(), Judged { scores, is_near, is_far })
    };
    all.iter().map(of).collect()
}

/// Of those near a positive example, the best by their nearest example.
fn check_best_score(
    hits: &[Hit],
    side: &Side,
    examples: &Examples,
    filter: Option<&Predicate>,
    limit: usize,
) {
    let asked = side.shape.query(side.stored(&examples.positive)[0]);
    let all = side.scores(&asked, filter);
    let deep = 2 * limit + examples.count();
    let judged = judge(side, examples, &all, deep);
    let others = judged.into_iter().filter(|(id, _)| !examples.are(id));
    let others: std::collections::BTreeMap<RecordId, Judged> = others.collect();
    assert_eq!(hits.len(), limit.min(others.len()), "hits like others");
    let found: BTreeSet<&RecordId> = hits.iter().map(|hit| &hit.id).collect();
    assert_eq!(found.len(), hits.len(), "a record twice");
    let mut worst = f64::INFINITY;
    for hit in hits {
        let Some(judged) = others.get(&hit.id) else { panic!("{} must not be found", hit.id) };
        assert!(!judged.is_far, "{} is far from every example", hit.id);
        let score = f64::from(hit.score);
        let is_right = judged.scores.iter().any(|right| (right - score).abs() <= all[&hit.id].1);
        assert!(is_right, "{} scores {score}, not {:?}", hit.id, judged.scores);
        assert!(score <= worst, "out of order");
        worst = score;
    }
    for (id, judged) in others.iter().filter(|(id, of)| of.is_near && !found.contains(id)) {
        let least = judged.scores.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(least <= worst + 2.0 * all[id].1, "{id} is missed");
    }
}
