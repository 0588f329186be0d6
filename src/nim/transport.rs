//! The one way out: a request with its tries, its status polling and its size-limited answer.
//! Not the meaning of the JSON (see `embed`, `rank`). Layer: above `reply` and `retry`.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::endpoint::{Target, poll_target};
use super::error::{NimError, ResponseFault};
use super::reply::{Failure, Refusal, presentable};
use super::retry::{RetryPolicy, retry_after};
use super::secret::ApiKey;

/// Most bytes of an error body that are read.
const ERROR_BODY_LIMIT: usize = 64 << 10;
/// Most bytes of network and parser words that enter an error.
const REASON_LIMIT: usize = 512;
/// First and longest wait between two status requests.
const POLL_WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A configured HTTP client. Holds no state that one call could leave behind for the next.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) http: Client,
    pub(super) key: Option<ApiKey>,
    pub(super) retry: RetryPolicy,
    /// Bound of one try, from connecting to the last byte, polling included.
    pub(super) attempt: Duration,
    /// Status address of servers other than the hosted catalog.
    pub(super) poll: Option<Url>,
    pub(super) hosted_poll: Url,
}

/// Requests of one call, for its result.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) requests: u32,
    pub(super) retries: u32,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.retries = self.retries.saturating_add(other.retries);
    }
}

/// What to send where, and how much may come back.
struct Exchange<'a> {
    target: &'a Target,
    /// JSON for a POST, none for a GET.
    body: Option<&'a [u8]>,
    limit: u64,
}

