//! Answers of model servers: the first byte chooses status, type and call, the rest is the body.
//! The calls go to a server in this process, so that all of the client is under test; the parsers
//! of events and thoughts are also asked alone, with cuts.
#![no_main]

use std::cell::LazyCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portolan::internals;
use portolan::nim::{
    CircuitBreaker, FinishReason, InputType, Message, Nim, NimError, RetryPolicy, Service,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const KEY: &str = "fuzz-canary-0123456789";

/// A client, a server that gives each request the same bytes, and where they are.
struct Bench {
    runtime: Runtime,
    nim: Nim,
    answer: Arc<Mutex<Vec<u8>>>,
}

thread_local! {
    static BENCH: LazyCell<Bench> = LazyCell::new(Bench::new);
}

impl Bench {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answer = Arc::new(Mutex::new(Vec::new()));
        let given = Arc::clone(&answer);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&given)));
            }
        });
        let nim = Nim::builder()
            .base_url(url)
            .api_key(KEY)
            .retry(RetryPolicy::new().tries(1))
            .circuit_breaker(CircuitBreaker::off())
            .attempt_timeout(Duration::from_secs(10))
            .build()
            .expect("a client");
        Self { runtime, nim, answer }
    }
}

async fn serve(mut socket: TcpStream, answer: Arc<Mutex<Vec<u8>>>) {
    let mut seen = Vec::new();
    loop {
        if !matches!(socket.read_buf(&mut seen).await, Ok(1..)) {
            return;
        }
        let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        if seen.len() < end + 4 + length {
            continue;
        }
        seen.drain(..end + 4 + length);
        let bytes = answer.lock().expect("the answer").clone();
        if socket.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn check(error: &NimError) {
    assert!(!format!("{error} {error:?} {:?}", error.reply()).contains(KEY));
    assert!(error.reply().is_none_or(|reply| reply.message.len() <= 512));
    assert!(!matches!(error, NimError::Timeout { .. }), "{error}");
}

async fn call(nim: &Nim, which: u8) -> Result<(), NimError> {
    let texts = ["a", "b", "c"];
    let messages = [Message::user("u")];
    match which % 5 {
        0 => {
            let found = nim.embedder("m").embed(&texts, InputType::Passage).await?;
            assert_eq!(found.vectors.len(), texts.len());
            let length = found.vectors[0].len();
            for vector in &found.vectors {
                assert_eq!(vector.len(), length);
                assert!(vector.iter().all(|x| x.is_finite()) && vector.iter().any(|x| *x != 0.0));
            }
        }
        1 => {
            let found = nim.reranker("m").rank("q", &texts).await?;
            let mut seen: Vec<usize> = found.scores.iter().map(|at| at.index).collect();
            assert!(found.scores.iter().all(|at| at.logit.is_finite()));
            assert!(found.scores.is_sorted_by(|a, b| a.logit >= b.logit));
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2]);
        }
        2 => {
            let found = nim.chat("m").complete(&messages).await?;
            assert!(found.tool_calls.iter().all(|call| !call.name.is_empty()));
            assert!(found.tool_calls.iter().all(|call| !call.id.is_empty()));
        }
        3 => {
            let mut stream = nim.chat("m").stream(&messages).await?;
            while let Some(delta) = stream.next().await? {
                assert!(!format!("{delta:?}").contains(KEY));
            }
            let found = stream.finish().await?;
            assert!(!matches!(found.finish, FinishReason::Other(reason) if reason.is_empty()));
        }
        _ => {
            let models = nim.models(Service::Embedding).await?;
            let mut unique = models.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), models.len());
        }
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, body)) = bytes.split_first() else { return };
    internals::event_cuts(body, usize::from(choice));
    internals::thought_cuts(body, usize::from(choice));
    let status = [200, 200, 200, 400, 422, 401, 404, 503][usize::from(choice >> 5)];
    let kind = if choice & 16 == 0 { "application/json" } else { "text/event-stream" };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    BENCH.with(|bench| {
        *bench.answer.lock().expect("the answer") = [head.as_bytes(), body].concat();
        if let Err(error) = bench.runtime.block_on(call(&bench.nim, choice & 15)) {
            check(&error);
        }
    });
});
