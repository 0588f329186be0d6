//! Other families of servers behind the same calls: OpenAI's embeddings (vLLM, llama.cpp, Ollama),
//! Text Embeddings Inference, Ollama's own route, and the rerank of Cohere and Jina.

use portolan::nim::{
    Api, CallOptions, ConfigFault, Encoding, Input, InputType, ModelFacts, Nim, NimError,
    Quantization, RankTruncate, ResponseFault, Service, Truncate,
};
use portolan::{
    CacheOptions, CollectionOptions, Database, DatabaseOptions, Embedder, Error, Filter, Metric,
    Record, Reranker, Role, Roles,
};
use serde_json::{Value, json};

use crate::server::{Server, answer, embedded, ok};

const QUERY: InputType = InputType::Query;
const PASSAGE: InputType = InputType::Passage;

fn client(server: &Server, api: Api) -> Nim {
    server.builder().api(api).build().expect("a client")
}

fn unsupported<T: std::fmt::Debug>(found: Result<T, NimError>) -> &'static str {
    match found {
        Err(NimError::Config(ConfigFault::Unsupported { setting, .. })) => setting,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn openai_embeddings_have_prefixes_instead_of_an_input_type() {
    let server = Server::start(|_, request| embedded(request)).await;
    let nim = client(&server, Api::OpenAi);
    let model = nim.embedder("my/model").prefixes("query: ", "passage: ").dimensions(Some(2));
    let found = model.embed(&["a", "bb"], QUERY).await.expect("vectors");
    assert_eq!(found.vectors, [[8.0, 1.0], [9.0, 1.0]]);
    model.encoding(Encoding::Base64).embed(&["a"], PASSAGE).await.expect("a vector");
    let floats = nim.embedder("my/model").encoding(Encoding::Float);
    floats.embed(&["a"], PASSAGE).await.expect("a vector");
    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /v1/embeddings HTTP/1.1");
    let body = json!({"model": "my/model", "input": ["query: a", "query: bb"],
        "encoding_format": "base64", "dimensions": 2});
    assert_eq!(sent[0].json(), body);
    let body = json!({"model": "my/model", "input": ["passage: a"], "encoding_format": "base64",
        "dimensions": 2});
    assert_eq!(sent[1].json(), body);
    let body = json!({"model": "my/model", "input": ["a"], "encoding_format": "float"});
    assert_eq!(sent[2].json(), body);
}

#[tokio::test]
async fn models_whose_nim_adds_prefixes_get_them_elsewhere_too() {
    let server = Server::start(|_, request| embedded(request)).await;
    let name = "nvidia/llama-nemotron-embed-1b-v2";
    let elsewhere = client(&server, Api::OpenAi).embedder(name);
    assert_eq!(elsewhere.role_prefixes(), Some(("query: ", "passage: ")));
    elsewhere.embed(&["a"], QUERY).await.expect("a vector");
    elsewhere.clone().prefixes("", "").embed(&["a"], QUERY).await.expect("a vector");
    server.nim().embedder(name).embed(&["a"], QUERY).await.expect("a vector");
    let inputs: Vec<Vec<String>> = server.requests().iter().map(|r| r.inputs()).collect();
    assert_eq!(inputs, [["query: a"], ["a"], ["a"]]);
}

#[tokio::test]
async fn contracts_tell_families_and_prefixes_apart() {
    let server = Server::start(|_, request| embedded(request)).await;
    let (nim, openai) = (server.nim(), client(&server, Api::OpenAi));
    assert_eq!(nim.embedder("m").contract().roles, Roles::InputType);
    assert_eq!(openai.embedder("m").contract().roles, Roles::Same);
    let symmetric = nim.embedder("m").facts(ModelFacts::unknown().symmetric(true));
    assert_eq!(symmetric.contract().roles, Roles::Same);
    let prefixed = openai.embedder("m").prefixes("q: ", "p: ");
    let roles = Roles::Prefix { query: "q: ".to_owned(), passage: "p: ".to_owned() };
    assert_eq!(prefixed.contract().roles, roles);

    let dir = tempfile::tempdir().expect("a folder");
    let db = Database::open(dir.path().join("kb.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::Cosine));
    let docs = docs.expect("a collection");
    let record = Record::new("1").text("hello");
    docs.ingest([record]).embedder(&prefixed).run().await.expect("an ingest");
    assert_eq!(server.requests()[0].inputs(), ["p: hello"]);
    let answer = docs.query("hello").embedder(&prefixed).run().await.expect("an answer");
    assert_eq!(answer.hits.len(), 1);
    assert_eq!(server.requests()[1].inputs(), ["q: hello"]);
    for other in [prefixed.clone().prefixes("query: ", "p: "), openai.embedder("m")] {
        let refused = docs.query("hello").embedder(&other).run().await;
        assert!(matches!(refused, Err(Error::ModelMismatch { .. })), "{refused:?}");
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn tei_embeds_in_order_without_a_model_name() {
    let server = Server::start(|_, request| {
        let count = request.json()["inputs"].as_array().expect("a list").len();
        ok(&json!((0..count).map(|at| [at as f32 + 0.5, 1.0]).collect::<Vec<_>>()))
    })
    .await;
    let nim = client(&server, Api::Tei);
    let model = nim.embedder("BAAI/bge-base-en-v1.5").prefixes("q ", "");
    let found = model.embed(&["a", "b"], QUERY).await.expect("vectors");
    assert_eq!(found.vectors, [[0.5, 1.0], [1.5, 1.0]]);
    assert_eq!((found.prompt_tokens, found.served_model), (None, None));
    for truncate in [Truncate::Start, Truncate::End] {
        model.clone().truncate(truncate).embed(&["a"], PASSAGE).await.expect("a vector");
    }
    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /embed HTTP/1.1");
    assert_eq!(sent[0].json(), json!({"inputs": ["q a", "q b"], "truncate": false}));
    let cut = |side| json!({"inputs": ["a"], "truncate": true, "truncation_direction": side});
    assert_eq!([sent[1].json(), sent[2].json()], [cut("Left"), cut("Right")]);

    // A server of this family takes 32 inputs at once by default.
    let texts: Vec<String> = (0..33).map(|at| at.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(model.embed(&texts, PASSAGE).await.expect("vectors").cost.requests, 2);
    assert_eq!(Embedder::batch_size(&model), 32);
    assert_eq!(unsupported(model.dimensions(Some(2)).embed(&["a"], QUERY).await), "dimensions");
}

#[tokio::test]
async fn tei_refusals_are_read() {
    let too_many =
        r#"{"error":"batch size 4 > maximum allowed batch size 2","error_type":"Validation"}"#;
    let server = Server::start(move |_, request| {
        let count = request.json()["inputs"].as_array().expect("a list").len();
        match count > 2 {
            true => answer(413, "", too_many),
            false => ok(&json!(vec![[1.0]; count])),
        }
    })
    .await;
    let model = client(&server, Api::Tei).embedder("m");
    let found = model.embed(&["a", "b", "c", "d"], PASSAGE).await.expect("in halves");
    assert_eq!((found.vectors.len(), found.cost.requests), (4, 3));
    // The count is remembered by the model and its clones.
    assert_eq!(
        model.clone().embed(&["a", "b", "c"], PASSAGE).await.expect("small").cost.requests,
        2
    );

    let text = "Input validation error: `inputs` must have less than 512 tokens. Given: 600";
    let long = json!({"error": text, "error_type": "Validation"}).to_string();
    for status in [413, 422] {
        let body = long.clone();
        let server = Server::start(move |_, _| answer(status, "", &body)).await;
        let found = client(&server, Api::Tei).embedder("m").embed(&["a"], PASSAGE).await;
        assert!(matches!(found, Err(NimError::InputTooLong { index: 0, .. })), "{found:?}");
    }
    let busy = r#"{"error":"Model is overloaded","error_type":"Overloaded"}"#;
    let server = Server::start(move |n, _| match n {
        0 => answer(429, "", busy),
        _ => ok(&json!([[1.0]])),
    })
    .await;
    let found = client(&server, Api::Tei).embedder("m").embed(&["a"], PASSAGE).await;
    assert_eq!(found.expect("the second answer").cost.retries, 1);
    let server = Server::start(|_, _| ok(&json!([[1.0]]))).await;
    let found = client(&server, Api::Tei).embedder("m").embed(&["a", "b"], PASSAGE).await;
    let what = ResponseFault::Count { expected: 2, found: 1 };
    assert!(matches!(found, Err(NimError::InvalidResponse { what: found, .. }) if found == what));
}

#[tokio::test]
async fn tei_reranks_with_raw_scores() {
    let server = Server::start(|_, _| {
        ok(&json!([{"index": 1, "score": 2.0, "text": "b"}, {"index": 0, "score": -1.0}]))
    })
    .await;
    let model = client(&server, Api::Tei).reranker("m");
    let found = model.rank("q", &["a", "b"]).await.expect("scores");
    assert_eq!((found.scores[0].index, found.scores[0].logit), (1, 2.0));
    assert!((found.scores[0].relevance() - 0.880_797).abs() < 1e-6);
    for truncate in [RankTruncate::None, RankTruncate::Unset] {
        model.clone().truncate(truncate).rank("q", &["a", "b"]).await.expect("scores");
    }
    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /rerank HTTP/1.1");
    let mut body = json!({"query": "q", "texts": ["a", "b"], "raw_scores": true, "truncate": true});
    assert_eq!(sent[0].json(), body);
    body["truncate"] = json!(false);
    assert_eq!(sent[1].json(), body);
    body.as_object_mut().expect("an object").remove("truncate");
    assert_eq!(sent[2].json(), body);
}

#[tokio::test]
async fn ollama_embeds_by_its_own_route() {
    let server = Server::start(|_, request| {
        let inputs = request.inputs();
        let vectors: Vec<[usize; 2]> = inputs.iter().map(|text| [text.len(), 1]).collect();
        ok(&json!({"model": "nomic", "embeddings": vectors, "total_duration": 1,
            "load_duration": 1, "prompt_eval_count": 9}))
    })
    .await;
    let nim = client(&server, Api::Ollama);
    let model = nim.embedder("nomic").prefixes("search_query: ", "search_document: ");
    let found = model.embed(&["a"], QUERY).await.expect("a vector");
    assert_eq!((found.vectors, found.prompt_tokens), (vec![vec![15.0, 1.0]], Some(9)));
    model.clone().truncate(Truncate::End).embed(&["a"], PASSAGE).await.expect("a vector");
    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /api/embed HTTP/1.1");
    let body = json!({"model": "nomic", "input": ["search_query: a"], "truncate": false});
    assert_eq!(sent[0].json(), body);
    let body = json!({"model": "nomic", "input": ["search_document: a"], "truncate": true});
    assert_eq!(sent[1].json(), body);

    let start = model.truncate(Truncate::Start).embed(&["a"], QUERY).await;
    assert_eq!(unsupported(start), "truncation at the start");
    assert_eq!(unsupported(nim.reranker("m").rank("q", &["a"]).await), "ranking");
    let input = [Input::from("a")];
    let small = nim.embedder("m");
    let small = small.embed_quantized(&input, QUERY, Quantization::Int8, CallOptions::new()).await;
    assert_eq!(unsupported(small), "embedding types");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn llama_cpp_refusals_name_the_input() {
    let text = "request (18832 tokens) exceeds the available context size (16384 tokens), \
        try increasing it";
    let error = json!({"code": 400, "message": text, "type": "exceed_context_size_error",
        "n_prompt_tokens": 18832, "n_ctx": 16384});
    let body = json!({"error": error}).to_string();
    let server =
        Server::start(move |_, request| match request.inputs().iter().any(|text| text == "long") {
            true => answer(400, "", &body),
            false => embedded(request),
        })
        .await;
    let model = client(&server, Api::OpenAi).embedder("m").concurrency(1);
    let found = model.embed(&["a", "b", "long", "d"], PASSAGE).await;
    assert!(matches!(found, Err(NimError::InputTooLong { index: 2, .. })), "{found:?}");
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let server = Server::start(move |n, request| match n {
        0 => answer(503, "", loading),
        _ => embedded(request),
    })
    .await;
    let found = client(&server, Api::OpenAi).embedder("m").embed(&["a"], PASSAGE).await;
    assert_eq!(found.expect("the second answer").cost.retries, 1);
}

#[tokio::test]
async fn cohere_jina_vllm_and_llama_cpp_rerank_alike() {
    let results = json!([{"index": 1, "relevance_score": 0.75, "document": {"text": "b"}},
        {"index": 0, "relevance_score": 0.25}]);
    let answers = [
        (json!({"id": "x", "results": results, "meta": {"billed_units": {}}}), None),
        (
            json!({"model": "m", "object": "list", "usage": {"prompt_tokens": 5, "total_tokens": 5},
            "results": results}),
            Some(5),
        ),
        (json!({"model": "m", "usage": {"total_tokens": 6}, "results": results}), Some(6)),
    ];
    for (body, tokens) in answers {
        let server = Server::start(move |_, _| ok(&body)).await;
        for api in [Api::Cohere, Api::OpenAi] {
            let found = client(&server, api).reranker("m").rank("q", &["a", "b"]).await;
            let found = found.expect("scores");
            let scores: Vec<(usize, f32, f32)> =
                found.scores.iter().map(|s| (s.index, s.logit, s.relevance())).collect();
            assert_eq!(scores, [(1, 0.75, 0.75), (0, 0.25, 0.25)]);
            assert_eq!(found.prompt_tokens, tokens);
            let sent = server.requests().pop().expect("a request");
            assert_eq!(sent.line, "POST /v1/rerank HTTP/1.1");
            let body = json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2});
            assert_eq!(sent.json(), body);
        }
    }
    let server = Server::start(|_, _| ok(&json!({"results": []}))).await;
    let nim = client(&server, Api::Cohere);
    let found = nim.reranker("m").rank("q", &["a"]).await;
    let what = ResponseFault::Count { expected: 1, found: 0 };
    assert!(matches!(found, Err(NimError::InvalidResponse { what: found, .. }) if found == what));
    assert_eq!(unsupported(nim.embedder("m").embed(&["a"], QUERY).await), "embeddings");
}

#[tokio::test]
async fn every_family_serves_the_traits_of_the_pipeline() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "POST /api/embed HTTP/1.1" => ok(&json!({"embeddings": [[1, 2]]})),
        "POST /v1/embeddings HTTP/1.1" => embedded(request),
        "POST /embed HTTP/1.1" => ok(&json!([[1, 2]])),
        "POST /rerank HTTP/1.1" => ok(&json!([{"index": 0, "score": 1}])),
        "POST /v1/rerank HTTP/1.1" => ok(&json!({"results": [{"index": 0, "relevance_score": 1}]})),
        other => panic!("{other}"),
    })
    .await;
    for api in [Api::OpenAi, Api::Tei, Api::Ollama] {
        let model = client(&server, api).embedder("m");
        let embedder: &dyn Embedder = &model;
        let found = embedder.embed(&["a"], Role::Passage, None).await.expect("a vector");
        assert_eq!(found.vectors.len(), 1);
    }
    for api in [Api::OpenAi, Api::Tei, Api::Cohere] {
        let model = client(&server, api).reranker("m");
        let reranker: &dyn Reranker = &model;
        let found = reranker.rank("q", &["a"], None).await.expect("a score");
        assert_eq!(found.ranking.len(), 1);
    }
}

#[tokio::test]
async fn health_and_models_of_each_family_are_found() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "GET /health HTTP/1.1" => answer(200, "", ""),
        "GET /api/version HTTP/1.1" => ok(&json!({"version": "0.5"})),
        "GET /v1/models HTTP/1.1" => {
            ok(&json!({"models": [{"name": "x"}], "data": [{"id": "served"}]}))
        }
        "GET /info HTTP/1.1" => ok(&json!({"model_id": "served", "max_input_length": 512})),
        "GET /api/tags HTTP/1.1" => ok(&json!({"models": [{"name": "served", "size": 1}]})),
        other => panic!("{other}"),
    })
    .await;
    for api in [Api::OpenAi, Api::Tei, Api::Ollama, Api::Cohere] {
        let nim = client(&server, api);
        assert_eq!(nim.health_ready(Service::Ranking).await, Ok(true), "{api:?}");
        assert_eq!(nim.models(Service::Embedding).await.expect("a list"), ["served"], "{api:?}");
    }
    let garbage = Server::start(|_, _| ok(&json!({"object": "list"}))).await;
    let found = garbage.nim().models(Service::Embedding).await;
    assert!(matches!(found, Err(NimError::InvalidResponse { .. })), "{found:?}");
    let urls: Vec<Value> = server.requests().iter().map(|r| json!(r.line)).collect();
    assert_eq!(urls.len(), 8);
}

