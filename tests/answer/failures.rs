//! Services that fail, before the first word and behind it; deadlines; answers that are given up.

use std::error::Error as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portolan::nim::{ChatAnswer, ChatRequest, NimError, RetryPolicy};
use portolan::{
    AnswerDelta, BoxFuture, ChatFailure, ChatModel, CostMeter, Error, StageError, StageOutcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::library::{HEAD, event, events, library, refusal, words};
use crate::server::{Server, Then, raw};

#[tokio::test]
async fn a_service_that_refuses_fails_the_stage_with_its_own_error() {
    let library = library();
    let overflow = "This model's maximum context length is 4096 tokens";
    let server = Server::start(move |_, _| refusal(400, overflow)).await;
    let chat = server.nim().chat("m");
    let query = || library.docs.query("tide").answer(&chat);
    let whole = query().run().await.expect_err("a refusal");
    let streamed = query().stream().await.expect_err("a refusal");
    for error in [whole, streamed] {
        assert!(
            matches!(&error, Error::Model { stage: "chat", retryable: false, .. }),
            "{error:?}"
        );
        let source = error.source().and_then(|source| source.downcast_ref::<NimError>());
        assert!(matches!(source, Some(NimError::ContextOverflow(_))), "{error:?}");
    }
}

#[tokio::test]
async fn requests_that_failed_are_paid_too() {
    let library = library();
    let server = Server::start(move |_, _| refusal(503, "starting")).await;
    let retry = RetryPolicy::new().tries(3).base(Duration::from_millis(1));
    let chat = server.builder().retry(retry).build().expect("a client").chat("m");
    for is_stream in [false, true] {
        let meter = CostMeter::new();
        let query = library.docs.query("tide").meter(&meter).answer(&chat);
        match is_stream {
            false => drop(query.run().await.expect_err("no answer")),
            true => drop(query.stream().await.map(|_| ()).expect_err("no answer")),
        }
        let paid = meter.totals().chat;
        assert_eq!((paid.runs, paid.failures), (1, 1), "{paid:?}");
        assert_eq!((paid.cost.requests, paid.cost.retries), (3, 2), "{paid:?}");
        assert!(paid.cost.bytes_sent > 3 * 100 && paid.cost.bytes_received > 0, "{paid:?}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_in_the_middle_leaves_what_was_said() {
    let library = library();
    let broken = |then: Then| {
        let head = HEAD.replace("\r\n\r\n", "\r\ncontent-length: 9999\r\n\r\n");
        let said = event(&words("Twice [1]. And"));
        raw(format!("{head}{said}"), then)
    };
    let late = || {
        let error = "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n";
        raw(format!("{HEAD}{}{error}", event(&words("Twice [1]. And"))), Then::Close)
    };
    let cut = || events(&["Twice [1]. And".to_owned()], false);
    for at in 0..3 {
        let server = Server::start(move |_, _| match at {
            0 => broken(Then::Close),
            1 => late(),
            _ => cut(),
        })
        .await;
        let (chat, meter) = (server.nim().chat("m"), CostMeter::new());
        let ask = library.docs.query("tide").meter(&meter).answer(&chat);
        let mut stream = ask.stream().await.expect("a beginning");
        let mut said = String::new();
        let error = loop {
            match stream.next().await {
                Ok(Some(AnswerDelta::Text(text) | AnswerDelta::Citation { marker: text, .. })) => {
                    said.push_str(&text);
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, Error::Model { stage: "chat", .. }), "{at}: {error:?}");
        let so_far = stream.so_far();
        assert_eq!((said.as_str(), so_far.text.as_str()), ("Twice [1]. And", "Twice [1]. And"));
        assert_eq!((so_far.citations.len(), &so_far.finish), (1, &None));
        let stage = so_far.report.query.stages.last().expect("a stage");
        assert!(matches!(&stage.outcome, StageOutcome::Failed(_)) && stage.stage == "chat");
        assert_eq!(stage.cost.requests, 1);
        assert_eq!((meter.totals().chat.runs, meter.totals().chat.failures), (1, 1));
        let again = stream.next().await;
        assert!(matches!(again, Err(Error::Query { .. })), "{again:?}");
        assert!(stream.finish().await.is_err());
        // Words were said: they are not asked for again.
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_deadline_of_the_query_bounds_the_answer() {
    let library = library();
    let body = format!("{HEAD}{}", event(&words("Twice ")));
    let server = Server::always(body, Then::Hang).await;
    let chat = server.builder().retry(RetryPolicy::new().tries(1)).build();
    let chat = chat.expect("a client").chat("m");
    let short = Duration::from_millis(150);
    let meter = CostMeter::new();
    let query = || library.docs.query("tide").deadline(short).meter(&meter).answer(&chat);
    let mut stream = query().stream().await.expect("a beginning");
    assert_eq!(stream.next().await.expect("words"), Some(AnswerDelta::Text("Twice".to_owned())));
    let late = stream.next().await;
    let is_late = |error: &Error| {
        matches!(error, Error::DeadlineExceeded { stage: "chat", deadline_ms: 150 })
    };
    assert!(matches!(&late, Err(error) if is_late(error)), "{late:?}");
    assert_eq!(stream.so_far().text, "Twice");
    drop(stream);
    let paid = meter.totals().chat;
    assert_eq!((paid.runs, paid.failures, paid.cost.requests), (1, 1, 1), "{paid:?}");

    // A whole answer that does not come.
    let server = Server::always("", Then::Hang).await;
    let chat = server.nim().chat("m");
    let late = library.docs.query("tide").deadline(short).answer(&chat).run().await;
    assert!(matches!(&late, Err(error) if is_late(error)), "{late:?}");
}

#[tokio::test]
async fn an_answer_that_is_left_is_paid_as_far_as_it_came() {
    let library = library();
    let body = format!("{HEAD}{}", event(&words("Twice ")));
    let server = Server::always(body, Then::Hang).await;
    let (chat, meter) = (server.nim().chat("m"), CostMeter::new());
    let query = library.docs.query("tide").meter(&meter).answer(&chat);
    let mut stream = query.stream().await.expect("a beginning");
    stream.next().await.expect("words");
    assert_eq!(meter.totals().chat.runs, 0);
    drop(stream);
    let paid = meter.totals().chat;
    assert_eq!((paid.runs, paid.failures, paid.cost.requests), (1, 0, 1), "{paid:?}");
    assert!(paid.cost.bytes_received > 0, "{paid:?}");
}

#[tokio::test]
async fn what_is_kept_for_the_model_is_not_spent_on_the_query() {
    let library = library();
    let server = Server::start(|_, _| panic!("nothing is to be asked")).await;
    let chat = server.nim().chat("m");
    let hour = Duration::from_secs(3600);
    let ask = library.docs.query("tide").deadline(hour).answer(&chat).answer_reserve(hour);
    let late = ask.run().await;
    assert!(
        matches!(&late, Err(Error::DeadlineExceeded { stage: "search", deadline_ms: 0 })),
        "{late:?}"
    );
}

/// A model of this process that notes its deadline.
struct Noting(Mutex<Vec<Option<Instant>>>);

impl ChatModel for Noting {
    fn model(&self) -> &str {
        "test/noting"
    }

    fn chat<'a>(
        &'a self,
        _: ChatRequest<'a>,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<ChatAnswer, ChatFailure>> {
        self.0.lock().expect("the log").push(deadline);
        let known = self.0.lock().expect("the log").len();
        Box::pin(async move {
            match known {
                1..=3 => Ok(ChatAnswer::new("Yes [1].")),
                _ => Err(ChatFailure::Other(StageError::new("asleep").retryable(true))),
            }
        })
    }
}

#[tokio::test]
async fn any_chat_model_answers_and_gets_the_deadline_of_the_whole_query() {
    let library = library();
    let model = Noting(Mutex::default());
    let hour = Duration::from_secs(3600);
    let before = Instant::now();
    let ask = || library.docs.query("tide").deadline(hour).answer(&model);
    let whole = ask().run().await.expect("an answer");
    let after = Instant::now();
    let mut stream = ask().stream().await.expect("a stream");
    let first = stream.next().await.expect("a step");
    assert_eq!(first, Some(AnswerDelta::Text("Yes ".to_owned())));
    let streamed = stream.finish().await.expect("an answer");
    assert_eq!((&whole.text, &whole.citations), (&streamed.text, &streamed.citations));
    let free = library.docs.query("tide").answer(&model).run().await.expect("an answer");
    assert_eq!(free.report.query.stages[3].model.as_deref(), Some("test/noting"));
    let noted = model.0.lock().expect("the log").clone();
    let given = noted[0].expect("a deadline");
    assert!(given >= before + hour && given <= after + hour);
    assert_eq!((noted[1].is_some(), noted[2]), (true, None));

    let asleep = ask().run().await.expect_err("a failure");
    assert!(asleep.is_retryable() && asleep.to_string().contains("asleep"), "{asleep}");
}

#[tokio::test]
async fn an_answer_that_is_given_up_closes_its_connection() {
    let library = library();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut seen = Vec::new();
        while !seen.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            assert!(socket.read_buf(&mut seen).await.expect("a request") > 0);
        }
        let body = format!("{HEAD}{}", event(&words("Twice a month ")));
        socket.write_all(body.as_bytes()).await.expect("a reader");
        // Ends when the client has gone; an error is its way of going too.
        while socket.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {}
    });
    let nim = portolan::nim::Nim::builder().base_url(url).build().expect("a client");
    let chat = nim.chat("m");
    let mut stream = library.docs.query("tide").answer(&chat).stream().await.expect("a stream");
    assert!(stream.next().await.expect("words").is_some());
    // A read that is dropped loses nothing and closes nothing.
    let read = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
    assert!(read.is_err() && !served.is_finished());
    drop(stream);
    served.await.expect("the connection is closed");
}
