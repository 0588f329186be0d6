//! nDCG@k, recall@k, MRR@k, MAP@k and P@k, equal to trec_eval's `ndcg_cut`, `recall`, `map_cut`,
//! `P` and (on a ranking cut at k) `recip_rank`. Eval layer; pure, knows ids and grades, not files
//! or databases.
//!
//! Conventions, all trec_eval's (-c for the mean):
//! - gain is the grade itself (linear), discount is log2(rank + 1), rank from 1;
//! - a grade of zero or less gives no gain and is not relevant; unjudged is grade 0;
//! - the ideal ranking holds every relevant document of the query, cut at k;
//! - recall and average precision divide by all relevant documents, not by min(k, relevant);
//!   precision divides by k, also where fewer are found;
//! - the order of a ranking is the order it is given in. trec_eval sorts a run by score and breaks
//!   ties by id, the higher id first; a run written by [`trec_run`](super::trec_run) has no ties;
//! - the mean runs over every judged query: one without results scores 0, and so does one without
//!   a relevant document.

use std::collections::{BTreeMap, HashMap, HashSet};

/// The relevance grades of one query: document id to grade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgments {
    grades: HashMap<String, i32>,
}

impl Judgments {
    /// No judgments yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the grade of `document`; returns the grade it replaces.
    pub fn insert(&mut self, document: impl Into<String>, grade: i32) -> Option<i32> {
        self.grades.insert(document.into(), grade)
    }

    /// The grade of `document`, 0 when it is not judged.
    #[must_use]
    pub fn grade(&self, document: &str) -> i32 {
        self.grades.get(document).copied().unwrap_or(0)
    }

    /// How many documents have a grade above 0.
    #[must_use]
    pub fn relevant(&self) -> usize {
        self.grades.values().filter(|&&grade| grade > 0).count()
    }

    /// How many documents are judged, relevant or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grades.len()
    }

    /// Whether nothing is judged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grades.is_empty()
    }

    /// Every judged document with its grade, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32)> {
        self.grades.iter().map(|(document, &grade)| (document.as_str(), grade))
    }

    /// Grades above 0, highest first.
    fn ideal(&self) -> Vec<i32> {
        let mut grades: Vec<i32> = self.grades.values().copied().filter(|&g| g > 0).collect();
        grades.sort_unstable_by(|a, b| b.cmp(a));
        grades
    }
}

impl<S: Into<String>> FromIterator<(S, i32)> for Judgments {
    fn from_iter<I: IntoIterator<Item = (S, i32)>>(pairs: I) -> Self {
        let grades = pairs.into_iter().map(|(document, grade)| (document.into(), grade)).collect();
        Self { grades }
    }
}

/// Judgments by query id, in id order.
pub type Qrels = BTreeMap<String, Judgments>;

/// Normalized discounted cumulative gain of the first `k` of `ranking` (document ids, best first).
///
/// In 0..=1; 0 when nothing is relevant or `k` is 0. A document listed twice gains once.
/// O(k + judged log judged). Jarvelin and Kekalainen 2002, with trec_eval's linear gain.
#[must_use]
pub fn ndcg_at(ranking: &[&str], judgments: &Judgments, k: usize) -> f64 {
    let ideal = discounted(judgments.ideal().into_iter().take(k));
    if ideal == 0.0 {
        return 0.0;
    }
    discounted(first_grades(ranking, judgments, k)) / ideal
}

/// Relevant documents among the first `k`, as a share of all relevant ones; 0 when there are none.
#[must_use]
pub fn recall_at(ranking: &[&str], judgments: &Judgments, k: usize) -> f64 {
    let relevant = judgments.relevant();
    if relevant == 0 {
        return 0.0;
    }
    let found = first_grades(ranking, judgments, k).filter(|&grade| grade > 0).count();
    found as f64 / relevant as f64
}

/// One over the rank of the first relevant document among the first `k`; 0 when there is none.
#[must_use]
pub fn mrr_at(ranking: &[&str], judgments: &Judgments, k: usize) -> f64 {
    first_grades(ranking, judgments, k)
        .position(|grade| grade > 0)
        .map_or(0.0, |index| 1.0 / (index as f64 + 1.0))
}

/// The sum of the precisions at the ranks of the relevant documents among the first `k`, over the
/// number of all relevant ones; 0 when there are none. Its mean over queries is MAP@k.
#[must_use]
pub fn average_precision_at(ranking: &[&str], judgments: &Judgments, k: usize) -> f64 {
    let relevant = judgments.relevant();
    if relevant == 0 {
        return 0.0;
    }
    let (mut found, mut sum) = (0_u32, 0.0);
    for (index, grade) in first_grades(ranking, judgments, k).enumerate() {
        if grade > 0 {
            found += 1;
            sum += f64::from(found) / (index as f64 + 1.0);
        }
    }
    sum / relevant as f64
}

/// Relevant documents among the first `k`, as a share of `k`; 0 when `k` is 0.
#[must_use]
pub fn precision_at(ranking: &[&str], judgments: &Judgments, k: usize) -> f64 {
    let found = first_grades(ranking, judgments, k).filter(|&grade| grade > 0).count();
    found as f64 / k.max(1) as f64
}

/// Grades of the first `k` documents; a repetition of a document grades 0.
fn first_grades<'a>(
    ranking: &'a [&'a str],
    judgments: &'a Judgments,
    k: usize,
) -> impl Iterator<Item = i32> + 'a {
    let mut seen = HashSet::new();
    ranking.iter().take(k).map(move |document| {
        let grade = judgments.grade(document);
        if grade > 0 && !seen.insert(*document) { 0 } else { grade }
    })
}

