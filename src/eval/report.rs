//! The figures of one evaluation: JSON with fixed keys for scripts, two tables for people, what is
//! found and what it costs. Eval layer; holds numbers, computes none.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub use super::comparison::{LARGEST, ModeComparison, QueryDifference};
use crate::eval::measure::{Measure, MeasureKind};
use crate::eval::metrics::Scores;
use crate::eval::significance::Signs;

/// What a mode costs, over all queries that were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModeCost {
    /// Mean wall time of a query in milliseconds, embedding its question included where a model
    /// did that.
    pub ms_per_query: f64,
    /// Half of the queries took no longer, in milliseconds.
    pub median_ms: f64,
    /// Nine of ten queries took no longer, in milliseconds.
    pub p90_ms: f64,
    /// Searches in collections per query.
    pub searches: f64,
    /// Calls of the embedding model per query.
    pub embed_calls: f64,
    /// Calls of the reranker per query.
    pub rerank_calls: f64,
    /// Passages that the reranker scored per query.
    pub rerank_passages: f64,
    /// Calls of a chat model per query.
    pub chat_calls: f64,
    /// Tokens that models read and wrote per query; none if no model told.
    pub tokens: Option<f64>,
    /// Queries whose documents the agent did not name itself: they are fused from its searches.
    pub fallbacks: usize,
    /// Queries that failed: each counts with what was found until then, or scores 0.
    pub failed: usize,
}

/// One mode, averaged over all judged queries. Serialized as one object: the mode, a key for each
/// measure such as `ndcg@10`, the fields of the cost, the number of queries.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeReport {
    /// The mode: `dense`, `lexical`, `hybrid`, `reranked`, or a first stage with `+rerank`.
    pub mode: String,
    /// Means by measure.
    pub quality: Vec<(Measure, f64)>,
    /// What it costs.
    pub cost: ModeCost,
    /// How many queries the means run over.
    pub queries: usize,
}

impl ModeReport {
    /// The report of a mode from the four figures that are asked for most.
    #[must_use]
    pub fn new(mode: impl Into<String>, mean: Scores, ms_per_query: f64, queries: usize) -> Self {
        use MeasureKind::{Mrr, Ndcg, Recall};
        let quality = vec![
            (Measure::new(Ndcg, 10), mean.ndcg_10),
            (Measure::new(Recall, 10), mean.recall_10),
            (Measure::new(Recall, 100), mean.recall_100),
            (Measure::new(Mrr, 10), mean.mrr_10),
        ];
        let cost = ModeCost { ms_per_query, ..ModeCost::default() };
        Self { mode: mode.into(), quality, cost, queries }
    }
}

impl Serialize for ModeReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cost = &self.cost;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("mode", &self.mode)?;
        for (measure, figure) in &self.quality {
            map.serialize_entry(&measure.to_string(), figure)?;
        }
        map.serialize_entry("ms_per_query", &cost.ms_per_query)?;
        map.serialize_entry("queries", &self.queries)?;
        map.serialize_entry("median_ms", &cost.median_ms)?;
        map.serialize_entry("p90_ms", &cost.p90_ms)?;
        map.serialize_entry("searches", &cost.searches)?;
        map.serialize_entry("embed_calls", &cost.embed_calls)?;
        map.serialize_entry("rerank_calls", &cost.rerank_calls)?;
        map.serialize_entry("rerank_passages", &cost.rerank_passages)?;
        map.serialize_entry("chat_calls", &cost.chat_calls)?;
        map.serialize_entry("tokens", &cost.tokens)?;
        map.serialize_entry("fallbacks", &cost.fallbacks)?;
        map.serialize_entry("failed", &cost.failed)?;
        map.end()
    }
}

/// Dense search with so many candidates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EfPoint {
    /// Candidates the walk keeps.
    pub ef: usize,
    /// Share of the ten nearest that it finds, as exact search tells them.
    #[serde(rename = "neighbors@10")]
    pub neighbors_10: f64,
    /// Mean nDCG at 10.
    #[serde(rename = "ndcg@10")]
    pub ndcg_10: f64,
    /// Median time of a search in milliseconds, the question's vector being there.
    pub median_ms: f64,
}

