//! The figures of one evaluation: JSON with fixed keys for scripts, a table for people. Eval
//! layer; holds numbers, computes none.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::eval::metrics::Scores;

/// One search mode, averaged over all judged queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeReport {
    /// The mode: `dense`, `lexical`, `hybrid`, or one of these with `+rerank`.
    pub mode: String,
    /// Mean nDCG at 10.
    #[serde(rename = "ndcg@10")]
    pub ndcg_10: f64,
    /// Mean recall at 10.
    #[serde(rename = "recall@10")]
    pub recall_10: f64,
    /// Mean recall at 100.
    #[serde(rename = "recall@100")]
    pub recall_100: f64,
    /// Mean reciprocal rank of the first relevant document among ten.
    #[serde(rename = "mrr@10")]
    pub mrr_10: f64,
    /// Wall time of the searches over the number of queries, in milliseconds.
    pub ms_per_query: f64,
    /// How many queries the means run over.
    pub queries: usize,
}

impl ModeReport {
    /// The report of `mode` from its mean figures.
    #[must_use]
    pub fn new(mode: impl Into<String>, mean: Scores, ms_per_query: f64, queries: usize) -> Self {
        Self {
            mode: mode.into(),
            ndcg_10: mean.ndcg_10,
            recall_10: mean.recall_10,
            recall_100: mean.recall_100,
            mrr_10: mean.mrr_10,
            ms_per_query,
            queries,
        }
    }
}

/// A whole evaluation. Serialized: `{"modes":[{"mode","ndcg@10","recall@10","recall@100",
/// "mrr@10","ms_per_query","queries"}]}`. Displayed: an aligned table with one line per mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// One entry per mode, in the order they were run.
    pub modes: Vec<ModeReport>,
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_width = self.modes.iter().map(|mode| mode.mode.chars().count()).max();
        let width = name_width.unwrap_or(0).max("mode".len());
        writeln!(
            f,
            "{:<width$}  {:>7}  {:>9}  {:>10}  {:>6}  {:>8}  {:>7}",
            "mode", "ndcg@10", "recall@10", "recall@100", "mrr@10", "ms/query", "queries"
        )?;
        for mode in &self.modes {
            writeln!(
                f,
                "{:<width$}  {:>7.4}  {:>9.4}  {:>10.4}  {:>6.4}  {:>8.3}  {:>7}",
                mode.mode,
                mode.ndcg_10,
                mode.recall_10,
                mode.recall_100,
                mode.mrr_10,
                mode.ms_per_query,
                mode.queries
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> EvalReport {
        let mean = Scores { ndcg_10: 0.5, recall_10: 0.25, recall_100: 1.0, mrr_10: 0.125 };
        EvalReport { modes: vec![ModeReport::new("dense", mean, 1.5, 40)] }
    }

    #[test]
    fn json_has_exactly_the_promised_keys_in_order() {
        let json = serde_json::to_string(&sample()).unwrap();
        let expected = concat!(
            r#"{"modes":[{"mode":"dense","ndcg@10":0.5,"recall@10":0.25,"recall@100":1.0,"#,
            r#""mrr@10":0.125,"ms_per_query":1.5,"queries":40}]}"#
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<EvalReport>(&json).unwrap(), sample());
    }

    #[test]
    fn the_table_aligns_figures_under_their_headings() {
        let expected = "mode   ndcg@10  recall@10  recall@100  mrr@10  ms/query  queries\n\
                        dense   0.5000     0.2500      1.0000  0.1250     1.500       40\n";
        assert_eq!(sample().to_string(), expected);
    }
}
