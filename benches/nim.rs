//! What the NIM client costs over the bare HTTP exchange of the same bodies, against a server of
//! this process that answers at once; and how busy an ingest keeps a service that takes 50 ms a
//! batch.
//!
//! Bare is the same HTTP client with the same settings, the same requests and as many of them in
//! flight; of the answers nothing is read but the bytes. Plain is the same exchange as an
//! application would write it that had no client for models (`shared/plain.rs`). The rounds of all
//! three alternate. An argument takes one part: `embedding`, `ranking` or `ingest`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portolan::nim::{Encoding, InputType, Nim};
use portolan::{CollectionOptions, Database, Maintenance, Metric, Record};
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[path = "shared/figures.rs"]
mod figures;
#[path = "shared/plain.rs"]
mod plain;
#[path = "shared/service.rs"]
mod service;

use plain::Plain;
use service::{Form, Service};

/// Address of a service of another process, such as `bench/standin/canned.py`.
const ELSEWHERE: &str = "PORTOLAN_BENCH_URL";

/// Where vectors of so many dimensions are to be had: elsewhere, or of this service.
fn base(service: &Arc<Service>, dimensions: usize) -> Result<String, Failed> {
    match std::env::var(ELSEWHERE) {
        Ok(url) => Ok(format!("{url}/d{dimensions}/v1")),
        Err(_) => service.start(),
    }
}

type Failed = Box<dyn Error + Send + Sync>;

/// Texts of an embedding request.
const BATCH: usize = 50;
/// Passages of a ranking request.
const PASSAGES: usize = 100;
/// Requests in flight: one after the other, and as many as the client sends unless told.
const WIDTHS: [usize; 2] = [1, 8];
/// Time of the simulated service for a batch.
const SERVICE: Duration = Duration::from_millis(50);

fn passages(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("passage {at} tells of a harbor, a cape and a shoal")).collect()
}

fn main() -> Result<(), Failed> {
    // For the bare client, which the library's own does not need.
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| "another TLS provider is installed")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "{:<44}{:>9}{:>9}{:>9}{:>9}{:>12}{:>11}{:>26}",
        "",
        "bare ms",
        "plain ms",
        "ours ms",
        "more %",
        "than plain %",
        "ns/number",
        "least bare/plain/ours"
    );
    // `cargo bench --bench nim -- ranking` measures one part.
    let part = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("embedding") {
        for dimensions in [384, 1024, 2048] {
            // A service elsewhere has the default form alone.
            let elsewhere = std::env::var_os(ELSEWHERE).is_some();
            let forms = if elsewhere { &[Form::Packed][..] } else { &Form::ALL };
            for &form in forms {
                runtime.block_on(embedding(dimensions, form))?;
            }
        }
    }
    if wanted("ranking") {
        runtime.block_on(ranking())?;
    }
    if !wanted("ingest") {
        return Ok(());
    }
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(1).enable_all().build()?;
    for in_flight in [1, 2, 4, 8] {
        runtime.block_on(ingest(in_flight))?;
    }
    Ok(())
}

/// Exchanges of prepared bodies, nothing done with the answers.
#[derive(Clone)]
struct Bare {
    http: reqwest::Client,
    url: Arc<str>,
    bodies: Arc<[bytes::Bytes]>,
}

impl Bare {
    /// With the settings of the library's own client.
    fn new(url: String, bodies: &[Value]) -> Result<Self, Failed> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .user_agent("bare")
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(30))
            .build()?;
        let bodies = bodies.iter().map(|body| body.to_string().into()).collect();
        Ok(Self { http, url: url.into(), bodies })
    }

    async fn one(&self, body: bytes::Bytes) -> Result<(), reqwest::Error> {
        let request = self.http.post(&*self.url).header("content-type", "application/json");
        let answer = request.header("accept", "application/json").body(body).send().await?;
        std::hint::black_box(answer.bytes().await?);
        Ok(())
    }

    /// All of them, `width` in flight.
    async fn all(&self, width: usize) -> Result<Duration, Failed> {
        let begin = Instant::now();
        if width == 1 {
            for body in self.bodies.iter() {
                self.one(body.clone()).await?;
            }
            return Ok(begin.elapsed());
        }
        let (mut tasks, next) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..width {
            let (bare, next) = (self.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                while let Some(body) = bare.bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bare.one(body.clone()).await?;
                }
                Ok::<_, reqwest::Error>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(begin.elapsed())
    }
}

/// One round of each way.
#[derive(Clone, Copy, Default)]
struct Round {
    bare: Duration,
    plain: Duration,
    ours: Duration,
}

