//! What somebody meets who begins with the command `portolan` and has no model: documents that are
//! found by their words, times in texts, ids that come twice, and messages that tell what to do.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

#[path = "common/command.rs"]
mod command;

use command::{json_of, portolan, text};
use serde_json::json;
use tempfile::TempDir;

const DOCS: &str = r#"{"_id": "a", "text": "the spring tide is high", "added": "2024-01-31", "n": 1}
{"_id": "b", "text": "a tide in spring", "added": "2024-02-01T10:00:00+02:00", "n": 2}
{"_id": "c", "title": "Harbors", "text": "the harbor mouth", "n": 3}
"#;

/// What is on standard error of a command that must end with `code`.
fn refusal(code: i32, args: &[&str]) -> String {
    let output = portolan(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    message
}

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.dir.path().join(name), content).unwrap();
        self.path(name)
    }

    /// A file with the documents, and these.
    fn with_words(&self) -> (String, String) {
        let (db, docs) = (self.path("kb.portolan"), self.write("docs.jsonl", DOCS));
        let done = json_of(&["ingest", &db, &docs, "--no-vectors"]);
        assert_eq!((&done["read"], &done["without_vector"]), (&json!(3), &json!(3)), "{done}");
        (db, docs)
    }
}

/// The ids of what is found, best first.
fn found(args: &[&str]) -> Vec<String> {
    let found = json_of(args);
    let hits = found["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn documents_without_vectors_are_found_by_words_with_a_mode_and_without() {
    let files = Files::new();
    let (db, _) = files.with_words();
    assert_eq!(
        found(&["search", &db, "where is the mouth of harbors?", "--mode", "lexical"]),
        ["c"]
    );
    assert_eq!(found(&["search", &db, "where is the mouth of harbors?"]), ["c"]);
    assert_eq!(found(&["search", &db, "tides", "--filter", "n > 1"]), ["b"]);
    let info = json_of(&["info", &db]);
    assert_eq!(info["collections"][0]["vectors"], 0, "{info}");
    // A model could not give what such a collection has not, and is not asked.
    let model = ["--embed-url", "http://127.0.0.1:1", "--embed-model", "m"];
    assert_eq!(found(&[&["search", &db, "harbors"][..], &model].concat()), ["c"]);
    let docs = files.path("docs.jsonl");
    let message = refusal(1, &[&["ingest", &db, &docs][..], &model].concat());
    assert!(message.contains("--no-vectors") && message.contains("--collection"), "{message}");
}

#[test]
fn an_ingest_without_vectors_that_is_run_again_stores_what_has_changed() {
    let files = Files::new();
    let (db, docs) = files.with_words();
    let again = json_of(&["ingest", &db, &docs, "--no-vectors"]);
    assert_eq!((&again["unchanged"], &again["without_vector"]), (&json!(3), &json!(0)), "{again}");
    // Of two with one id the later is kept, though the earlier one is what is stored.
    let twice = "{\"_id\":\"a\",\"text\":\"new\"}\n{\"_id\":\"a\",\"text\":\"the last\"}\n";
    let twice = files.write("twice.jsonl", twice);
    json_of(&["ingest", &db, &twice, "--no-vectors"]);
    let back = "{\"_id\":\"a\",\"text\":\"other\"}\n{\"_id\":\"a\",\"text\":\"the last\"}\n";
    let back = files.write("back.jsonl", back);
    json_of(&["ingest", &db, &back, "--no-vectors"]);
    assert_eq!(json_of(&["search", &db, "last"])["hits"][0]["text"], "the last");

    let chunks = files.path("chunks.portolan");
    let long = "{\"_id\":\"a\",\"text\":\"Winds blow. Tides follow the moon. Stars stay.\"}\n";
    let long = files.write("long.jsonl", long);
    let args =
        ["ingest", &chunks, &long, "--no-vectors", "--chunk-tokens", "6", "--chunk-overlap", "0"];
    let done = json_of(&args);
    let parts = done["read"].as_u64().unwrap();
    assert!(parts > 1 && done["without_vector"] == parts && done["chunked"] == 1, "{done}");
    let again = json_of(&args);
    assert!(again["unchanged"] == parts && again["without_vector"] == 0, "{again}");
    assert_eq!(found(&["search", &chunks, "moon"]).len(), 1);
}

#[test]
fn documents_that_are_refused_are_set_aside_without_a_model_too() {
    let files = Files::new();
    let bad = "{\"_id\": \"x\", \"text\": \"sea\"}\nno json\n{\"_id\": \"y\", \"text\": \"t\", \
               \"a\\u0000b\": 1}\n";
    let docs = files.write("bad.jsonl", bad);
    let (db, rejects) = (files.path("kb.portolan"), files.path("rejects.jsonl"));
    let message = refusal(1, &["ingest", &db, &docs, "--no-vectors"]);
    assert!(message.contains("bad.jsonl:2: ") && message.contains("--rejects FILE"), "{message}");
    let done = json_of(&["ingest", &db, &docs, "--no-vectors", "--rejects", &rejects]);
    assert_eq!((&done["rejected"], &done["records"]), (&json!(2), &json!(1)), "{done}");
    let told = std::fs::read_to_string(&rejects).unwrap();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("\"_id\":\"y\"") && told.contains("no json"), "{told}");
    for wrong in [&["--metric", "dot"][..], &["--pending"], &["--embed-model", "m"]] {
        let args = [&["ingest", &db, &docs, "--no-vectors"][..], wrong].concat();
        assert!(refusal(2, &args).contains("cannot be used with"), "{wrong:?}");
    }
}

