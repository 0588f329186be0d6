//! Where the key goes and where it must not; encryption.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan::nim::{ConfigFault, InputType, Message, Nim, NimError, Service};
use portolan::{CacheOptions, CollectionOptions, DatabaseOptions, Metric, Record};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::server::{Server, answer, embedded, ok};

const KEY: &str = "nvapi-canary-0123456789";

#[tokio::test]
async fn the_key_is_sent_as_a_bearer_and_only_when_there_is_one() {
    let server = Server::start(|_, request| embedded(request)).await;
    for (key, header) in [(KEY, Some("Bearer nvapi-canary-0123456789")), ("  ", None)] {
        let nim = server.builder().api_key(key).build().expect("a client");
        nim.embedder("m").embed(&["a"], InputType::Query).await.expect("a vector");
        let sent = server.requests();
        assert_eq!(sent.last().expect("a request").header("authorization"), header);
    }
}

#[tokio::test]
async fn a_service_with_a_key_of_its_own_gets_no_other() {
    let own = "nvapi-canary-of-ranking";
    let server = Server::start(move |_, request| match request.line.contains("/ranking") {
        true => answer(403, "", json!({"detail": format!("{own} or {KEY}?")}).to_string()),
        false if request.line.contains("/chat/") => {
            ok(&json!({"choices": [{"message": {"content": format!("{own} {KEY}")}}]}))
        }
        false => embedded(request),
    })
    .await;
    let nim = server.builder().api_key(KEY).rerank_key(own).chat_key(" ");
    let nim = nim.build().expect("a client");
    nim.embedder("m").embed(&["a"], InputType::Query).await.expect("a vector");
    let refused = nim.reranker("m").rank("q", &["a"]).await.expect_err("a refusal");
    let shown = format!("{refused} {refused:?} {nim:?}");
    assert!(shown.contains("[redacted] or [redacted]?") && !shown.contains("canary"), "{shown}");
    let answer = nim.chat("m").complete(&[Message::user("u")]).await.expect("an answer");
    assert_eq!(answer.content, "[redacted] [redacted]");
    let sent = server.requests();
    let sent: Vec<_> = sent.iter().map(|one| one.header("authorization")).collect();
    let bearers = [KEY, own].map(|key| format!("Bearer {key}"));
    assert_eq!(sent, [Some(&*bearers[0]), Some(&*bearers[1]), None]);
}