impl Transport {
    /// Sends `body` as JSON and reads the answer as JSON of at most `limit` bytes.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        target: &Target,
        body: &impl Serialize,
        limit: u64,
        deadline: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.malformed(target, &error))?;
        let exchange = Exchange { target, body: Some(&body), limit };
        let answer = self.tries(&exchange, deadline, tally).await?;
        self.parse(target, &answer)
    }

    /// Reads a small JSON document.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        target: &Target,
        limit: u64,
    ) -> Result<T, NimError> {
        let exchange = Exchange { target, body: None, limit };
        let found = match self.tries(&exchange, None, &mut Tally::default()).await {
            Ok(answer) => self.parse(target, &answer),
            Err(failure) => Err(failure),
        };
        found.map_err(plain)
    }

    /// One GET without retry, of which only the status counts.
    pub(super) async fn probe(&self, target: &Target) -> Result<u16, NimError> {
        let sent = self.send(target, self.http.get(target.url.clone()));
        let sent = tokio::time::timeout(self.attempt, sent).await;
        let response = sent.map_err(|_| timeout(target))??;
        Ok(response.status().as_u16())
    }

    /// Text from outside, fit to be shown or kept.
    pub(super) fn presentable(&self, text: &str, limit: usize) -> String {
        presentable(text, self.key.as_ref(), limit)
    }

    async fn tries(
        &self,
        exchange: &Exchange<'_>,
        deadline: Option<Instant>,
        tally: &mut Tally,
    ) -> Result<Vec<u8>, Failure> {
        if exchange.target.hosted && self.key.is_none() {
            return Err(NimError::MissingKey { url: exchange.target.url.to_string() }.into());
        }
        let mut failed = 0_u32;
        loop {
            let once = tokio::time::timeout(self.attempt, self.once(exchange, tally)).await;
            let failure = match once {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Other(timeout(exchange.target)),
            };
            failed = failed.saturating_add(1);
            let wait = match &failure {
                Failure::Other(error) if is_transient(error) => {
                    self.retry.wait(failed, error.retry_after())
                }
                _ => None,
            };
            // A wait that ends after the deadline helps nobody: the caller gets the reason now.
            let Some(wait) = wait.filter(|wait| fits(*wait, deadline)) else {
                return Err(failure);
            };
            tokio::time::sleep(wait).await;
            tally.retries = tally.retries.saturating_add(1);
        }
    }

    async fn once(&self, exchange: &Exchange<'_>, tally: &mut Tally) -> Result<Vec<u8>, Failure> {
        let target = exchange.target;
        let request = match exchange.body {
            Some(body) => self
                .http
                .post(target.url.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_vec()),
            None => self.http.get(target.url.clone()),
        };
        tally.requests = tally.requests.saturating_add(1);
        let mut response = self.send(target, request).await?;
        let mut wait = POLL_WAITS.0;
        while response.status() == StatusCode::ACCEPTED {
            let status = self.status_target(target, response.headers())?;
            drop(response);
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(POLL_WAITS.1);
            tally.requests = tally.requests.saturating_add(1);
            response = self.send(&status, self.http.get(status.url.clone())).await?;
        }
        if response.status() == StatusCode::OK {
            return Ok(self.read_answer(target, response, exchange.limit).await?);
        }
        Err(self.read_refusal(target, response).await.classify(self.key.as_ref()))
    }

    async fn send(&self, target: &Target, request: RequestBuilder) -> Result<Response, NimError> {
        let mut request = request.header(ACCEPT, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.header()?);
        }
        request.send().await.map_err(|error| self.network(target, error))
    }

    /// Where to ask for an accepted request. The key goes to NVIDIA's status address only for
    /// requests that went to NVIDIA; any other server needs an address set by the caller.
    fn status_target(&self, target: &Target, headers: &HeaderMap) -> Result<Target, NimError> {
        let base = self.poll.as_ref().or(target.hosted.then_some(&self.hosted_poll));
        let id = header(headers, "nvcf-reqid").filter(|id| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !id.is_empty() && id.len() <= 128 && id.bytes().all(legal)
        });
        match (base, id) {
            (Some(base), Some(id)) => Ok(poll_target(base, id)),
            _ => Err(invalid(target, ResponseFault::Accepted)),
        }
    }

    async fn read_answer(
        &self,
        target: &Target,
        mut response: Response,
        limit: u64,
    ) -> Result<Vec<u8>, NimError> {
        let too_large = || NimError::ResponseTooLarge { url: target.url.to_string(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.network(target, e))? {
            if chunk.len() > limit.saturating_sub(answer.len()) {
                return Err(too_large());
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// Reads what there is of an error body; its loss must not hide the status.
    async fn read_refusal(&self, target: &Target, mut response: Response) -> Refusal {
        let headers = response.headers();
        let mut refusal = Refusal {
            status: response.status().as_u16(),
            url: target.url.to_string(),
            request_id: header(headers, "nvcf-reqid")
                .or_else(|| header(headers, "x-request-id"))
                .map(str::to_owned),
            retry_after: header(headers, RETRY_AFTER.as_str())
                .and_then(|text| retry_after(text, SystemTime::now())),
            body: Vec::new(),
        };
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ERROR_BODY_LIMIT.saturating_sub(refusal.body.len());
            refusal.body.extend(chunk.iter().take(room));
            if chunk.len() >= room {
                break;
            }
        }
        refusal
    }

    fn parse<T: DeserializeOwned>(&self, target: &Target, answer: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(answer).map_err(|error| self.malformed(target, &error))
    }

    fn malformed(&self, target: &Target, error: &serde_json::Error) -> Failure {
        let detail = self.presentable(&error.to_string(), REASON_LIMIT);
        Failure::Other(invalid(target, ResponseFault::Json { detail }))
    }

    fn network(&self, target: &Target, error: reqwest::Error) -> NimError {
        let connecting = error.is_connect();
        if error.is_timeout() && !connecting {
            return timeout(target);
        }
        let error = error.without_url();
        let url = target.url.to_string();
        let chain = Chain(Some(&error));
        let words: Vec<String> = chain.map(ToString::to_string).collect();
        let reason = self.presentable(&words.join(": "), REASON_LIMIT);
        if Chain(Some(&error)).any(is_tls) {
            NimError::Tls { url, reason }
        } else if connecting {
            NimError::Connect { url, reason }
        } else {
            NimError::Disconnected { url, reason }
        }
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
    NimError::InvalidResponse { url: target.url.to_string(), what }
}

fn timeout(target: &Target) -> NimError {
    NimError::Timeout { url: target.url.to_string() }
}

/// Worth another try by itself. A timeout is not: the server may still be busy with the first
/// request, and the same work again only adds to its load.
fn is_transient(error: &NimError) -> bool {
    error.is_retryable() && !matches!(error, NimError::Timeout { .. } | NimError::DeadlineExceeded)
}

fn fits(wait: Duration, deadline: Option<Instant>) -> bool {
    deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > wait)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An error and its sources, outermost first.
struct Chain<'a>(Option<&'a (dyn StdError + 'static)>);

impl<'a> Iterator for Chain<'a> {
    type Item = &'a (dyn StdError + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let error = self.0?;
        self.0 = error.source();
        Some(error)
    }
}

/// TLS errors travel inside I/O errors, which do not list them as a source.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => is_tls(inner),
        None => error.is::<rustls::Error>(),
    }
}
