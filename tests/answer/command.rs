//! `portolan ask`.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::library::{completion, events, library, saying, told};
use crate::server::{Server, ok};

/// Runs the command on another thread: the server lives in this runtime.
async fn ask(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.arg("ask").args(args).args(["--chat-url", &format!("{url}/v1")]);
    command.env_remove("NVIDIA_API_KEY").env_remove("NVIDIA_BASE_URL");
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("a thread").expect("the command")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn words_are_printed_with_their_sources_and_what_they_lack() {
    let library = library();
    let db = library.folder.path().join("kb.portolan").display().to_string();
    let server = saying(&["Twice \u{1b}[31m a", " month [", "1", "]. Cheese [8]."]).await;
    let args = [&db, "when is a tide?", "--chat-model", "m", "-k", "2"];
    let output = ask(&server.url, &args).await;
    let (shown, warned) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{warned}");
    assert!(
        shown.starts_with("Twice  [31m a month [1]. Cheese.\n\n[1]  [9] a]  Spring\n"),
        "{shown}"
    );
    assert!(
        shown.contains("     Spring Spring tide: twice a month.\nnot cited: [2] b\n"),
        "{shown}"
    );
    assert!(shown.contains("search ") && shown.contains(", chat "), "{shown}");
    assert!(warned.contains("not given, left out: [8]"), "{warned}");
    assert!(warned.contains("sentences that cite nothing: 1"), "{warned}");
    assert_eq!(server.requests()[0].json()["stream"], true);

    let whole = ask(&server.url, &[&args[..], &["--no-stream"]].concat()).await;
    assert!(text(&whole.stdout).starts_with("Twice  [31m a month [1]. Cheese.\n\n[1]"));
    assert_eq!(server.requests()[1].json()["stream"], Value::Null);
}

#[tokio::test]
async fn scripts_get_the_answer_as_json() {
    let library = library();
    let db = library.folder.path().join("kb.portolan").display().to_string();
    let server = saying(&["Twice [1]. So. [3, 5]"]).await;
    let settings = ["--chat-temperature", "0.5", "--chat-max-tokens", "64", "--chat-effort", "low"];
    let args = [&db, "tide", "--chat-model", "m", "--json", "--context-tokens", "60"];
    let output = ask(&server.url, &[&args[..], &settings].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&said["answer"], &said["outcome"]), (&"Twice [1]. So.".into(), &"answered".into()));
    assert_eq!((&said["finish"], &said["cut"]), (&"stop".into(), &false.into()));
    let cited = serde_json::json!([{"start": 6, "end": 9, "number": 1, "id": "[9] a]", "rank": 1}]);
    assert_eq!(said["citations"], cited);
    assert_eq!(said["unknown_citations"][0]["marker"], "[3, 5]");
    assert_eq!(said["uncited"], serde_json::json!([{"start": 11, "end": 14}]));
    assert_eq!(said["sources"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&said["sources"][0]["cited"], &said["sources"][1]["cited"]),
        (&true.into(), &false.into())
    );
    assert_eq!(said["left_out"][0]["reason"], "budget");
    assert!(said["context_tokens"].as_u64().is_some_and(|tokens| tokens <= 60));
    assert_eq!(said["usage"]["total_tokens"], 100);
    let stages = said["stages"].as_array().expect("a list");
    assert_eq!((&stages[3]["stage"], &stages[3]["tokens"]), (&"chat".into(), &100.into()));
    let sent = server.requests()[0].json();
    assert_eq!((&sent["temperature"], &sent["max_tokens"]), (&0.5.into(), &64.into()));
    assert_eq!(sent["reasoning_effort"], "low");
}

