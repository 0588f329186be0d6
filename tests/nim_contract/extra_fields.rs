//! Fields of a request that the client has no setting for: added to the body of each family of
//! servers, beside what the client writes itself.

use portolan::nim::{Api, InputType, Nim, RankTruncate};
use serde_json::json;

use crate::server::{Server, embedded, ok};
use crate::service::{EMBED, RANK};

const QUERY: InputType = InputType::Query;
const PASSAGE: InputType = InputType::Passage;

fn client(server: &Server, api: Api) -> Nim {
    server.builder().api(api).build().expect("a client")
}

#[tokio::test]
async fn a_nim_gets_further_embedding_fields_with_every_request() {
    let server = Server::start(|_, request| embedded(request)).await;
    let model = server.nim().embedder(EMBED).extra("user", "u").batch_size(1).concurrency(1);
    let model = model.extra("model", "x").extra("input", "x").extra("truncate", "END");
    model.embed(&["a", "b"], PASSAGE).await.expect("vectors");
    model.embed(&["c"], QUERY).await.expect("a vector");
    let sent = server.requests();
    assert_eq!(sent.len(), 3);
    let asked = [("a", "passage"), ("b", "passage"), ("c", "query")];
    for (at, (text, role)) in asked.into_iter().enumerate() {
        let body = json!({"model": EMBED, "input": [text], "input_type": role,
            "encoding_format": "base64", "truncate": "NONE", "user": "u"});
        assert_eq!(sent[at].json(), body);
    }
}

#[tokio::test]
async fn openai_embeddings_get_further_fields() {
    let server = Server::start(|_, request| embedded(request)).await;
    let model = client(&server, Api::OpenAi).embedder("m").extra("truncate_prompt_tokens", -1);
    let model = model.extra("model", "x").extra("input", "x").extra("encoding_format", "float");
    model.embed(&["a"], PASSAGE).await.expect("a vector");
    let body = json!({"model": "m", "input": ["a"], "encoding_format": "base64",
        "truncate_prompt_tokens": -1});
    assert_eq!(server.requests()[0].json(), body);
}

#[tokio::test]
async fn tei_embeddings_get_further_fields() {
    let server = Server::start(|_, _| ok(&json!([[1.0, 2.0]]))).await;
    let model = client(&server, Api::Tei).embedder("m").extra("prompt_name", "query");
    let model = model.extra("inputs", "x").extra("truncate", true);
    model.embed(&["a"], QUERY).await.expect("a vector");
    let body = json!({"inputs": ["a"], "truncate": false, "prompt_name": "query"});
    assert_eq!(server.requests()[0].json(), body);
}

#[tokio::test]
async fn ollama_embeddings_get_further_fields() {
    let server = Server::start(|_, _| ok(&json!({"embeddings": [[1.0, 2.0]]}))).await;
    let model = client(&server, Api::Ollama).embedder("m").extra("keep_alive", "10m");
    let model = model.extra("options", json!({"num_ctx": 2048})).extra("truncate", true);
    let model = model.extra("model", "x").extra("input", "x");
    model.embed(&["a"], QUERY).await.expect("a vector");
    let body = json!({"model": "m", "input": ["a"], "truncate": false, "keep_alive": "10m",
        "options": {"num_ctx": 2048}});
    assert_eq!(server.requests()[0].json(), body);
}

#[tokio::test]
async fn a_nim_gets_further_ranking_fields_and_one_that_the_client_leaves_out() {
    let server = Server::start(|_, _| ok(&json!({"rankings": [{"index": 0, "logit": 1.0}]}))).await;
    let model = server.nim().reranker(RANK).extra("user", "u").extra("truncate", "START");
    let model = model.extra("model", "x").extra("query", "x").extra("passages", json!([]));
    model.rank("q", &["a"]).await.expect("a score");
    model.truncate(RankTruncate::Unset).rank("q", &["a"]).await.expect("a score");
    for (at, truncate) in ["END", "START"].into_iter().enumerate() {
        let body = json!({"model": RANK, "query": {"text": "q"}, "passages": [{"text": "a"}],
            "truncate": truncate, "user": "u"});
        assert_eq!(server.requests()[at].json(), body);
    }
}

#[tokio::test]
async fn tei_ranking_gets_further_fields() {
    let server = Server::start(|_, _| ok(&json!([{"index": 0, "score": 1.0}]))).await;
    let model = client(&server, Api::Tei).reranker("m").extra("truncation_direction", "Left");
    let model = model.extra("query", "x").extra("texts", json!([])).extra("raw_scores", false);
    model.rank("q", &["a"]).await.expect("a score");
    let body = json!({"query": "q", "texts": ["a"], "raw_scores": true, "truncate": true,
        "truncation_direction": "Left"});
    assert_eq!(server.requests()[0].json(), body);
}

#[tokio::test]
async fn ranking_of_the_cohere_family_gets_further_fields() {
    let body = json!({"results": [{"index": 0, "relevance_score": 0.5}]});
    let server = Server::start(move |_, _| ok(&body)).await;
    for (at, api) in [Api::Cohere, Api::OpenAi].into_iter().enumerate() {
        let model = client(&server, api).reranker("m").extra("truncate_prompt_tokens", 512);
        let model = model.extra("model", "x").extra("documents", json!([])).extra("top_n", 9);
        model.rank("q", &["a"]).await.expect("a score");
        let body = json!({"model": "m", "query": "q", "documents": ["a"], "top_n": 1,
            "truncate_prompt_tokens": 512});
        assert_eq!(server.requests()[at].json(), body);
    }
}
