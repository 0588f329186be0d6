//! `portolan agent export`: traces of good runs to conversations to train on.

use std::fs::File;
use std::io::BufWriter;

use portolan::agent::{AgentExport, AgentTrace};
use portolan::eval::beir;
use portolan::eval::metrics::{Qrels, ndcg_at, recall_at};
use serde::Serialize;

use crate::agent_args::AgentExportArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;

#[derive(Serialize)]
struct Exported {
    traces: usize,
    examples: usize,
    /// Left out: their result came from another source.
    other_source: usize,
    /// Left out: a call was refused, or the model had to be reminded to call a function.
    unclean: usize,
    /// Left out: not judged, or not good enough.
    below: usize,
    /// Files that are no trace.
    unreadable: usize,
}

/// Writes the examples.
pub fn run(args: &AgentExportArgs, out: &Output) -> Result<()> {
    let qrels = args.qrels.as_ref().map(beir::qrels).transpose()?;
    let file = File::create(&args.output);
    let file = file.map_err(|error| Failure::of_file(&args.output, &error))?;
    let mut export = AgentExport::new(&args.traces).sources(args.source.iter().copied());
    export = export.clean(args.clean).reasoning(args.reasoning);
    if let Some(qrels) = &qrels {
        export = export.keep(|trace| is_good(trace, qrels, args));
    }
    let report = export.run(BufWriter::new(file))?;
    report.unreadable.iter().for_each(|error| out.warning(&error.to_string()));
    let exported = Exported {
        traces: report.traces,
        examples: report.examples,
        other_source: report.other_source,
        unclean: report.unclean,
        below: report.filtered,
        unreadable: report.unreadable.len(),
    };
    out.result(&exported, |exported| {
        format!(
            "{} examples of {} traces; left out: {} by source, {} not clean, {} not judged or \
             not good enough; {} files are no trace",
            exported.examples,
            exported.traces,
            exported.other_source,
            exported.unclean,
            exported.below,
            exported.unreadable
        )
    })
}

/// Whether a run is of a judged question and good enough.
fn is_good(trace: &AgentTrace, qrels: &Qrels, args: &AgentExportArgs) -> bool {
    let judged = trace.query.id.as_ref().and_then(|id| qrels.get(id));
    let Some(judgments) = judged else { return false };
    let ids: Vec<String> = trace.outcome.ids.iter().map(ToString::to_string).collect();
    let ranking: Vec<&str> = ids.iter().map(String::as_str).collect();
    let reaches = |least: Option<f64>, of: fn(&[&str], &_, usize) -> f64| {
        least.is_none_or(|least| of(&ranking, judgments, args.at) >= least)
    };
    reaches(args.min_ndcg, ndcg_at) && reaches(args.min_recall, recall_at)
}
