//! The one way out: a request with its tries, which the retry policy, the budget, the circuit
//! breaker and the limit per minute allow or end. Not a single exchange (see `exchange`), nor the
//! meaning of the JSON (see `embed`, `rank`, `chat`). Layer: above `exchange`.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::Instrument;

use super::breaker::{Breakers, Permit};
use super::budget::Bucket;
use super::error::NimError;
use super::exchange::{Answer, Exchange, Got, Incoming, Reading, timeout};
use super::fault::ResponseFault;
use super::meter::Ledger;
pub(super) use super::meter::{Meter, Tally};
use super::pace::Pace;
use super::reply::{Failure, cut, presentable};
use super::retry::RetryPolicy;
use super::secret::{Keys, Secrets, first, redact};
use super::spans;
use super::target::Target;

/// Most bytes of network and parser words that enter an error.
pub(super) const REASON_LIMIT: usize = 512;

/// Most bytes of an answer that is no JSON that enter an error.
const BEGIN_LIMIT: usize = 160;
/// Bytes of it, and of a parser's words, that are looked at for that.
const LOOKED_AT: usize = 4 << 10;

/// A configured HTTP client. What one call leaves behind for the next is counted only: retries,
/// failures in a row, requests of the last minute.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) http: Client,
    pub(super) keys: Keys,
    /// Headers that the caller set.
    pub(super) extra: HeaderMap,
    pub(super) secrets: Secrets,
    pub(super) retry: RetryPolicy,
    /// Bound of one try, from connecting to the last byte (of a stream: to its first event),
    /// polling included.
    pub(super) attempt: Duration,
    /// Status address of servers other than the hosted catalog.
    pub(super) poll: Option<Url>,
    pub(super) hosted_poll: Url,
    /// Seconds that the hosted gateway is asked to hold a request before it answers 202.
    pub(super) hold: u64,
    pub(super) bucket: Bucket,
    pub(super) breakers: Breakers,
    pub(super) pace: Arc<Pace>,
    pub(super) meter: Meter,
    pub(super) trace_texts: bool,
}