#[tokio::test]
async fn families_that_serve_one_model_name_share_nothing_in_the_cache() {
    let server = Server::start(|_, request| {
        let body = request.json();
        match request.line.as_str() {
            "POST /v1/ranking HTTP/1.1" => {
                let passages = body["passages"].as_array().map_or(0, Vec::len);
                let items = (0..passages).map(|index| json!({"index": index, "logit": 7.5}));
                ok(&json!({"rankings": items.collect::<Vec<_>>()}))
            }
            "POST /v1/rerank HTTP/1.1" => {
                let documents = body["documents"].as_array().map_or(0, Vec::len);
                let items = (0..documents).map(|at| json!({"index": at, "relevance_score": 0.25}));
                ok(&json!({"results": items.collect::<Vec<_>>()}))
            }
            _ => embedded(request),
        }
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions::new().cache(CacheOptions::new());
    let db = options.open(dir.path().join("p.portolan")).expect("a database");
    let docs = db.create_collection("docs", CollectionOptions::new(2, Metric::L2));
    let docs = docs.expect("a collection");
    for id in 0..3_i64 {
        let record = Record::new(id).text(format!("text {id}")).vector([1.0, id as f32]);
        docs.upsert(record).expect("a commit");
    }
    let (nim, cohere) = (client(&server, Api::Nim), client(&server, Api::Cohere));
    let other = client(&server, Api::OpenAi);
    let (logits, scores) = (nim.reranker("m"), cohere.reranker("m"));
    let uncut = logits.clone().truncate(RankTruncate::Unset);
    let told = scores.clone().extra("truncate_prompt_tokens", 512);
    let few = Filter::lt("number", 1);
    for (reranker, filter, score, asked) in [
        (&logits, Some(few), 7.5, 0),
        (&scores, None, 0.25, 3),
        (&logits, None, 7.5, 3),
        (&uncut, None, 7.5, 3),
        (&told, None, 0.25, 3),
        (&scores, None, 0.25, 0),
        (&logits, None, 7.5, 0),
    ] {
        let query = docs.query("q").vector([1.0, 1.0]).reranker(reranker);
        let query = match filter {
            Some(filter) => query.filter(filter),
            None => query,
        };
        let answer = query.run().await.expect("an answer");
        assert_eq!(answer.report.cache.rerank_misses, asked, "{reranker:?}");
        assert!(answer.hits.iter().all(|hit| hit.rerank_score == Some(score)), "{reranker:?}");
    }
    // Vectors: of the families, and of one as it comes and scaled to length 1.
    let (plain, scaled) = (nim.embedder("m"), nim.embedder("m").normalize(true));
    let cut = nim.embedder("m").truncate(Truncate::End);
    let elsewhere = other.embedder("m");
    let bare = nim.embedder("m").prefixes("", "");
    let told = nim.embedder("m").extra("user", "u");
    for embedder in [&plain, &scaled, &cut, &elsewhere, &bare, &told] {
        for cached in [false, true] {
            let answer = docs.query("q").embedder(embedder).run().await.expect("an answer");
            assert_eq!(answer.report.cache.embedding, cached, "{embedder:?}");
        }
    }
}
