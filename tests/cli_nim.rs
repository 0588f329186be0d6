//! `portolan nim doctor` against loopback services: what it finds, says and exits with. And what
//! `portolan eval` asks of models.

#![cfg(feature = "cli")]

#[path = "nim_client/server.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod server;

use std::process::{Command, Output};

use portolan::{CollectionOptions, Database, Metric, ModelContract, Record, Roles};
use serde_json::{Value, json};

use server::{Request, Server, Step, answer, ok};

const KEY: &str = "nvapi-canary-0123456789";

async fn doctor(url: &str, args: &[&str]) -> Output {
    portolan(url, &[&["nim", "doctor"][..], args].concat()).await
}

/// Runs the command on another thread: the server lives in this runtime.
async fn portolan(url: &str, args: &[&str]) -> Output {
    portolan_behind(None, url, args).await
}

/// The same in an environment that names a proxy.
async fn portolan_behind(proxy: Option<&str>, url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(args);
    command.env_remove("NVIDIA_APPEND_API_VERSION");
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    command.env("NVIDIA_BASE_URL", url).env("NVIDIA_API_KEY", KEY);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].into_iter().filter(|_| proxy.is_some()) {
        command.envs([name, &name.to_lowercase()].map(|name| (name, proxy.unwrap_or_default())));
    }
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("a thread").expect("the command")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("utf-8")
}

/// Services that are well: a query and a passage get different vectors of two dimensions.
fn well(request: &Request) -> Step {
    if request.body == b"{}" {
        return answer(422, "", r#"{"detail":[{"loc":["body","model"],"msg":"field required"}]}"#);
    }
    match request.line.as_str() {
        "GET /v1/health/ready HTTP/1.1" => ok(&json!({"ready": true})),
        "GET /v1/models HTTP/1.1" => ok(&json!({"data": [{"id": "e"}, {"id": "r"}, {"id": "c"}]})),
        "POST /v1/embeddings HTTP/1.1" => {
            let body = request.json();
            let vector = if body["input_type"] == "query" { [0.6, 0.8] } else { [1.0, 0.0] };
            ok(&json!({"data": [{"index": 0, "embedding": vector}], "model": "e"}))
        }
        "POST /v1/ranking HTTP/1.1" => {
            ok(&json!({"rankings": [{"index": 1, "logit": -9}, {"index": 0, "logit": 9}]}))
        }
        "POST /v1/chat/completions HTTP/1.1" => {
            let call = json!({"id": "a", "function": {"name": "capital",
                "arguments": "{\"city\":\"Paris\"}"}});
            ok(&json!({"choices": [{"message": {"tool_calls": [call]},
                "finish_reason": "tool_calls"}]}))
        }
        other => panic!("{other}"),
    }
}

fn checks(output: &Output) -> (bool, Vec<Value>) {
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = report["checks"].as_array().cloned().expect("a list");
    (report["ok"].as_bool().expect("a verdict"), list)
}

fn check<'a>(list: &'a [Value], service: &str, name: &str) -> &'a Value {
    let found = list.iter().find(|check| check["service"] == service && check["check"] == name);
    found.unwrap_or_else(|| panic!("no {service} {name} in {list:?}"))
}

