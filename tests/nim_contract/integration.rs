//! The cases of the reference client's integration tests, against each server generation.

use portolan::nim::{
    CallOptions, Image, Input, InputType, ModelFacts, NimError, Quantization, QuantizedVectors,
    RankTruncate, ResponseFault, Truncate,
};

use crate::service::{
    ALL, EMBED, EMBED_VL, Generation, KEY, MAX_TOKENS, RANK, RANK_VL, quantized, vector,
};
use serde_json::json;

/// A text of 10240 words; its first and its last differ from the others.
fn long_text() -> String {
    format!("first {} final!", "word ".repeat(10_238).trim_end())
}

fn documents(count: usize) -> Vec<String> {
    (0..count).map(|at| "x".repeat(at + 1)).collect()
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn an_input_of_10240_words_fails_without_truncation_and_is_named() {
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).embedder(EMBED);
        let long = long_text();
        let alone = model.embed(&[long.as_str()], InputType::Query).await;
        assert!(matches!(alone, Err(NimError::InputTooLong { index: 0, .. })), "{alone:?}");
        // One long text among 99: all fail, and the error says which one to mend.
        let mut texts = documents(99);
        texts[41] = long;
        match model.embed(&refs(&texts), InputType::Passage).await {
            Err(NimError::InputTooLong { index: 41, reply }) => {
                assert!(reply.message.contains("exceeds maximum allowed"), "{reply}");
                let status = if generation == Generation::V2 { 422 } else { 400 };
                assert_eq!(reply.status, status);
            }
            other => panic!("{generation:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_long_input_is_cut_at_its_start_or_its_end() {
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).embedder(EMBED);
        let long = long_text();
        for (truncate, name) in [(Truncate::Start, "START"), (Truncate::End, "END")] {
            let found = model.clone().truncate(truncate).embed(&[&long], InputType::Query).await;
            let found = found.expect("a vector");
            assert_eq!(found.vectors, [vector(&long, name, true, 2048)]);
            assert_eq!(found.likely_truncated, usize::from(long.len() / 4 > MAX_TOKENS));
        }
    }
}

#[tokio::test]
async fn a_hundred_and_one_documents_make_as_many_vectors_in_order() {
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).embedder(EMBED);
        let texts = documents(101);
        let found = model.embed(&refs(&texts), InputType::Passage).await.expect("vectors");
        assert_eq!(found.cost.requests, 3);
        let expected: Vec<_> = texts.iter().map(|t| vector(t, "NONE", false, 2048)).collect();
        assert_eq!(found.vectors, expected);
        let tokens = (generation != Generation::V1).then_some(101);
        assert_eq!((found.prompt_tokens, found.served_model), (tokens, None));
    }
}

#[tokio::test]
async fn dimensions_are_exact_or_an_error() {
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).embedder(EMBED);
        for length in [32, 64, 128, 384, 2048] {
            let model = model.clone().dimensions(Some(length));
            let found = model.embed(&["a"], InputType::Query).await.expect("a vector");
            assert_eq!(found.vectors[0].len(), length as usize);
        }
        // A negative number can only be written as a field of its own.
        let negative = model.clone().dimensions(None).extra("dimensions", -1);
        let before = server.requests().len();
        let error = negative.embed(&["a"], InputType::Query).await.expect_err("no such length");
        assert!(matches!(error, NimError::BadRequest(_)), "{error:?}");
        let sent = &server.requests()[before..];
        assert_eq!((error.status(), sent.len()), (Some(400), 1));
        assert_eq!(sent[0].json()["dimensions"], -1);
        // The service clamps what is too much.
        let sent = model.facts(ModelFacts::unknown()).dimensions(Some(102_400));
        let error = sent.embed(&["a"], InputType::Query).await.expect_err("fewer");
        let what = ResponseFault::Dimensions { index: 0, expected: 102_400, found: 2048 };
        assert!(matches!(error, NimError::InvalidResponse { what: found, .. } if found == what));
    }
}

#[tokio::test]
async fn base64_and_numbers_give_the_same_vectors() {
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).embedder(EMBED);
        let plain = model.clone().encoding(portolan::nim::Encoding::Float);
        let plain = plain.embed(&["a", "bb"], InputType::Query).await.expect("vectors");
        let packed = model.encoding(portolan::nim::Encoding::Base64);
        let packed = packed.embed(&["a", "bb"], InputType::Query).await.expect("vectors");
        assert_eq!(plain.vectors, packed.vectors);
    }
}