/// A whole evaluation. Serialized: `{"form","modes":[..],"comparisons":[..],"ef_curve":[..]}`, the
/// last two only if there are any. Displayed: tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EvalReport {
    /// The form of the set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub form: String,
    /// One entry per mode, in the order they were run.
    pub modes: Vec<ModeReport>,
    /// Each mode but the first compared with the first, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<ModeComparison>,
    /// Dense search by its candidates, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ef_curve: Vec<EfPoint>,
}

impl EvalReport {
    /// What is found: a heading and a row for each mode.
    #[must_use]
    pub fn quality_rows(&self) -> Vec<Vec<String>> {
        let measures = self.modes.first().map_or(&[][..], |mode| mode.quality.as_slice());
        let mut heading = vec!["mode".to_owned()];
        heading.extend(measures.iter().map(|(measure, _)| measure.to_string()));
        heading.push("queries".to_owned());
        let row = |mode: &ModeReport| {
            let mut row = vec![mode.mode.clone()];
            row.extend(mode.quality.iter().map(|(_, figure)| format!("{figure:.4}")));
            row.push(mode.queries.to_string());
            row
        };
        std::iter::once(heading).chain(self.modes.iter().map(row)).collect()
    }

    /// What it costs: a heading and a row for each mode. Columns that nothing is to be said in are
    /// left out.
    #[must_use]
    pub fn cost_rows(&self) -> Vec<Vec<String>> {
        type Column = (&'static str, fn(&ModeCost) -> String);
        let columns: [(Column, bool); 11] = [
            (("ms/query", |cost| format!("{:.3}", cost.ms_per_query)), true),
            (("median ms", |cost| format!("{:.3}", cost.median_ms)), self.any(|c| c.median_ms)),
            (("p90 ms", |cost| format!("{:.3}", cost.p90_ms)), self.any(|c| c.p90_ms)),
            (("searches", |cost| format!("{:.1}", cost.searches)), self.any(|c| c.searches)),
            (
                ("embed calls", |cost| format!("{:.1}", cost.embed_calls)),
                self.any(|c| c.embed_calls),
            ),
            (
                ("rerank calls", |cost| format!("{:.1}", cost.rerank_calls)),
                self.any(|c| c.rerank_calls),
            ),
            (
                ("passages", |cost| format!("{:.1}", cost.rerank_passages)),
                self.any(|c| c.rerank_calls),
            ),
            (("chat calls", |cost| format!("{:.1}", cost.chat_calls)), self.any(|c| c.chat_calls)),
            (
                ("tokens", |cost| cost.tokens.map_or("-".to_owned(), |t| format!("{t:.0}"))),
                self.any(|c| c.tokens.unwrap_or(0.0)),
            ),
            (("fallbacks", |cost| cost.fallbacks.to_string()), self.any(|c| c.fallbacks as f64)),
            (("failed", |cost| cost.failed.to_string()), self.any(|c| c.failed as f64)),
        ];
        let shown: Vec<Column> =
            columns.into_iter().filter(|(_, shown)| *shown).map(|(column, _)| column).collect();
        let mut heading = vec!["mode".to_owned()];
        heading.extend(shown.iter().map(|(name, _)| (*name).to_owned()));
        let row = |mode: &ModeReport| {
            let figures = shown.iter().map(|(_, figure)| figure(&mode.cost));
            std::iter::once(mode.mode.clone()).chain(figures).collect()
        };
        std::iter::once(heading).chain(self.modes.iter().map(row)).collect()
    }

    fn any(&self, figure: fn(&ModeCost) -> f64) -> bool {
        self.modes.iter().any(|mode| figure(&mode.cost) > 0.0)
    }

    /// The comparisons: a heading and a row for each.
    #[must_use]
    pub fn comparison_rows(&self) -> Vec<Vec<String>> {
        let heading = [
            "compared",
            "measure",
            "difference",
            "95 % interval",
            "effect",
            "p",
            "wins",
            "losses",
            "ties",
        ];
        let heading = heading.map(str::to_owned).to_vec();
        std::iter::once(heading).chain(self.comparisons.iter().map(ModeComparison::row)).collect()
    }

    /// The curve: a heading and a row for each number of candidates.
    #[must_use]
    pub fn curve_rows(&self) -> Vec<Vec<String>> {
        let heading = ["ef", "neighbors@10", "ndcg@10", "median ms"].map(str::to_owned).to_vec();
        let row = |point: &EfPoint| {
            vec![
                point.ef.to_string(),
                format!("{:.4}", point.neighbors_10),
                format!("{:.4}", point.ndcg_10),
                format!("{:.3}", point.median_ms),
            ]
        };
        std::iter::once(heading).chain(self.ef_curve.iter().map(row)).collect()
    }

    /// How p was found, in words; empty without comparisons.
    #[must_use]
    pub fn test_text(&self) -> String {
        let Some(first) = self.comparisons.first() else { return String::new() };
        let how = |of: &ModeComparison| match of.compared.signs {
            Signs::All(count) => format!("{}: all {count} choices of signs", of.second),
            Signs::Drawn(count) => format!("{}: {count} drawn choices of signs", of.second),
        };
        let how: Vec<String> = self.comparisons.iter().map(how).collect();
        format!(
            "p: paired randomization test, two-sided, seed {}, not corrected for several \
             comparisons ({}). Interval: bootstrap over queries. Effect: the difference \
             in standard deviations of it.",
            first.seed,
            how.join("; ")
        )
    }
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, &self.quality_rows())?;
        writeln!(f)?;
        table(f, &self.cost_rows())?;
        if !self.comparisons.is_empty() {
            writeln!(f)?;
            table(f, &self.comparison_rows())?;
            writeln!(f, "{}", self.test_text())?;
            self.comparisons.iter().try_for_each(|pair| pair.write_largest(f))?;
        }
        if !self.ef_curve.is_empty() {
            writeln!(f)?;
            table(f, &self.curve_rows())?;
        }
        Ok(())
    }
}

