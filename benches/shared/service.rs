//! A server of this process that answers at once, or after a time, with bodies made before.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

/// How the numbers of a vector stand in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As few digits as tell one `f32` from the next: servers in Rust.
    Short,
    /// As many as an `f64` takes: servers in Python, which widen.
    Long,
    /// Base64 of the bytes.
    Packed,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Packed];
}

/// Answers that were made before, and how long the service has had something to do.
pub struct Service {
    vectors: Vec<u8>,
    rankings: Vec<u8>,
    delay: Duration,
    busy: Mutex<Busy>,
}

#[derive(Default)]
struct Busy {
    active: usize,
    since: Option<Instant>,
    total: Duration,
}

fn answer(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn written(form: Form, numbers: &[f32]) -> String {
    let list = |texts: Vec<String>| format!("[{}]", texts.join(","));
    match form {
        Form::Short => serde_json::to_string(numbers).unwrap_or_default(),
        Form::Long => list(numbers.iter().map(|x| json!(f64::from(*x)).to_string()).collect()),
        Form::Packed => format!("\"{}\"", base64(numbers)),
    }
}

impl Service {
    /// One that answers an embedding request with `batch` vectors, a ranking request with scores
    /// for `passages`, at once.
    pub fn new(form: Form, dimensions: usize, batch: usize, passages: usize) -> Self {
        let vector = |at: usize| -> Vec<f32> {
            (0..dimensions).map(|i| ((at * dimensions + i) as f32 * 0.37).sin() / 20.0).collect()
        };
        let item = |at: usize| {
            let numbers = written(form, &vector(at));
            format!(r#"{{"object":"embedding","index":{at},"embedding":{numbers}}}"#)
        };
        let score = |at: usize| {
            let logit = written(Form::Short, &[(at as f32 * 0.77).sin() * 9.0]);
            let logit = logit.trim_matches(['[', ']']).to_owned();
            format!(r#"{{"index":{at},"logit":{logit}}}"#)
        };
        let list = |items: Vec<String>| items.join(",");
        let usage = r#""usage":{"prompt_tokens":600,"total_tokens":600}"#;
        let data = list((0..batch).map(item).collect());
        let rankings = list((0..passages).map(score).collect());
        Self {
            vectors: answer(&format!(r#"{{"object":"list","data":[{data}],{usage}}}"#)),
            rankings: answer(&format!(r#"{{"rankings":[{rankings}],{usage}}}"#)),
            delay: Duration::ZERO,
            busy: Mutex::default(),
        }
    }

    /// The same, but each answer takes this long.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Time in which at least one request was being worked on.
    pub fn worked(&self) -> Duration {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Serves every connection on a thread of its own; gives the address.
    pub fn start(self: &Arc<Self>) -> Result<String, Box<dyn Error + Send + Sync>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let service = Arc::clone(self);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let service = Arc::clone(&service);
                std::thread::spawn(move || service.serve(&connection));
            }
        });
        Ok(url)
    }

    fn serve(&self, connection: &TcpStream) -> std::io::Result<()> {
        connection.set_nodelay(true)?;
        let (mut reader, mut writer) = (BufReader::with_capacity(1 << 16, connection), connection);
        let (mut line, mut body) = (String::new(), Vec::new());
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let is_ranking = line.contains("ranking");
            let mut length = 0;
            while line.trim() != "" {
                line.clear();
                reader.read_line(&mut line)?;
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
            self.at_work(|| std::thread::sleep(self.delay));
            writer.write_all(if is_ranking { &self.rankings } else { &self.vectors })?;
        }
    }

    fn at_work(&self, work: impl FnOnce()) {
        if self.delay.is_zero() {
            return;
        }
        let lock = || self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut busy = lock();
            busy.active += 1;
            busy.since.get_or_insert_with(Instant::now);
        }
        work();
        let mut busy = lock();
        busy.active -= 1;
        if busy.active == 0 {
            let since = busy.since.take();
            busy.total += since.map_or(Duration::ZERO, |since| since.elapsed());
        }
    }
}

/// RFC 4648, section 4, of the bytes of the numbers, the lowest first.
fn base64(numbers: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
