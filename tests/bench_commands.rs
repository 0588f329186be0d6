//! The benches of the command `portolan` that follow a collection over its life: what they count
//! and tell. Their times are for people and not looked at.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

fn portolan(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan")).args(args).output().unwrap()
}

/// The JSON lines of a command that must succeed in silence.
fn lines(args: &[&str]) -> Vec<Value> {
    let output = portolan(&[args, &["--json"]].concat());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
    assert_eq!(output.status.code(), Some(0), "{args:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn exit_code(args: &[&str]) -> Option<i32> {
    portolan(args).status.code()
}

/// A folder with `rows` vectors of 16 components and 30 queries.
struct Vectors {
    dir: TempDir,
    base: String,
    query: String,
}

impl Vectors {
    fn new(rows: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (base, query) = (path("base.npy"), path("query.npy"));
        lines(&["generate-vectors", &base, "--rows", &rows.to_string(), "--dim", "16"]);
        lines(&["generate-vectors", &query, "--rows", "30", "--dim", "16", "--queries"]);
        Self { dir, base, query }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

#[test]
fn a_churn_replaces_the_share_asked_for_and_finds_no_deleted_row() {
    let vectors = Vectors::new(900);
    let Vectors { base, query, .. } = &vectors;
    let args = ["bench-churn", "--base", base, "--query", query, "--batch", "70", "--ef", "32,64"];
    let told = lines(&args);
    let phases: Vec<&str> = told.iter().map(|line| line["phase"].as_str().unwrap()).collect();
    let expected = ["built", "built", "built", "churn", "churned", "churned", "maintained"];
    assert_eq!(phases[..7], expected);
    assert_eq!(told[0]["rows"], 600);
    let churn = &told[3];
    assert_eq!((&churn["inserted"], &churn["deleted"]), (&json!(300), &json!(300)));
    assert_eq!((&churn["commits"], &churn["failed_folds"]), (&json!(5), &json!(0)));
    if cfg!(target_os = "linux") {
        assert!(churn["written_per_byte"].as_f64().unwrap() > 1.0, "{churn}");
    }
    let measured: Vec<&Value> = told.iter().filter(|line| line["ef"].is_u64()).collect();
    assert_eq!(measured.len(), 8);
    for line in measured {
        assert_eq!(line["stale"], 0, "{line}");
        assert!(line["recall"].as_f64().unwrap() > 0.98, "{line}");
    }
}

#[test]
fn a_churn_that_keeps_deletes_nothing_and_one_without_rows_fails() {
    let vectors = Vectors::new(300);
    let Vectors { base, query, .. } = &vectors;
    let db = vectors.path("kept.portolan");
    let args = ["bench-churn", "--base", base, "--query", query, "--ef", "32", "--db", &db];
    let told = lines(&[&args[..], &["--batch", "60", "--keep", "--share", "0.2"]].concat());
    let churn = told.iter().find(|line| line["phase"] == "churn").unwrap();
    assert_eq!((&churn["inserted"], &churn["deleted"]), (&json!(50), &json!(0)));
    assert_eq!(lines(&["info", &db])[0]["collections"][0]["records"], 300);
    assert_eq!(exit_code(&["bench-churn", "--base", base, "--query", query]), Some(1));
}

#[test]
fn an_opened_file_answers_right_at_once_and_its_searches_are_counted() {
    let vectors = Vectors::new(400);
    let db = vectors.path("open.portolan");
    let Vectors { base, query, .. } = &vectors;
    lines(&["bench-ann", "--base", base, "--query", query, "--db", &db, "--ef", "32"]);
    let args = ["bench-open", &db, "--query", query, "--rounds", "3", "--seconds", "1"];
    let told = lines(&[&args[..], &["--residency", "auto"]].concat());
    assert_eq!((&told[0]["vectors"], &told[0]["residency"]), (&json!(400), &json!("Auto")));
    assert_eq!(told[1]["cache"], "system");
    for opened in &told[1..] {
        assert_eq!(opened["right_at_once"], 3, "{opened}");
        let qps = opened["qps"].as_array().unwrap();
        assert_eq!(qps.len() as f64 * opened["bucket_ms"].as_f64().unwrap(), 1000.0);
        assert!(qps.iter().any(|rate| rate.as_f64() > Some(0.0)), "{opened}");
    }
    lines(&["create", &db, "--dim", "3", "--collection", "second"]);
    assert_eq!(exit_code(&["bench-open", &db, "--query", query]), Some(2));
}

#[test]
fn filtered_searches_are_told_by_share_and_a_file_is_measured_again_with_its_own_vectors_alone() {
    let vectors = Vectors::new(1_000);
    let Vectors { base, query, .. } = &vectors;
    let db = vectors.path("filter.portolan");
    let args = ["bench-filter", "--base", base, "--query", query, "--db", &db];
    for told in [lines(&args), lines(&[&args[..], &["--reuse"]].concat())] {
        let cases: Vec<(&str, f64)> = told
            .iter()
            .filter_map(|line| Some((line["kind"].as_str()?, line["share"].as_f64()?)))
            .collect();
        assert_eq!(cases.len(), 15, "{cases:?}");
        for line in told.iter().filter(|line| line["kind"].is_string()) {
            assert_eq!((&line["short"], &line["low"]), (&json!(0), &json!(false)), "{line}");
            assert!(line["recall"].as_f64() >= Some(0.95), "{line}");
        }
    }
    let other = Vectors::new(500);
    let reused = [&args[..2], &[&other.base], &args[3..], &["--reuse"]].concat();
    let output = portolan(&reused);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("holds 1000 x 16 cosine, but --base and --metric say 500"),
        "{message}"
    );
}

#[test]
fn growth_tells_each_size_and_a_fit_of_time_and_steps_and_draws_them() {
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("growth.svg").display().to_string();
    let args = ["bench-growth", "--dim", "16", "--queries", "20", "--rounds", "1"];
    let more = ["--sizes", "2000,600,600", "--recall", "0.9", "--plot", &plot];
    let told = lines(&[&args[..], &more].concat());
    let rows: Vec<u64> = told.iter().filter_map(|line| line["rows"].as_u64()).collect();
    assert_eq!(rows, [600, 2000, 600, 2000]);
    for measured in &told[2..4] {
        assert!(measured["recall"].as_f64() >= Some(0.9), "{measured}");
        assert!(measured["steps"].as_f64() >= measured["ef"].as_f64(), "{measured}");
    }
    let fits: Vec<&Value> = told.iter().filter_map(|line| line.get("what")).collect();
    assert_eq!(fits, ["microseconds", "steps"]);
    // a line through two points leaves nothing over
    assert!(told[5]["log"]["residual"].as_f64().unwrap() < 1e-9, "{}", told[5]);
    assert!(std::fs::read_to_string(&plot).unwrap().matches("<polyline").count() == 2);
    assert_eq!(exit_code(&["bench-growth", "--dim", "16", "--sizes", "600"]), Some(2));
}
