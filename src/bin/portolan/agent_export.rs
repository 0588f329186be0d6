//! `portolan agent export`: traces of good runs to conversations to train on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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
    let failed = |error: std::io::Error| Failure::of_file(&args.output, &error);
    let place = Place::of(&args.output);
    let file = File::create(place.written()).map_err(failed)?;
    let mut export = AgentExport::new(&args.traces).sources(args.source.iter().copied());
    export = export.clean(args.clean).reasoning(args.reasoning);
    if let Some(qrels) = &qrels {
        export = export.keep(|trace| is_good(trace, qrels, args));
    }
    let mut writer = BufWriter::new(file);
    let report = export.run(&mut writer).map_err(Failure::from).and_then(|report| {
        writer.flush().and_then(|()| place.finish(writer.get_ref())).map_err(failed)?;
        Ok(report)
    });
    let report = report.inspect_err(|_| place.give_up())?;
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

/// Where an export is written: beside its file, so that what stands there stays until all of it is
/// there; at once where it is no file, but a pipe.
struct Place {
    end: PathBuf,
    beside: Option<PathBuf>,
}

impl Place {
    fn of(path: &Path) -> Self {
        // A link stays a link.
        let end = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let is_file = end.metadata().map_or(true, |found| found.is_file());
        let beside = is_file.then(|| {
            let name = end.file_name().unwrap_or_default().to_string_lossy();
            end.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
        });
        Self { end, beside }
    }

    fn written(&self) -> &Path {
        self.beside.as_ref().unwrap_or(&self.end)
    }

    fn finish(&self, file: &File) -> std::io::Result<()> {
        let Some(beside) = &self.beside else { return Ok(()) };
        file.sync_all()?;
        std::fs::rename(beside, &self.end)
    }

    fn give_up(&self) {
        if let Some(beside) = &self.beside {
            // That it cannot be taken away is no other failure.
            let _ = std::fs::remove_file(beside);
        }
    }
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
