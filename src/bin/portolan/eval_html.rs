//! The page that `eval --report` writes: one file with its style and plots inside, no script, for
//! light and dark.

use std::fmt::Write as _;
use std::time::SystemTime;

use portolan::eval::report::{LARGEST, ModeComparison, QueryDifference};

use crate::eval::Evaluated;
use crate::eval_plots;
use crate::output::snippet;
use crate::svg::escape;

const STYLE: &str = include_str!("eval_page.css");

/// Options whose value may hold a password, in an address.
const SECRET: char = '@';

/// The whole page.
pub fn page(evaluated: &Evaluated<'_>) -> String {
    let report = &evaluated.report;
    let args = evaluated.args;
    let title = format!("Evaluation of {}", file_name(&args.db));
    let mut body = format!("<h1>{}</h1>\n{}", escape(&title), summary(evaluated));
    section(&mut body, "What is found", &[&table(&report.quality_rows(), true)]);
    let note = "<p>Each figure is the mean over all judged queries, as trec_eval computes it; the \
                best of a column is bold. A query without results scores 0.</p>";
    body.push_str(note);
    section(&mut body, "What it costs", &[&table(&report.cost_rows(), false)]);
    let has_agent = evaluated.runs.iter().any(|run| run.name == "agentic");
    let order = order(has_agent.then_some(args.parallel), args.traces.is_some());
    let times = times(args.query_vectors.is_some(), args.embed.embed_model.is_some(), has_agent);
    let _ = writeln!(body, "<p>{order} {times} Calls, passages and tokens are per query.</p>");
    section(&mut body, "Quality against time", &[&eval_plots::quality_by_time(report)]);
    if !report.comparisons.is_empty() {
        let plots: Vec<String> = report.comparisons.iter().map(compared).collect();
        section(&mut body, "Query by query", &[&table(&report.comparison_rows(), false)]);
        let _ = writeln!(body, "<p>{}</p>", escape(&report.test_text()));
        body.extend(plots);
    }
    if !report.ef_curve.is_empty() {
        let plot = eval_plots::curve(report);
        section(&mut body, "Recall against ef", &[&plot, &table(&report.curve_rows(), false)]);
        body.push_str(
            "<p>The ten best of dense search; the nearest are those that exact search finds.</p>",
        );
    }
    histograms(&mut body, evaluated);
    settings(&mut body, evaluated);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(&title)
    )
}

/// How queries came one after the other; `agents` of those of an agent, if there is one, were under
/// way at once.
fn order(agents: Option<usize>, has_traces: bool) -> String {
    let mut text = match agents {
        Some(agents) if agents > 1 => format!(
            "Queries ran one after the other, but those of the agent {agents} at once, which makes \
             the time of each longer."
        ),
        _ => "Queries ran one after the other.".to_owned(),
    };
    if agents.is_some() && has_traces {
        text.push_str(
            " Queries of the agent that were taken from traces have times and calls of when these \
             were made.",
        );
    }
    text
}