#[tokio::test]
async fn quantized_vectors_of_every_type_pass_every_generation() {
    for generation in ALL {
        let server = generation.start().await;
        let whole = generation.client(&server).embedder(EMBED);
        for (model, length) in [(whole.clone(), 2048), (whole.dimensions(Some(64)), 64)] {
            for (kind, name) in [
                (Quantization::Int8, "int8"),
                (Quantization::Uint8, "uint8"),
                (Quantization::Binary, "binary"),
                (Quantization::Ubinary, "ubinary"),
            ] {
                let (inputs, role) = ([Input::from("a"), Input::from("bb cc")], InputType::Passage);
                let found = model.embed_quantized(&inputs, role, kind, CallOptions::new()).await;
                let found: Vec<Vec<i64>> = match found.expect("vectors").vectors {
                    QuantizedVectors::Int8(all) | QuantizedVectors::Binary(all) => wide(all),
                    QuantizedVectors::Uint8(all) | QuantizedVectors::Ubinary(all) => wide(all),
                    other => panic!("{other:?}"),
                };
                let expected = ["a", "bb cc"].map(|text| vector(text, "NONE", false, length));
                let expected = expected.map(|numbers| quantized(&numbers, name));
                assert_eq!(found, expected, "{generation:?}, {name}");
            }
        }
    }
}

fn wide<T: Into<i64>>(vectors: Vec<Vec<T>>) -> Vec<Vec<i64>> {
    let one = |vector: Vec<T>| vector.into_iter().map(Into::into).collect();
    vectors.into_iter().map(one).collect()
}

#[tokio::test]
async fn ranking_gives_every_passage_a_score_best_first_whatever_the_batch() {
    let texts: Vec<String> = (0..10).map(|at| format!("{} way", "go ".repeat(at))).collect();
    let passages = refs(&texts);
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).reranker(RANK);
        let whole = model.rank("which way", &passages).await.expect("scores");
        assert_eq!(whole.cost.requests, 1);
        let order: Vec<usize> = whole.scores.iter().map(|score| score.index).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for (batch, top) in [(7, 7), (17, 7), (3, 13), (1, 1), (1, 10), (10, 1)] {
            let split = model.clone().batch_size(batch);
            let found = split.rank("which way", &passages).await.expect("scores");
            assert_eq!(found.top(top), &whole.scores[..top.min(passages.len())]);
            assert_eq!(found.cost.requests as usize, passages.len().div_ceil(batch));
        }
        for (top, expected) in [(0, 0), (1, 1), (10, 10), (11, 10)] {
            assert_eq!(whole.top(top).len(), expected);
        }
        let none = model.rank("which way", &[]).await.expect("nothing to do");
        assert_eq!((none.scores.len(), none.cost.requests), (0, 0));
    }
}

#[tokio::test]
async fn up_to_512_passages_are_one_request() {
    let passages = vec!["a way"; 1025];
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).reranker(RANK);
        for (count, requests) in [(512, 1), (513, 2), (1025, 3)] {
            let found = model.rank("which way", &passages[..count]).await.expect("scores");
            assert_eq!((found.scores.len(), found.cost.requests), (count, requests));
            let is_in_order = found.scores.iter().enumerate().all(|(at, s)| s.index == at);
            assert!(is_in_order, "equal scores keep the order of the passages");
        }
    }
}

#[tokio::test]
async fn a_passage_of_10240_words_fails_the_request_unless_it_is_cut() {
    for generation in ALL {
        let server = generation.start().await;
        let model = generation.client(&server).reranker(RANK);
        let long = long_text();
        let passages = ["a", "b", long.as_str()];
        for truncate in [RankTruncate::None, RankTruncate::Unset] {
            match model.clone().truncate(truncate).rank("q", &passages).await {
                Err(NimError::InputTooLong { index: 2, reply }) => {
                    assert!(matches!(reply.status, 400 | 422));
                    assert!(reply.message.contains("exceeds maximum allowed"), "{reply}");
                }
                other => panic!("{generation:?}: {other:?}"),
            }
        }
        let found = model.rank("q", &passages).await.expect("cut by default");
        assert_eq!(found.scores.len(), 3);
    }
}

