//! `portolan search` and `eval` by vector, by words and by both, and with fields that are indexed
//! and some that are not, on the SciFact excerpt.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

#[path = "common/command.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command;

use std::path::Path;

use command::{json_of, portolan};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scifact-small");
    folder.join(name).display().to_string()
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

/// The kinds of the lists that a search with `--explain` tells of.
fn kinds(args: &[&str]) -> Vec<String> {
    let found = json_of(&[args, &["--explain"]].concat());
    let lists = found["explain"]["lists"].as_array().unwrap();
    lists.iter().map(|list| list["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn without_a_mode_a_search_goes_by_all_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let db = filled(&dir);
    let vectors = fixture("queries.minilm384.f16.npy");
    let (by_text, by_vector) = (["search", &db, "vitamin"], ["--vector", &vectors]);
    let by_both = [&by_text[..], &by_vector].concat();
    assert_eq!(kinds(&by_both), ["dense"]);
    let refused = portolan(&by_text);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("`portolan index-text`"), "{message}");

    json_of(&["index-text", &db]);
    assert_eq!(kinds(&by_both), ["dense", "text"]);
    assert_eq!(kinds(&by_text), ["text"]);
    assert_eq!(kinds(&[&["search", &db][..], &by_vector].concat()), ["dense"]);
    assert_eq!(kinds(&[&by_both[..], &["--mode", "dense"]].concat()), ["dense"]);
}

#[test]
fn fields_are_indexed_as_told_and_filters_on_others_warn_until_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("kb.portolan").display().to_string();
    let (docs, vectors) = (fixture("docs.jsonl"), fixture("docs.minilm384.f16.npy"));
    json_of(&["ingest", &db, &docs, "--vectors", &vectors, "--index-field", "chars"]);
    let fields = || json_of(&["info", &db])["collections"][0]["indexed_fields"].clone();
    assert_eq!(fields(), serde_json::json!({ "all": false, "declared": ["chars"] }));
    let search = ["search", &db, "--vector", &vectors, "--filter"];
    let warnings = |filter: &str| {
        let found = json_of(&[&search[..], &[filter]].concat());
        let warnings = found["report"]["warnings"].as_array().unwrap();
        (warnings.len(), found["hits"].clone())
    };
    assert_eq!(warnings("chars > 100").0, 0);
    let (scanned, hits) = warnings("sentences > 10");
    assert_eq!(scanned, 1);
    let shown = portolan(&[&search[..], &["sentences > 10"]].concat());
    let message = String::from_utf8_lossy(&shown.stderr);
    assert!(message.starts_with("warning: ") && message.contains("sentences"), "{message}");

    let indexed = json_of(&["index-field", &db, "sentences"]);
    assert_eq!((&indexed["built"], &indexed["records"]), (&true.into(), &600.into()));
    assert_eq!(json_of(&["index-field", &db, "sentences"])["built"], false);
    assert_eq!(fields()["declared"], serde_json::json!(["chars", "sentences"]));
    assert_eq!(warnings("sentences > 10"), (0, hits));
    let shown = String::from_utf8(portolan(&["info", &db]).stdout).unwrap();
    assert!(shown.contains("indexed: chars, sentences"), "{shown}");

    let other = dir.path().join("other.portolan").display().to_string();
    json_of(&["create", &other, "--dim", "2", "--index-field", "a", "--index-field", "b"]);
    let of = &json_of(&["info", &other])["collections"][0]["indexed_fields"];
    assert_eq!(of["declared"], serde_json::json!(["a", "b"]));
    json_of(&["create", &other, "--dim", "2", "--collection", "all"]);
    let of = json_of(&["info", &other])["collections"][0]["indexed_fields"]["all"].clone();
    assert_eq!(of, true);
}
