//! The report of a query in words and as JSON: its stages, and the search of each collection.

use std::fmt;

use serde_json::{Value as Json, json};

use super::report::{CollectionReport, QueryReport, StageOutcome, StageReport};

/// What a query did, made by [`QueryReport::explain`]. Displayed, it is some lines of English for
/// people; [`QueryExplanation::to_json`] is for programs.
#[derive(Debug, Clone, Copy)]
pub struct QueryExplanation<'r> {
    report: &'r QueryReport,
}

impl<'r> QueryExplanation<'r> {
    pub(super) fn new(report: &'r QueryReport) -> Self {
        Self { report }
    }

    /// An object with `took_ms`, `reranked`, `candidates`, `warnings`, `stages` (with `stage`,
    /// `model`, `outcome`, `why` where it failed, `scored`, `took_ms`, `requests`, `retries` and
    /// `tokens`) and `collections` (with `collection`, `outcome`, `why`, `hits`, and `find` as of
    /// [`Explanation::to_json`](crate::Explanation::to_json)).
    #[must_use]
    pub fn to_json(&self) -> Json {
        let report = self.report;
        json!({
            "took_ms": millis(report.took),
            "reranked": report.reranked,
            "candidates": report.candidates,
            "warnings": report.search.warnings,
            "stages": report.stages.iter().map(stage_json).collect::<Vec<_>>(),
            "collections": report.collections.iter().map(collection_json).collect::<Vec<_>>(),
        })
    }
}

fn stage_json(of: &StageReport) -> Json {
    let (outcome, why) = told(&of.outcome);
    json!({
        "stage": of.stage,
        "model": of.model,
        "outcome": outcome,
        "why": why,
        "scored": of.scored,
        "took_ms": millis(of.took),
        "requests": of.cost.requests,
        "retries": of.cost.retries,
        "tokens": of.cost.tokens,
    })
}

fn collection_json(of: &CollectionReport) -> Json {
    let (outcome, why) = told(&of.outcome);
    json!({
        "collection": of.origin.collection,
        "outcome": outcome,
        "why": why,
        "hits": of.hits,
        "find": of.explain().to_json(),
    })
}

/// What became of a stage, and why if it failed.
fn told(outcome: &StageOutcome) -> (&'static str, Option<&str>) {
    match outcome {
        StageOutcome::Done => ("done", None),
        StageOutcome::Cached => ("cached", None),
        StageOutcome::Skipped => ("skipped", None),
        StageOutcome::Failed(why) => ("failed", Some(why)),
    }
}

fn millis(time: std::time::Duration) -> f64 {
    // Whole microseconds: what is below is noise.
    time.as_micros() as f64 / 1000.0
}

impl fmt::Display for QueryExplanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        for stage in &report.stages {
            let (outcome, why) = told(&stage.outcome);
            write!(f, "{}", stage.stage)?;
            if let Some(model) = &stage.model {
                write!(f, " by {model}")?;
            }
            write!(f, ": {outcome}")?;
            if let Some(why) = why {
                write!(f, " ({why})")?;
            }
            writeln!(f, ", {} scored, {:.3} ms", stage.scored, millis(stage.took))?;
        }
        for of in &report.collections {
            let (outcome, why) = told(&of.outcome);
            write!(f, "collection {}: {outcome}, {} hits", of.origin.collection, of.hits)?;
            writeln!(f, "{}", why.map(|why| format!(" ({why})")).unwrap_or_default())?;
            if of.outcome == StageOutcome::Done {
                for line in of.explain().to_string().lines() {
                    writeln!(f, "  {line}")?;
                }
            }
        }
        write!(f, "total: {:.3} ms", millis(report.took))
    }
}