/// Columns under their headings: the first to the left, figures to the right.
fn table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match at {
                0 => write!(f, "{cell:<width$}")?,
                _ => write!(f, "  {cell:>width$}")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> EvalReport {
        let figures = [0.5, 0.25, 1.0, 0.125, 0.2, 0.1];
        let quality = Measure::defaults().into_iter().zip(figures).collect();
        let cost = ModeCost {
            ms_per_query: 1.5,
            median_ms: 1.25,
            p90_ms: 3.0,
            searches: 1.0,
            ..ModeCost::default()
        };
        let mode = ModeReport { mode: "dense".to_owned(), quality, cost, queries: 40 };
        EvalReport { form: "beir".to_owned(), modes: vec![mode], ..EvalReport::default() }
    }

    #[test]
    fn json_has_exactly_the_promised_keys_in_order() {
        let json = serde_json::to_string(&sample()).unwrap();
        let expected = concat!(
            r#"{"form":"beir","modes":[{"mode":"dense","ndcg@10":0.5,"recall@10":0.25,"#,
            r#""recall@100":1.0,"mrr@10":0.125,"map@100":0.2,"p@10":0.1,"ms_per_query":1.5,"#,
            r#""queries":40,"median_ms":1.25,"p90_ms":3.0,"searches":1.0,"embed_calls":0.0,"#,
            r#""rerank_calls":0.0,"rerank_passages":0.0,"chat_calls":0.0,"tokens":null,"#,
            r#""fallbacks":0,"failed":0}]}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn the_tables_align_figures_under_their_headings() {
        let expected = "\
mode   ndcg@10  recall@10  recall@100  mrr@10  map@100    p@10  queries
dense   0.5000     0.2500      1.0000  0.1250   0.2000  0.1000       40

mode   ms/query  median ms  p90 ms  searches
dense     1.500      1.250   3.000       1.0
";
        assert_eq!(sample().to_string(), expected);
    }
}
