//! Case 1, `test_embeddings`: bodies, headers and every optional field. The inputs `1`, `1.0`,
//! `[1, 2, 3]` and so on, and values of `truncate` such as `True`, `1` and `"BOGUS"`, cannot be
//! written in Rust: `embed` takes `&[&str]`, `truncate` an enum.

use portolan::nim::{
    CallOptions, ConfigFault, Encoding, Image, Input, InputType, ModelFacts, NimError,
    Quantization, QuantizedVectors, Truncate,
};
use serde_json::{Value, json};

use crate::server::{Server, answer, ok};
use crate::service::base64;

const E5: &str = "nvidia/nv-embedqa-e5-v5";
const VL: &str = "nvidia/llama-nemotron-embed-vl-1b-v2";
const GIF: &str = "data:image/gif;base64,R0lGODlh";

/// The server of the reference test, for any number of inputs.
async fn mock() -> Server {
    Server::start(|_, request| {
        let count = request.json()["input"].as_array().expect("a list").len();
        let item = |index| json!({"embedding": [0.1, 0.2, 0.3], "index": index});
        let data: Vec<Value> = (0..count).map(item).collect();
        ok(&json!({"data": data, "usage": {"prompt_tokens": 8, "total_tokens": 8}}))
    })
    .await
}

fn gif() -> Image {
    Image::new(b"GIF89a").expect("an image")
}

#[tokio::test]
async fn case_1_a_query_is_a_list_of_one_with_all_fields_of_the_contract() {
    let server = mock().await;
    let found = server.nim().embedder(E5).embed(&["hello"], InputType::Query).await;
    let found = found.expect("a vector");
    assert_eq!(found.vectors, [[0.1, 0.2, 0.3]]);
    assert_eq!(found.prompt_tokens, Some(8));
    let norms = found.norms.expect("norms");
    assert!((norms.min - 0.374_165).abs() < 1e-5 && !norms.are_unit());
    let sent = &server.requests()[0];
    assert_eq!(sent.line, "POST /v1/embeddings HTTP/1.1");
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("accept"), Some("application/json"));
    let body = json!({"model": E5, "input": ["hello"], "input_type": "query",
        "encoding_format": "base64", "truncate": "NONE"});
    assert_eq!(sent.json(), body);
}

#[tokio::test]
async fn case_1_documents_are_passages_and_truncate_takes_its_three_values() {
    let server = mock().await;
    let values = [(Truncate::None, "NONE"), (Truncate::Start, "START"), (Truncate::End, "END")];
    for (at, (truncate, text)) in values.into_iter().enumerate() {
        let model = server.nim().embedder(E5).truncate(truncate);
        model.embed(&["a", "b"], InputType::Passage).await.expect("vectors");
        let body = json!({"model": E5, "input": ["a", "b"], "input_type": "passage",
            "encoding_format": "base64", "truncate": text});
        assert_eq!(server.requests()[at].json(), body);
    }
}

#[tokio::test]
async fn case_1_extra_headers_are_on_the_request_and_bad_ones_are_refused() {
    let server = mock().await;
    let nim = server.builder().header("X-Test", "test").build().expect("a client");
    nim.embedder(E5).embed(&["a"], InputType::Query).await.expect("a vector");
    assert_eq!(server.requests()[0].header("x-test"), Some("test"));
    assert!(!format!("{:?}", server.builder().header("X-Test", "canary")).contains("canary"));
    for (name, value) in [("X Test", "test"), ("X-Test", "a\nb"), ("", "x")] {
        let refused = server.builder().header(name, value).build().expect_err("a bad header");
        assert_eq!(refused, NimError::Config(ConfigFault::Header));
    }
}

