//! A scripted HTTP/1.1 server on a free loopback port: a closure decides what each request gets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan::nim::{Nim, NimBuilder, RetryPolicy};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request, as read from the socket.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    /// Header lines, names in lower case.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    /// The texts of an embedding request.
    pub fn inputs(&self) -> Vec<String> {
        let inputs = self.json()["input"].as_array().cloned().expect("an input list");
        inputs.iter().map(|t| t.as_str().expect("a text").to_owned()).collect()
    }
}

/// What a request gets: bytes, and what happens to the connection after them.
pub struct Step {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// Fate of the connection.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    Keep,
    Close,
    Reset,
    Hang,
}

/// A whole answer with the right length.
pub fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Step {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Step { bytes: [head.as_bytes(), body].concat(), then: Then::Keep }
}

/// Status 200 with JSON.
pub fn ok(body: &Value) -> Step {
    answer(200, "", body.to_string())
}

/// Bytes as they are.
pub fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Step {
    Step { bytes: bytes.into(), then }
}

/// A right answer to an embedding request: vector `[length of the text, 1]` for each.
pub fn embedded(request: &Request) -> Step {
    let item = |(i, t): (usize, &String)| json!({"index": i, "embedding": [t.len(), 1]});
    let data: Vec<Value> = request.inputs().iter().enumerate().map(item).collect();
    ok(&json!({"data": data, "usage": {"prompt_tokens": 2 * data.len()}}))
}

/// The running server; stops when dropped.
pub struct Server {
    pub url: String,
    log: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server; `script` sees the number of the request, from 0, and the request.
    pub async fn start(script: impl Fn(usize, &Request) -> Step + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (Arc::new(script), Arc::clone(&log));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { url, log, task }
    }

    /// Starts a server that gives every request the same bytes.
    pub async fn always(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, _| raw(bytes.clone(), then)).await
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("the log").clone()
    }

    /// A builder for this server, of four tries whose waits are a few milliseconds at most.
    pub fn builder(&self) -> NimBuilder {
        let retry = RetryPolicy::new().tries(4).base(Duration::from_millis(1));
        Nim::builder().base_url(&self.url).retry(retry)
    }

    pub fn nim(&self) -> Nim {
        self.builder().build().expect("a client")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S>(mut socket: TcpStream, script: Arc<S>, log: Arc<Mutex<Vec<Request>>>)
where
    S: Fn(usize, &Request) -> Step,
{
    while let Some(request) = read_request(&mut socket).await {
        let number = {
            let mut log = log.lock().expect("the log");
            log.push(request.clone());
            log.len() - 1
        };
        let step = script(number, &request);
        if socket.write_all(&step.bytes).await.is_err() {
            return;
        }
        match step.then {
            Then::Keep => {}
            Then::Close => return,
            Then::Reset => {
                // Closing now sends RST; whether the bytes before it arrive is up to the kernel.
                let _ = socket.set_zero_linger();
                return;
            }
            Then::Hang => {
                // Ends when the client gives up and closes.
                let _ = socket.read(&mut [0; 1]).await;
                return;
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<String> = lines
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
            None => line.to_owned(),
        })
        .collect();
    let mut request = Request { line, headers, body: bytes[end + 4..].to_vec() };
    let length = request.header("content-length").map_or(0, |n| n.parse().expect("a length"));
    while request.body.len() < length {
        if socket.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}
