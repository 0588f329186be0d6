//! Traces: what they hold, when they are used again, what damage does to them, and what is
//! exported.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan::agent::{
    Agent, AgentExport, AgentQuery, AgentTrace, Cancel, FailureKind, ResultSource, TraceError,
    TraceUse,
};
use portolan::{Collection, Database, Record};
use serde_json::{Value, json};

use crate::models::{Fate, OverlapReranker};
use crate::script::{Turn, call, chat, deciding, finish, first, offered, retrieve, say, select};
use crate::server::Server;
use crate::{docs, fill};

const QUERY: &str = "harbor compass rhumb";

/// Searches twice, then ends.
async fn searching() -> Server {
    deciding(|_, body| match body["messages"].as_array().map_or(0, Vec::len) {
        2 => retrieve("wind"),
        4 => call("think", &json!({"thought": "hm"})),
        _ => finish(&first(body, 10)),
    })
    .await
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_run_is_taken_from_its_trace_while_nothing_it_depends_on_has_changed() {
    let (dir, db, docs) = docs(60);
    let traces = dir.path().join("runs/first");
    let server = searching().await;
    let model = chat(&server);
    let agent = || Agent::new(&docs, &model).traces(&traces);
    let asked = || server.requests().len();
    let query = || AgentQuery::new(QUERY).id("q 1/a");
    let first = agent().run(query()).await.expect("a result");
    let TraceUse::Written(path) = &first.trace_use else { panic!("{:?}", first.trace_use) };
    assert_eq!((asked(), files(&traces)), (3, vec![path.clone()]));
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(name.starts_with("q-1-a-") && name.len() == "q-1-a-".len() + 16 + ".json".len());

    let again = agent().run(query()).await.expect("a result");
    assert_eq!(again.trace_use, TraceUse::Reused(path.clone()));
    assert!(again.is_reused() && asked() == 3);
    assert_eq!((&again.ids, again.source), (&first.ids, first.source));
    assert_eq!(again.trace, AgentTrace::read(path).expect("a trace"));
    // Another id of the same question has another file, and so have other settings.
    agent().run(AgentQuery::new(QUERY).id("q2")).await.expect("a result");
    agent().max_steps(9).run(query()).await.expect("a result");
    agent().query(|query| query.ef(99)).run(query()).await.expect("a result");
    agent().label("another").run(query()).await.expect("a result");
    let hotter = model.clone().temperature(0.7);
    Agent::new(&docs, &hotter).traces(&traces).run(query()).await.expect("a result");
    assert_eq!((asked(), files(&traces).len()), (3 * 6, 6));
    // If it must not be used, it is written anew.
    let anew = agent().reuse(false).run(query()).await.expect("a result");
    assert!(!anew.is_reused() && asked() == 3 * 7);

    // Another collection of the file may change; this one may not.
    let other = db
        .create_collection("other", portolan::CollectionOptions::new(2, portolan::Metric::Cosine))
        .expect("a collection");
    other.upsert(Record::new(1).vector([1.0, 0.0])).expect("a commit");
    assert!(agent().run(query()).await.expect("a result").is_reused());
    docs.upsert(Record::new("new").text("harbor compass rhumb wind")).expect("a commit");
    let changed = agent().run(query()).await.expect("a result");
    assert!(!changed.is_reused() && asked() == 3 * 8);
    assert!(changed.trace.collection.commit > first.trace.collection.commit);
    assert_eq!((first.trace.collection.records, changed.trace.collection.records), (60, 61));
    assert_eq!(files(&traces).len(), 6);
}

#[tokio::test]
async fn closures_are_not_told_apart_and_so_not_taken_from_traces_without_a_label() {
    let (dir, _db, docs) = docs(60);
    let server = searching().await;
    let model = chat(&server);
    let agent = || {
        let agent = Agent::new(&docs, &model).traces(dir.path().join("t"));
        agent.query(|query| query.find(|find| find))
    };
    for _ in 0..2 {
        assert!(!agent().run(QUERY).await.expect("a result").is_reused());
    }
    assert!(!agent().label("as it is").run(QUERY).await.expect("a result").is_reused());
    assert!(agent().label("as it is").run(QUERY).await.expect("a result").is_reused());
}

#[tokio::test]
async fn runs_that_broke_off_are_traced_but_run_again() {
    let (dir, _db, docs) = docs(60);
    let traces = dir.path().join("t");
    let server = deciding(|at, body| match at {
        1 => Turn::Refuse(401, "{}".to_owned()),
        _ if at < 3 => retrieve("wind"),
        _ => finish(&first(body, 10)),
    })
    .await;
    let model = chat(&server);
    let agent = Agent::new(&docs, &model).traces(&traces);
    let broken = agent.run(QUERY).await.expect("a result");
    let failure = broken.failure.expect("a failure");
    assert_eq!(failure.kind, FailureKind::LlmCallFailed);
    let trace = AgentTrace::read(&files(&traces)[0]).expect("a trace");
    assert_eq!(trace.outcome.failure, Some(failure));
    let whole = agent.run(QUERY).await.expect("a result");
    assert_eq!((whole.source, whole.is_reused()), (ResultSource::FinalResults, false));
    assert!(agent.run(QUERY).await.expect("a result").is_reused());

    // At the step limit it would end there again.
    let ended = deciding(|_, _| retrieve("wind")).await;
    let searching = chat(&ended);
    let agent = Agent::new(&docs, &searching).traces(&traces).max_steps(1).selection(false);
    let first = agent.run(QUERY).await.expect("a result");
    assert_eq!(first.failure.map(|failure| failure.kind), Some(FailureKind::MaxSteps));
    assert!(agent.run(QUERY).await.expect("a result").is_reused());
    assert_eq!(ended.requests().len(), 1);
}

#[tokio::test]
async fn a_selection_that_broke_off_is_the_end_of_its_run_and_run_again() {
    for (broken, kind) in [
        (Turn::Refuse(401, "{}".to_owned()), FailureKind::LlmCallFailed),
        (Turn::Hang, FailureKind::TimeLimit),
        (Turn::Hang, FailureKind::Cancelled),
    ] {
        let (dir, _db, docs) = docs(60);
        let traces = dir.path().join("t");
        let cancel = Cancel::new();
        let flag = cancel.clone();
        let server = deciding(move |at, body| match (at, offered(body).len()) {
            // The only step of the search, then the selection.
            (0, _) | (_, 3) => retrieve("wind"),
            (1, _) => {
                if kind == FailureKind::Cancelled {
                    flag.cancel();
                }
                broken.clone()
            }
            _ => select(&first(body, 10)),
        })
        .await;
        let model = chat(&server);
        let agent = |cancel: &Cancel| {
            let agent = Agent::new(&docs, &model).traces(&traces).max_steps(1).cancel(cancel);
            if kind == FailureKind::TimeLimit {
                return agent.deadline(Duration::from_secs(5));
            }
            agent
        };
        let ended = agent(&cancel).run(QUERY).await.expect("a result");
        assert_eq!(ended.source, ResultSource::Rrf);
        let failure = ended.failure.expect("a failure");
        assert_eq!((failure.kind, failure.step), (kind, 2));
        let held = ended.trace.selection.expect("a selection").failure;
        assert_eq!(held, Some(failure));
        // A trace that has it in the selection alone is not used either.
        let path = files(&traces)[0].clone();
        let mut old = AgentTrace::read(&path).expect("a trace");
        let lasting = old.outcome.failure.as_mut().expect("a failure");
        lasting.kind = FailureKind::MaxSteps;
        old.write(&path).expect("a file");
        let whole = agent(&Cancel::new()).run(QUERY).await.expect("a result");
        assert_eq!((whole.source, whole.is_reused()), (ResultSource::SelectionAgent, false));
        assert_eq!(whole.failure.map(|failure| failure.kind), Some(FailureKind::MaxSteps));
        assert!(agent(&Cancel::new()).run(QUERY).await.expect("a result").is_reused());
    }
}

#[tokio::test]
async fn a_damaged_trace_is_no_trace_and_is_replaced() {
    let (dir, _db, docs) = docs(60);
    let traces = dir.path().join("t");
    let server = searching().await;
    let model = chat(&server);
    let agent = Agent::new(&docs, &model).traces(&traces);
    let first = agent.run(QUERY).await.expect("a result");
    let path = files(&traces)[0].clone();
    let whole = fs::read(&path).expect("the trace");
    let cuts = (0..whole.len()).step_by(whole.len() / 40 + 1).map(|end| whole[..end].to_vec());
    for damaged in
        cuts.chain([b"[]".to_vec(), b"\xff\xfe".to_vec(), b"{\"trace_version\": 1}".to_vec()])
    {
        fs::write(&path, &damaged).expect("a file");
        let error = AgentTrace::read(&path).expect_err("damaged");
        assert!(matches!(error, TraceError::Json { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let mut newer: Value = serde_json::from_slice(&whole).expect("JSON");
    newer["trace_version"] = json!(2);
    fs::write(&path, newer.to_string()).expect("a file");
    let error = AgentTrace::read(&path).expect_err("a newer one");
    assert!(matches!(error, TraceError::Version { found: 2, .. }), "{error}");

    // Numbers that no run has are no reason to stumble.
    newer["trace_version"] = json!(1);
    newer["outcome"]["took_ms"] = json!(1e300);
    newer["outcome"]["prompt_tokens"] = json!(u64::MAX);
    fs::write(&path, newer.to_string()).expect("a file");
    let odd = agent.run(QUERY).await.expect("a result");
    assert!(odd.is_reused() && odd.took.is_zero());
    fs::write(&path, &whole[..whole.len() / 2]).expect("a file");

    let calls = server.requests().len();
    let again = agent.run(QUERY).await.expect("a result");
    assert_eq!(again.trace_use, TraceUse::Written(path.clone()));
    assert_eq!((server.requests().len(), again.ids), (calls + 3, first.ids));
    assert!(agent.run(QUERY).await.expect("a result").is_reused());
    assert_eq!(files(&traces), std::slice::from_ref(&path));
    assert!(AgentTrace::read(dir.path().join("none.json")).is_err());

    // A folder that cannot be made costs the trace, not the result.
    let blocked = Agent::new(&docs, &model).traces(path.join("below"));
    let result = blocked.run(QUERY).await.expect("a result");
    assert!(matches!(result.trace_use, TraceUse::Failed(_)), "{:?}", result.trace_use);
}

#[tokio::test]
async fn a_run_that_a_commit_came_into_is_not_used_again() {
    let (dir, _db, docs) = docs(60);
    let writer: Collection = docs.clone();
    let server = deciding(move |at, body| match at {
        0 => {
            writer.upsert(Record::new("late").text("wind")).expect("a commit");
            retrieve("wind")
        }
        _ => finish(&first(body, 10)),
    })
    .await;
    let model = chat(&server);
    let agent = Agent::new(&docs, &model).traces(dir.path().join("t"));
    let first = agent.run(QUERY).await.expect("a result");
    assert!(first.trace.collection.changed);
    let second = agent.run(QUERY).await.expect("a result");
    assert!(!second.is_reused() && !second.trace.collection.changed);
    assert!(agent.run(QUERY).await.expect("a result").is_reused());
    // Nor would it be if the collection came back to what it was.
    let path = &files(&dir.path().join("t"))[0];
    let mut trace = AgentTrace::read(path).expect("a trace");
    trace.collection.changed = true;
    trace.write(path).expect("a trace");
    assert!(!agent.run(QUERY).await.expect("a result").is_reused());
}

#[tokio::test]
async fn a_run_without_its_reranker_is_a_run_but_not_used_again() {
    let (dir, _db, docs) = docs(60);
    let server = searching().await;
    let model = chat(&server);
    let reranker = OverlapReranker::new(Fate::FailAt(1));
    let agent = Agent::new(&docs, &model).reranker(&reranker).traces(dir.path().join("t"));
    let first = agent.run(QUERY).await.expect("a result");
    assert_eq!((first.source, reranker.calls()), (ResultSource::FinalResults, 2));
    let left_out = first.trace.retrievals.iter().map(|one| one.left_out.as_slice());
    assert_eq!(left_out.collect::<Vec<_>>(), [&[][..], &["rerank: no opinion".to_owned()]]);
    let counts = first.trace.retrievals.iter();
    let counts = counts.map(|one| (one.requests, one.rerank_requests, one.rerank_passages > 0));
    assert_eq!(counts.collect::<Vec<_>>(), [(1, 1, true), (0, 0, false)]);
    assert!(!agent.run(QUERY).await.expect("a result").is_reused());
    assert!(agent.run(QUERY).await.expect("a result").is_reused());
}

#[tokio::test]
async fn a_trace_holds_the_course_and_no_key() {
    let (dir, _db, docs) = docs(60);
    let key = "nvapi-canary-of-the-agent";
    let server = deciding(move |at, body| match at {
        // A server that echoes what it was sent.
        0 => call("think", &json!({ "thought": format!("my key is {key}") })),
        1 => retrieve("wind"),
        2 => finish(&first(body, 10)),
        _ => Turn::Refuse(401, format!("{{\"error\": \"bad key {key}\"}}")),
    })
    .await;
    let nim = server.builder().api_key(key).build().expect("a client");
    let model = nim.chat("test/agent");
    let traces = dir.path().join("t");
    let agent = Agent::new(&docs, &model).traces(&traces).instruction("Find sheets");
    let result = agent.run(QUERY).await.expect("a result");
    agent.run("another question").await.expect("a result");
    let written = files(&traces);
    assert_eq!(written.len(), 2);
    for path in &written {
        let text = fs::read_to_string(path).expect("a trace");
        assert!(!text.contains("canary"), "{text}");
    }
    let trace = &result.trace;
    assert_eq!(trace.query.text, QUERY);
    assert_eq!(
        (trace.collection.file.as_str(), trace.collection.name.as_str()),
        ("sea.portolan", "docs")
    );
    assert_eq!((trace.model.as_str(), trace.served_model.as_deref()), ("test/agent", Some("m")));
    assert_eq!(trace.settings.instruction.as_deref(), Some("Find sheets"));
    assert!(
        trace.messages[1]["content"]
            .as_str()
            .expect("words")
            .starts_with("Instruct: Find sheets\nQuery:\n")
    );
    let roles: Vec<&str> =
        trace.messages.iter().map(|message| message["role"].as_str().expect("a role")).collect();
    let expected =
        ["system", "user", "assistant", "tool", "assistant", "tool", "assistant", "tool"];
    assert_eq!(roles, expected);
    assert_eq!(trace.outcome.ids, result.ids);
    let sums = trace.steps.iter().map(|step| step.prompt_tokens).sum::<u64>();
    assert_eq!(sums, trace.outcome.prompt_tokens);
}

#[tokio::test]
async fn conversations_of_good_runs_are_exported_in_chat_format() {
    let (dir, _db, docs) = docs(60);
    let traces = dir.path().join("t");
    let server = deciding(|_, body| {
        let asked = body["messages"][1]["content"].as_str().unwrap_or_default().to_owned();
        let said = body["messages"].as_array().map_or(0, Vec::len);
        let is = |query: &str| asked.starts_with(&format!("Query:\n{query}\n"));
        let ends = is("compass") || said >= 4;
        match (offered(body).len(), said) {
            (2, _) => select(&first(body, 10)),
            (_, 2) if is("vellum") => say("words"),
            _ if ends && !is("shoal") => finish(&first(body, 10)),
            _ => retrieve("wind"),
        }
    })
    .await;
    let model = chat(&server);
    let agent = Agent::new(&docs, &model).traces(&traces).max_steps(4);
    // In order at once, after a nudge, and by a selection.
    for (id, text) in [("a", "compass"), ("b", "vellum"), ("c", "shoal")] {
        agent.run(AgentQuery::new(text).id(id)).await.expect("a result");
    }
    fs::write(traces.join("notes.json"), "{}").expect("a file");
    fs::write(traces.join("notes.txt"), "{}").expect("a file");
    let lines = |export: AgentExport<'_>| {
        let mut bytes = Vec::new();
        let report = export.run(&mut bytes).expect("an export");
        let text = String::from_utf8(bytes).expect("text");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((report.examples, report.traces), (lines.len(), 3));
        assert_eq!(report.unreadable.len(), 1);
        lines
    };
    let all = || AgentExport::new(&traces);
    let plain = lines(all());
    assert_eq!(plain.len(), 2);
    let roles = |line: &Value| -> Vec<String> {
        let messages = line["messages"].as_array().expect("messages").iter();
        messages.map(|message| message["role"].as_str().expect("a role").to_owned()).collect()
    };
    assert_eq!(roles(&plain[0]), ["system", "user", "assistant", "tool"]);
    assert_eq!(offered(&plain[0]), ["retrieve", "final_results", "think"]);
    let end = &plain[0]["messages"][2]["tool_calls"][0]["function"];
    assert_eq!(end["name"], "final_results");
    let arguments: Value =
        serde_json::from_str(end["arguments"].as_str().expect("text")).expect("JSON");
    assert_eq!(arguments["doc_ids"].as_array().map(Vec::len), Some(10));
    assert!(!plain[0].to_string().contains("reasoning_content"));
    assert_eq!(lines(all().clean(true)), plain[..1]);
    assert_eq!(lines(all().keep(|trace| trace.query.id.as_deref() == Some("b"))), plain[1..]);
    let thoughts = lines(all().reasoning(true));
    assert_eq!(thoughts[0]["messages"][2]["reasoning_content"], "let me see");
    // The answer in words came without a thought, the one after it with one.
    assert!(thoughts[1]["messages"][2].get("reasoning_content").is_none());
    assert_eq!(thoughts[1]["messages"][4]["reasoning_content"], "let me see");
    let selected = lines(all().sources([ResultSource::SelectionAgent]));
    assert_eq!(selected.len(), 1);
    assert_eq!(offered(&selected[0]), ["think", "log_selected_documents"]);
    assert!(AgentExport::new(dir.path().join("none")).run(Vec::new()).is_err());
}

#[tokio::test]
async fn a_shipped_file_is_searched_without_a_lock_and_traced_alike() {
    let (dir, db, docs) = docs(30);
    fill(&docs, 40);
    let path = db.path().to_path_buf();
    drop((docs, db));
    let shipped = Database::open_read_only(&path).expect("a file");
    let docs = shipped.collection("docs").expect("a collection");
    let server = searching().await;
    let model = chat(&server);
    let agent = Agent::new(&docs, &model).traces(dir.path().join("t"));
    let first = agent.run(QUERY).await.expect("a result");
    assert_eq!(first.trace.collection.records, 40);
    drop(shipped);
    let again = Database::open(&path).expect("a file").collection("docs").expect("a collection");
    let again = Agent::new(&again, &model).traces(dir.path().join("t"));
    assert!(again.run(QUERY).await.expect("a result").is_reused());
}