/// The medians of rounds that alternated, and what is more for each of `numbers` than bare.
fn tell(name: &str, rounds: &[Round], numbers: usize) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let median =
        |of: fn(&Round) -> Duration| figures::median(rounds.iter().map(of).map(millis).collect());
    let least = |of: fn(&Round) -> Duration| rounds.iter().map(of).min().map_or(f64::NAN, millis);
    let bare = median(|round| round.bare);
    let plain = median(|round| round.plain);
    let ours = median(|round| round.ours);
    let more = |than: f64| (ours / than - 1.0) * 100.0;
    // On a machine that others use as well, the fastest rounds are the ones to believe.
    let least = [least(|round| round.bare), least(|round| round.plain), least(|round| round.ours)];
    let least = least.map(|time| format!("{time:.3}")).join(" / ");
    let each = (ours - bare) * 1e6 / numbers as f64;
    println!(
        "{name:<44}{bare:>9.3}{plain:>9.3}{ours:>9.3}{:>9.1}{:>12.1}{each:>11.2}{least:>26}",
        more(bare),
        more(plain)
    );
}

async fn embedding(dimensions: usize, form: Form) -> Result<(), Failed> {
    let service = Arc::new(Service::new(form, dimensions, BATCH, PASSAGES));
    let base = base(&service, dimensions)?;
    let texts = passages(figures::setting("PORTOLAN_BENCH_TEXTS", 1_000, 50) / BATCH * BATCH);
    let batches: Arc<[Vec<String>]> = texts.chunks(BATCH).map(<[String]>::to_vec).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (encoding, asked) = match form {
        Form::Packed => (Encoding::Base64, "base64"),
        _ => (Encoding::Float, "float"),
    };
    let model = Nim::builder().base_url(&base).build()?.embedder("nvidia/e").batch_size(BATCH);
    let model = model.encoding(encoding);
    let body = |input: &[&str]| {
        json!({"model": "nvidia/e", "input": input, "input_type": "passage",
            "encoding_format": asked, "truncate": "NONE"})
    };
    let bodies: Vec<Value> = texts.chunks(BATCH).map(body).collect();
    let bare = Bare::new(format!("{base}/embeddings"), &bodies)?;
    let plain = Plain::new(bare.http.clone(), &base);
    for width in WIDTHS {
        let model = model.clone().concurrency(width);
        let (mut rounds, mut expected) = (Vec::new(), None);
        for round in 0..figures::setting("PORTOLAN_BENCH_ROUNDS", 40, 1) + 1 {
            let mut took = Round::default();
            // What one way has made is gone before the next begins, and each comes first in turn.
            for way in 0..3 {
                let begin = Instant::now();
                match (round + way) % 3 {
                    0 => took.bare = bare.all(width).await?,
                    1 => {
                        let vectors = plain.embed(&batches, asked, width).await?;
                        took.plain = begin.elapsed();
                        assert_eq!(expected.get_or_insert_with(|| vectors.clone()), &vectors);
                    }
                    _ => {
                        let found = model.embed(&texts, InputType::Passage).await?;
                        took.ours = begin.elapsed();
                        assert_eq!(
                            expected.get_or_insert_with(|| found.vectors.clone()),
                            &found.vectors
                        );
                    }
                }
            }
            rounds.push(took);
        }
        // The first warms up.
        rounds.remove(0);
        let name = format!("embed {} x {dimensions}, {form:?}, {width} in flight", texts.len());
        tell(&name, &rounds, texts.len() * dimensions);
    }
    Ok(())
}

async fn ranking() -> Result<(), Failed> {
    let service = Arc::new(Service::new(Form::Short, 4, BATCH, PASSAGES));
    let base = base(&service, 4)?;
    let texts = passages(PASSAGES);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let model = Nim::builder().base_url(&base).build()?.reranker("nvidia/r");
    let given: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
    let body = json!({"model": "nvidia/r", "query": {"text": "which harbor?"}, "passages": given,
        "truncate": "END"});
    let bare = Bare::new(format!("{base}/ranking"), &[body])?;
    let plain = Plain::new(bare.http.clone(), &base);
    let mut rounds = Vec::new();
    for round in 0..figures::setting("PORTOLAN_BENCH_ROUNDS", 1_000, 1) + 1 {
        let (mut took, mut best) = (Round::default(), [0; 2]);
        for way in 0..3 {
            let begin = Instant::now();
            match (round + way) % 3 {
                0 => took.bare = bare.all(1).await?,
                1 => {
                    let found = plain.rank("which harbor?", &texts).await?;
                    took.plain = begin.elapsed();
                    best[0] = found.first().map_or(usize::MAX, |item| item.index);
                }
                _ => {
                    let found = model.rank("which harbor?", &texts).await?;
                    took.ours = begin.elapsed();
                    assert_eq!(found.scores.len(), PASSAGES);
                    best[1] = found.scores[0].index;
                }
            }
        }
        assert_eq!(best[0], best[1]);
        if round > 0 {
            rounds.push(took);
        }
    }
    tell(&format!("rank {PASSAGES} passages"), &rounds, PASSAGES);
    Ok(())
}

async fn ingest(in_flight: usize) -> Result<(), Failed> {
    let service = Service::new(Form::Packed, 384, BATCH, PASSAGES).delay(SERVICE);
    let service = Arc::new(service);
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
    println!(
        "ingest of {count}, {in_flight} in flight: {:.2} s, {:.0} records/s, service busy {:.1} %",
        report.took.as_secs_f64(),
        count as f64 / report.took.as_secs_f64(),
        100.0 * service.worked().as_secs_f64() / report.took.as_secs_f64()
    );
    Ok(())
}
