//! Documents that an ingest by command sets aside: lines that make none are kept whole with what is
//! wrong with them, and the others are stored.

use serde_json::{Value, json};

use crate::command::{portolan, text};
use crate::server::{Server, answer, embedded};

const LINES: [&str; 7] = [
    r#"{"_id":"a","text":"good"}"#,
    r#"{"_id":"b","text":"cut"#,
    r#"{"_id":"c","text":"nested","tags":[["x"]]}"#,
    r#"{"_id":"d","text":"large","n":18446744073709551615}"#,
    r#"["no","object"]"#,
    r#"{"_id":"e","text":"the model refuses this"}"#,
    r#"{"_id":"f","text":"good as well"}"#,
];

#[tokio::test]
async fn bad_lines_are_kept_whole_and_the_others_are_stored() {
    let server = Server::start(|_, request| {
        match request.inputs().iter().any(|text| text.contains("refuses")) {
            true => answer(400, "", r#"{"error":"not this one"}"#),
            false => embedded(request),
        }
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("docs.jsonl"), LINES.join("\n")).expect("a file");
    let model = ["--embed-url", &server.url, "--embed-model", "m", "--json"];
    let ingest = [&["ingest", "kb", "docs.jsonl"][..], &model].concat();
    // Without a place for them the first bad line ends the command before anything is done.
    let refused = portolan(dir.path(), &ingest).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("docs.jsonl:2: "), "{}", text(&refused));
    assert!(!dir.path().join("kb").exists() && server.requests().is_empty());

    let done = portolan(dir.path(), &[&ingest[..], &["--rejects", "bad.jsonl"]].concat()).await;
    assert!(done.status.success(), "{}", text(&done));
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    let counts = [&report["read"], &report["embedded"], &report["rejected"], &report["records"]];
    assert_eq!(counts, [&json!(7), &json!(2), &json!(5), &json!(2)]);
    let kept = std::fs::read_to_string(dir.path().join("bad.jsonl")).expect("a file");
    for (number, problem) in [
        (2, "EOF while parsing"),
        (3, "is a list in a list"),
        (4, "beyond 64-bit integers"),
        (5, "expected a JSON object"),
    ] {
        let line = kept.lines().find(|line| line.starts_with(&format!("{{\"line\":{number},")));
        let line = line.unwrap_or_else(|| panic!("no line {number} in {kept}"));
        let object: Value = serde_json::from_str(line).expect("JSON");
        assert!(object["error"].as_str().is_some_and(|error| error.contains(problem)), "{line}");
        let whole = LINES[number - 1];
        // Byte for byte if it was an object, as a string if not.
        let is_same = line.contains(&format!("\"document\":{whole}"));
        assert!(is_same || object["document"] == whole, "{line}");
        assert_eq!(is_same, (3..5).contains(&number), "{line}");
    }
    let refused: Value = kept
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &Value| line["_id"] == "e")
        .expect("the text that the model refuses");
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("not this one")));
    assert_eq!(kept.lines().count(), 5);
}

#[cfg(unix)]
#[tokio::test]
async fn documents_from_a_pipe_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    let model = ["--embed-url", "http://127.0.0.1:1", "--embed-model", "m"];
    let done = portolan(dir.path(), &[&["ingest", "kb", "pipe"][..], &model].concat()).await;
    assert_eq!(done.status.code(), Some(1));
    let words = "pipe is no file: documents are read twice, so write them to a file first";
    assert!(text(&done).contains(words), "{}", text(&done));
}
