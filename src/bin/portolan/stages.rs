//! The stages of a query as `search` and `ask` tell them: as JSON, and on a line.

use portolan::{StageOutcome, StageReport};
use serde::Serialize;

use crate::failure::in_commands;
use crate::output::printable;
use crate::timing::millis;

#[derive(Serialize)]
pub struct Stage {
    stage: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    took_ms: f64,
    requests: u64,
    retries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
}

pub fn stages(reports: Vec<StageReport>) -> Vec<Stage> {
    let stages = reports.into_iter().map(|stage| {
        let (outcome, reason) = match stage.outcome {
            StageOutcome::Done => ("done", None),
            StageOutcome::Cached => ("cached", None),
            StageOutcome::Skipped => ("skipped", None),
            StageOutcome::Failed(reason) => ("failed", Some(in_commands(&reason))),
            _ => ("unknown", None),
        };
        let took_ms = millis(stage.took);
        let (requests, retries) = (stage.cost.requests, stage.cost.retries);
        let tokens = stage.cost.tokens;
        Stage { stage: stage.stage, outcome, reason, took_ms, requests, retries, tokens }
    });
    stages.collect()
}

/// Those that were not skipped, with what they took.
pub fn stages_line(stages: &[Stage]) -> String {
    let stages = stages.iter().filter(|stage| stage.outcome != "skipped");
    let stages = stages.map(|stage| match &stage.reason {
        Some(reason) => format!("{} failed ({})", stage.stage, printable(reason)),
        None if stage.outcome == "cached" => format!("{} from the cache", stage.stage),
        None => format!("{} {:.1} ms", stage.stage, stage.took_ms),
    });
    stages.collect::<Vec<String>>().join(", ")
}