impl Transport {
    /// Sends `body` as JSON and gives the answer of at most `limit` bytes: whole, or up to its
    /// first event if events are read and it is a stream.
    pub(super) async fn ask(
        &self,
        target: &Target,
        body: &impl Serialize,
        limit: u64,
        reading: Reading,
        deadline: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<Got, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.malformed(target, &error))?;
        let exchange = Exchange { target, body: Some(body.into()), limit, reading };
        self.tries(&exchange, deadline, tally).await
    }

    /// Sends a body that was written already and gives the answer as it came.
    pub(super) async fn fetch(
        &self,
        target: &Target,
        body: serde_json::Result<Vec<u8>>,
        limit: u64,
        deadline: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<Got, Failure> {
        let body = body.map_err(|error| self.malformed(target, &error))?;
        let exchange = Exchange { target, body: Some(body.into()), limit, reading: Reading::Whole };
        self.tries(&exchange, deadline, tally).await
    }

    /// The JSON of an answer that was to be whole. One that is none may tell of an error, in the
    /// server's words.
    pub(super) fn whole<T: DeserializeOwned>(
        &self,
        target: &Target,
        got: Got,
    ) -> Result<T, Failure> {
        match got {
            Got::Whole(answer) => serde_json::from_slice(&answer.body).map_err(|error| {
                let told = self.told_failure(target, &answer);
                told.unwrap_or_else(|| self.unreadable(target, &error, &answer).into())
            }),
            Got::Events(..) => Err(invalid(target, ResponseFault::StreamEnded).into()),
        }
    }

    /// The next event of a stream; none at its end. Can be dropped and called again.
    pub(super) async fn next_event(
        &self,
        target: &Target,
        stream: &mut Incoming,
        tally: &mut Tally,
    ) -> Result<Option<Vec<u8>>, NimError> {
        let mut ledger = Ledger { meter: &self.meter, tally };
        let next = self.read_event(target, stream, &mut ledger);
        match tokio::time::timeout(self.attempt, next).await {
            Ok(event) => event,
            Err(_) => Err(timeout(target)),
        }
    }

    /// Reads a small JSON document.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        target: &Target,
        limit: u64,
    ) -> Result<T, NimError> {
        let exchange = Exchange { target, body: None, limit, reading: Reading::Whole };
        let got = self.tries(&exchange, None, &mut Tally::default()).await.map_err(plain)?;
        self.whole(target, got).map_err(plain)
    }

    /// One GET without retry, of which only the status counts.
    pub(super) async fn probe(&self, target: &Target) -> Result<u16, NimError> {
        let mut tally = Tally::default();
        let mut ledger = Ledger { meter: &self.meter, tally: &mut tally };
        ledger.sent(0);
        let sent = self.send(target, self.http.get(target.url.clone()), Reading::Whole);
        let sent = tokio::time::timeout(self.attempt, sent).await;
        let response = sent.map_err(|_| timeout(target))??;
        Ok(response.status().as_u16())
    }

    /// One try of a POST of an empty object: the error that the server makes of it, if it does.
    pub(super) async fn knock(&self, target: &Target) -> Result<(), NimError> {
        let (body, reading) = (Some(Bytes::from_static(b"{}")), Reading::Whole);
        let exchange = Exchange { target, body, limit: 1 << 20, reading };
        let mut tally = Tally::default();
        let mut ledger = Ledger { meter: &self.meter, tally: &mut tally };
        let once = tokio::time::timeout(self.attempt, self.once(&exchange, &mut ledger)).await;
        match once {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(plain(failure)),
            Err(_) => Err(timeout(target)),
        }
    }

    /// Text from outside, fit to be shown or kept.
    pub(super) fn presentable(&self, text: &str, limit: usize) -> String {
        presentable(text, &self.secrets, limit)
    }

    /// Text of a result, without secrets should the server have echoed one.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.take_out(text)
    }

    /// A document of a server, without secrets.
    pub(super) fn redact_json(&self, document: Value) -> Value {
        match document {
            Value::String(text) => Value::String(self.redact(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.redact_json(item)).collect(),
            Value::Object(fields) => {
                let clean =
                    |(name, value): (String, Value)| (self.redact(&name), self.redact_json(value));
                fields.into_iter().map(clean).collect()
            }
            other => other,
        }
    }

    async fn tries(
        &self,
        exchange: &Exchange<'_>,
        deadline: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<Got, Failure> {
        if exchange.target.hosted && self.keys.of(exchange.target.service).is_none() {
            return Err(NimError::MissingKey { url: exchange.target.url.to_string() }.into());
        }
        let span = spans::call(exchange);
        let mut ledger = Ledger { meter: &self.meter, tally };
        self.repeat(exchange, deadline, &mut ledger).instrument(span).await
    }

    async fn repeat(
        &self,
        exchange: &Exchange<'_>,
        deadline: Option<Instant>,
        ledger: &mut Ledger<'_>,
    ) -> Result<Got, Failure> {
        self.bucket.call(Instant::now());
        let mut failed = 0_u32;
        let mut last = None;
        loop {
            let leave = self.leave(exchange.target, deadline, ledger).await;
            // What went wrong tells more than that there is no leave to try again.
            let permit = match leave {
                Ok(permit) => permit,
                Err(error) => return Err(last.unwrap_or(Failure::Other(error))),
            };
            let begin = Instant::now();
            let once = self.once(exchange, ledger).instrument(spans::attempt(failed));
            let once = tokio::time::timeout(self.attempt, once).await;
            ledger.exchanged(begin.elapsed());
            let failure = match once {
                Ok(Ok(got)) => {
                    permit.alive();
                    return Ok(got);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Other(timeout(exchange.target)),
            };
            failed = failed.saturating_add(1);
            self.meter.failure();
            let wait = self.wait_after(&failure, failed, permit, deadline);
            spans::failed(&failure, wait);
            let Some(wait) = wait else {
                return Err(failure);
            };
            last = Some(failure);
            tokio::time::sleep(wait).await;
            ledger.paused(wait);
            ledger.retried();
        }
    }

    /// Asks the circuit breaker, and waits for the limit of requests per minute.
    async fn leave<'a>(
        &'a self,
        target: &'a Target,
        deadline: Option<Instant>,
        ledger: &mut Ledger<'_>,
    ) -> Result<Permit<'a>, NimError> {
        let permit = self.admit(target)?;
        if self.pace.limit().is_none() {
            return Ok(permit);
        }
        // Whoever waits for a turn holds no permit: it would keep others from trying an open
        // circuit, and be older than failures that come meanwhile.
        drop(permit);
        self.turn(deadline, ledger).await?;
        self.admit(target)
    }

    /// Asks the circuit breaker.
    fn admit<'a>(&'a self, target: &'a Target) -> Result<Permit<'a>, NimError> {
        let permit = self.breakers.admit(target.url.as_str(), Instant::now());
        permit.map_err(|retry_in| {
            self.meter.circuit_refused();
            NimError::CircuitOpen { url: target.url.to_string(), retry_in }
        })
    }

    /// Waits for the limit of requests per minute, unless that takes too long.
    pub(super) async fn turn(
        &self,
        deadline: Option<Instant>,
        ledger: &mut Ledger<'_>,
    ) -> Result<(), NimError> {
        while let Err(retry_in) = self.pace.take(Instant::now()) {
            if !fits(retry_in, deadline) {
                let requests_per_minute = self.pace.limit().unwrap_or_default();
                return Err(NimError::Paced { requests_per_minute, retry_in });
            }
            tokio::time::sleep(retry_in).await;
            ledger.paused(retry_in);
        }
        Ok(())
    }

    /// How long to wait before the next try, or none when there shall be no other.
    fn wait_after(
        &self,
        failure: &Failure,
        failed: u32,
        permit: Permit<'_>,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let error = match failure {
            Failure::Other(error) => error,
            Failure::TooLarge(_) => {
                permit.alive();
                return None;
            }
        };
        if !is_outage(error) {
            permit.alive();
        } else if permit.failed(Instant::now()) {
            self.meter.circuit_opened();
            return None;
        }
        if !is_transient(error) {
            return None;
        }
        let asked = error.retry_after();
        let wait = self.retry.wait(failed, asked)?;
        // Where nothing listens there is no load to wait for: most likely the address is wrong.
        let wait = if matches!(error, NimError::Connect { .. }) { wait / 4 } else { wait };
        // A wait that ends after the deadline helps nobody: the caller gets the reason now.
        let wait = Some(wait).filter(|wait| fits(*wait, deadline))?;
        if asked.is_none() && !self.bucket.retry(Instant::now()) {
            self.meter.retry_denied();
            return None;
        }
        Some(wait)
    }

    /// What is wrong with an answer, and how it begins: a page of a login says more by itself.
    fn unreadable(&self, target: &Target, error: &serde_json::Error, answer: &Answer) -> NimError {
        let body = &answer.body;
        let begin = body.get(..LOOKED_AT.min(body.len())).unwrap_or_default();
        let begin = redact(&String::from_utf8_lossy(begin), &self.secrets);
        let error = self.told(error);
        let detail = match begin.trim_start().starts_with(['{', '[']) {
            true => error,
            false => format!("{error}; the answer begins: {}", cut(begin, BEGIN_LIMIT)),
        };
        let detail = self.presentable(&detail, REASON_LIMIT);
        invalid(target, ResponseFault::Json { detail }).of_request(answer.request_id.as_deref())
    }

    /// The parser's words. They may repeat a value of the document, however long it is.
    fn told(&self, error: &serde_json::Error) -> String {
        let mut words = Beginning(String::new());
        match write!(words, "{error}") {
            Ok(()) => words.0,
            Err(fmt::Error) => {
                let begin = redact(self.secrets.beginning(&words.0, LOOKED_AT / 2), &self.secrets);
                let (line, column) = (error.line(), error.column());
                format!("{}... at line {line} column {column}", cut(begin, BEGIN_LIMIT))
            }
        }
    }

    fn malformed(&self, target: &Target, error: &serde_json::Error) -> NimError {
        let detail = self.presentable(&error.to_string(), REASON_LIMIT);
        invalid(target, ResponseFault::Json { detail })
    }
}