/// What times are of: questions are embedded by a model, unless their vectors were given. The agent
/// has its own questions embedded in any case.
fn times(has_vectors: bool, has_model: bool, has_agent: bool) -> &'static str {
    match (has_vectors, has_model) {
        (false, true) => "Times are wall time, embedding the question included.",
        (true, true) if has_agent => {
            "Times are wall time. The vectors of the questions were given: embedding them is not \
             in it, but embedding what the agent asks is."
        }
        (true, _) => {
            "Times are wall time. The vectors of the questions were given: embedding them is not \
             in it."
        }
        (false, false) => "Times are wall time.",
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn section(body: &mut String, title: &str, parts: &[&str]) {
    // writing to a string cannot fail, here and below
    let _ = writeln!(body, "<h2>{}</h2>", escape(title));
    for part in parts {
        let _ = writeln!(body, "<div class=\"wide\">{part}</div>");
    }
}

/// What was evaluated, in a sentence.
fn summary(evaluated: &Evaluated<'_>) -> String {
    let set = evaluated.set;
    let judgments: usize = set.qrels.values().map(|judged| judged.len()).sum();
    let relevant: usize = set.qrels.values().map(|judged| judged.relevant()).sum();
    let excluded: usize = set.excluded.values().map(|ids| ids.len()).sum();
    let mut text = format!(
        "{} records in the collection {:?}; {} judged queries of {} ({} form), {judgments} \
         judgments, {relevant} of them relevant",
        evaluated.records,
        evaluated.args.collection,
        set.qrels.len(),
        file_name(&evaluated.args.queries),
        set.form
    );
    if excluded > 0 {
        let _ = write!(text, ", {excluded} documents excluded");
    }
    format!("<p>{}.</p>\n", escape(&text))
}

/// A table; with `best` the highest figure of each column but the first and the last is bold.
fn table(rows: &[Vec<String>], best: bool) -> String {
    let mut out = "<table>\n".to_owned();
    let number = |cell: &String| cell.parse::<f64>().ok();
    let column_best = |at: usize| {
        let cells = rows.iter().skip(1).filter_map(|row| row.get(at).and_then(number));
        cells.fold(f64::MIN, f64::max)
    };
    for (line, row) in rows.iter().enumerate() {
        out.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let is_best = best
                && line > 0
                && at > 0
                && at + 1 < row.len()
                && rows.len() > 2
                && number(cell) == Some(column_best(at));
            let tag = if line == 0 || at == 0 { "th" } else { "td" };
            let class = if is_best { " class=\"best\"" } else { "" };
            let _ = write!(out, "<{tag}{class}>{}</{tag}>", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out + "</table>\n"
}

/// The plot of two modes, and the queries that differ most.
fn compared(pair: &ModeComparison) -> String {
    let mut out = format!(
        "<h3>{}</h3>\n<div class=\"wide\">{}</div>\n",
        escape(&format!("{} against {}", pair.second, pair.first)),
        eval_plots::differences(pair).unwrap_or_else(|| "<p>No query differs.</p>".to_owned())
    );
    let (gains, losses) = pair.largest(LARGEST);
    let heading = ["query", "question", pair.first.as_str(), pair.second.as_str(), "difference"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let row = |query: &&QueryDifference| {
        vec![
            query.query.clone(),
            snippet(&query.text, 160),
            format!("{:.4}", query.first),
            format!("{:.4}", query.second),
            format!("{:+.4}", query.difference()),
        ]
    };
    rows.extend(gains.iter().map(row));
    rows.extend(losses.iter().rev().map(row));
    if rows.len() > 1 {
        let _ = writeln!(out, "<div class=\"wide queries\">{}</div>", table(&rows, false));
    }
    out
}

fn histograms(body: &mut String, evaluated: &Evaluated<'_>) {
    let runs = evaluated.runs.iter().enumerate();
    let plots: Vec<String> =
        runs.filter_map(|(place, run)| eval_plots::histogram(run, evaluated.set, place)).collect();
    if plots.is_empty() {
        return;
    }
    section(body, "Scores of relevant and of other hits", &[]);
    let _ = writeln!(body, "<div class=\"pairs\">{}</div>", plots.concat());
    body.push_str(
        "<p>All hits of all queries, each kind in percent of its own number. The less the two \
         overlap, the better a threshold can tell them apart. Scores of different modes are not \
         comparable.</p>",
    );
}

/// The command and what it ran with.
fn settings(body: &mut String, evaluated: &Evaluated<'_>) {
    let args = evaluated.args;
    let mut rows: Vec<(&str, String)> = vec![
        ("file", args.db.display().to_string()),
        ("queries", args.queries.display().to_string()),
        ("results per query", args.depth().to_string()),
    ];
    if let Some(qrels) = &args.qrels {
        rows.push(("judgments", qrels.display().to_string()));
    }
    if let Some(model) = &args.embed.embed_model {
        rows.push(("embedding model", model.clone()));
    }
    if let Some(model) = &args.rerank.rerank_model {
        rows.push(("reranker", format!("{model}, {} candidates", args.rerank.candidates)));
    }
    let ef = match (args.ef, args.recall) {
        (Some(ef), _) => format!("ef {ef}"),
        (None, Some(recall)) => format!("recall {recall}"),
        (None, None) => "the library's default".to_owned(),
    };
    rows.push(("dense search", ef));
    rows.push(("made by", format!("portolan {}", env!("CARGO_PKG_VERSION"))));
    rows.push(("at", httpdate::fmt_http_date(SystemTime::now())));
    section(body, "How it was made", &[]);
    let _ = writeln!(body, "<pre>{}</pre>", escape(&command_line(std::env::args())));
    body.push_str("<table class=\"settings\">\n");
    for (name, value) in rows {
        let _ = writeln!(body, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    body.push_str("</table>\n");
}

/// The command as a shell takes it, addresses without user, password and query.
fn command_line(words: impl Iterator<Item = String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    let quoted = |word: String| {
        let word = without_password(&word);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    };
    let mut words = words;
    let first = words.next().map(|_| "portolan".to_owned());
    first.into_iter().chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}

/// `http://user:password@host/path?key=...` without what stands before the host and behind the
/// path, which may both be secret.
fn without_password(word: &str) -> String {
    let Some((before, after)) = word.split_once("://") else { return word.to_owned() };
    let after = after.split('?').next().unwrap_or_default();
    let host_end = after.find(['/', '#']).unwrap_or(after.len());
    match after.get(..host_end).and_then(|authority| authority.rfind(SECRET)) {
        Some(at) => format!("{before}://{}", after.get(at + 1..).unwrap_or_default()),
        None => format!("{before}://{after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_quoted_and_has_no_password() {
        let words =
            ["/usr/bin/portolan", "my file", "http://me:se@cret@host:1/v1?key=a", "it's", ""];
        let shown = command_line(words.into_iter().map(str::to_owned));
        assert_eq!(shown, "portolan 'my file' http://host:1/v1 'it'\\''s' ''");
    }

    #[test]
    fn the_page_says_which_queries_did_not_run_one_after_the_other_in_it() {
        let plain = "Queries ran one after the other.";
        assert_eq!((order(None, true), order(Some(1), false)), (plain.into(), plain.into()));
        assert!(order(Some(8), false).ends_with(
            "but those of the agent 8 at once, which makes \
                                                 the time of each longer."
        ));
        assert!(order(Some(1), true).contains("taken from traces"));
    }

    #[test]
    fn the_page_says_of_times_whether_embedding_is_in_them() {
        assert!(times(false, true, true).contains("embedding the question included"));
        for given in [times(true, false, true), times(true, true, false)] {
            assert!(given.ends_with("embedding them is not in it."), "{given}");
        }
        assert!(times(true, true, true).ends_with("but embedding what the agent asks is."));
        assert!(!times(false, false, false).contains("embedding"));
    }

    #[test]
    fn the_best_of_a_column_is_bold_and_cells_are_escaped() {
        let rows = [["mode", "ndcg@10", "queries"], ["<a>", "0.5", "3"], ["b", "0.75", "3"]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        let shown = table(&rows, true);
        assert!(shown.contains("<th>&lt;a&gt;</th><td>0.5</td><td>3</td>"), "{shown}");
        assert!(shown.contains("<td class=\"best\">0.75</td>"), "{shown}");
        assert_eq!(shown.matches("best").count(), 1);
    }
}
