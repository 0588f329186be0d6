//! What the NIM client costs over the bare HTTP exchange of the same bodies, against a server of
//! this process that answers at once; and how busy an ingest keeps a service that takes 50 ms a
//! batch.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portolan::nim::{Encoding, InputType, Nim};
use portolan::{CollectionOptions, Database, Maintenance, Metric, Record};
use serde_json::{Value, json};

#[path = "shared/figures.rs"]
mod figures;

type Failed = Box<dyn Error + Send + Sync>;

/// Texts of an embedding request.
const BATCH: usize = 50;
/// Passages of a ranking request.
const PASSAGES: usize = 100;
/// Time of the simulated service for a batch.
const SERVICE: Duration = Duration::from_millis(50);

/// Answers that were made before, and how long the service has had something to do.
struct Service {
    floats: Vec<u8>,
    base64: Vec<u8>,
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

fn answer(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Service {
    fn new(dimensions: usize, delay: Duration) -> Self {
        let vector = |at: usize| -> Vec<f32> {
            (0..dimensions).map(|i| ((at * dimensions + i) as f32 * 0.37).sin() / 20.0).collect()
        };
        let item =
            |at, numbers: Value| json!({"object": "embedding", "index": at, "embedding": numbers});
        let data: Vec<Value> = (0..BATCH).map(|at| item(at, json!(vector(at)))).collect();
        let packed: Vec<Value> =
            (0..BATCH).map(|at| item(at, base64(&vector(at)).into())).collect();
        let rankings: Vec<Value> = (0..PASSAGES)
            .map(|at| json!({"index": at, "logit": (at as f32 * 0.77).sin() * 9.0}))
            .collect();
        let usage = json!({"prompt_tokens": 600, "total_tokens": 600});
        Self {
            floats: answer(&json!({"object": "list", "data": data, "usage": usage})),
            base64: answer(&json!({"object": "list", "data": packed, "usage": usage})),
            rankings: answer(&json!({"rankings": rankings, "usage": usage})),
            delay,
            busy: Mutex::default(),
        }
    }

    /// Serves every connection on a thread of its own; gives the address.
    fn start(self: &Arc<Self>) -> Result<String, Failed> {
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
            let is_packed = body.windows(8).any(|text| text == b"\"base64\"");
            writer.write_all(match (is_ranking, is_packed) {
                (true, _) => &self.rankings,
                (false, true) => &self.base64,
                (false, false) => &self.floats,
            })?;
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

fn passages(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("passage {at} tells of a harbor, a cape and a shoal")).collect()
}

fn main() -> Result<(), Failed> {
    // For the bare client, which the library's own does not need.
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| "another TLS provider is installed")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{:<34}{:>10}{:>10}{:>10}", "", "bare ms", "ours ms", "more %");
    for dimensions in [384, 1024, 2048] {
        runtime.block_on(embedding(dimensions, Encoding::Float))?;
        runtime.block_on(embedding(dimensions, Encoding::Base64))?;
    }
    runtime.block_on(ranking())?;
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(1).enable_all().build()?;
    for in_flight in [1, 2, 4, 8] {
        runtime.block_on(ingest(in_flight))?;
    }
    Ok(())
}

/// The same bodies, nothing done with the answers.
async fn bare(
    http: &reqwest::Client,
    url: &str,
    bodies: &[Vec<u8>],
) -> Result<Duration, reqwest::Error> {
    let begin = Instant::now();
    for body in bodies {
        let request = http.post(url).header("content-type", "application/json");
        let answer = request.body(body.clone()).send().await?.bytes().await?;
        std::hint::black_box(answer);
    }
    Ok(begin.elapsed())
}

fn tell(name: &str, rounds: &[(Duration, Duration)]) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let bare = figures::median(rounds.iter().map(|(bare, _)| millis(*bare)).collect());
    let ours = figures::median(rounds.iter().map(|(_, ours)| millis(*ours)).collect());
    let ratio = rounds.iter().map(|(bare, ours)| millis(*ours) / millis(*bare)).collect();
    let more = (figures::median(ratio) - 1.0) * 100.0;
    println!("{name:<34}{bare:>10.3}{ours:>10.3}{more:>10.1}");
}

async fn embedding(dimensions: usize, encoding: Encoding) -> Result<(), Failed> {
    let service = Arc::new(Service::new(dimensions, Duration::ZERO));
    let base = service.start()?;
    let texts = passages(figures::setting("PORTOLAN_BENCH_TEXTS", 1_000, 50) / BATCH * BATCH);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let model = Nim::builder().base_url(&base).build()?.embedder("nvidia/e").batch_size(BATCH);
    let model = model.encoding(encoding);
    let form = if encoding == Encoding::Base64 { "base64" } else { "float" };
    let http = reqwest::Client::builder().no_proxy().http1_only().build()?;
    let body = |input: &[&str]| {
        let body = json!({"model": "nvidia/e", "input": input, "input_type": "passage",
            "encoding_format": form, "truncate": "NONE"});
        body.to_string().into_bytes()
    };
    let bodies: Vec<Vec<u8>> = texts.chunks(BATCH).map(body).collect();
    let url = format!("{base}/embeddings");
    let mut rounds = Vec::new();
    for round in 0..figures::setting("PORTOLAN_BENCH_ROUNDS", 20, 1) + 1 {
        let before = bare(&http, &url, &bodies).await?;
        let begin = Instant::now();
        let found = model.embed(&texts, InputType::Passage).await?;
        let ours = begin.elapsed();
        assert_eq!((found.vectors.len(), found.vectors[0].len()), (texts.len(), dimensions));
        if round > 0 {
            rounds.push((before, ours));
        }
    }
    tell(&format!("embed {} x {dimensions}, {form}", texts.len()), &rounds);
    Ok(())
}

async fn ranking() -> Result<(), Failed> {
    let service = Arc::new(Service::new(4, Duration::ZERO));
    let base = service.start()?;
    let texts = passages(PASSAGES);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let model = Nim::builder().base_url(&base).build()?.reranker("nvidia/r");
    let http = reqwest::Client::builder().no_proxy().http1_only().build()?;
    let given: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
    let body = json!({"model": "nvidia/r", "query": {"text": "which harbor?"}, "passages": given,
        "truncate": "END"});
    let (bodies, url) = ([body.to_string().into_bytes()], format!("{base}/ranking"));
    let mut rounds = Vec::new();
    for round in 0..figures::setting("PORTOLAN_BENCH_ROUNDS", 200, 1) + 1 {
        let before = bare(&http, &url, &bodies).await?;
        let begin = Instant::now();
        let found = model.rank("which harbor?", &texts).await?;
        let ours = begin.elapsed();
        assert_eq!(found.scores.len(), PASSAGES);
        if round > 0 {
            rounds.push((before, ours));
        }
    }
    tell(&format!("rank {PASSAGES} passages"), &rounds);
    Ok(())
}

async fn ingest(in_flight: usize) -> Result<(), Failed> {
    let service = Arc::new(Service::new(384, SERVICE));
    let base = service.start()?;
    let count = figures::setting("PORTOLAN_BENCH_RECORDS", 5_000, 100) / BATCH * BATCH;
    let model = Nim::builder().base_url(&base).build()?.embedder("nvidia/e").batch_size(BATCH);
    let dir = tempfile::tempdir()?;
    let options = portolan::DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db: Database = options.open(dir.path().join("bench.portolan"))?;
    let docs = db.create_collection("docs", CollectionOptions::new(384, Metric::Cosine))?;
    let records = passages(count).into_iter().zip(0_i64..);
    let records = records.map(|(text, id)| Record::new(id).text(text));
    let ingest = docs.ingest(records).embedder(&model).batch_size(BATCH).in_flight(in_flight);
    let report = ingest.run().await?;
    assert_eq!(report.progress.embedded, count);
    let busy = service.busy.lock().unwrap_or_else(PoisonError::into_inner).total;
    println!(
        "ingest of {count}, {in_flight} in flight: {:.2} s, {:.0} records/s, service busy {:.1} %",
        report.took.as_secs_f64(),
        count as f64 / report.took.as_secs_f64(),
        100.0 * busy.as_secs_f64() / report.took.as_secs_f64()
    );
    Ok(())
}
