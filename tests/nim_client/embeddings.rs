//! Embedding calls: bodies sent, order, checks of the vectors, batches and their splitting.

use portolan::nim::{
    Api, CallOptions, ConfigFault, Input, InputType, NimError, Quantization, ResponseFault,
    RetryPolicy, Truncate,
};
use serde_json::{Value, json};

use crate::server::{Request, Server, Step, answer, embedded, ok};

const PASSAGE: InputType = InputType::Passage;
/// Different texts: equal ones would be sent once.
const TEXTS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const TOO_LONG: &str = r#"{"error":"Input length 1728 exceeds maximum allowed token size 512"}"#;

/// What a call of two texts makes of this answer.
async fn fault_of(body: impl Into<String>) -> ResponseFault {
    let body = body.into();
    let server = Server::start(move |_, _| answer(200, "", &body)).await;
    let found = server.nim().embedder("m").embed(&["a", "b"], PASSAGE).await;
    assert_eq!(server.requests().len(), 1);
    match found {
        Err(NimError::InvalidResponse { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

fn two(first: &str, second: &str) -> String {
    format!(r#"{{"data":[{{"index":0,"embedding":{first}}},{{"index":1,"embedding":{second}}}]}}"#)
}

fn indexed(indices: &[&str]) -> String {
    let items: Vec<String> =
        indices.iter().map(|i| format!(r#"{{"index":{i},"embedding":[1]}}"#)).collect();
    format!(r#"{{"data":[{}]}}"#, items.join(","))
}

#[tokio::test]
async fn the_request_holds_exactly_the_documented_fields() {
    let server = Server::start(|_, request| embedded(request)).await;
    let model = server.nim().embedder("nvidia/m");
    model.embed(&["a"], InputType::Query).await.expect("vectors");
    let wide = model.dimensions(Some(2)).truncate(Truncate::End).text_modality(true);
    wide.embed(&["a", "b"], PASSAGE).await.expect("vectors");

    let sent = server.requests();
    assert_eq!(sent[0].line, "POST /v1/embeddings HTTP/1.1");
    assert_eq!(sent[0].header("content-type"), Some("application/json"));
    assert_eq!(sent[0].header("accept"), Some("application/json"));
    assert_eq!(sent[0].header("authorization"), None);
    assert_eq!(sent[0].header("referer"), None);
    let plain = json!({"model": "nvidia/m", "input": ["a"], "input_type": "query",
        "encoding_format": "base64", "truncate": "NONE"});
    assert_eq!(sent[0].json(), plain);
    let full = json!({"model": "nvidia/m", "input": ["a", "b"], "input_type": "passage",
        "encoding_format": "base64", "truncate": "END", "dimensions": 2, "modality": "text"});
    assert_eq!(sent[1].json(), full);
}

#[tokio::test]
async fn vectors_come_back_in_the_callers_order_over_all_batches() {
    let server = Server::start(|_, request| {
        let items = request.inputs().into_iter().enumerate().rev();
        let data: Vec<Value> = items
            .map(|(i, t)| json!({"object": "embedding", "index": i, "embedding": [t.len()]}))
            .collect();
        let usage = json!({"prompt_tokens": data.len(), "total_tokens": 9, "new": null});
        ok(&json!({"object": "list", "data": data, "model": "M", "usage": usage, "id": {"x": []}}))
    })
    .await;
    let texts = ["a", "bb", "ccc", "dddd", "eeeee"];
    let model = server.nim().embedder("org/m").batch_size(2);
    let found = model.embed(&texts, PASSAGE).await.expect("vectors");
    assert_eq!(found.vectors, [[1.0], [2.0], [3.0], [4.0], [5.0]].map(|v| v.to_vec()));
    assert_eq!((found.cost.requests, found.cost.retries, found.prompt_tokens), (3, 0, Some(5)));
    assert_eq!(found.served_model, None);

    let model = model.batch_size(50).batch_chars(6);
    assert_eq!(model.embed(&texts, PASSAGE).await.expect("vectors").cost.requests, 3);
}

#[tokio::test]
async fn another_served_model_is_recorded_and_missing_usage_is_unknown() {
    let body = json!({"data": [{"index": 0, "embedding": [1]}], "model": "other/model"});
    let server = Server::start(move |_, _| ok(&body)).await;
    let found = server.nim().embedder("m").embed(&["a"], PASSAGE).await.expect("a vector");
    assert_eq!(found.served_model.as_deref(), Some("other/model"));
    assert_eq!(found.prompt_tokens, None);
}

#[tokio::test]
async fn wrong_counts_and_indices_are_typed() {
    let count = |found| ResponseFault::Count { expected: 2, found };
    assert_eq!(fault_of(indexed(&["0"])).await, count(1));
    assert_eq!(fault_of(indexed(&["0", "1", "2"])).await, count(3));
    assert_eq!(fault_of(r#"{"data":[]}"#).await, count(0));
    assert_eq!(fault_of(indexed(&["1", "1"])).await, ResponseFault::DuplicateIndex { index: 1 });
    for (text, index) in [("2", 2), ("-1", -1), ("9223372036854775808", i64::MAX)] {
        let fault = ResponseFault::IndexOutOfRange { index, inputs: 2 };
        assert_eq!(fault_of(indexed(&["0", text])).await, fault);
    }
}

#[tokio::test]
async fn vectors_that_cannot_be_used_are_typed() {
    let not_finite = ResponseFault::NotFinite { index: 1 };
    assert_eq!(fault_of(two("[1,2]", "[1,1e39]")).await, not_finite);
    assert_eq!(fault_of(two("[1,2]", "[-1e39,1]")).await, not_finite);
    let zero = ResponseFault::ZeroVector { index: 0 };
    assert_eq!(fault_of(two("[0,0.0]", "[1,1]")).await, zero);
    assert_eq!(fault_of(two("[]", "[]")).await, zero);
    let dimensions = ResponseFault::Dimensions { index: 1, expected: 2, found: 3 };
    assert_eq!(fault_of(two("[1,2]", "[1,2,3]")).await, dimensions);
}

#[tokio::test]
async fn text_in_place_of_numbers_must_be_base64_of_floats() {
    let dimensions = ResponseFault::Dimensions { index: 1, expected: 2, found: 1 };
    assert_eq!(fault_of(two("[1,2]", r#""AACAPw==""#)).await, dimensions);
    let not_finite = ResponseFault::NotFinite { index: 0 };
    assert_eq!(fault_of(two(r#""AADAfw==""#, r#""AACAPw==""#)).await, not_finite);
    for text in [r#""AACAPw""#, r#""AACA""#, r#""nonsense!""#] {
        assert_eq!(fault_of(two("[1,2]", text)).await, ResponseFault::Base64 { index: 1 });
    }
}

#[tokio::test]
async fn json_that_is_not_the_expected_document_is_typed() {
    let deep = format!("{{\"data\":[],\"x\":{}", "[".repeat(10_000));
    let bodies = [
        two("[1,2]", "[1,null]"),
        two("[1,2]", "[1,NaN]"),
        two("[1,2]", "[1,Infinity]"),
        two("[1,2]", "[1,1e400]"),
        two("[1,2]", "[1")[..40].to_owned(),
        deep,
        r#"{"data":[],"data":[]}"#.to_owned(),
        "<html>fine</html>".to_owned(),
        String::new(),
    ];
    for body in bodies {
        let fault = fault_of(body.clone()).await;
        assert!(matches!(fault, ResponseFault::Json { .. }), "{body:.60} gave {fault:?}");
    }
}

#[tokio::test]
async fn an_error_under_status_200_keeps_the_words_of_the_server() {
    let server = Server::start(|n, _| match n {
        0 => answer(200, "", r#"{"error":"late"}"#),
        1 => answer(200, "", r#"{"error":{"message":"out of memory","code":503}}"#),
        2 => answer(200, "", r#"{"error":"late","data":[],"rankings":null}"#),
        _ => answer(200, "", format!(r#"{{"error":"late","x":"{}"}}"#, "y".repeat(64 << 10))),
    })
    .await;
    let once = server.builder().retry(RetryPolicy::new().tries(1));
    let nim = once.build().expect("a client");
    let told = |error: NimError| match error {
        NimError::AnswerFailed(reply) | NimError::Server { reply, .. } => {
            (reply.status, reply.message)
        }
        other => panic!("{other:?}"),
    };
    let embedder = nim.embedder("m");
    let embed = || async { embedder.embed(&["a"], PASSAGE).await.expect_err("an error") };
    assert_eq!(told(embed().await), (200, "late".to_owned()));
    assert_eq!(told(embed().await), (503, "out of memory".to_owned()));
    let error = nim.reranker("m").rank("q", &["a"]).await.expect_err("an error");
    assert_eq!(told(error), (200, "late".to_owned()));
    // Read for its error only when it is as short as a refusal.
    let long = embed().await;
    assert!(matches!(long, NimError::InvalidResponse { .. }), "{long:?}");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn vectors_must_have_the_asked_length_in_every_batch() {
    let server = Server::start(|_, request| embedded(request)).await;
    let model = server.nim().embedder("m").dimensions(Some(3));
    let error = model.embed(&["a"], PASSAGE).await.expect_err("two dimensions");
    let what = ResponseFault::Dimensions { index: 0, expected: 3, found: 2 };
    assert!(matches!(error, NimError::InvalidResponse { what: found, .. } if found == what));

    let grow = Server::start(|n, _| {
        let body = json!({"data": [{"index": 0, "embedding": vec![1; n + 1]}]});
        answer(200, &format!("x-request-id: req-{n}\r\n"), body.to_string())
    });
    let grow = grow.await;
    let model = grow.nim().embedder("m").batch_size(1).concurrency(1);
    let error = model.embed(&["a", "b"], PASSAGE).await.expect_err("lengths 1 and 2");
    assert_eq!(error.request_id(), Some("req-1"));
    let what = ResponseFault::Dimensions { index: 1, expected: 1, found: 2 };
    assert!(matches!(error, NimError::InvalidResponse { what: found, .. } if found == what));
}

#[tokio::test]
async fn calls_that_cannot_succeed_send_nothing() {
    let server = Server::start(|_, request| embedded(request)).await;
    let nim = server.nim();
    let empty = nim.embedder("m").embed(&["a", "", ""], PASSAGE).await;
    assert_eq!(empty, Err(NimError::EmptyInput { index: 1 }));
    let none = nim.embedder("m").embed(&[], PASSAGE).await.expect("nothing to do");
    assert_eq!((none.vectors.len(), none.cost.requests), (0, 0));
    let zero = nim.embedder("m").dimensions(Some(0)).embed(&["a"], PASSAGE).await;
    assert_eq!(zero, Err(NimError::Config(ConfigFault::ZeroDimensions)));
    let unnamed = nim.embedder("").embed(&["a"], PASSAGE).await;
    assert_eq!(unnamed, Err(NimError::Config(ConfigFault::ModelName)));
    assert_eq!(server.requests().len(), 0);
}

/// Refuses requests with a text longer than 9 bytes, without naming it.
fn short_only(status: u16, request: &Request) -> Step {
    match request.inputs().iter().any(|text| text.len() > 9) {
        true => answer(status, "", TOO_LONG),
        false => embedded(request),
    }
}

#[tokio::test]
async fn an_input_that_is_too_long_is_found_and_named() {
    for status in [400, 422] {
        let server = Server::start(move |_, request| short_only(status, request)).await;
        let mut texts = TEXTS;
        texts[6] = "much too long";
        texts[9] = "much too long, again";
        let model = server.nim().embedder("m").batch_size(8).concurrency(1);
        match model.embed(&texts, PASSAGE).await {
            Err(NimError::InputTooLong { index: 6, reply }) => {
                assert_eq!(reply.status, status);
                assert!(reply.message.contains("1728 exceeds maximum allowed token size 512"));
            }
            other => panic!("{other:?}"),
        }
        // 8 at once, 4, 4, 2, 2, then position 6 alone.
        let sizes: Vec<usize> = server.requests().iter().map(|r| r.inputs().len()).collect();
        assert_eq!(sizes, [8, 4, 4, 2, 2, 1]);
    }
}

#[tokio::test]
async fn an_input_that_is_refused_for_another_reason_is_named_as_the_caller_does() {
    let body = r#"{"detail":[{"loc":["body","input",1],"msg":"Input should be a string"}]}"#;
    let server = Server::start(move |n, request| match n {
        0 => embedded(request),
        _ => answer(422, "", body),
    })
    .await;
    let model = server.nim().embedder("m").batch_size(3).concurrency(1);
    match model.embed(&TEXTS[..6], PASSAGE).await {
        Err(NimError::BadRequest(reply)) => {
            assert_eq!(reply.input, Some(4));
            assert!(reply.to_string().contains(", of input 4: "), "{reply}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_input_named_by_the_server_needs_no_search() {
    let body = r#"{"detail":[{"loc":["body","input",1],
        "msg":"Input length 9 exceeds maximum allowed token size 8"}]}"#;
    let server = Server::start(move |n, request| match n {
        0 => embedded(request),
        _ => answer(422, "", body),
    })
    .await;
    let model = server.nim().embedder("m").batch_size(3).concurrency(1);
    let found = model.embed(&TEXTS[..6], PASSAGE).await;
    assert!(matches!(found, Err(NimError::InputTooLong { index: 4, .. })), "{found:?}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_sent_in_halves_and_later_batches_stay_small() {
    let server = Server::start(|_, request| match request.inputs().len() > 2 {
        true => answer(413, "", ""),
        false => embedded(request),
    })
    .await;
    let texts = ["a", "bb", "ccc", "dddd", "eeee", "ffff", "gggg", "hhhh"];
    let model = server.nim().embedder("m").batch_size(4).concurrency(1);
    let found = model.embed(&texts, PASSAGE).await.expect("vectors");
    let lengths: Vec<f32> = found.vectors.iter().map(|v| v[0]).collect();
    assert_eq!(lengths, [1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0]);
    assert_eq!(found.cost.retries, 0);
    let sizes: Vec<usize> = server.requests().iter().map(|r| r.inputs().len()).collect();
    assert_eq!(sizes, [4, 2, 2, 1, 1, 1, 1]);

    let never = Server::start(|_, _| answer(413, "", "")).await;
    let found = never.nim().embedder("m").embed(&TEXTS[..4], PASSAGE).await;
    assert!(matches!(found, Err(NimError::InputTooLong { index: 0, .. })), "{found:?}");
    assert_eq!(never.requests().len(), 3);
}

#[tokio::test]
async fn a_batch_of_too_many_inputs_is_sent_in_halves() {
    let refusal = r#"{"message":"batch size 8 exceeds maximum 4"}"#;
    let server = Server::start(move |_, request| match request.inputs().len() > 4 {
        true => answer(422, "", refusal),
        false => embedded(request),
    })
    .await;
    let model = server.nim().embedder("m").batch_size(8);
    let found = model.embed(&TEXTS, PASSAGE).await.expect("vectors");
    assert_eq!((found.vectors.len(), found.cost.requests), (12, 4));
}

#[tokio::test]
async fn llama_cpp_says_too_long_under_status_500() {
    let server = Server::start(|_, request| match request.inputs().contains(&"g".to_owned()) {
        true => answer(
            500,
            "",
            json!({"error": {"code": 500, "type": "server_error", "message": "input (992 tokens) \
                is too large to process. increase the physical batch size (current batch size: \
                512)"}})
            .to_string(),
        ),
        false => embedded(request),
    })
    .await;
    let nim = server.builder().embed_api(Api::OpenAi).build().expect("a client");
    let found = nim.embedder("m").embed(&TEXTS, PASSAGE).await;
    assert!(matches!(found, Err(NimError::InputTooLong { index: 6, .. })), "{found:?}");
}

#[tokio::test]
async fn bits_are_not_taken_from_a_server_that_sent_none() {
    let quantized = async |answer: Value, kind| {
        let server =
            Server::start(move |_, _| ok(&json!({"data": [{"index": 0, "embedding": answer}]})))
                .await;
        let model = server.nim().embedder("nvidia/llama-nemotron-embed-1b-v2");
        let input = [Input::from("a")];
        match model.embed_quantized(&input, PASSAGE, kind, CallOptions::new()).await {
            Err(NimError::InvalidResponse { what, .. }) => Some(what),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    let (expected, found) = (256, 2048);
    let length = ResponseFault::Dimensions { index: 0, expected, found };
    assert_eq!(quantized(json!(vec![1; 2048]), Quantization::Binary).await, Some(length.clone()));
    assert_eq!(quantized(json!(vec![1; 2048]), Quantization::Ubinary).await, Some(length));
    assert_eq!(quantized(json!(vec![1; 256]), Quantization::Binary).await, None);
    assert_eq!(quantized(json!(vec![1; 2048]), Quantization::Int8).await, None);
    let zero = ResponseFault::ZeroVector { index: 0 };
    assert_eq!(quantized(json!(vec![0; 2048]), Quantization::Int8).await, Some(zero));
}

#[tokio::test]
async fn the_error_of_a_page_tells_how_the_page_begins() {
    let page = "<html>Log in to the proxy</html>";
    let ResponseFault::Json { detail } = fault_of(page).await else { panic!("a page") };
    assert!(detail.ends_with("the answer begins: <html>Log in to the proxy</html>"), "{detail}");
}