fn discounted(grades: impl Iterator<Item = i32>) -> f64 {
    let gains = grades.enumerate().filter(|(_, grade)| *grade > 0);
    let discounted = gains.map(|(index, grade)| f64::from(grade) / (index as f64 + 2.0).log2());
    // Not `sum`, which of nothing is -0.
    discounted.fold(0.0, |sum, gain| sum + gain)
}

/// The four figures that are asked for most, of one query or as a mean; others are a
/// [`Measure`](super::measure::Measure).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// nDCG at 10.
    pub ndcg_10: f64,
    /// Recall at 10.
    pub recall_10: f64,
    /// Recall at 100.
    pub recall_100: f64,
    /// Reciprocal rank of the first relevant document among ten.
    pub mrr_10: f64,
}

impl Scores {
    /// The figures of one query. `ranking` should be at least 100 long where 100 results exist.
    #[must_use]
    pub fn of(ranking: &[&str], judgments: &Judgments) -> Self {
        Self {
            ndcg_10: ndcg_at(ranking, judgments, 10),
            recall_10: recall_at(ranking, judgments, 10),
            recall_100: recall_at(ranking, judgments, 100),
            mrr_10: mrr_at(ranking, judgments, 10),
        }
    }

    fn map(self, other: Self, apply: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            ndcg_10: apply(self.ndcg_10, other.ndcg_10),
            recall_10: apply(self.recall_10, other.recall_10),
            recall_100: apply(self.recall_100, other.recall_100),
            mrr_10: apply(self.mrr_10, other.mrr_10),
        }
    }
}

/// Mean over every query of `qrels`; `runs` holds the ranking of each query, best first.
///
/// A judged query without a run scores 0; a run without judgments is left out. All 0 when `qrels`
/// is empty. Queries are summed in id order, so the result does not depend on hashing.
#[must_use]
pub fn mean_scores(qrels: &Qrels, runs: &HashMap<String, Vec<String>>) -> Scores {
    let mut sum = Scores::default();
    for (query, judgments) in qrels {
        let Some(run) = runs.get(query) else { continue };
        let ranking: Vec<&str> = run.iter().map(String::as_str).collect();
        sum = sum.map(Scores::of(&ranking, judgments), |a, b| a + b);
    }
    let queries = qrels.len().max(1) as f64;
    sum.map(Scores::default(), |total, _| total / queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ndcg_of_a_hand_computed_ranking_is_exact() {
        let judgments: Judgments = [("a", 3), ("b", 1), ("c", 0), ("d", -2)].into_iter().collect();
        // gain 1 at rank 2 and 3 at rank 4, against 3 at rank 1 and 1 at rank 2
        let expected = (1.0 / 3f64.log2() + 3.0 / 5f64.log2()) / (3.0 + 1.0 / 3f64.log2());
        assert_eq!(ndcg_at(&["d", "b", "c", "a"], &judgments, 10), expected);
        assert_eq!(ndcg_at(&["a", "b"], &judgments, 10), 1.0);
        assert_eq!(ndcg_at(&["a", "x"], &judgments, 1), 1.0);
    }

    #[test]
    fn nothing_relevant_or_nothing_asked_scores_zero() {
        let judgments: Judgments = [("a", 0), ("b", -1)].into_iter().collect();
        assert_eq!(Scores::of(&["a", "b"], &judgments), Scores::default());
        let judgments: Judgments = [("a", 1)].into_iter().collect();
        assert_eq!(ndcg_at(&["a"], &judgments, 0), 0.0);
        assert_eq!(recall_at(&["a"], &judgments, 0), 0.0);
        assert_eq!(mrr_at(&["a"], &judgments, 0), 0.0);
        assert!(ndcg_at(&["b"], &judgments, 10).is_sign_positive());
    }

    #[test]
    fn precision_and_average_precision_of_a_hand_computed_ranking_are_exact() {
        let judgments: Judgments = [("a", 3), ("b", 1), ("c", 0), ("d", 1)].into_iter().collect();
        let ranking = ["b", "x", "a", "c"];
        assert_eq!(average_precision_at(&ranking, &judgments, 4), (1.0 + 2.0 / 3.0) / 3.0);
        assert_eq!(average_precision_at(&ranking, &judgments, 2), 1.0 / 3.0);
        assert_eq!(precision_at(&ranking, &judgments, 3), 2.0 / 3.0);
        assert_eq!(precision_at(&ranking, &judgments, 10), 0.2);
        assert_eq!(precision_at(&ranking, &judgments, 0), 0.0);
    }

    #[test]
    fn a_document_listed_twice_gains_once() {
        let judgments: Judgments = [("a", 1), ("b", 1)].into_iter().collect();
        assert_eq!(recall_at(&["a", "a", "a"], &judgments, 10), 0.5);
        assert!(ndcg_at(&["a", "a"], &judgments, 10) < 1.0);
    }

    #[test]
    fn a_judged_query_without_a_run_counts_as_zero() {
        let one: Judgments = [("a", 1)].into_iter().collect();
        let qrels = Qrels::from([("1".to_string(), one.clone()), ("2".to_string(), one)]);
        let runs = HashMap::from([("1".to_string(), vec!["x".to_string(), "a".to_string()])]);
        let mean = mean_scores(&qrels, &runs);
        assert_eq!((mean.recall_10, mean.mrr_10), (0.5, 0.25));
        assert_eq!(mean_scores(&Qrels::new(), &runs), Scores::default());
    }
}
