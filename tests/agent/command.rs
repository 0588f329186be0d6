//! `portolan agent run` and `portolan agent export`, against the scripted service.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::docs;
use crate::script::{Turn, deciding, finish, first, ids, retrieve};

/// Runs the command beside the service, which answers on the runtime.
async fn portolan(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(args).env("NVIDIA_API_KEY", "nvapi-canary-of-the-command");
    command.env_remove("NVIDIA_BASE_URL");
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    ended.expect("no panic").expect("the command")
}

async fn json_of(args: &[&str]) -> Value {
    let output = portolan(&[args, &["--json"]].concat()).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {message}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_run_resumed_judged_and_exported() {
    let (dir, db, collection) = docs(60);
    let best = |query: &str| {
        let hits = collection.search_text(query).limit(10).run().expect("hits");
        hits.into_iter().map(|hit| hit.id.to_string()).collect::<Vec<_>>()
    };
    let (good, bad) = (best("harbor"), best("wind"));
    let file = text(db.path());
    drop((collection, db));
    let server = deciding(|at, body| {
        let asked = body["messages"][1]["content"].as_str().unwrap_or_default().to_owned();
        match body["messages"].as_array().map_or(0, Vec::len) {
            2 => retrieve("compass"),
            // Broken for one question the first time it gets here.
            4 if asked.contains("Query:\nstar") && at < 6 => Turn::Refuse(401, "{}".to_owned()),
            _ => finish(&first(body, 10)),
        }
    })
    .await;
    let path = |name: &str| text(&dir.path().join(name));
    let (queries, run, traces) = (path("q.jsonl"), path("run.txt"), path("traces"));
    let lines = [("1", "harbor"), ("2", "wind"), ("3 %", "star")]
        .map(|(id, text)| json!({"_id": id, "text": text}).to_string());
    fs::write(&queries, lines.join("\n")).expect("a file");
    let url = format!("{}/v1", server.url);
    let args = [
        "agent",
        "run",
        &file,
        "--queries",
        &queries,
        "--chat-url",
        &url,
        "--chat-model",
        "test/agent",
        "--traces",
        &traces,
        "--run",
        &run,
        "--parallel",
        "2",
        "--prompt-price",
        "10",
        "--completion-price",
        "100",
    ];
    let broken = portolan(&[&args[..], &["--json"]].concat()).await;
    let message = String::from_utf8_lossy(&broken.stderr);
    assert_eq!(broken.status.code(), Some(1), "{message}");
    assert!(message.contains("1 of 3 runs broke off") && message.contains("llm_call_failed"));
    let report: Value = serde_json::from_slice(&broken.stdout).expect("JSON");
    assert_eq!(report["sources"], json!({"final_results": 2, "rrf": 1}));
    assert_eq!((&report["reused"], &report["queries"]), (&json!(0), &json!(3)));
    assert!((report["cost"].as_f64().expect("a cost") - 5.0 * 0.002).abs() < 1e-9, "{report}");
    let calls = server.requests().len();

    let again = json_of(&args).await;
    assert_eq!((&again["reused"], &again["failures"]), (&json!(2), &json!({})));
    assert_eq!(server.requests().len(), calls + 2);
    let written = fs::read_to_string(&run).expect("the run");
    assert_eq!(written.lines().count(), 30);
    let line: Vec<&str> = written.lines().next().expect("a line").split(' ').collect();
    assert_eq!(line, ["1", "Q0", good[0].as_str(), "1", "10.0", "portolan-agent"]);
    // An id with a blank is one word, and no reason to lose what was paid for.
    assert_eq!(written.matches("\n3%20%25 Q0 ").count(), 10, "{written}");
    // A file that cannot be made is told before anything is asked: below a file is no folder.
    let nowhere = format!("{file}/run.txt");
    let blocked = args.map(|arg| if arg == run { &*nowhere } else { arg });
    let blocked = portolan(&[&blocked[..], &["--no-reuse"]].concat()).await;
    let message = String::from_utf8_lossy(&blocked.stderr);
    assert!(message.contains("run.txt"), "{message}");
    assert_eq!((blocked.status.code(), server.requests().len()), (Some(1), calls + 2));
    for entry in fs::read_dir(&traces).expect("traces") {
        let held = fs::read_to_string(entry.expect("an entry").path()).expect("a trace");
        assert!(!held.contains("canary"));
    }

    // Judged: the first question's documents are right, the second's are not.
    let qrels = path("qrels.tsv");
    let judged = good.iter().map(|id| format!("1\t{id}\t1"));
    let judged = judged.chain(["2\tnowhere\t1".to_owned()]).collect::<Vec<_>>().join("\n");
    fs::write(&qrels, judged).expect("a file");
    let out = path("train.jsonl");
    let export = ["agent", "export", &traces, "-o", &out];
    let all = json_of(&export).await;
    assert_eq!((&all["traces"], &all["examples"]), (&json!(3), &json!(3)));
    let best = json_of(&[&export[..], &["--qrels", &qrels, "--min-ndcg", "0.5"]].concat()).await;
    assert_eq!((&best["examples"], &best["below"]), (&json!(1), &json!(2)));
    let lines = fs::read_to_string(&out).expect("the examples");
    let example: Value = serde_json::from_str(lines.trim()).expect("one line of JSON");
    assert!(example["messages"][1]["content"].as_str().expect("words").contains("harbor"));
    // An export that fails leaves the one before it, and nothing beside it.
    let none = portolan(&["agent", "export", &path("none"), "-o", &out]).await;
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&out).expect("the examples"), lines);
    let entries = fs::read_dir(dir.path()).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")));
    let wrong = portolan(&[&export[..], &["--source", "nowhere"]].concat()).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert_ne!(good, bad);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_is_answered_for_people_and_wrong_options_are_refused() {
    let (_dir, db, collection) = docs(60);
    let file = text(db.path());
    drop((collection, db));
    let server = deciding(|_, body| finish(&ids(body)[..3])).await;
    let url = format!("{}/v1", server.url);
    let asked = ["agent", "run", &file, "harbor wind", "--chat-url", &url];
    let model = ["--chat-model", "test/agent"];
    let shown = portolan(&[&asked[..], &model, &["-k", "3"]].concat()).await;
    let text = String::from_utf8(shown.stdout).expect("text");
    assert_eq!(shown.status.code(), Some(0), "{text}");
    assert!(text.contains("  1.  d") && text.contains("1 queries: final_results 1"), "{text}");
    assert!(text.contains("per query: 1.0 calls of the model, 1.0 searches"), "{text}");

    // A reranker that cannot be reached: its searches go without, and that is told.
    let rerank = ["--rerank-url", "http://127.0.0.1:1", "--rerank-model", "r", "-k", "3"];
    let shown = portolan(&[&asked[..], &model, &rerank].concat()).await;
    let text = String::from_utf8(shown.stdout).expect("text");
    assert_eq!(shown.status.code(), Some(0), "{text}");
    assert!(text.contains("left out of 1 searches: rerank: "), "{text}");

    for (more, words) in [
        (&[][..], "chat-model"),
        (&[&model[..], &["--mode", "dense"]].concat()[..], "--embed-model is missing"),
        (&[&model[..], &["--run", "r.txt"]].concat()[..], "--queries"),
        (&[&model[..], &["--max-cost", "1"]].concat()[..], "prompt-price"),
        (&[&model[..], &["--filter", "year >"]].concat()[..], "--filter"),
    ] {
        let refused = portolan(&[&asked[..], more].concat()).await;
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{more:?}: {message}");
        assert!(message.contains(words), "{more:?}: {message}");
    }
    assert_eq!(server.requests().len(), 2);
}