#[tokio::test]
async fn dimensions_are_sent_when_asked_for_and_checked_against_the_model() {
    let server = mock().await;
    let nim = server.nim();
    let model = nim.embedder("nvidia/llama-nemotron-embed-1b-v2").dimensions(Some(3));
    model.embed(&["a"], InputType::Query).await.expect("a vector");
    let body = json!({"model": "nvidia/llama-nemotron-embed-1b-v2", "input": ["a"],
        "input_type": "query", "encoding_format": "base64", "truncate": "NONE", "dimensions": 3});
    assert_eq!(server.requests()[0].json(), body);

    let fault = |found| match found {
        Err(NimError::Config(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let query = InputType::Query;
    let too_many = nim.embedder(model.model()).dimensions(Some(102_400));
    let expected = ConfigFault::TooManyDimensions { asked: 102_400, longest: 2048 };
    assert_eq!(fault(too_many.embed(&["a"], query).await), expected);
    let fixed = nim.embedder(E5).dimensions(Some(512));
    let expected = ConfigFault::FixedDimensions { served: Some(1024) };
    assert_eq!(fault(fixed.embed(&["a"], query).await), expected);
    assert_eq!(server.requests().len(), 1);

    // The caller knows better; and the only length of a model is asked for without the field.
    let facts = fixed.clone().facts(ModelFacts::unknown());
    facts.dimensions(Some(3)).embed(&["a"], query).await.expect("sent as asked");
    assert_eq!(server.requests()[1].json()["dimensions"], 3);
    let own = fixed.clone().facts(ModelFacts::unknown().dimensions(3).reducible(false));
    own.dimensions(Some(3)).embed(&["a"], query).await.expect("the only length");
    assert_eq!(server.requests()[2].json().get("dimensions"), None);
}

#[tokio::test]
async fn base64_is_asked_for_and_read_and_read_unasked_too() {
    let text = base64(&[0.5, -2.0, 1e-30]);
    let body = json!({"data": [{"index": 0, "embedding": text}]});
    let server = Server::start(move |_, _| ok(&body)).await;
    let model = server.nim().embedder(E5);
    for encoding in [Encoding::Base64, Encoding::Float] {
        let found = model.clone().encoding(encoding).embed(&["a"], InputType::Query).await;
        assert_eq!(found.expect("a vector").vectors, [[0.5, -2.0, 1e-30]]);
    }
    let sent = server.requests();
    let expected = json!({"model": E5, "input": ["a"], "input_type": "query",
        "encoding_format": "base64", "truncate": "NONE"});
    assert_eq!(sent[0].json(), expected);
    assert_eq!(sent[1].json()["encoding_format"], "float");
}

#[tokio::test]
async fn a_server_that_refuses_base64_is_asked_for_numbers_from_then_on() {
    let refusals = [
        (400, r#"{"error":"encoding_format: base64 is not supported"}"#),
        (422, r#"{"detail":[{"loc":["body","encoding_format"],"msg":"unexpected value"}]}"#),
    ];
    for (status, refusal) in refusals {
        let server =
            Server::start(move |_, request| match request.json()["encoding_format"].as_str() {
                Some("float") => ok(&json!({"data": [{"index": 0, "embedding": [1, 2]}]})),
                _ => answer(status, "", refusal),
            })
            .await;
        let model = server.nim().embedder(E5);
        let found = model.embed(&["a"], InputType::Query).await.expect("a vector");
        assert_eq!((found.vectors, found.cost.requests), (vec![vec![1.0, 2.0]], 2));
        // Clones know it too.
        let found = model.clone().embed(&["b"], InputType::Query).await.expect("a vector");
        assert_eq!(found.cost.requests, 1);
        let sent: Vec<Value> =
            server.requests().iter().map(|sent| sent.json()["encoding_format"].clone()).collect();
        assert_eq!(sent, ["base64", "float", "float"]);

        // What was asked for in so many words is not replaced.
        let told = model.encoding(Encoding::Base64).embed(&["c"], InputType::Query).await;
        assert!(matches!(told, Err(NimError::BadRequest(_))), "{told:?}");
        assert_eq!(server.requests().len(), 4);
    }
}

#[tokio::test]
async fn another_refusal_is_no_reason_to_ask_for_numbers() {
    let server = Server::start(|_, _| answer(400, "", r#"{"error":"truncate: unknown"}"#)).await;
    let refused = server.nim().embedder(E5).embed(&["a"], InputType::Query).await;
    assert!(matches!(refused, Err(NimError::BadRequest(_))), "{refused:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn quantized_vectors_keep_their_type() {
    let server = Server::start(|_, request| {
        let numbers = match request.json()["embedding_type"].as_str() {
            Some("int8" | "binary") => json!([-128, 127]),
            _ => json!([0, 255]),
        };
        ok(&json!({"data": [{"index": 0, "embedding": numbers}]}))
    })
    .await;
    let model = server.nim().embedder("nvidia/llama-nemotron-embed-1b-v2");
    let cases = [
        (Quantization::Int8, "int8", QuantizedVectors::Int8(vec![vec![-128, 127]])),
        (Quantization::Uint8, "uint8", QuantizedVectors::Uint8(vec![vec![0, 255]])),
        (Quantization::Binary, "binary", QuantizedVectors::Binary(vec![vec![-128, 127]])),
        (Quantization::Ubinary, "ubinary", QuantizedVectors::Ubinary(vec![vec![0, 255]])),
    ];
    let inputs = [Input::from("a")];
    for (at, (kind, name, expected)) in cases.into_iter().enumerate() {
        let options = CallOptions::new();
        let found = model.embed_quantized(&inputs, InputType::Passage, kind, options).await;
        assert_eq!(found.expect("a vector").vectors, expected);
        let body = json!({"model": model.model(), "input": ["a"], "input_type": "passage",
            "encoding_format": "float", "embedding_type": name, "truncate": "NONE"});
        assert_eq!(server.requests()[at].json(), body);
    }
    // Packed bits are an eighth of the dimensions asked for.
    let sixteen = model.dimensions(Some(16));
    let options = CallOptions::new();
    let kind = Quantization::Ubinary;
    sixteen.embed_quantized(&inputs, InputType::Query, kind, options).await.expect("two bytes");
    let e5 = server.nim().embedder(E5);
    let found = e5.embed_quantized(&inputs, InputType::Query, kind, options).await;
    assert_eq!(found, Err(NimError::Config(ConfigFault::EmbeddingType)));
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn vision_language_models_are_told_what_each_input_is() {
    let server = mock().await;
    let model = server.nim().embedder(VL).truncate(Truncate::End);
    // Complaint 11: such a text would be taken for an image.
    let tricky = format!("see {GIF}");
    model.embed(&[tricky.as_str()], InputType::Query).await.expect("a vector");
    let body = json!({"model": VL, "input": [tricky], "input_type": "query",
        "encoding_format": "base64", "truncate": "END", "modality": "text"});
    assert_eq!(server.requests()[0].json(), body);

    let image = gif();
    let inputs = [Input::from("some text"), Input::from(&image), Input::TextAndImage("t", &image)];
    let passage = InputType::Passage;
    model.embed_inputs(&inputs, passage, CallOptions::new()).await.expect("vectors");
    let body = json!({"model": VL, "input": ["some text", GIF, format!("t\n{GIF}")],
        "input_type": "passage", "encoding_format": "base64", "truncate": "END",
        "modality": ["text", "image", "text_image"]});
    assert_eq!(server.requests()[1].json(), body);

    let images = [Input::from(&image)];
    model.embed_inputs(&images, passage, CallOptions::new()).await.expect("a vector");
    assert_eq!(server.requests()[2].json()["modality"], "image");
    let query = model.embed_inputs(&images, InputType::Query, CallOptions::new()).await;
    assert_eq!(query, Err(NimError::Config(ConfigFault::ImageAsQuery)));
    let text_only = server.nim().embedder(E5);
    let found = text_only.embed_inputs(&images, passage, CallOptions::new()).await;
    assert_eq!(found, Err(NimError::Config(ConfigFault::TextOnly)));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn at_most_four_images_travel_in_one_request() {
    let server = mock().await;
    let images: Vec<Image> = (0..9_u8)
        .map(|at| Image::new(&[b"GIF89a", &[at][..]].concat()).expect("an image"))
        .collect();
    let inputs: Vec<Input<'_>> = images.iter().map(Input::from).collect();
    let model = server.nim().embedder(VL);
    let found = model.embed_inputs(&inputs, InputType::Passage, CallOptions::new()).await;
    assert_eq!(found.expect("vectors").cost.requests, 3);
    let mut sizes: Vec<usize> = server.requests().iter().map(|r| r.inputs().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 4, 4]);
}

#[tokio::test]
async fn symmetric_models_get_no_input_type() {
    let server = mock().await;
    let model = server.nim().embedder("my/model").facts(ModelFacts::unknown().symmetric(true));
    model.embed(&["a"], InputType::Query).await.expect("a vector");
    let body = json!({"model": "my/model", "input": ["a"], "encoding_format": "base64",
        "truncate": "NONE"});
    assert_eq!(server.requests()[0].json(), body);
}

#[tokio::test]
async fn vectors_are_scaled_when_asked_and_long_inputs_are_counted() {
    let body = json!({"data": [{"index": 0, "embedding": [3, 4]}]});
    let server = Server::start(move |_, _| ok(&body)).await;
    let model = server.nim().embedder(E5).normalize(true).truncate(Truncate::End);
    let long = "word ".repeat(1000);
    let found = model.embed(&[long.as_str()], InputType::Passage).await.expect("a vector");
    assert_eq!(found.vectors, [[0.6, 0.8]]);
    let norms = found.norms.expect("norms");
    assert_eq!((norms.min, norms.max), (5.0, 5.0));
    assert_eq!(found.likely_truncated, 1);
    let short = model.embed(&["word"], InputType::Passage).await.expect("a vector");
    assert_eq!(short.likely_truncated, 0);
}