#[tokio::test]
async fn refusals_of_every_generation_are_typed() {
    for generation in ALL {
        let server = generation.start().await;
        let nim = generation.client(&server);
        let wrong = nim.embedder("nvidia/other").embed(&["a"], InputType::Query).await;
        assert!(matches!(wrong, Err(NimError::NotFound(_))), "{wrong:?}");
        let symmetric = nim.embedder(EMBED).facts(ModelFacts::unknown().symmetric(true));
        let found = symmetric.embed(&["a"], InputType::Query).await;
        match generation {
            Generation::V2 => assert_eq!(found.expect("the field is optional").cost.requests, 1),
            _ => assert!(matches!(found, Err(NimError::InputTypeRequired(_))), "{found:?}"),
        }
    }
    let hosted = Generation::Hosted.start().await;
    let found = hosted.nim().embedder(EMBED).embed(&["a"], InputType::Query).await;
    assert!(matches!(found, Err(NimError::Unauthorized(_))), "{found:?}");
}

#[tokio::test]
async fn cases_1_and_2_pass_every_generation_with_their_bodies_as_written() {
    for generation in ALL {
        let server = generation.start().await;
        let nim = generation.client(&server);
        let bearer = (generation == Generation::Hosted).then(|| format!("Bearer {KEY}"));
        let embedder = nim.embedder(EMBED);
        let truncations =
            [(Truncate::None, "NONE"), (Truncate::Start, "START"), (Truncate::End, "END")];
        for (role, word) in [(InputType::Query, "query"), (InputType::Passage, "passage")] {
            for (truncate, name) in truncations {
                let model = embedder.clone().truncate(truncate);
                let found = model.embed(&["one two", "three"], role).await.expect("vectors");
                let is_query = role == InputType::Query;
                let expected = ["one two", "three"].map(|text| vector(text, name, is_query, 2048));
                assert_eq!(found.vectors, expected);
                let sent = server.requests().pop().expect("a request");
                assert_eq!(sent.line, "POST /v1/embeddings HTTP/1.1");
                assert_eq!(sent.header("authorization"), bearer.as_deref());
                let mut body = sent.json();
                // How vectors travel is the client's choice.
                body.as_object_mut().expect("an object").remove("encoding_format");
                assert_eq!(
                    body,
                    json!({"model": EMBED, "input": ["one two", "three"],
                    "input_type": word, "truncate": name})
                );
            }
        }
        for (truncate, name) in [
            (RankTruncate::End, Some("END")),
            (RankTruncate::None, Some("NONE")),
            (RankTruncate::Unset, None),
        ] {
            let model = nim.reranker(RANK).truncate(truncate);
            let found = model.rank("way", &["no", "one way"]).await.expect("scores");
            assert_eq!(found.scores.iter().map(|s| s.index).collect::<Vec<_>>(), [1, 0]);
            let mut body = json!({"model": RANK, "query": {"text": "way"},
                "passages": [{"text": "no"}, {"text": "one way"}]});
            if let Some(name) = name {
                body["truncate"] = json!(name);
            }
            assert_eq!(server.requests().pop().expect("a request").json(), body);
        }
    }
}

#[tokio::test]
async fn images_pass_the_strict_service_of_every_generation() {
    let image = Image::from_data_url("data:image/gif;base64,R0lGODlh").expect("an image");
    for generation in ALL {
        let server = generation.start().await;
        let nim = generation.client(&server);
        let inputs = [
            Input::from("a"),
            Input::TextAndImage("b", &image),
            Input::from(&image),
            Input::from("says data:image/gif;base64,R0lGODlh"),
        ];
        let model = nim.embedder(EMBED_VL);
        let found = model.embed_inputs(&inputs, InputType::Passage, CallOptions::new()).await;
        assert_eq!(found.expect("vectors").vectors.len(), 4);
        let texts = [Input::from("a"), Input::from("says data:image/gif;base64,R0lGODlh")];
        let found = model.embed_inputs(&texts, InputType::Query, CallOptions::new()).await;
        assert_eq!(found.expect("vectors").vectors.len(), 2);
        let ranker = nim.reranker(RANK_VL);
        let found = ranker.rank_inputs("which", &inputs, CallOptions::new()).await;
        assert_eq!(found.expect("scores").scores.len(), 4);
        // The service is strict: a text model of it takes no image.
        let text_model = nim.reranker(RANK).facts(ModelFacts::unknown());
        let refused = text_model.rank_inputs("which", &inputs, CallOptions::new()).await;
        let error = refused.expect_err("images for a text model");
        assert!(matches!(error, NimError::BadRequest(_)), "{generation:?}: {error:?}");
    }
}
