//! The command line in front of another family of servers: options become requests, and the
//! collection remembers the prefixes.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::server::{Server, ok};

/// Runs the command beside the server.
pub async fn portolan(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    for name in ["NVIDIA_API_KEY", "NVIDIA_BASE_URL", "NVIDIA_APPEND_API_VERSION"] {
        command.env_remove(name);
    }
    command.current_dir(folder).args(args);
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("the thread").expect("the command")
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn the_command_speaks_other_families_with_prefixes_and_a_length() {
    let server = Server::start(|_, request| {
        let body = request.json();
        match request.line.as_str() {
            "POST /embed HTTP/1.1" => {
                let count = body["inputs"].as_array().expect("a list").len();
                ok(&json!(vec![[0.5, 0.5]; count]))
            }
            "POST /v1/embeddings HTTP/1.1" => {
                ok(&json!({"data": [{"index": 0, "embedding": [0.5, 0.5]}]}))
            }
            "POST /v1/rerank HTTP/1.1" => {
                ok(&json!({"results": [{"index": 0, "relevance_score": 0.5}]}))
            }
            other => panic!("{other}"),
        }
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let docs = json!({"_id": "1", "text": "hello"}).to_string();
    std::fs::write(dir.path().join("docs.jsonl"), docs).expect("a file");
    let model = ["--embed-url", &server.url, "--embed-model", "m"];
    let prefixes = ["--query-prefix", "q: ", "--passage-prefix", "p: "];
    let tei = [&model[..], &prefixes, &["--api", "tei"]].concat();

    let ingest = [&["ingest", "kb", "docs.jsonl"][..], &tei].concat();
    let done = portolan(dir.path(), &ingest).await;
    assert!(done.status.success(), "{}", text(&done));
    let sent = server.requests();
    let body = json!({"inputs": ["p: hello"], "truncate": true, "truncation_direction": "Right"});
    assert!(sent.iter().all(|request| request.json() == body) && !sent.is_empty());

    let rerank = ["--rerank-url", &server.url, "--rerank-model", "r", "--rerank-api", "jina"];
    let search = [&["search", "kb", "hi", "--json"][..], &tei, &rerank].concat();
    let done = portolan(dir.path(), &search).await;
    assert!(done.status.success() && text(&done).contains("\"reranked\":true"), "{}", text(&done));
    let sent = server.requests();
    let [.., embed, rank] = &sent[..] else { panic!("two requests") };
    assert_eq!(embed.json()["inputs"], json!(["q: hi"]));
    let body = json!({"model": "r", "query": "hi", "documents": ["hello"], "top_n": 1});
    assert_eq!(rank.json(), body);

    // The collection knows its prefixes.
    let bare = [&["search", "kb", "hi"][..], &model, &["--api", "tei"]].concat();
    let done = portolan(dir.path(), &bare).await;
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(server.requests().pop().expect("a request").json()["inputs"], json!(["q: hi"]));
    // With others the model would place the question elsewhere.
    let sent = server.requests().len();
    let refused = portolan(dir.path(), &[&bare[..], &["--query-prefix", "other: "]].concat()).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("with prefixes"), "{}", text(&refused));
    assert!(text(&refused).contains("use its --embed-model"), "{}", text(&refused));
    assert_eq!(server.requests().len(), sent);

    let wide = [&["search", "kb", "hi"][..], &model, &prefixes].concat();
    let wide = [&wide[..], &["--embed-api", "openai", "--embed-dim", "2"]].concat();
    let done = portolan(dir.path(), &wide).await;
    assert!(done.status.success(), "{}", text(&done));
    let body = json!({"model": "m", "input": ["q: hi"], "encoding_format": "base64",
        "dimensions": 2});
    assert_eq!(server.requests().pop().expect("a request").json(), body);
    // Another length than the collection's is refused before a request, also of an ingest that
    // would have nothing to embed.
    let sent = server.requests().len();
    for command in [&["search", "kb", "hi"][..], &["ingest", "kb", "docs.jsonl"]] {
        let other = [command, &tei, &["--embed-dim", "3"]].concat();
        let refused = portolan(dir.path(), &other).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("has vectors of 2 dimensions"), "{}", text(&refused));
    }
    assert_eq!(server.requests().len(), sent);
}

#[tokio::test]
async fn the_command_cuts_documents_into_chunks_and_removes_those_that_are_stale() {
    let server = Server::start(|_, request| {
        let body = request.json();
        let count = body["inputs"].as_array().expect("a list").len();
        ok(&json!(vec![[0.5, 0.5]; count]))
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let ingest = async |text: &str| {
        let docs = json!({"_id": "d", "text": text, "lang": "en"}).to_string();
        std::fs::write(dir.path().join("docs.jsonl"), docs).expect("a file");
        let model = ["--embed-url", &server.url, "--embed-model", "m", "--api", "tei"];
        let chunks = ["--chunk-tokens", "6", "--chunk-overlap", "0", "--json"];
        let args = [&["ingest", "kb", "docs.jsonl"][..], &model, &chunks].concat();
        let done = portolan(dir.path(), &args).await;
        assert!(done.status.success(), "{}", crate::command::text(&done));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).expect("JSON")
    };
    let done = ingest("Winds blow. Tides turn. Stars stay.").await;
    let counts = |done: &serde_json::Value| {
        ["chunked", "read", "embedded", "removed", "records"].map(|name| done[name].clone())
    };
    assert_eq!(counts(&done), [1, 3, 3, 0, 3].map(|count| json!(count)), "{done}");
    let done = ingest("Winds blow. Tides turn.").await;
    assert_eq!(counts(&done), [1, 2, 0, 1, 2].map(|count| json!(count)), "{done}");
    let db = portolan::Database::open_read_only(dir.path().join("kb")).expect("a file");
    let chunks = db.collection("docs").expect("a collection").document("d").expect("chunks");
    let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(texts, ["Winds blow.", "Tides turn."]);
}