#[test]
fn words_may_be_a_phrase_a_prefix_required_or_excluded_and_a_question_has_no_signs() {
    let files = Files::new();
    let (db, _) = files.with_words();
    let by = |words: &str| found(&["search", &db, "--words", words]);
    assert_eq!(by("\"spring tide\""), ["a"]);
    assert_eq!(by("harb*"), ["c"]);
    assert_eq!(by("tide -high"), ["b"]);
    assert_eq!(by("-high tide"), ["b"]);
    assert_eq!(by("+mouth tide"), ["c"]);
    assert_eq!(by(""), [""; 0]);
    // Beside a question, which the signs in it do not matter to.
    let question = ["search", &db, "is a \"spring tide\" -high or* +what?", "--words", "harb*"];
    assert_eq!(found(&question), ["c"]);
    assert_eq!(found(&question[..3]).len(), 2);
    let message = refusal(2, &["search", &db, "x", "--words", "y", "--mode", "dense"]);
    assert!(message.contains("--words"), "{message}");
}

#[test]
fn texts_of_timestamp_fields_are_times_and_others_are_bad_documents() {
    let files = Files::new();
    let (db, docs) = (files.path("kb.portolan"), files.write("docs.jsonl", DOCS));
    let ingest = ["ingest", &db, &docs, "--no-vectors", "--timestamp-field", "added"];
    json_of(&ingest);
    let filtered = |filter: &str| found(&["search", &db, "tide harbor", "--filter", filter]);
    assert_eq!(filtered("added >= 2024-02-01"), ["b"]);
    assert_eq!(filtered("added < 2024-02-01T00:00:00Z"), ["a"]);
    let hits = json_of(&["search", &db, "tide", "--filter", "n = 2"]);
    let added = &hits["hits"][0]["metadata"]["added"];
    assert_eq!(added, &json!({ "$timestamp": 1_706_774_400_000_000_i64 }));

    let bad = "{\"_id\": \"x\", \"text\": \"t\", \"added\": \"last week\"}\n";
    let bad = files.write("bad.jsonl", bad);
    let args = ["ingest", &db, &bad, "--no-vectors", "--timestamp-field", "added"];
    let message = refusal(1, &args);
    assert!(message.contains("\"x\"") && message.contains("last week"), "{message}");
    let rejects = files.path("rejects.jsonl");
    let output = portolan(&[&args[..], &["--rejects", &rejects, "--json"]].concat());
    // All were refused: that is a failure, told after the counts.
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let done: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(done["rejected"], 1, "{done}");

    let unknown = ["ingest", &db, &docs, "--no-vectors", "--timestamp-field", "aded"];
    let told = text(&portolan(&unknown).stderr);
    assert!(told.contains("no document has the field \"aded\""), "{told}");
}

