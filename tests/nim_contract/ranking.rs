//! Case 2, `test_ranking`: bodies with and without truncation, texts, images and both. Values of
//! `truncate` such as `True`, `"START"` and `"BOGUS"` cannot be written: it is an enum.

use portolan::nim::{CallOptions, ConfigFault, Image, Input, ModelFacts, NimError, RankTruncate};
use serde_json::{Value, json};

use crate::server::{Server, ok};
use crate::service::RANK;

const VL: &str = "nvidia/llama-nemotron-rerank-vl-1b-v2";
const GIF: &str = "data:image/gif;base64,R0lGODlh";

async fn mock() -> Server {
    Server::start(|_, request| {
        let count = request.json()["passages"].as_array().expect("a list").len();
        let item = |index| json!({"index": index, "logit": 4.2});
        ok(&json!({"rankings": (0..count).map(item).collect::<Vec<Value>>()}))
    })
    .await
}

#[tokio::test]
async fn case_2_truncate_is_end_by_default_none_or_absent() {
    let server = mock().await;
    let base = json!({"model": RANK, "query": {"text": "q"}, "passages": [{"text": "a"}]});
    let cases = [
        (RankTruncate::default(), Some("END")),
        (RankTruncate::End, Some("END")),
        (RankTruncate::None, Some("NONE")),
        (RankTruncate::Unset, None),
    ];
    for (at, (truncate, text)) in cases.into_iter().enumerate() {
        let model = server.nim().reranker(RANK).truncate(truncate);
        let found = model.rank("q", &["a"]).await.expect("a score");
        assert_eq!((found.scores[0].index, found.scores[0].logit), (0, 4.2));
        let mut body = base.clone();
        if let Some(text) = text {
            body["truncate"] = json!(text);
        }
        assert_eq!(server.requests()[at].json(), body);
        assert_eq!(server.requests()[at].line, "POST /v1/ranking HTTP/1.1");
    }
}

#[tokio::test]
async fn case_2_extra_headers_are_on_the_request() {
    let server = mock().await;
    let nim = server.builder().header("X-Test", "test").build().expect("a client");
    nim.reranker(RANK).rank("q", &["a"]).await.expect("a score");
    assert_eq!(server.requests()[0].header("x-test"), Some("test"));
}

/// The reference client sends an empty text beside an image alone; 2.x servers refuse that, and
/// all take a passage without the field.
#[tokio::test]
async fn case_2_a_mixed_batch_of_texts_and_images() {
    let server = mock().await;
    let image = Image::from_data_url(GIF).expect("an image");
    let passages = [Input::from("a"), Input::TextAndImage("b", &image), Input::from(&image)];
    let model = server.nim().reranker(VL);
    let found = model.rank_inputs("q", &passages, CallOptions::new()).await.expect("scores");
    assert_eq!(found.scores.len(), 3);
    let body = json!({"model": VL, "query": {"text": "q"}, "truncate": "END",
        "passages": [{"text": "a"}, {"text": "b", "image": GIF}, {"image": GIF}]});
    assert_eq!(server.requests()[0].json(), body);
}

#[tokio::test]
async fn case_2_bad_images_and_images_for_text_models_are_errors() {
    let server = mock().await;
    for text in ["image.png", "/tmp/image.png", "https://example.com/x.png", "data:text/plain,x"] {
        assert_eq!(Image::from_data_url(text), Err(ConfigFault::ImageForm));
    }
    let image = Image::from_data_url(GIF).expect("an image");
    let passages = [Input::from(&image)];
    let text_model = server.nim().reranker(RANK);
    let found = text_model.rank_inputs("q", &passages, CallOptions::new()).await;
    assert_eq!(found, Err(NimError::Config(ConfigFault::TextOnly)));
    assert_eq!(server.requests().len(), 0);
    let told = text_model.facts(ModelFacts::unknown());
    told.rank_inputs("q", &passages, CallOptions::new()).await.expect("sent as asked");
    let empty = [Input::TextAndImage("", &image)];
    let found = told.rank_inputs("q", &empty, CallOptions::new()).await;
    assert_eq!(found, Err(NimError::EmptyInput { index: 0 }));
}
