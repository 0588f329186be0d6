//! Cases 4 and 5, `test_base_url` and `test_api_key`. Where the reference client warns, this one
//! corrects what has one meaning and refuses the rest. Variables of the environment and what takes
//! precedence over them are tested in `src/nim/builder.rs`, where a test need not change them.

use portolan::nim::{ConfigFault, InputType, Nim, NimError, Service};
use serde_json::json;

use crate::server::{Server, embedded, ok};
use crate::service::{EMBED, RANK};

/// The address that the client would call; it has no key and the address is hosted.
fn missing<T: std::fmt::Debug>(found: Result<T, NimError>) -> String {
    match found {
        Err(NimError::MissingKey { url }) => url,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn case_4_the_default_is_the_hosted_catalog() {
    let embed = Nim::builder().rerank_url("http://localhost:1").build().expect("half local");
    let url = missing(embed.embedder(EMBED).embed(&["a"], InputType::Query).await);
    assert_eq!(url, "https://integrate.api.nvidia.com/v1/embeddings");
    let old = missing(embed.embedder("NV-Embed-QA").embed(&["a"], InputType::Query).await);
    assert_eq!(old, "https://ai.api.nvidia.com/v1/retrieval/nvidia/embeddings");
    assert_eq!(
        missing(embed.models(Service::Embedding).await),
        "https://integrate.api.nvidia.com/v1/models"
    );
    let rank = Nim::builder().embed_url("http://localhost:1").build().expect("half local");
    let retrieval = "https://ai.api.nvidia.com/v1/retrieval/nvidia";
    for (model, tail) in [
        (RANK, "llama-nemotron-rerank-1b-v2/reranking"),
        ("nvidia/llama-3.2-nv-rerankqa-1b-v2", "llama-3_2-nv-rerankqa-1b-v2/reranking"),
        ("nvidia/llama-nemotron-rerank-vl-1b-v2", "llama-nemotron-rerank-vl-1b-v2/reranking"),
        ("nv-rerank-qa-mistral-4b:1", "reranking"),
        ("ai-rerank-qa-mistral-4b", "reranking"),
    ] {
        let url = missing(rank.reranker(model).rank("q", &["a"]).await);
        assert_eq!(url, format!("{retrieval}/{tail}"));
    }
}

#[test]
fn case_4_text_that_is_no_url_is_refused_instead_of_warned_about() {
    let setting = "base_url";
    for (text, fault) in [
        ("bogus", ConfigFault::UrlSyntax { setting }),
        ("http:/", ConfigFault::UrlSyntax { setting }),
        ("http://", ConfigFault::UrlSyntax { setting }),
        // Read as http://oops, as browsers do: plain http to another machine.
        ("http:/oops", ConfigFault::InsecureHttp { setting }),
    ] {
        let found = Nim::builder().base_url(text).build().expect_err(text);
        assert_eq!(found, NimError::Config(fault), "{text}");
    }
}

#[test]
fn case_4_hosted_addresses_are_told_from_others() {
    for url in [
        "https://integrate.api.nvidia.com",
        "https://integrate.api.nvidia.com/v1/",
        "https://ai.api.nvidia.com/v1/retrieval/nvidia",
    ] {
        missing(Nim::builder().base_url(url).build());
    }
    for url in [
        "https://localhost",
        "http://localhost:8888",
        "http://0.0.0.0:8888/v1/",
        "http://blah/some/other/path/v1",
        "https://integrate.api.nvidia.com.example.com/v1",
    ] {
        let builder = Nim::builder().base_url(url).allow_insecure_http(true);
        builder.build().expect("no key needed");
    }
}

#[tokio::test]
async fn case_4_every_spelling_of_a_base_reaches_the_service() {
    let server = Server::start(|_, request| embedded(request)).await;
    for (tail, path) in [
        ("", "/v1/embeddings"),
        ("/", "/v1/embeddings"),
        ("/v1", "/v1/embeddings"),
        ("/v1/", "/v1/embeddings"),
        ("/v1?key=x#part", "/v1/embeddings"),
        ("/embeddings", "/embeddings"),
        ("/embeddings/", "/embeddings"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/", "/v1/embeddings"),
        ("/v1/ranking", "/v1/embeddings"),
        ("/chat/completions", "/v1/embeddings"),
        ("/chat/completions/", "/v1/embeddings"),
        ("/v1/chat/completions", "/v1/embeddings"),
        ("/v1/chat/completions/", "/v1/embeddings"),
        ("/path0/path1", "/path0/path1/v1/embeddings"),
        ("/path0/path1/v1", "/path0/path1/v1/embeddings"),
    ] {
        let nim = Nim::builder().base_url(format!("{}{tail}", server.url)).build().expect(tail);
        nim.embedder("m").embed(&["a"], InputType::Query).await.expect(tail);
        let sent = server.requests().pop().expect("a request");
        assert_eq!(sent.line, format!("POST {path} HTTP/1.1"), "{tail}");
    }
    for tail in ["/rankings", "/rankings/", "/v1/rankings", "/v1/rankings/"] {
        let refused = Nim::builder().base_url(format!("{}{tail}", server.url)).build();
        let fault = ConfigFault::WrongEndpoint { setting: "base_url" };
        assert_eq!(refused.expect_err(tail), NimError::Config(fault));
    }
}

#[tokio::test]
async fn case_4_the_version_is_left_out_on_request_and_models_lie_below_the_base() {
    let server = Server::start(|_, request| match request.line.starts_with("GET") {
        true => ok(&json!({"data": []})),
        false => embedded(request),
    })
    .await;
    for (append, root) in [(true, "/proxy/v1"), (false, "/proxy")] {
        let base = format!("{}/proxy/", server.url);
        let nim = Nim::builder().base_url(base).append_version(append).build().expect("a client");
        nim.embedder("m").embed(&["a"], InputType::Query).await.expect("a vector");
        assert_eq!(nim.models(Service::Ranking).await.expect("a list"), [""; 0]);
        let sent = server.requests();
        let lines: Vec<&str> = sent.iter().rev().take(2).map(|r| r.line.as_str()).collect();
        let expected =
            [format!("GET {root}/models HTTP/1.1"), format!("POST {root}/embeddings HTTP/1.1")];
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn case_5_the_key_is_needed_when_hosted_sent_when_set_and_never_shown() {
    missing(Nim::builder().build());
    let server = Server::start(|_, request| embedded(request)).await;
    let local = server.nim();
    local.embedder("m").embed(&["a"], InputType::Query).await.expect("no key needed");
    assert_eq!(server.requests()[0].header("authorization"), None);
    let keyed = server.builder().api_key("nvapi-canary").build().expect("a client");
    keyed.embedder("m").embed(&["a"], InputType::Query).await.expect("a vector");
    assert_eq!(server.requests()[1].header("authorization"), Some("Bearer nvapi-canary"));
    let shown = format!("{keyed:?} {:?}", keyed.embedder("m"));
    assert!(!shown.contains("canary"), "{shown}");
}
