//! The command `portolan` as scripts and people meet it: exit codes, error texts, JSON shapes,
//! and the figures it reports on the SciFact excerpt.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Exact search over the stored rows; see `fixtures/README.md`.
const NDCG_10: f64 = 0.880_481_262;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scifact-small");
    folder.join(name).display().to_string()
}

/// A command without the environment that names services and keys.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(args).env_remove("NVIDIA_API_KEY").env_remove("NVIDIA_BASE_URL");
    command
}

fn portolan(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The JSON document of a command that must succeed in silence.
fn json_of(args: &[&str]) -> Value {
    let output = portolan(&[args, &["--json"]].concat());
    assert_eq!(text(&output.stderr), "", "{args:?}");
    assert_eq!(output.status.code(), Some(0), "{args:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is on standard error of a command that must end with `code` and print no result.
fn refusal(code: i32, args: &[&str]) -> String {
    let output = portolan(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    assert!(message.starts_with("error: "), "{args:?}: {message}");
    message
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With the SciFact excerpt in `db`.
    fn filled() -> (Self, String) {
        let files = Self::new();
        let db = files.path("db.portolan");
        let done = ingest(&db);
        assert_eq!((&done["read"], &done["with_vector"]), (&json!(600), &json!(600)));
        (files, db)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.dir.path().join(name), content).unwrap();
        self.path(name)
    }
}

fn ingest(db: &str) -> Value {
    let (docs, vectors) = (fixture("docs.jsonl"), fixture("docs.minilm384.f16.npy"));
    json_of(&["ingest", db, &docs, "--vectors", &vectors])
}

#[test]
fn eval_reports_the_known_figures_for_exact_and_for_indexed_search() {
    let (_files, db) = Files::filled();
    let (queries, qrels) = (fixture("queries.jsonl"), fixture("qrels.tsv"));
    let vectors = fixture("queries.minilm384.f16.npy");
    let args = ["eval", &db, "--queries", &queries, "--qrels", &qrels];
    let args = [&args[..], &["--query-vectors", &vectors, "--exact"]].concat();
    let report = json_of(&args);
    let modes = report["modes"].as_array().unwrap();
    let names: Vec<&Value> = modes.iter().map(|mode| &mode["mode"]).collect();
    assert_eq!(names, ["dense", "lexical", "hybrid", "exact"]);
    for mode in [&modes[0], &modes[3]] {
        let ndcg = mode["ndcg@10"].as_f64().unwrap();
        assert!((ndcg - NDCG_10).abs() < 1e-3, "{mode}");
        assert_eq!((&mode["recall@10"], &mode["recall@100"]), (&json!(1.0), &json!(1.0)));
        assert_eq!(mode["queries"], 40);
        assert!(mode["ms_per_query"].as_f64().unwrap() > 0.0);
    }
    let table = text(&portolan(&args).stdout);
    assert!(table.starts_with("mode "), "{table}");
    assert!(table.contains("\nexact     0.8805     1.0000      1.0000  0.841"), "{table}");
}

#[test]
fn query_ids_give_the_order_of_the_rows() {
    let (files, db) = Files::filled();
    let queries = std::fs::read_to_string(fixture("queries.jsonl")).unwrap();
    let reversed: Vec<&str> = queries.lines().rev().collect();
    let reversed = files.write("reversed.jsonl", &reversed.join("\n"));
    let id = |line: &str| {
        let query: Value = serde_json::from_str(line).unwrap();
        query["_id"].as_str().unwrap().to_owned()
    };
    let ids: Vec<String> = queries.lines().map(id).collect();
    let short = files.write("short.txt", &ids[..39].join("\n"));
    let ids = files.write("ids.txt", &ids.join("\n"));
    let (qrels, vectors) = (fixture("qrels.tsv"), fixture("queries.minilm384.f16.npy"));
    let args = ["eval", &db, "--queries", &reversed, "--qrels", &qrels];
    let args = [&args[..], &["--query-vectors", &vectors, "--query-ids"]].concat();
    let report = json_of(&[&args[..], &[&ids]].concat());
    assert!((report["modes"][0]["ndcg@10"].as_f64().unwrap() - NDCG_10).abs() < 1e-3, "{report}");
    let message = refusal(1, &[&args[..], &[&short]].concat());
    assert!(message.contains("has 40 rows but"), "{message}");
}

#[test]
fn a_judged_query_that_is_missing_is_an_error_and_not_a_zero() {
    let (files, db) = Files::filled();
    let qrels = files.write("qrels.tsv", "no-such-query\td\t1\n");
    let (queries, vectors) = (fixture("queries.jsonl"), fixture("queries.minilm384.f16.npy"));
    let args = ["eval", &db, "--queries", &queries, "--qrels", &qrels, "--query-vectors", &vectors];
    let message = refusal(1, &args);
    assert!(message.contains("query \"no-such-query\" is judged in"), "{message}");
}

#[test]
fn search_by_vector_gives_the_hits_with_text_metadata_and_report() {
    let (_files, db) = Files::filled();
    let vectors = fixture("docs.minilm384.f16.npy");
    let args = ["search", &db, "--vector", &vectors, "--row", "7", "-k", "3"];
    let answer = json_of(&args);
    let line = std::fs::read_to_string(fixture("docs.jsonl")).unwrap();
    let document: Value = serde_json::from_str(line.lines().nth(7).unwrap()).unwrap();
    assert_eq!(keys(&answer), ["hits", "report"]);
    assert_eq!(answer["hits"].as_array().unwrap().len(), 3);
    let best = &answer["hits"][0];
    assert_eq!(keys(best), ["id", "metadata", "score", "text", "title"]);
    assert_eq!(best["id"], document["_id"]);
    assert_eq!((&best["text"], &best["title"]), (&document["text"], &document["title"]));
    let counts = json!({ "chars": document["chars"], "sentences": document["sentences"] });
    assert_eq!(best["metadata"], counts);
    assert!((best["score"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{best}");
    let report = &answer["report"];
    let expected = "cached_logits candidates passing paths reranked stages took_ms warnings";
    assert_eq!(keys(report), expected.split(' ').collect::<Vec<_>>());
    assert_eq!(report["paths"], json!(["scan"]));
    assert_eq!(report["cached_logits"], json!({ "asked": 0, "found": 0 }));
    assert!(report["passing"].as_u64() > Some(3), "{report}");
    let stage = |at: usize| {
        (report["stages"][at]["stage"].clone(), report["stages"][at]["outcome"].clone())
    };
    assert_eq!(stage(0), (json!("embed"), json!("skipped")));
    assert_eq!(stage(1), (json!("search"), json!("done")));
    let people = text(&portolan(&args).stdout);
    assert!(people.starts_with("  1.  1.0000  "), "{people}");
}

#[test]
fn a_reranker_that_cannot_be_reached_leaves_the_first_order_and_says_so() {
    let (_files, db) = Files::filled();
    let vectors = fixture("queries.minilm384.f16.npy");
    // a port that was free a moment ago; connections to it are refused
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let args = ["search", &db, "a claim", "--vector", &vectors, "--deadline-ms", "2000"];
    let args = [&args[..], &["--rerank-url", &url, "--rerank-model", "m"]].concat();
    let answer = json_of(&args);
    assert_eq!(answer["hits"].as_array().unwrap().len(), 10);
    let report = &answer["report"];
    assert_eq!((&report["reranked"], &report["candidates"]), (&json!(false), &json!(50)));
    let rerank = &report["stages"][2];
    assert_eq!((&rerank["stage"], &rerank["outcome"]), (&json!("rerank"), &json!("failed")));
    let reason = rerank["reason"].as_str().unwrap();
    assert!(reason.starts_with("cannot connect to"), "{reason}");
    let people = text(&portolan(&args).stdout);
    assert!(people.contains("rerank failed (cannot connect to"), "{people}");
}

#[test]
fn an_embedding_service_that_cannot_be_reached_leaves_no_file_behind() {
    let files = Files::new();
    let db = files.path("db.portolan");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let docs = files.write("docs.jsonl", r#"{"_id":"a","text":"x"}"#);
    let message = refusal(1, &["ingest", &db, &docs, "--embed-url", &url, "--embed-model", "m"]);
    assert!(message.contains("cannot connect to"), "{message}");
    assert!(!Path::new(&db).exists());
}

#[test]
fn info_verify_and_compact_tell_what_is_in_the_file() {
    let (files, db) = Files::filled();
    let info = json_of(&["info", &db]);
    let names = "cache_bytes cache_entries collections file_bytes format_version free_bytes \
                 overhead_bytes path readers";
    assert_eq!(keys(&info), names.split(' ').collect::<Vec<_>>());
    assert_eq!(
        (&info["cache_entries"], &info["collections"][0]["pending"]),
        (&json!(0), &json!(0))
    );
    let bytes = std::fs::metadata(&db).unwrap().len();
    assert_eq!(info["file_bytes"].as_u64(), Some(bytes));
    let of = &info["collections"][0];
    assert_eq!((&of["name"], &of["dimensions"]), (&json!("docs"), &json!(384)));
    assert_eq!((&of["metric"], &of["originals"]), (&json!("cosine"), &json!("f16")));
    assert_eq!((&of["records"], &of["vectors"]), (&json!(600), &json!(600)));
    assert_eq!(
        (&of["unsealed"], &of["segments"], &of["model"]),
        (&json!(0), &json!(1), &json!(null))
    );
    assert!(of["space"]["codes"].as_u64().unwrap() >= 600 * 384);
    let verified = json_of(&["verify", &db]);
    assert_eq!((&verified["ok"], &verified["records"]), (&json!(true), &json!(600)));
    let audited = json_of(&["verify", &db, "--recall", "30"]);
    let of = &audited["audits"][0];
    assert_eq!((&of["samples"], &of["unreachable"]), (&json!(30), &json!(0)));
    let share = |name: &str| of[name].as_f64().unwrap();
    assert!(share("recall") > 0.9, "600 rows are scanned by int8 codes");
    assert!(share("recall_low") <= share("recall") && share("recall") <= share("recall_high"));
    let compacted = json_of(&["compact", &db]);
    assert_eq!(compacted["before_bytes"].as_u64(), Some(bytes));
    let after = std::fs::metadata(&db).unwrap().len();
    assert_eq!(compacted["after_bytes"].as_u64(), Some(after));
    assert!(after <= bytes);
    assert_eq!(json_of(&["verify", &db]), verified);
    let shipped = files.path("shipped.portolan");
    json_of(&["compact", &db, "--to", &shipped]);
    assert_eq!(json_of(&["verify", &shipped]), verified);
}

#[test]
fn commands_that_read_leave_no_trace_beside_the_file() {
    let (files, db) = Files::filled();
    let names = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(files.dir.path()).unwrap();
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let (before, content) = (names(), std::fs::read(&db).unwrap());
    json_of(&["info", &db]);
    json_of(&["verify", &db]);
    json_of(&["search", &db, "--vector", &fixture("queries.minilm384.f16.npy")]);
    assert_eq!(names(), before);
    assert!(std::fs::read(&db).unwrap() == content);
}

#[test]
fn create_makes_a_collection_once() {
    let files = Files::new();
    let db = files.path("db.portolan");
    let args = ["create", &db, "--dim", "8", "--metric", "l2", "--collection", "notes"];
    let created = json_of(&args);
    assert_eq!((&created["collection"], &created["dimensions"]), (&json!("notes"), &json!(8)));
    let message = refusal(1, &args);
    assert!(message.contains("collection \"notes\" exists already"), "{message}");
    json_of(&["create", &db, "--dim", "4"]);
    let info = json_of(&["info", &db]);
    assert_eq!(info["collections"].as_array().unwrap().len(), 2);
    let vector = fixture("queries.minilm384.f16.npy");
    let message = refusal(1, &["search", &db, "--vector", &vector, "--collection", "nots"]);
    assert!(message.contains("--collection with one of [\"docs\", \"notes\"]"), "{message}");
}

#[test]
fn a_cut_is_made_by_create_and_told_by_info() {
    let files = Files::new();
    let db = files.path("db.portolan");
    let created = json_of(&["create", &db, "--dim", "384", "--leading", "128"]);
    assert_eq!(created["leading_dimensions"], 128);
    let message = refusal(1, &["create", &db, "--dim", "8", "--leading", "9", "--collection", "x"]);
    assert!(message.contains("use 1 to 8"), "{message}");
    let (docs, vectors) = (fixture("docs.jsonl"), fixture("docs.minilm384.f16.npy"));
    json_of(&["ingest", &db, &docs, "--vectors", &vectors]);
    let of = &json_of(&["info", &db])["collections"][0];
    assert_eq!((&of["dimensions"], &of["leading_dimensions"]), (&json!(384), &json!(128)));
    assert!(of["space"]["codes"].as_u64().unwrap() < 600 * 384);
    let text = text(&portolan(&["info", &db]).stdout);
    assert!(text.contains("600 of 384 dimensions (codes of the leading 128), cosine"), "{text}");
}

#[test]
fn ingest_writes_nothing_when_anything_is_wrong() {
    let files = Files::new();
    let db = files.path("db.portolan");
    let vectors = fixture("queries.minilm384.f16.npy");
    let message = refusal(1, &["ingest", &db, &fixture("docs.jsonl"), "--vectors", &vectors]);
    assert!(message.contains("has 40 rows but"), "{message}");
    assert!(message.contains("has 600 documents: nothing was written"), "{message}");
    let lines = "{\"_id\":\"a\",\"text\":\"x\"}\n{\"_id\":\"b\",\"text\":7}\n";
    let broken = files.write("broken.jsonl", lines);
    let message = refusal(1, &["ingest", &db, &broken, "--vectors", &vectors]);
    assert!(message.contains("broken.jsonl:2: "), "{message}");
    // There is no setting aside of a line that has a row.
    assert!(message.contains("; nothing was written") && !message.contains("--rejects"));
    let nested = files.write("nested.jsonl", r#"{"_id":"a","text":"x","tags":[["y"]]}"#);
    let message = refusal(1, &["ingest", &db, &nested, "--vectors", &vectors]);
    assert!(message.contains("document \"a\": field \"tags\" is a list in a list"), "{message}");
    assert!(!Path::new(&db).exists());
    json_of(&["create", &db, "--dim", "8"]);
    let docs = fixture("docs.jsonl");
    let vectors = fixture("docs.minilm384.f16.npy");
    let message = refusal(1, &["ingest", &db, &docs, "--vectors", &vectors]);
    assert!(message.contains("384 dimensions but collection \"docs\" has 8"), "{message}");
    assert_eq!(json_of(&["info", &db])["collections"][0]["records"], 0);
}

#[test]
fn a_row_that_is_refused_is_told_with_how_many_documents_are_stored() {
    let files = Files::new();
    let (db, rows) = (files.path("db.portolan"), files.path("rows.npy"));
    json_of(&["generate-vectors", &rows, "--rows", "3", "--dim", "8"]);
    let mut bytes = std::fs::read(&rows).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&rows, bytes).unwrap();
    let lines = ["a", "b", "c"].map(|id| json!({ "_id": id, "text": "x" }).to_string());
    let docs = files.write("docs.jsonl", &lines.join("\n"));
    let args = ["ingest", &db, &docs, "--vectors", &rows, "--batch-size", "2"];
    let message = refusal(1, &args);
    assert!(message.contains("record c is") && message.contains("not finite"), "{message}");
    assert!(message.contains("; 2 documents before it are stored"), "{message}");
    assert_eq!(json_of(&["info", &db])["collections"][0]["records"], 2);
}

#[test]
fn metadata_keeps_its_types_through_ingest_and_search() {
    let files = Files::new();
    let db = files.path("db.portolan");
    let rows = files.path("rows.npy");
    json_of(&["generate-vectors", &rows, "--rows", "1", "--dim", "8", "--seed", "7"]);
    let document = json!({
        "_id": 5, "text": "x", "year": 1290, "share": 0.5, "open": true, "none": null,
        "tags": ["a", 2], "at": { "$timestamp": 12 },
        "metadata": { "place": { "city": "Genoa" } },
    });
    let docs = files.write("docs.jsonl", &document.to_string());
    json_of(&["ingest", &db, &docs, "--vectors", &rows, "--metric", "dot"]);
    let hit = &json_of(&["search", &db, "--vector", &rows])["hits"][0];
    assert_eq!(hit["id"], "5");
    let expected = json!({
        "year": 1290, "share": 0.5, "open": true, "none": null, "tags": ["a", 2],
        "at": { "$timestamp": 12 }, "place.city": "Genoa",
    });
    assert_eq!(hit["metadata"], expected);
    assert_eq!(keys(hit), ["id", "metadata", "score", "text"]);
}

#[test]
fn bench_ann_streams_one_json_line_for_the_build_and_one_per_ef() {
    let files = Files::new();
    let (base, queries) = (files.path("base.npy"), files.path("queries.npy"));
    json_of(&["generate-vectors", &base, "--rows", "2000", "--dim", "32"]);
    json_of(&["generate-vectors", &queries, "--rows", "50", "--dim", "32", "--queries"]);
    let args = ["bench-ann", "--base", &base, "--query", &queries, "--ef", "20,200", "--json"];
    let output = portolan(&args);
    assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)));
    let lines = text(&output.stdout);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for key in ["build_s", "bytes_per_vector", "resident_bytes_per_vector"] {
        assert!(lines[0][key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert_eq!((&lines[0]["rows"], &lines[0]["dim"]), (&json!(2000), &json!(32)));
    assert!(lines[0]["isa"].is_string());
    for (line, ef) in lines[1..].iter().zip([20, 200]) {
        assert_eq!(keys(line), ["ef", "p50_us", "p99_us", "qps", "recall"]);
        assert_eq!(line["ef"], ef);
        assert!(line["p99_us"].as_f64() >= line["p50_us"].as_f64());
    }
    assert!(lines[2]["recall"].as_f64().unwrap() > 0.95, "{}", lines[2]);
    let args = ["bench-ann", "--base", &base, "--query", &queries, "--recall", "0.9", "--json"];
    let lines = text(&portolan(&args).stdout);
    let line: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(keys(&line), ["ef", "p50_us", "p99_us", "qps", "recall", "target"]);
    assert!(line["ef"].as_u64().unwrap() >= 14 && line["recall"].as_f64().unwrap() > 0.85);
    let cut = text(&portolan(&[&args[..], &["--leading", "16"]].concat()).stdout);
    let [built, line] =
        [0, 1].map(|at| -> Value { serde_json::from_str(cut.lines().nth(at).unwrap()).unwrap() });
    assert_eq!((&built["dim"], &built["leading"]), (&json!(32), &json!(16)));
    assert!(line["recall"].as_f64().unwrap() > 0.85, "{line}");
    let args = ["bench-ann", "--base", &base, "--query", &queries, "--truth", &queries];
    assert!(refusal(1, &args).contains("does not hold row numbers"));
}

#[test]
fn bench_ann_reuses_a_file_of_the_same_shape_alone_and_vectors_go_to_new_files_alone() {
    let files = Files::new();
    let (base, other, db) = (files.path("base.npy"), files.path("other.npy"), files.path("b.db"));
    json_of(&["generate-vectors", &base, "--rows", "300", "--dim", "16"]);
    json_of(&["generate-vectors", &other, "--rows", "200", "--dim", "16"]);
    let refused = |args: &[&str]| {
        let output = portolan(args);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        text(&output.stderr)
    };
    let message = refused(&["generate-vectors", &base, "--rows", "2", "--dim", "16"]);
    assert!(message.contains("exists already"), "{message}");
    let bench = |base: &str, more: &[&str]| {
        let args = ["bench-ann", "--base", base, "--query", base, "--db", &db, "--ef", "20"];
        [&args[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |args: &[String]| refused(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let message = words(&bench(&base, &["--recall", "95"]));
    assert!(message.contains("a share above 0"), "{message}");
    let built = bench(&base, &[]);
    let output = portolan(&built.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("300 x 16 cosine built in"));
    let message = words(&bench(&other, &["--reuse"]));
    assert!(message.contains("holds 300 x 16 cosine, but"), "{message}");
    let message = words(&bench(&base, &["--reuse", "--metric", "dot"]));
    assert!(message.contains("say 300 x 16 dot"), "{message}");
    let again = bench(&base, &["--reuse"]);
    let output = portolan(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(text(&output.stdout).contains("300 x 16 cosine found in the file"));
}

#[test]
fn bench_ann_takes_a_given_truth_at_its_word() {
    let files = Files::new();
    let base = files.path("base.npy");
    json_of(&["generate-vectors", &base, "--rows", "300", "--dim", "16"]);
    // the base as its own queries: the nearest of row i is row i
    let own: Vec<u8> = (0..300_u32).flat_map(|row| [1, row]).flat_map(u32::to_le_bytes).collect();
    let truth = files.path("truth.ivecs");
    std::fs::write(&truth, own).unwrap();
    let db = files.path("kept.portolan");
    let args = ["bench-ann", "--base", &base, "--query", &base, "--truth", &truth, "-k", "1"];
    let args = [&args[..], &["--flat", "--threads", "2", "--db", &db, "--json"]].concat();
    let output = portolan(&args);
    let lines = text(&output.stdout);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["flat"]), (2, &json!(true)));
    assert_eq!(lines[1]["recall"], 1.0);
    assert_eq!(json_of(&["info", &db])["collections"][0]["graphs"], 0);
    assert!(refusal(1, &args).contains("exists already"));
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let refused = |args: &[&str], words: &str| {
        let message = refusal(2, args);
        assert!(message.contains(words), "{args:?}: {message}");
    };
    let vector = fixture("queries.minilm384.f16.npy");
    refused(&["find"], "unrecognized subcommand 'find'");
    refused(&["create", "x"], "--dim <N>");
    refused(&["create", "x", "--dim", "0"], "expected a number from 1 to 65536");
    refused(&["create", "x", "--dim", "8", "--metric", "cos"], "use cosine, dot or l2");
    refused(&["ingest", "x", "y"], "--vectors <V.npy>|--embed-model <MODEL>");
    refused(&["ingest", "x", "y", "--vectors", "v", "--embed-model", "m"], "cannot be used with");
    refused(&["search", "x", "text", "--embed-url", "http://localhost"], "--embed-model");
    refused(&["search", "x", "text", "--query-prefix", "query: "], "--embed-model");
    let model = ["search", "x", "text", "--embed-model", "m"];
    refused(&[&model[..], &["--api", "grpc"]].concat(), "nim, openai, tei, ollama");
    refused(&[&model[..], &["--truncate", "BOGUS"]].concat(), "none, start, end");
    refused(
        &["search", "x", "text", "--vector", &vector, "--mode", "sparse"],
        "dense, lexical, hybrid",
    );
    refused(&["search", "x", "text", "--mode", "hybrid"], "--vector or --embed-model");
    let hybrid = ["search", "x", "--vector", &vector, "--mode", "hybrid"];
    refused(&[&hybrid[..], &["--explain", "--cache"]].concat(), "cannot be used with");
    refused(&["index-text", "x", "--language", "tlh"], "de");
    refused(&["search", "x", "--vector", &vector, "--rerank-model", "m"], "give TEXT too");
    refused(&["search", "x", "--vector", &vector, "-k", "0"], "expected a number from 1");
    let filtered = ["search", "x", "--vector", &vector, "--filter", "year ~ 1900"];
    refused(&filtered, "at byte 5: expected");
    refused(&filtered, "\n  year ~ 1900\n       ^");
    let filtered = ["search", "x", "--vector", &vector, "--filter", "a = 1 and 1 < b < \"x\""];
    refused(&filtered, "bounds of two types");
    refused(&filtered, "\n  a = 1 and 1 < b < \"x\"\n            ^");
    refused(&["index-field", "x"], "<NAME>");
}

#[test]
fn help_and_version_end_with_code_0() {
    for args in [["--help"], ["--version"]] {
        let output = portolan(&args);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("portolan"));
    }
}

#[test]
fn absent_and_damaged_files_end_with_code_1_and_without_panic() {
    let (files, db) = Files::filled();
    let absent = files.path("absent.portolan");
    for command in ["info", "verify", "compact"] {
        let message = refusal(1, &[command, &absent]);
        assert!(message.contains("absent.portolan does not exist"), "{message}");
    }
    let foreign = files.write("foreign.portolan", &"no database ".repeat(1000));
    let message = refusal(1, &["info", &foreign]);
    assert!(message.contains("magic number"), "{message}");

    let content = std::fs::read(&db).unwrap();
    let mut damaged = content.clone();
    // texts, codes and pages between: every second page from the third on gets a wrong byte
    damaged.iter_mut().skip(3 * 4096 + 2000).step_by(2 * 4096).for_each(|byte| *byte ^= 0x55);
    std::fs::write(&db, &damaged).unwrap();
    let checked = portolan(&["verify", &db, "--json"]);
    let message = text(&checked.stderr);
    assert!(message.contains("damaged") && message.contains("portolan repair"), "{message}");
    assert_eq!(checked.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(told["ok"], json!(false));
    assert!(told["damage"].as_array().unwrap().len() > 10);
    let repaired = files.path("repaired.portolan");
    let repair = portolan(&["repair", &db, &repaired, "--json"]);
    assert_eq!(repair.status.code(), Some(1), "a loss");
    assert!(text(&repair.stderr).contains("not everything"), "{}", text(&repair.stderr));
    let saved: Value = serde_json::from_slice(&repair.stdout).unwrap();
    assert_eq!(saved["complete"], json!(false));
    assert!(!saved["damage"].as_array().unwrap().is_empty());
    assert_eq!(json_of(&["verify", &repaired])["records"], saved["records"]);
    std::fs::write(&db, &content[..content.len() / 2]).unwrap();
    for command in ["info", "verify"] {
        let checked = portolan(&[command, &db]);
        let message = text(&checked.stderr);
        assert_eq!(checked.status.code(), Some(1), "{message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (_files, db) = Files::filled();
    let vectors = fixture("queries.minilm384.f16.npy");
    // about 900 KB of JSON, more than a pipe holds
    let args = ["search", &db, "--vector", &vectors, "-k", "600", "--json"];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)));
}