#[tokio::test]
async fn an_echoed_key_is_taken_out_of_every_error() {
    let echoes = [
        answer(401, "", format!(r#"{{"detail":"bad key {KEY}"}}"#)),
        answer(500, &format!("x-request-id: {KEY}\r\n"), format!("<p>{KEY}{KEY}</p>")),
        answer(400, "", "x".repeat(500) + KEY),
        answer(400, "", json!({"error": {"message": [KEY], "other": KEY}}).to_string()),
        answer(200, "", format!(r#"{{"data":"{KEY}"}}"#)),
        answer(200, "", format!(r#"{{"{KEY}":{KEY}}}"#)),
        answer(413, "", KEY),
        answer(302, &format!("location: https://h/{KEY}\r\n"), ""),
    ];
    for step in echoes {
        let bytes = step.bytes;
        let shown_bytes = String::from_utf8_lossy(&bytes).into_owned();
        let server = Server::always(bytes, crate::server::Then::Keep).await;
        let nim = server.builder().api_key(KEY).build().expect("a client");
        let model = nim.embedder("m");
        let error = model.embed(&["a"], InputType::Query).await.expect_err(&shown_bytes);
        let shown = format!("{error} {error:?} {:?} {nim:?} {model:?}", error.reply());
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn an_echoed_key_is_taken_out_of_results_too() {
    let server = Server::start(|n, _| match n {
        0 => ok(&json!({"data": [{"index": 0, "embedding": [1]}], "model": KEY})),
        _ => ok(&json!({"data": [{"id": KEY}]})),
    })
    .await;
    let nim = server.builder().api_key(KEY).build().expect("a client");
    let found = nim.embedder("m").embed(&["a"], InputType::Query).await.expect("a vector");
    assert_eq!(found.served_model.as_deref(), Some("[redacted]"));
    let models = nim.models(Service::Ranking).await.expect("a list");
    assert_eq!(models, ["[redacted]"]);
}

#[tokio::test]
async fn a_key_that_is_a_short_word_is_left_in_answers_and_a_header_is_not() {
    let server = Server::start(|_, _| {
        let content = "EMPTY is no key, tenant-4711 is";
        ok(&json!({"choices": [{"message": {"content": content}}]}))
    })
    .await;
    let builder = server.builder().api_key("EMPTY").header("x-tenant", "tenant-4711");
    let nim = builder.build().expect("a client");
    let answer = nim.chat("m").complete(&[Message::user("u")]).await.expect("an answer");
    assert_eq!(answer.content, "EMPTY is no key, [redacted] is");
}

#[tokio::test]
async fn hosted_services_need_a_key_and_say_so() {
    let error = Nim::builder().build().expect_err("hosted by default");
    assert!(matches!(error, NimError::MissingKey { .. }));
    assert!(error.to_string().contains("set NVIDIA_API_KEY"));

    let local = Nim::builder().embed_url("http://localhost:1").build().expect("half local");
    let found = local.reranker("nvidia/r.1").rank("q", &["a"]).await;
    let url = "https://ai.api.nvidia.com/v1/retrieval/nvidia/r_1/reranking".to_owned();
    assert_eq!(found, Err(NimError::MissingKey { url: url.clone() }));
    // The key of another service does not serve.
    let other = Nim::builder().embed_key(KEY).build().expect("a key for one service");
    let found = other.reranker("nvidia/r.1").rank("q", &["a"]).await;
    assert_eq!(found, Err(NimError::MissingKey { url }));
}

#[test]
fn plain_http_to_other_machines_needs_consent() {
    let remote = || Nim::builder().base_url("http://nim.example.com:8000/v1").api_key(KEY);
    let setting = "base_url";
    let refused = remote().build().expect_err("no consent");
    assert_eq!(refused, NimError::Config(ConfigFault::InsecureHttp { setting }));
    assert!(remote().allow_insecure_http(true).build().is_ok());
    assert!(Nim::builder().base_url("https://nim.example.com").build().is_ok());
    let inside = Nim::builder().base_url(format!("https://u:{KEY}@h")).build();
    let inside = inside.expect_err("a password in the url");
    assert_eq!(inside, NimError::Config(ConfigFault::UrlUserInfo { setting }));
    assert!(!format!("{inside} {inside:?}").contains("canary"));
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_over_https() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = socket.shutdown().await;
        }
    });
    let nim = Nim::builder().base_url(&url).api_key(KEY).build().expect("a client");
    let found = nim.embedder("m").embed(&["a"], InputType::Query).await;
    assert!(matches!(found, Err(NimError::Tls { .. })), "{found:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    task.abort();
}

#[tokio::test]
async fn secrets_never_reach_the_database_file() {
    let header = "canary-of-a-header";
    let server = Server::start(move |_, request| {
        let inputs = request.json()["input"].as_array().map_or(0, Vec::len);
        if inputs == 0 {
            let rankings: Vec<_> = (0..request.json()["passages"].as_array().map_or(0, Vec::len))
                .map(|index| json!({"index": index, "logit": 1}))
                .collect();
            return ok(&json!({"rankings": rankings, "model": KEY, "id": header}));
        }
        let item = |index| json!({"index": index, "embedding": [1, 2], "note": KEY});
        let data: Vec<_> = (0..inputs).map(item).collect();
        match request.inputs().iter().any(|text| text.contains("refused")) {
            true => answer(400, "", format!(r#"{{"error":"{KEY} {header} is no key"}}"#)),
            false => ok(&json!({"data": data, "model": header, "id": KEY})),
        }
    })
    .await;
    let builder = server.builder().api_key(KEY).header("x-org", header);
    let nim = builder.build().expect("a client");
    let (embedder, reranker) = (nim.embedder("m"), nim.reranker("r"));
    let dir = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions::new().cache(CacheOptions::new());
    let db = options.open(dir.path().join("p.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine));
    let docs = docs.expect("a collection");
    let texts = ["one", "two", "refused", "four"];
    let records = texts.iter().enumerate().map(|(id, text)| Record::new(id as i64).text(*text));
    let report = docs.ingest(records).embedder(&embedder).pending(true).run().await;
    let report = report.expect("an ingest");
    assert_eq!((report.progress.embedded, report.progress.rejected), (3, 1));
    let reason = &report.rejected[0].reason;
    assert!(reason.contains("[redacted] [redacted] is no key"), "{reason}");
    let query = docs.query("one").embedder(&embedder).reranker(&reranker);
    assert!(query.run().await.expect("an answer").report.reranked);
    assert_eq!(db.write_cache().expect("a commit"), 2);
    let sent = server.requests();
    assert!(sent.iter().all(|request| request.header("x-org") == Some(header)));
    drop((docs, db));
    let mut files = 0;
    for file in std::fs::read_dir(dir.path()).expect("the directory") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        files += 1;
    }
    assert!(files > 0);
}
