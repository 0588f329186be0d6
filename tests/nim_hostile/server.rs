//! A loopback server that does to each request what it is told, for as long as the client bears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a request gets.
#[derive(Debug, Clone)]
pub enum Act {
    /// These bytes; the connection stays open.
    Answer(Vec<u8>),
    /// Bytes that are made when the request has come; the connection stays open.
    Made(fn() -> Vec<u8>),
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// These bytes, then silence.
    Hang(Vec<u8>),
    /// The first bytes, then the second again and again, as fast as they are taken.
    Endless(Vec<u8>, Vec<u8>),
    /// The first bytes, then the second again and again, every 10 ms.
    Drip(Vec<u8>, Vec<u8>),
}

/// The running server; stops when dropped.
pub struct Hostile {
    pub port: u16,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Hostile {
    /// Request number `n` gets the act at `n`, or the last one.
    pub async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(AtomicUsize::new(0));
        let (acts, count) = (Arc::new(acts), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&acts), Arc::clone(&count)));
            }
        });
        Self { port, requests, task }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, acts: Arc<Vec<Act>>, count: Arc<AtomicUsize>) {
    while read_request(&mut socket).await.is_some() {
        let number = count.fetch_add(1, Ordering::SeqCst).min(acts.len() - 1);
        if act(&mut socket, &acts[number]).await.is_none() {
            return;
        }
    }
}

/// None when the connection is over.
async fn act(socket: &mut TcpStream, act: &Act) -> Option<()> {
    match act {
        Act::Answer(bytes) => socket.write_all(bytes).await.ok(),
        Act::Made(make) => socket.write_all(&make()).await.ok(),
        Act::Close(bytes) => {
            socket.write_all(bytes).await.ok()?;
            socket.shutdown().await.ok()?;
            None
        }
        Act::Reset(bytes) => {
            socket.write_all(bytes).await.ok()?;
            socket.set_zero_linger().ok()?;
            None
        }
        Act::Hang(bytes) => {
            socket.write_all(bytes).await.ok()?;
            // Ends when the client gives up and closes.
            let _ = socket.read(&mut [0; 1]).await;
            None
        }
        Act::Endless(head, bytes) => {
            socket.write_all(head).await.ok()?;
            while socket.write_all(bytes).await.is_ok() {}
            None
        }
        Act::Drip(head, bytes) => {
            socket.write_all(head).await.ok()?;
            while socket.write_all(bytes).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            None
        }
    }
}

/// Reads a request to its end; what it says makes no difference.
async fn read_request(socket: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            // The beginning of a TLS handshake is a request too.
            if bytes.first() == Some(&0x16) {
                return Some(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap_or("0");
        let length: usize = length.lines().next()?.trim().parse().ok()?;
        if bytes.len() >= end + 4 + length {
            return Some(());
        }
    }
}

/// A whole answer.
pub fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// One chunk of a chunked body.
pub fn chunk(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}