/// Takes the first [`LOOKED_AT`] bytes of what is written.
struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LOOKED_AT.saturating_sub(self.0.len());
        self.0.push_str(first(text, room));
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The error of a request that cannot be sent in smaller parts.
pub(super) fn plain(failure: Failure) -> NimError {
    match failure {
        Failure::Other(error) => error,
        Failure::TooLarge(large) => NimError::BadRequest(large.reply),
    }
}

pub(super) fn invalid(target: &Target, what: ResponseFault) -> NimError {
    NimError::InvalidResponse { url: target.url.to_string(), request_id: None, what }
}

/// Worth another try by itself. A timeout is not: the server may still be busy with the first
/// request, and the same work again only adds to its load. Nor is a status request whose turn comes
/// after the time of its try: the next try would take turns as well.
fn is_transient(error: &NimError) -> bool {
    use NimError::{DeadlineExceeded, Paced, Timeout};
    error.is_retryable() && !matches!(error, Timeout { .. } | DeadlineExceeded | Paced { .. })
}

/// Says that the service, rather than this request, is in trouble.
fn is_outage(error: &NimError) -> bool {
    match error {
        NimError::Connect { .. }
        | NimError::Tls { .. }
        | NimError::Disconnected { .. }
        | NimError::Timeout { .. } => true,
        NimError::Server { reply, .. } => reply.status >= 500,
        _ => false,
    }
}

fn fits(wait: Duration, deadline: Option<Instant>) -> bool {
    deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > wait)
}
