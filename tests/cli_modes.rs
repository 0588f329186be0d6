//! `portolan search` and `eval` by vector, by words and by both, on the SciFact excerpt.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scifact-small");
    folder.join(name).display().to_string()
}

fn portolan(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(args).env_remove("NVIDIA_API_KEY").env_remove("NVIDIA_BASE_URL");
    command.output().unwrap()
}

fn json_of(args: &[&str]) -> Value {
    let output = portolan(&[args, &["--json"]].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn filled(dir: &tempfile::TempDir) -> String {
    let db = dir.path().join("kb.portolan").display().to_string();
    let (docs, vectors) = (fixture("docs.jsonl"), fixture("docs.minilm384.f16.npy"));
    json_of(&["ingest", &db, &docs, "--vectors", &vectors, "--language", "off"]);
    db
}

#[test]
fn words_are_searched_once_they_are_indexed_and_both_ways_are_evaluated_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(&dir);
    let words = ["search", &db, "vitamin deficiency in elderly people", "--mode", "lexical"];
    let refused = portolan(&words);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("index"), "{message}");

    let indexed = json_of(&["index-text", &db, "--language", "en"]);
    assert_eq!(indexed["language"], "en");
    let found = json_of(&[&words[..], &["-k", "3", "--explain"]].concat());
    let hits = found["hits"].as_array().unwrap();
    assert!(!hits.is_empty() && hits.len() <= 3);
    assert!(hits.is_sorted_by_key(|hit| -hit["score"].as_f64().unwrap()));
    assert_eq!(found["explain"]["lists"][0]["kind"], "text");

    let vectors = fixture("queries.minilm384.f16.npy");
    let hybrid = ["search", &db, words[2], "--mode", "hybrid", "--vector", &vectors, "--explain"];
    let shown = String::from_utf8(portolan(&hybrid).stdout).unwrap();
    assert!(shown.contains("list 1: dense") && shown.contains("list 2: text"), "{shown}");

    let (queries, qrels) = (fixture("queries.jsonl"), fixture("qrels.tsv"));
    let args = ["eval", &db, "--queries", &queries, "--qrels", &qrels];
    let modes = ["--query-vectors", &vectors, "--mode", "dense,lexical,hybrid"];
    let report = json_of(&[&args[..], &modes].concat());
    let ndcg = |at: usize| {
        let mode = &report["modes"][at];
        (mode["mode"].as_str().unwrap(), mode["ndcg@10"].as_f64().unwrap())
    };
    let ((dense, by_vector), (lexical, by_words), (hybrid, by_both)) = (ndcg(0), ndcg(1), ndcg(2));
    assert_eq!((dense, lexical, hybrid), ("dense", "lexical", "hybrid"));
    // Judged documents and few others: each way alone finds nearly all, both together no less.
    assert!(by_vector > 0.8 && by_words > 0.8, "{report}");
    assert!(by_both > by_vector.min(by_words), "{report}");
    // Words alone need no vectors.
    let report = json_of(&[&args[..], &["--mode", "lexical"]].concat());
    assert_eq!(report["modes"][0]["ndcg@10"].as_f64(), Some(by_words));
}
