//! A metric with its cut, by name: `ndcg@10`, `recall@100`, `mrr@10`, `map@100`, `p@5`. Eval layer.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::metrics::{
    Judgments, Qrels, average_precision_at, mrr_at, ndcg_at, precision_at, recall_at,
};

/// The deepest cut of a measure.
pub const CUT_MAX: usize = 100_000;

/// What a measure computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MeasureKind {
    /// Normalized discounted cumulative gain.
    Ndcg,
    /// Share of the relevant documents that are found.
    Recall,
    /// One over the rank of the first relevant document.
    Mrr,
    /// Average precision; its mean is MAP.
    Map,
    /// Share of what is found that is relevant.
    Precision,
}

const KINDS: [(MeasureKind, &str); 5] = [
    (MeasureKind::Ndcg, "ndcg"),
    (MeasureKind::Recall, "recall"),
    (MeasureKind::Mrr, "mrr"),
    (MeasureKind::Map, "map"),
    (MeasureKind::Precision, "p"),
];

/// A metric over the first so many results.
///
/// ```
/// use portolan::eval::measure::Measure;
/// use portolan::eval::metrics::Judgments;
///
/// let measure: Measure = "p@2".parse()?;
/// let judgments: Judgments = [("a", 1)].into_iter().collect();
/// assert_eq!(measure.of(&["b", "a", "c"], &judgments), 0.5);
/// # Ok::<(), portolan::eval::measure::ParseMeasureError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Measure {
    /// What is computed.
    pub kind: MeasureKind,
    /// Results that count, from the first.
    pub cut: usize,
}

impl Measure {
    /// A metric over the first `cut` results.
    #[must_use]
    pub const fn new(kind: MeasureKind, cut: usize) -> Self {
        Self { kind, cut }
    }

    /// What an evaluation reports unless told otherwise.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        use MeasureKind::{Map, Mrr, Ndcg, Precision, Recall};
        [(Ndcg, 10), (Recall, 10), (Recall, 100), (Mrr, 10), (Map, 100), (Precision, 10)]
            .map(|(kind, cut)| Self::new(kind, cut))
            .to_vec()
    }

    /// The figure of one query, 0 to 1. `ranking` should be as long as the cut where so many
    /// results exist.
    #[must_use]
    pub fn of(self, ranking: &[&str], judgments: &Judgments) -> f64 {
        let figure = match self.kind {
            MeasureKind::Ndcg => ndcg_at,
            MeasureKind::Recall => recall_at,
            MeasureKind::Mrr => mrr_at,
            MeasureKind::Map => average_precision_at,
            MeasureKind::Precision => precision_at,
        };
        figure(ranking, judgments, self.cut)
    }

    /// The figures of all judged queries, in the order of their ids; 0 for a query without a
    /// ranking.
    #[must_use]
    pub fn per_query(self, qrels: &Qrels, runs: &HashMap<String, Vec<String>>) -> Vec<f64> {
        let figure = |(query, judgments): (&String, &Judgments)| {
            let run = runs.get(query).map_or(&[][..], Vec::as_slice);
            let ranking: Vec<&str> = run.iter().map(String::as_str).collect();
            self.of(&ranking, judgments)
        };
        qrels.iter().map(figure).collect()
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name);
        write!(f, "{name}@{}", self.cut)
    }
}

impl FromStr for Measure {
    type Err = ParseMeasureError;

    fn from_str(text: &str) -> Result<Self, ParseMeasureError> {
        let parsed = text.trim().split_once('@').and_then(|(name, cut)| {
            let name = name.to_ascii_lowercase();
            let (kind, _) = KINDS.iter().find(|(_, known)| *known == name)?;
            let cut = cut.parse().ok().filter(|cut| (1..=CUT_MAX).contains(cut))?;
            Some(Self::new(*kind, cut))
        });
        parsed.ok_or_else(|| ParseMeasureError { text: text.to_owned() })
    }
}

/// A text that names no [`Measure`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{text:?} is no measure: use ndcg@K, recall@K, mrr@K, map@K or p@K, K from 1 to {CUT_MAX}")]
pub struct ParseMeasureError {
    /// The text.
    pub text: String,
}

/// The mean of figures; 0 of none.
#[must_use]
pub fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_is_read_as_it_is_written() {
        for measure in Measure::defaults() {
            assert_eq!(measure.to_string().parse(), Ok(measure));
        }
        assert_eq!("NDCG@5".parse(), Ok(Measure::new(MeasureKind::Ndcg, 5)));
        for wrong in ["", "ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "dcg@1", "p@100001", "p@1@2"] {
            assert!(wrong.parse::<Measure>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_without_a_ranking_scores_zero_in_every_measure() {
        let one: Judgments = [("a", 2)].into_iter().collect();
        let qrels = Qrels::from([("1".to_owned(), one.clone()), ("2".to_owned(), one)]);
        let runs = HashMap::from([("2".to_owned(), vec!["a".to_owned()])]);
        for measure in Measure::defaults() {
            let expected = if measure.kind == MeasureKind::Precision { 0.1 } else { 1.0 };
            assert_eq!(measure.per_query(&qrels, &runs), [0.0, expected], "{measure}");
        }
    }
}