#[test]
fn texts_are_not_stored_where_the_collection_has_times_and_options_of_new_ones_are_told_of() {
    let files = Files::new();
    let (db, docs) = (files.path("kb.portolan"), files.write("docs.jsonl", DOCS));
    let times = ["ingest", &db, &docs, "--no-vectors", "--timestamp-field", "added"];
    json_of(&times);
    let told = refusal(1, &["ingest", &db, &docs, "--no-vectors"]);
    assert!(told.contains("\"added\"") && told.contains("--timestamp-field added"), "{told}");
    assert_eq!(found(&["search", &db, "--filter", "added >= 2024-02-01"]), ["b"]);
    let ignored = ["--language", "de", "--stop-words", "none", "--index-field", "n"];
    let told = text(&portolan(&[&times[..], &ignored].concat()).stderr);
    for option in ["--language", "--stop-words", "--index-field"] {
        assert!(told.contains(&format!("{option} is for new ones")), "{told}");
    }
    assert_eq!(text(&portolan(&times).stderr), "");
}

#[test]
fn a_filter_alone_lists_what_matches() {
    let files = Files::new();
    let (db, _) = files.with_words();
    assert_eq!(found(&["search", &db, "--filter", "n >= 2"]), ["b", "c"]);
    let one = json_of(&["search", &db, "--filter", "n >= 2", "-k", "1", "--explain"]);
    assert_eq!((&one["report"]["passing"], &one["hits"][0]["id"]), (&json!(2), &json!("b")));
    assert!(one["explain"].is_object(), "{one}");
    let words = json_of(&["search", &db, "tide", "--filter", "n >= 2"]);
    assert_eq!(words["report"]["passing"], 2, "{words}");
    let listed = text(&portolan(&["search", &db, "--filter", "n >= 2"]).stdout);
    assert!(listed.contains("2 of 2 that match"), "{listed}");
    let model = ["--rerank-url", "http://127.0.0.1:1", "--rerank-model", "m"];
    for option in [&["--mode", "lexical"][..], &["--cache"], &model] {
        let told = refusal(2, &[&["search", &db, "--filter", "n >= 2"][..], option].concat());
        assert!(told.contains("there is no question"), "{told}");
    }
}

#[test]
fn a_collection_without_vectors_is_made_empty_and_takes_none() {
    let files = Files::new();
    let (db, docs) = (files.path("kb.portolan"), files.write("docs.jsonl", DOCS));
    refusal(2, &["create", &db, "--no-vectors", "--dim", "3"]);
    let made = text(&portolan(&["create", &db, "--no-vectors"]).stdout);
    assert!(made.contains("no vectors"), "{made}");
    json_of(&["ingest", &db, &docs, "--no-vectors"]);
    let info = text(&portolan(&["info", &db]).stdout);
    assert!(info.contains("vectors    none") && !info.contains("1 dimension"), "{info}");
    assert!(info.contains("words      indexed, language en"), "{info}");
    let of = &json_of(&["info", &db])["collections"][0];
    assert_eq!((&of["dimensions"], &of["words"]), (&json!(null), &json!("en")), "{of}");
    let told = refusal(1, &["search", &db, "tide", "--vector", &docs]);
    assert!(told.contains("has no vectors: leave --vector out"), "{told}");
}

#[test]
fn an_ingest_without_vectors_takes_none_from_those_that_are_there() {
    let files = Files::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scifact-small");
    let (docs, vectors) =
        (format!("{folder}/docs.jsonl"), format!("{folder}/docs.minilm384.f16.npy"));
    let db = files.path("kb.portolan");
    json_of(&["ingest", &db, &docs, "--vectors", &vectors]);
    let one = files.write("one.jsonl", DOCS);
    let told = refusal(1, &["ingest", &db, &one, "--no-vectors"]);
    assert!(told.contains("has vectors") && told.contains("--embed-model"), "{told}");
    let info = json_of(&["info", &db]);
    assert_eq!(info["collections"][0]["records"], info["collections"][0]["vectors"], "{info}");
}

