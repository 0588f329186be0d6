//! Answers made to harm: too large, redirected, broken, never ending.

use portolan::nim::{InputType, Message, NimError, ResponseFault, Service};

use crate::server::{Server, Then, answer, embedded, raw};

async fn error_of(server: &Server) -> NimError {
    let model = server.nim().embedder("m").dimensions(Some(2));
    model.embed(&["a"], InputType::Query).await.expect_err("an unusable answer")
}

#[tokio::test]
async fn answers_beyond_the_limit_are_not_read() {
    let limit = 2 * 32 + 65_536;
    let begin = "HTTP/1.1 200 OK\r\nx-request-id: req-9\r\n";
    let claims = format!("{begin}content-length: {}\r\n\r\n{{", limit + 1);
    let huge = format!("{begin}content-length: 9223372036854775808\r\n\r\n{{");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536));
    let chunked = format!("{begin}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    for bytes in [claims, huge, chunked] {
        let server = Server::always(bytes, Then::Hang).await;
        let error = error_of(&server).await;
        let is_limit =
            matches!(error, NimError::ResponseTooLarge { limit: found, .. } if found == limit);
        assert!(is_limit, "{error:?}");
        assert_eq!((error.status(), error.request_id()), (Some(200), Some("req-9")), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_just_within_the_limit_is_read() {
    let body = r#"{"data":[{"index":0,"embedding":[1,2]}]}"#;
    let padded = format!("{body}{}", " ".repeat(2 * 32 + 65_536 - body.len()));
    let server = Server::start(move |_, _| answer(200, "", &padded)).await;
    let model = server.nim().embedder("m").dimensions(Some(2));
    let found = model.embed(&["a"], InputType::Query).await.expect("a vector");
    assert_eq!(found.vectors, [[1.0, 2.0]]);
}

#[tokio::test]
async fn ranking_answers_stop_at_four_mebibytes() {
    let claim = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", (4 << 20) + 1);
    let server = Server::always(claim, Then::Hang).await;
    let found = server.nim().reranker("m").rank("q", &["a"]).await;
    assert!(matches!(found, Err(NimError::ResponseTooLarge { limit: 4_194_304, .. })), "{found:?}");
}

#[tokio::test]
async fn redirects_are_reported_and_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let other = Server::start(|_, request| embedded(request)).await;
        let headers = format!("location: {}/v1/embeddings\r\n", other.url);
        let server = Server::start(move |_, _| answer(status, &headers, "")).await;
        let error = error_of(&server).await;
        assert!(matches!(error, NimError::UnexpectedStatus(_)), "{error:?}");
        assert_eq!((error.status(), server.requests().len()), (Some(status), 1));
        assert_eq!(other.requests().len(), 0);
    }
}

#[tokio::test]
async fn compressed_and_empty_answers_are_not_taken_for_vectors() {
    let zipped = Server::start(|_, _| answer(200, "content-encoding: gzip\r\n", "\u{1f}x")).await;
    let error = error_of(&zipped).await;
    assert!(
        matches!(&error, NimError::InvalidResponse { what: ResponseFault::Json { .. }, .. }),
        "{error:?}"
    );
    assert!(zipped.requests().iter().all(|r| r.header("accept-encoding").is_none()));
    let none = Server::always("HTTP/1.1 204 No Content\r\n\r\n", Then::Keep).await;
    assert_eq!(error_of(&none).await.status(), Some(204));
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_an_error_with_its_status_and_request() {
    let id = "x-request-id: req-7\r\n";
    let stream = format!("content-type: text/event-stream\r\n{id}");
    let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let told = r#"{"error":{"message":"busy","code":400}}"#;
    let cases = [
        (id, "<html>"),
        (id, r#"{"data":[]}"#),
        (id, r#"{"data":[{"index":0,"embedding":[1,2,3]}]}"#),
        (id, r#"{"rankings":[]}"#),
        (id, r#"{"choices":[]}"#),
        (id, told),
        (&*stream, chunk),
        (&*stream, "data: <html>\n\n"),
    ];
    for (headers, body) in cases {
        let headers = headers.to_owned();
        let server = Server::start(move |_, _| answer(200, &headers, body)).await;
        let (nim, messages) = (server.nim(), [Message::user("u")]);
        let mut errors = vec![error_of(&server).await];
        errors.extend(nim.reranker("m").rank("q", &["a"]).await.err());
        errors.extend(nim.chat("m").complete(&messages).await.err());
        errors.extend(match nim.chat("m").stream(&messages).await {
            Ok(stream) => stream.finish().await.err(),
            Err(error) => Some(error),
        });
        errors.extend(nim.models(Service::Embedding).await.err());
        for error in errors {
            let is_told = matches!(error, NimError::BadRequest(_));
            let expected = if is_told { Some(400) } else { Some(200) };
            assert_eq!((error.status(), error.request_id()), (expected, Some("req-7")), "{error}");
            assert!(error.to_string().contains("(request req-7)"), "{error}");
        }
    }
}

#[tokio::test]
async fn error_bodies_are_cut_however_long_they_are() {
    let server = Server::start(|_, _| answer(400, "", "x".repeat(10 << 20))).await;
    let error = error_of(&server).await;
    assert_eq!(error.reply().expect("a reply").message, "x".repeat(512));

    let deep = format!("{{\"detail\":{}", "[".repeat(60_000));
    let server = Server::start(move |_, _| answer(400, "", &deep)).await;
    assert!(error_of(&server).await.to_string().contains("{\"detail\":[[["));
}

#[tokio::test]
async fn an_error_body_that_breaks_off_keeps_its_status() {
    let head = "HTTP/1.1 422 X\r\ncontent-length: 999\r\n\r\nodd inp";
    let server = Server::start(move |_, _| raw(head, Then::Close)).await;
    let error = error_of(&server).await;
    assert_eq!((error.status(), server.requests().len()), (Some(422), 1));
}

#[tokio::test]
async fn what_is_not_http_is_a_typed_error() {
    for bytes in ["SSH-2.0-OpenSSH\r\n\r\n".to_owned(), {
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20))
    }] {
        let server = Server::always(bytes, Then::Close).await;
        let error = error_of(&server).await;
        assert!(matches!(error, NimError::Disconnected { .. }), "{error:?}");
    }
}