#[tokio::test]
async fn an_end_that_is_not_the_model_s_own_is_warned_of() {
    let library = library();
    let db = library.folder.path().join("kb.portolan").display().to_string();
    for (reason, words, warning) in [
        (json!("stop"), "Twice [1].", None),
        (json!("length"), "Twice [1].", Some("the limit of tokens was reached")),
        (json!("content_filter"), "Twice [1].", Some("a content filter stopped the model")),
        (json!("tool_calls"), "Twice [1].", Some("stopped for \"tool_calls\"")),
        (json!("abort"), "Twice [1].", Some("stopped for \"abort\"")),
        (json!("stop"), " ", Some("the model answered with no words")),
    ] {
        let mut body = completion(words);
        body["choices"][0]["finish_reason"] = reason.clone();
        let server = Server::start(move |_, _| ok(&body)).await;
        let args = [&db, "tide", "--chat-model", "m", "--no-stream"];
        let output = ask(&server.url, &args).await;
        let warned = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{reason}: {warned}");
        match warning {
            Some(warning) => assert!(warned.contains(warning), "{reason}: {warned}"),
            None => assert_eq!(warned, ""),
        }
    }
}

#[tokio::test]
async fn the_models_of_a_command_share_its_limit_of_requests() {
    let library = library();
    let db = library.folder.path().join("kb.portolan").display().to_string();
    let server = Server::start(|_, request| match request.line.contains("/embeddings") {
        true => ok(&json!({"data": [{"index": 0, "embedding": [1.0, 0.0]}], "model": "e"})),
        false => ok(&completion("Twice [1].")),
    })
    .await;
    let embed = ["--embed-url", &server.url, "--embed-model", "e"];
    let args = [&[&db, "tide", "--chat-model", "m", "--no-stream"][..], &embed].concat();
    let limit = |most| ["--requests-per-minute", most, "--deadline-ms", "5000"];
    let output = ask(&server.url, &[&args[..], &limit("2")].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(server.requests().len(), 2);
    // The chat model's turn would come after the time.
    let output = ask(&server.url, &[&args[..], &limit("1")].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("1 requests a minute"), "{}", text(&output.stderr));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn nothing_found_is_told_and_no_model_is_asked() {
    let library = library();
    let db = library.folder.path().join("kb.portolan").display().to_string();
    let server = saying(&["?"]).await;
    let output = ask(&server.url, &[&db, "zeppelin", "--chat-model", "m"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("nothing found: no model was asked\n"));
    let args = [&db, "tide", "--chat-model", "m", "--context-tokens", "5", "--json"];
    let output = ask(&server.url, &args).await;
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["outcome"], "nothing_fits");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn prompts_come_from_files_and_wrong_ones_are_refused() {
    let library = library();
    let path = |name: &str| library.folder.path().join(name).display().to_string();
    let (db, system, user) = (path("kb.portolan"), path("system.txt"), path("user.txt"));
    std::fs::write(&system, "Cite as [1].").expect("a file");
    std::fs::write(&user, "{question}?\n{passages}").expect("a file");
    let server = saying(&["[1]"]).await;
    let args =
        [&db, "tide", "--chat-model", "m", "--system-prompt", &system, "--user-prompt", &user];
    assert_eq!(ask(&server.url, &args).await.status.code(), Some(0));
    let (said, asked) = told(&server.requests()[0]);
    assert!(
        said == "Cite as [1]." && asked.starts_with("tide?\n<passage number=\"1\">\n"),
        "{asked}"
    );

    std::fs::write(&user, "{question}").expect("a file");
    let refused = ask(&server.url, &args).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("{passages} is in neither template"));
    let nameless = ask(&server.url, &[&db, "tide"]).await;
    assert_eq!(nameless.status.code(), Some(2));
    assert!(text(&nameless.stderr).contains("--chat-model"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_fails_the_command_behind_what_was_said() {
    let library = library();
    let db = library.folder.path().join("kb.portolan").display().to_string();
    let server = Server::start(|_, _| events(&["Twice a".to_owned()], false)).await;
    let output = ask(&server.url, &[&db, "tide", "--chat-model", "m"]).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "Twice a\n".to_owned()));
    let message = text(&output.stderr);
    assert!(message.starts_with("error: chat failed: "), "{message}");
}