#[test]
fn ids_that_come_again_in_a_file_are_told_with_their_number_and_the_first() {
    let files = Files::new();
    let docs: String = [1, 2, 1, 3, 2, 1]
        .map(|id| format!("{{\"_id\": \"d{id}\", \"text\": \"word{id}\"}}\n"))
        .concat();
    let (db, docs) = (files.path("kb.portolan"), files.write("docs.jsonl", &docs));
    let output = portolan(&["ingest", &db, &docs, "--no-vectors"]);
    let told = text(&output.stderr);
    assert!(told.contains("3 documents") && told.contains("\"d1\""), "{told}");
    let done = json_of(&["ingest", &db, &docs, "--no-vectors"]);
    assert_eq!((&done["repeated_ids"], &done["records"]), (&json!(3), &json!(3)), "{done}");
}

#[test]
fn judgments_of_documents_that_are_not_there_are_told_of_and_are_no_zeros() {
    let files = Files::new();
    let (db, _) = files.with_words();
    let queries = files.write("q.jsonl", "{\"_id\": \"q\", \"text\": \"spring\"}\n");
    let eval = |qrels: &str| {
        let qrels = files.write("qrels.tsv", qrels);
        portolan(&["eval", &db, "--queries", &queries, "--qrels", &qrels])
    };
    // A document of grade 0 is none that should be found.
    let none = eval("q\tx\t1\nq\ty\t2\nq\ta\t0\n");
    assert_eq!((none.status.code(), text(&none.stdout)), (Some(1), String::new()));
    let told = text(&none.stderr);
    assert!(told.contains("none of the 2 documents") && told.contains("\"x\""), "{told}");
    let some = eval("q\ta\t1\nq\ty\t2\n");
    assert_eq!(some.status.code(), Some(0));
    let told = text(&some.stderr);
    assert!(told.contains("1 of 2 documents") && told.contains("\"y\""), "{told}");
    let all = eval("q\ta\t1\n");
    assert_eq!((all.status.code(), text(&all.stderr)), (Some(0), String::new()));
    let one =
        ["eval", &db, "--queries", &queries, "--qrels", &files.path("qrels.tsv"), "--compare"];
    assert!(refusal(2, &one).contains("two or more"));
    // Without vectors, models and modes the row is that of words.
    assert!(text(&all.stdout).contains("\nlexical "), "{}", text(&all.stdout));
}

#[test]
fn a_damaged_file_is_named_with_the_commands_that_tell_of_it_and_save_it() {
    let files = Files::new();
    let (db, docs) = files.with_words();
    let mut bytes = std::fs::read(&db).unwrap();
    // The text of a record, wherever it lies: the pages around it stay whole.
    let begin = b"spring tide is high";
    let places: Vec<usize> =
        (0..bytes.len() - begin.len()).filter(|at| bytes[*at..].starts_with(begin)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 0x55);
    std::fs::write(&db, &bytes).unwrap();
    let (verify, repair) =
        (format!("`portolan verify {db}`"), format!("`portolan repair {db} NEW`"));
    for args in [&["search", &db, "tide harbor"][..], &["ingest", &db, &docs, "--no-vectors"]] {
        let told = refusal(1, args);
        assert!(told.starts_with(&format!("error: {db}: ")), "{told}");
        assert!(told.contains(&verify) && told.contains(&repair), "{told}");
    }
    let told = refusal(1, &["verify", &db]);
    assert!(told.contains(&repair) && !told.contains(&verify), "{told}");
    // Advice is for whoever types commands.
    let other = files.path("other.portolan");
    json_of(&["ingest", &other, &docs, "--no-vectors", "--language", "off"]);
    for mode in [&[][..], &["--mode", "lexical"]] {
        let told = refusal(1, &[&["search", &other, "tide"][..], mode].concat());
        assert!(told.contains("`portolan index-text`") && !told.contains("::"), "{told}");
    }
    let told = refusal(1, &["create", &other, "--dim", "3"]);
    assert!(told.contains("--collection") && !told.contains("::"), "{told}");
}
