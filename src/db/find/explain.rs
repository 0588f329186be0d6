//! A query's report in words and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::list::{ListReport, SegmentReport};
use super::report::FindReport;
use crate::index::SearchPath;

/// What a query did, made by [`Findings::explain`](crate::Findings::explain). Displayed, it is
/// some lines of English for people; [`Explanation::to_json`] is for programs.
#[derive(Debug, Clone, Copy)]
pub struct Explanation<'f> {
    report: &'f FindReport,
}

impl<'f> Explanation<'f> {
    pub(crate) fn new(report: &'f FindReport) -> Self {
        Self { report }
    }

    /// An object with `took_ms`, `filter`, `records` and `passing` (with a default vector),
    /// `scanned` and `records_read` (how the filter was evaluated), `warnings`, `lists` (with
    /// `kind`, `about`, `depth`, `weight`, `found`, `scored`, `took_ms`, `expected_recall`,
    /// `segments`), `fusion`, `candidates`, `stages` (with `stage`, `kept`, `note`, `took_ms`) and
    /// `stale_cursor`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let report = self.report;
        let stages = report.stages.iter().map(|stage| {
            json!({
                "stage": stage.stage,
                "kept": stage.kept,
                "note": stage.note,
                "took_ms": millis(stage.took),
            })
        });
        json!({
            "took_ms": millis(report.took),
            "filter": report.filter.as_ref().map(ToString::to_string),
            "records": report.records,
            "passing": report.passing,
            "scanned": report.scanned,
            "records_read": report.records_read,
            "warnings": report.warnings,
            "lists": report.lists.iter().map(list_json).collect::<Vec<_>>(),
            "fusion": report.fusion.map(|fusion| fusion.to_string()),
            "candidates": report.candidates,
            "stages": stages.collect::<Vec<_>>(),
            "stale_cursor": report.stale_cursor,
        })
    }
}

fn list_json(list: &ListReport) -> Json {
    let segments = list.segments.iter().map(|segment| {
        json!({
            "rows": segment.rows,
            "passing": segment.passing,
            "path": segment.path.name(),
            "why": why(segment),
        })
    });
    json!({
        "kind": list.kind,
        "about": list.about,
        "depth": list.depth,
        "weight": list.weight,
        "found": list.found,
        "scored": list.scored,
        "took_ms": millis(list.took),
        "expected_recall": list.expected_recall,
        "segments": segments.collect::<Vec<_>>(),
    })
}

fn millis(time: Duration) -> f64 {
    // Whole microseconds: what is below is noise.
    time.as_micros() as f64 / 1000.0
}

/// Why a segment was searched as it was.
fn why(segment: &SegmentReport) -> &'static str {
    match segment.path {
        SearchPath::Scan if !segment.has_graph => "the segment is small and has no graph",
        SearchPath::Scan => "so few rows pass that scoring them all is cheaper than a walk",
        SearchPath::Walk => "all rows pass: the graph was walked",
        SearchPath::FilteredWalk => {
            "too many rows pass for a scan and too few near the query for a plain walk: the graph \
             was walked through rows that pass"
        }
        SearchPath::MaskedWalk => {
            "most rows near the query pass: the graph was walked and others were left out"
        }
        SearchPath::Exact => "an exact search was asked for",
    }
}

/// What passes, and how that was found out.
fn write_filter(f: &mut fmt::Formatter<'_>, report: &FindReport) -> fmt::Result {
    let FindReport { records, passing, scanned, records_read, .. } = report;
    match &report.filter {
        Some(filter) => write!(f, "filter: {filter}: {records} records pass")?,
        None => write!(f, "no filter: {records} records")?,
    }
    if report.lists.iter().any(|list| matches!(list.kind, "dense" | "like")) {
        write!(f, ", {passing} with a default vector")?;
    }
    match (&report.filter, scanned.as_slice()) {
        (None, _) => writeln!(f),
        (Some(_), []) => writeln!(f, "; by indexes alone"),
        (Some(_), fields) => {
            let fields = fields.join(", ");
            writeln!(f, "; {records_read} records read for lack of an index: {fields}")
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        write_filter(f, report)?;
        if report.lists.is_empty() {
            writeln!(f, "no lists: records that match are listed")?;
        }
        for (at, list) in report.lists.iter().enumerate() {
            write!(f, "list {}: {} ({}), ", at + 1, list.kind, list.about)?;
            write!(f, "depth {}, weight {}: ", list.depth, list.weight)?;
            write!(f, "{} of {} scored, {:.3} ms", list.found, list.scored, millis(list.took))?;
            match list.expected_recall {
                Some(recall) => {
                    writeln!(f, ", expected recall of the {} nearest {recall:.3}", list.depth)?;
                }
                None => writeln!(f)?,
            }
            for segment in &list.segments {
                let SegmentReport { rows, passing, path, .. } = segment;
                writeln!(f, "  {path} of {passing} of {rows} rows: {}", why(segment))?;
            }
        }
        if let Some(fusion) = report.fusion {
            writeln!(f, "fusion: {fusion}: {} candidates", report.candidates)?;
        }
        for stage in &report.stages {
            let (kept, took) = (stage.kept, millis(stage.took));
            writeln!(f, "{}: {kept} {}, {took:.3} ms", stage.stage, stage.note)?;
        }
        for warning in &report.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if report.stale_cursor {
            writeln!(f, "the file has changed since the page before")?;
        }
        write!(f, "total: {:.3} ms", millis(report.took))
    }
}