#[tokio::test]
async fn services_that_are_well_pass_every_check() {
    let server = Server::start(|_, request| well(request)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("db.portolan");
    let contract = ModelContract::new("e").roles(Roles::InputType);
    let options = CollectionOptions::new(2, Metric::Cosine).model(contract);
    Database::create(&db).expect("a file").create_collection("docs", options).expect("one");
    let db = db.display().to_string();
    let args = ["--embed-model", "e", "--rerank-model", "r", "--chat-model", "c", "--db", &db];
    let output = doctor(&server.url, &[&args[..], &["--json"]].concat()).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let (is_well, list) = checks(&output);
    assert!(is_well && list.iter().all(|check| check["outcome"] == "ok"), "{list:?}");
    assert_eq!(list.len(), 3 + 3 + 3 + 3 + 1 + 1);
    let query = check(&list, "embedding", "a query");
    assert_eq!(query["found"], "2 dimensions, norm 1.0000, unit length");

    let shown = text(&doctor(&server.url, &args).await.stdout);
    assert!(shown.contains("ok      embedding the collection: 2 dimensions, they fit"), "{shown}");
    assert!(shown.ends_with("all is well\n"), "{shown}");

    // Prefixes would make other vectors than those of the collection.
    let prefixes = ["--query-prefix", "q: ", "--passage-prefix", "p: "];
    let shown = text(&doctor(&server.url, &[&args[..], &prefixes].concat()).await.stdout);
    assert!(shown.contains("it was filled with roles by input type, now"), "{shown}");
}

#[tokio::test]
async fn a_proxy_that_the_environment_names_gets_no_request() {
    let server = Server::start(|_, request| well(request)).await;
    let proxy = Server::start(|_, request| well(request)).await;
    let args = ["nim", "doctor", "--embed-model", "e"];
    let output = portolan_behind(Some(&proxy.url), &server.url, &args).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(!server.requests().is_empty() && proxy.requests().is_empty());
}

#[tokio::test]
async fn a_deprecated_model_is_told_of() {
    let server = Server::start(|_, request| well(request)).await;
    let model = "snowflake/arctic-embed-l";
    let output = doctor(&server.url, &["--embed-model", model, "--json"]).await;
    let (_, list) = checks(&output);
    let noted = check(&list, "embedding", "the model");
    assert_eq!((&noted["outcome"], &noted["found"]), (&json!("note"), &json!("it is deprecated")));
}

#[tokio::test]
async fn a_bad_key_and_a_wrong_model_are_told_with_their_cure() {
    let server = Server::start(|_, _| {
        answer(401, "", format!(r#"{{"title":"Unauthorized","detail":"{KEY} is no key"}}"#))
    })
    .await;
    let output = doctor(&server.url, &["--embed-model", "e"]).await;
    let shown = text(&output.stdout);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(1), "error: 1 check failed\n".to_owned())
    );
    assert!(shown.contains("FAILED  embedding address and key: "), "{shown}");
    assert!(shown.contains("-> no key was sent, or it is wrong, cut off or expired"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!(server.requests().len(), 1);

    let server = Server::start(|_, request| match request.line.as_str() {
        "POST /v1/embeddings HTTP/1.1" if request.body != b"{}" => {
            answer(404, "", r#"{"status":404,"title":"Not Found","detail":"no such model"}"#)
        }
        _ => well(request),
    })
    .await;
    let output = doctor(&server.url, &["--embed-model", "x", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let (is_well, list) = checks(&output);
    assert!(!is_well);
    let models = check(&list, "embedding", "models");
    assert_eq!(
        (&models["outcome"], &models["found"]),
        (&json!("note"), &json!("x is not among the 3 listed: e, r, c"))
    );
    let query = check(&list, "embedding", "a query");
    assert_eq!((&query["outcome"], &query["kind"]), (&json!("failed"), &json!("not_found")));
    assert!(query["cure"].as_str().is_some_and(|cure| cure.contains("model name is wrong")));
}

#[tokio::test]
async fn dimensions_that_do_not_fit_and_ignored_input_types_are_found() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "POST /v1/embeddings HTTP/1.1" if request.body != b"{}" => {
            ok(&json!({"data": [{"index": 0, "embedding": [3, 4]}], "model": "other"}))
        }
        _ => well(request),
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("db.portolan");
    let options = CollectionOptions::new(3, Metric::Cosine);
    Database::create(&db).expect("a file").create_collection("docs", options).expect("one");
    let db = db.display().to_string();
    let output = doctor(&server.url, &["--embed-model", "e", "--db", &db, "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let (_, list) = checks(&output);
    assert_eq!(
        check(&list, "embedding", "a query")["found"],
        "2 dimensions, norm 5.0000, not of unit length"
    );
    assert_eq!(check(&list, "embedding", "served model")["outcome"], "note");
    assert_eq!(check(&list, "embedding", "a passage")["outcome"], "note");
    let collection = check(&list, "embedding", "the collection");
    assert_eq!(collection["outcome"], "failed");
    assert!(collection["cure"].as_str().is_some_and(|cure| cure.contains("--embed-dim 3")));

    // The length that is asked for must come.
    let output = doctor(&server.url, &["--embed-model", "e", "--dimensions", "3", "--json"]).await;
    let (_, list) = checks(&output);
    assert_eq!(check(&list, "embedding", "a query")["kind"], "invalid_response");
}

#[tokio::test]
async fn each_service_gets_the_key_in_the_variable_that_its_option_names() {
    let server = Server::start(|_, request| well(request)).await;
    let models = ["--embed-model", "e", "--rerank-model", "r", "--chat-model", "c"];
    // Any variable that is set: it holds what the commands of these tests are run with.
    let keys = ["--rerank-key-env", "NVIDIA_BASE_URL", "--chat-key-env", "none"];
    let output = doctor(&server.url, &[&models[..], &keys].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for (service, key) in
        [("/embeddings", Some(KEY)), ("/ranking", Some(&*server.url)), ("/chat/", None)]
    {
        let sent = server.requests();
        let mut of = sent.iter().filter(|one| one.line.contains(service)).peekable();
        assert!(of.peek().is_some(), "{service}");
        let bearer = key.map(|key| format!("Bearer {key}"));
        assert!(of.all(|one| one.header("authorization") == bearer.as_deref()), "{service}");
    }
    let output = doctor(&server.url, &["--embed-model", "e", "--embed-key-env", "NO_SUCH_1"]).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let message = text(&output.stderr);
    assert!(message.contains("--embed-key-env: the variable NO_SUCH_1 that it names"), "{message}");
    let output = doctor(&server.url, &["--embed-model", "e", "--embed-key-env", KEY]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains("canary"), "{output:?}");
}

#[tokio::test]
async fn nobody_there_and_wrong_usage_are_told_apart() {
    let output = doctor("http://127.0.0.1:1", &["--rerank-model", "r"]).await;
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(shown.contains("-> nothing listens there: start the container"), "{shown}");
    let output = doctor("http://127.0.0.1:1", &[]).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let output = doctor("http://example.com", &["--chat-model", "c"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("--allow-http"), "{output:?}");
}

#[tokio::test]
async fn settings_that_make_no_client_are_a_check_that_failed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    for name in ["NVIDIA_API_KEY", "NVIDIA_BASE_URL"] {
        command.env_remove(name);
    }
    let args = ["nim", "doctor", "--rerank-model", "r", "--json"];
    let output = tokio::task::spawn_blocking(move || command.args(args).output());
    let output = output.await.expect("the thread").expect("the command");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (ok, list) = checks(&output);
    let settings = check(&list, "client", "settings");
    assert_eq!((ok, list.len(), &settings["kind"]), (false, 1, &"missing_key".into()));
    assert!(settings["cure"].as_str().is_some_and(|cure| cure.contains("NVIDIA_API_KEY")));
    let wrong = [
        (vec!["--embed-model", "e", "--embed-url", "nowhere"], "--embed-url is not an absolute"),
        (vec!["--chat-model", "c", "--chat-url", "ftp://h"], "--chat-url must start with"),
        (vec!["--embed-model", "e", "--proxy", "http://u:p@h"], "--proxy sends text unencrypted"),
    ];
    for (args, words) in wrong {
        let shown = text(&doctor("http://127.0.0.1:1", &args).await.stdout);
        assert!(shown.contains(&format!("FAILED  client settings: {words}")), "{shown}");
    }
    let shown = text(&doctor("nonsense", &["--chat-model", "c"]).await.stdout);
    assert!(shown.contains("settings: NVIDIA_BASE_URL is not an absolute url"), "{shown}");
}

#[tokio::test]
async fn eval_asks_the_models_as_queries_do_and_reranks_as_many_as_it_was_told() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "POST /v1/embeddings HTTP/1.1" => {
            ok(&json!({"data": [{"index": 0, "embedding": [1.0, 0.0]}], "model": "e"}))
        }
        "POST /v1/ranking HTTP/1.1" => {
            // The last is the best.
            let passages = request.json()["passages"].as_array().map_or(0, Vec::len);
            let ranked = (0..passages).rev().map(|at| json!({"index": at, "logit": at}));
            ok(&json!({"rankings": ranked.collect::<Vec<_>>()}))
        }
        other => panic!("{other}"),
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (db, queries, qrels) = (path("db.portolan"), path("q.jsonl"), path("qrels.tsv"));
    std::fs::write(&queries, "{\"_id\":\"q\",\"text\":\"which?\"}\n").expect("written");
    std::fs::write(&qrels, "query-id\tcorpus-id\tscore\nq\td2\t1\n").expect("written");
    let file = Database::create(&db).expect("a file");
    for model in ["e", "another"] {
        let contract = ModelContract::new(model).roles(Roles::InputType);
        let options = CollectionOptions::new(2, Metric::Cosine).model(contract);
        let docs = file.create_collection(model, options).expect("a collection");
        for (at, y) in [0.0_f32, 0.1, 0.2, 0.3, 0.4].into_iter().enumerate() {
            let record = Record::new(format!("d{at}")).text("a text").vector([1.0, y]);
            docs.upsert(record).expect("stored");
        }
    }
    drop(file);
    let args = ["eval", &db, "--queries", &queries, "--qrels", &qrels, "--embed-model", "e"];
    let args = [&args[..], &["--exact", "--json", "--collection"]].concat();
    let reranked = ["e", "--rerank-model", "r", "--candidates", "3"];
    let output = portolan(&server.url, &[&args[..], &reranked].concat()).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let modes = report["modes"].as_array().expect("a list").iter();
    let modes: Vec<(&str, f64, f64)> = modes
        .map(|of| {
            let number = |name: &str| of[name].as_f64().expect("a number");
            (of["mode"].as_str().expect("a name"), number("mrr@10"), number("recall@100"))
        })
        .collect();
    let third = 1.0 / 3.0;
    assert_eq!(modes, [("dense", third, 1.0), ("reranked", 1.0, 1.0), ("exact", third, 1.0)]);
    let requests = server.requests();
    let asked = |line: &str| requests.iter().filter(|one| one.line.contains(line)).count();
    assert_eq!((asked("/embeddings"), asked("/ranking")), (1, 1));
    assert_eq!(requests[1].json()["passages"].as_array().map(Vec::len), Some(3));

    let output = portolan(&server.url, &[&args[..], &["another"]].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("another"), "{message}");
}

/// A service that refuses requests with a text about sharks.
fn embeds_no_sharks(request: &Request) -> Step {
    let body = request.json();
    let texts = body["input"].as_array().expect("texts").clone();
    if texts.iter().any(|text| text.as_str().is_some_and(|text| text.contains("shark"))) {
        return answer(400, "", r#"{"detail": "no sharks"}"#);
    }
    let vectors = (0..texts.len()).map(|at| json!({"index": at, "embedding": [1.0, 0.5]}));
    ok(&json!({"data": vectors.collect::<Vec<_>>(), "model": "e"}))
}

#[tokio::test]
async fn an_ingest_tells_its_counts_also_where_documents_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lines = [("a", "a whale"), ("b", "a shark"), ("c", "a seal")];
    let lines = lines.map(|(id, text)| json!({"_id": id, "text": text}).to_string());
    std::fs::write(path("docs.jsonl"), lines.join("\n")).expect("a file");
    let server = Server::start(|_, request| embeds_no_sharks(request)).await;
    let (db, docs) = (path("kb.portolan"), path("docs.jsonl"));
    let args = ["ingest", &db, &docs, "--embed-model", "e", "--timeout-ms", "120000", "--json"];
    let run = |more: &[&str]| {
        let args = [&args[..], more].concat();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let url = server.url.clone();
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            portolan(&url, &args).await
        }
    };
    // Before anything is sent, or stored.
    let nowhere = run(&["--rejects", &path("nowhere/bad.jsonl")]).await;
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere.stderr).contains("is in no folder that exists"));
    assert!(server.requests().is_empty() && !folder.path().join("kb.portolan").exists());
    let refused = run(&[]).await;
    assert_eq!(refused.status.code(), Some(1));
    let message = text(&refused.stderr);
    assert!(
        message.contains("1 documents were set aside") && message.contains("(b: "),
        "{message}"
    );
    let done: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!((&done["embedded"], &done["rejected"]), (&json!(2), &json!(1)), "{done}");
    let bad = path("bad.jsonl");
    let listed = run(&["--rejects", &bad]).await;
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    let done: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!((&done["unchanged"], &done["rejected"]), (&json!(2), &json!(1)), "{done}");
    let bad = std::fs::read_to_string(bad).expect("the rejects");
    assert!(bad.starts_with("{\"_id\":\"b\",") && bad.lines().count() == 1, "{bad}");
}
