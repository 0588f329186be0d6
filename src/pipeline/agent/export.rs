//! Traces as examples to train on: conversations in chat format, of those runs that went well.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::outcome::ResultSource;
use super::store::{TraceError, files};
use super::trace::{AgentTrace, StepTrace};

/// Whether a trace is good enough.
type Keep<'e> = Box<dyn Fn(&AgentTrace) -> bool + 'e>;

/// Writes conversations of a folder of traces, one JSON object a line: `messages` and `tools` in
/// chat format. By default only of runs that ended with `final_results` in order.
///
/// ```
/// use portolan::agent::{AgentExport, ResultSource};
///
/// # let traces = tempfile::tempdir().unwrap();
/// let mut lines = Vec::new();
/// let export = AgentExport::new(traces.path()).keep(|trace| trace.steps.len() > 1);
/// let report = export.run(&mut lines)?;
/// assert_eq!((report.traces, report.examples), (0, 0));
/// # Ok::<(), portolan::agent::TraceError>(())
/// ```
#[must_use]
pub struct AgentExport<'e> {
    folder: PathBuf,
    sources: Vec<ResultSource>,
    keep: Vec<Keep<'e>>,
    clean: bool,
    reasoning: bool,
}

/// What an export wrote.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ExportReport {
    /// Traces that were read.
    pub traces: usize,
    /// Lines that were written.
    pub examples: usize,
    /// Traces whose result came from a source that was not asked for.
    pub other_source: usize,
    /// Traces that were left out because of a refused call or a nudge.
    pub unclean: usize,
    /// Traces that were not kept by a filter.
    pub filtered: usize,
    /// Files that are no trace, or a damaged one.
    pub unreadable: Vec<TraceError>,
}

impl<'e> AgentExport<'e> {
    /// Of the traces in a folder.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_path_buf(),
            sources: vec![ResultSource::FinalResults],
            keep: Vec::new(),
            clean: false,
            reasoning: false,
        }
    }

    /// Results of these sources. Default: [`ResultSource::FinalResults`] alone.
    pub fn sources(mut self, sources: impl IntoIterator<Item = ResultSource>) -> Self {
        self.sources = sources.into_iter().collect();
        self
    }

    /// Only traces that this says yes to, such as by their nDCG. Several must all say so.
    pub fn keep(mut self, keep: impl Fn(&AgentTrace) -> bool + 'e) -> Self {
        self.keep.push(Box::new(keep));
        self
    }

    /// Only runs without a refused call and without a nudge. Default: all.
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// Adds what the model thought aloud to its messages, as `reasoning_content`. Default: no.
    pub fn reasoning(mut self, reasoning: bool) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// Reads the traces in the order of their names and writes the lines. One trace is in memory
    /// at a time.
    ///
    /// # Errors
    /// [`TraceError::Io`] when the folder cannot be read, or the output not be written. Files that
    /// cannot be read are in the report.
    pub fn run(self, mut out: impl Write) -> Result<ExportReport, TraceError> {
        let mut report = ExportReport::default();
        for path in files(&self.folder)? {
            let trace = match AgentTrace::read(&path) {
                Ok(trace) => trace,
                Err(error) => {
                    report.unreadable.push(error);
                    continue;
                }
            };
            report.traces += 1;
            if !self.sources.contains(&trace.outcome.result_source) {
                report.other_source += 1;
            } else if self.clean && !is_clean(&trace) {
                report.unclean += 1;
            } else if !self.keep.iter().all(|keep| keep(&trace)) {
                report.filtered += 1;
            } else {
                let line = example(&trace, self.reasoning).to_string();
                let written = writeln!(out, "{line}");
                written.map_err(|source| TraceError::io(&path, source))?;
                report.examples += 1;
            }
        }
        out.flush().map_err(|source| TraceError::io(&self.folder, source))?;
        Ok(report)
    }
}

fn is_clean(trace: &AgentTrace) -> bool {
    let mut steps = trace.steps.iter();
    steps.all(|step| !step.nudged && step.calls.iter().all(|call| call.refused.is_none()))
}

/// One conversation to learn from: the selection where that gave the result.
fn example(trace: &AgentTrace, reasoning: bool) -> Value {
    let selected = trace.outcome.result_source == ResultSource::SelectionAgent;
    let selection = trace.selection.as_ref().filter(|_| selected);
    let (messages, tools) = match selection {
        Some(selection) => (&selection.messages, &selection.tools),
        None => (&trace.messages, &trace.tools),
    };
    let mut messages = messages.clone();
    if reasoning && selection.is_none() {
        let answered = |step: &&StepTrace| !step.selection && step.failure.is_none();
        let answers = messages.iter_mut().filter(|message| message["role"] == "assistant");
        for (message, step) in answers.zip(trace.steps.iter().filter(answered)) {
            if let (Some(fields), Some(thought)) = (message.as_object_mut(), &step.reasoning) {
                fields.insert("reasoning_content".to_owned(), json!(thought));
            }
        }
    }
    json!({ "messages": messages, "tools": tools })
}
