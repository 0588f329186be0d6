//! Case 6, `test_model`, `test_available_models`, `test_register_model`. Where the reference client
//! warns, the facts say so: an old alias is sent as the name it stands for, a model that is
//! withdrawn names its replacement, an unknown one is not known.

use portolan::nim::{ConfigFault, InputType, ModelFacts, NimError, Service, Task};
use serde_json::json;

use crate::server::{Server, embedded, ok};

#[tokio::test]
async fn case_6_an_old_alias_is_sent_as_the_name_it_stands_for() {
    let server = Server::start(|_, request| embedded(request)).await;
    for (asked, sent) in [
        ("ai-embed-qa-4", "NV-Embed-QA"),
        ("ai-nv-embed-v1", "nvidia/nv-embed-v1"),
        ("NV-Embed-QA-query", "NV-Embed-QA"),
        ("nvidia/nv-embedqa-e5-v5-passage", "nvidia/nv-embedqa-e5-v5"),
        ("nvidia/nv-embedqa-e5-v5", "nvidia/nv-embedqa-e5-v5"),
        ("not/known-query", "not/known-query"),
    ] {
        let model = server.nim().embedder(asked);
        assert_eq!(model.model(), sent);
        model.embed(&["a"], InputType::Query).await.expect("a vector");
        let body = server.requests().pop().expect("a request").json();
        assert_eq!((&body["model"], &body["input_type"]), (&json!(sent), &json!("query")));
    }
}

#[test]
fn case_6_the_rows_of_the_reference_table_are_known() {
    use Task::{Embedding, Ranking};
    let rows = [
        ("snowflake/arctic-embed-l", Embedding, true),
        ("NV-Embed-QA", Embedding, false),
        ("nvidia/nv-embed-v1", Embedding, false),
        ("nvidia/nv-embedqa-mistral-7b-v2", Embedding, true),
        ("nvidia/nv-embedqa-e5-v5", Embedding, false),
        ("baai/bge-m3", Embedding, false),
        ("nvidia/llama-3.2-nv-embedqa-1b-v1", Embedding, false),
        ("nvidia/llama-3.2-nv-embedqa-1b-v2", Embedding, true),
        ("nvidia/llama-3.2-nemoretriever-1b-vlm-embed-v1", Embedding, true),
        ("nvidia/nv-embedcode-7b-v1", Embedding, false),
        ("nvidia/llama-3.2-nemoretriever-300m-embed-v2", Embedding, false),
        ("nvidia/llama-nemotron-embed-1b-v2", Embedding, false),
        ("nv-rerank-qa-mistral-4b:1", Ranking, false),
        ("nvidia/llama-3.2-nv-rerankqa-1b-v1", Ranking, false),
        ("nvidia/llama-3.2-nv-rerankqa-1b-v2", Ranking, true),
        ("nvidia/llama-nemotron-rerank-1b-v2", Ranking, false),
        ("nvidia/llama-nemotron-rerank-vl-1b-v2", Ranking, false),
    ];
    for (name, task, deprecated) in rows {
        let facts = ModelFacts::of(name);
        assert_eq!((facts.task, facts.deprecated), (Some(task), deprecated), "{name}");
    }
    assert!(!ModelFacts::of("nvidia/no-such-model").is_known());
    let old = ModelFacts::of("nvidia/llama-3.2-nv-rerankqa-1b-v2");
    assert_eq!(old.replacement, Some("nvidia/llama-nemotron-rerank-1b-v2"));
    let image_models: Vec<&str> =
        ModelFacts::table().filter(|(_, f)| f.images == Some(true)).map(|(name, _)| name).collect();
    assert_eq!(image_models.len(), 7, "{image_models:?}");
}

#[tokio::test]
async fn case_6_the_default_model_is_the_first_that_is_no_adapter_by_one_request() {
    let server = Server::start(|n, _| match n {
        0 => ok(&json!({"object": "list", "data": [
            {"id": "lora", "object": "model", "root": "base"},
            {"id": "base", "root": "base", "created": 1, "owned_by": "o", "max_model_len": 5},
            {"id": "other"}]})),
        1 => ok(&json!({"data": [{"id": "lora", "root": "x"}, {"id": "plain"}]})),
        2 => ok(&json!({"data": [{"id": "lora", "root": "x"}]})),
        _ => ok(&json!({"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}, {"id": "a"}]})),
    })
    .await;
    let default = async || server.nim().default_model(Service::Embedding).await.expect("a list");
    assert_eq!(default().await.as_deref(), Some("base"));
    assert_eq!(default().await.as_deref(), Some("plain"));
    assert_eq!(default().await, None);
    assert_eq!(server.requests().len(), 3);
    // A client asks once.
    let nim = server.nim();
    for client in [&nim, &nim.clone()] {
        let found = client.default_model(Service::Embedding).await.expect("a list");
        assert_eq!(found.as_deref(), Some("b"));
    }
    assert_eq!(server.requests().len(), 4);
    assert_eq!(nim.models(Service::Ranking).await.expect("a list"), ["b", "a"]);
    assert!(server.requests().iter().all(|r| r.line == "GET /v1/models HTTP/1.1"));
}

#[tokio::test]
async fn case_6_a_model_for_something_else_is_refused_unless_registered_otherwise() {
    let server = Server::start(|_, request| embedded(request)).await;
    let nim = server.nim();
    let wrong = |service| Some(NimError::Config(ConfigFault::WrongTask { service }));
    let ranker = nim.embedder("nvidia/llama-nemotron-rerank-1b-v2");
    let found = ranker.embed(&["a"], InputType::Query).await.err();
    assert_eq!(found, wrong("embeddings"));
    let many = nim.embedder("nvidia/nemotron-colembed-vl-8b-v2");
    let found = many.embed(&["a"], InputType::Query).await.err();
    assert_eq!(found, wrong("embeddings"));
    let embedder = nim.reranker("nvidia/nv-embedqa-e5-v5").rank("q", &["a"]).await;
    assert_eq!(embedder.err(), wrong("ranking"));
    assert_eq!(server.requests().len(), 0);

    let own = ranker.facts(ModelFacts::unknown().task(Task::Embedding));
    own.embed(&["a"], InputType::Query).await.expect("sent as asked");
    assert!(nim.embedder("my/model").facts(ModelFacts::of("baai/bge-m3")).known().is_known());
}
