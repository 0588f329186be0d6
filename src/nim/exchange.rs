//! One exchange: a request, an answer of limited size or the events of a stream, a refusal. Not the
//! status requests it may need (see `polling`) nor its repetition (see `transport`). Layer: above
//! `reply`.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::error::NimError;
use super::events::{EVENT_LIMIT, EventParser};
use super::fault::ResponseFault;
use super::meter::Ledger;
use super::reply::{Failure, ID_LIMIT, Refusal};
use super::retry::retry_after;
use super::spans;
use super::target::Target;
use super::transport::{REASON_LIMIT, Transport, invalid};

/// Most bytes of an error body that are read.
const ERROR_BODY_LIMIT: usize = 64 << 10;
/// Most bytes that are set aside for an answer because its header promises them.
const TOLD_LIMIT: usize = 8 << 20;
/// Longest wait for the body of a refusal.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);
/// An error under status 200 says so within as many bytes.
const ERROR_BEGIN: usize = 128;

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// To its end.
    Whole,
    /// Event by event, if it is a stream of events.
    Events,
}

/// What to send where, and how much may come back.
pub(super) struct Exchange<'a> {
    pub(super) target: &'a Target,
    /// JSON for a POST, none for a GET. All tries send the same bytes.
    pub(super) body: Option<Bytes>,
    pub(super) limit: u64,
    pub(super) reading: Reading,
}

/// What came back.
#[derive(Debug)]
pub(super) enum Got {
    Whole(Answer),
    /// A stream, and its first event unless it has none.
    Events(Box<Incoming>, Option<Vec<u8>>),
}

/// An answer to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// The server's name of the request, fit to be shown.
    pub(super) request_id: Option<String>,
}

impl Got {
    /// The server's name of the request, fit to be shown.
    pub(super) fn request_id(&self) -> Option<String> {
        match self {
            Self::Whole(answer) => answer.request_id.clone(),
            Self::Events(stream, _) => stream.request_id.clone(),
        }
    }
}

/// A stream of events that is being read.
#[derive(Debug)]
pub(super) struct Incoming {
    response: Response,
    pub(super) request_id: Option<String>,
    parser: EventParser,
    ready: VecDeque<Vec<u8>>,
    /// Bytes that may come, and those of them that may still come.
    limit: u64,
    left: usize,
    ended: bool,
}

/// How long a server asks to wait.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    retry_after(header(headers, RETRY_AFTER.as_str())?, SystemTime::now())
}

impl Transport {
    pub(super) async fn once(
        &self,
        exchange: &Exchange<'_>,
        ledger: &mut Ledger<'_>,
    ) -> Result<Got, Failure> {
        let target = exchange.target;
        let request = match &exchange.body {
            Some(body) => self
                .http
                .post(target.url.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            None => self.http.get(target.url.clone()),
        };
        let body = exchange.body.as_deref().unwrap_or_default();
        spans::text(self, "request", body);
        ledger.sent(body.len());
        let response = self.send(target, self.held(target, request), exchange.reading).await?;
        let response = self.done(exchange, response, ledger).await?;
        if response.status() != StatusCode::OK {
            let refusal = self.read_refusal(target, response, ledger).await;
            spans::text(self, "refusal", &refusal.body);
            return Err(refusal.classify(&self.secrets));
        }
        let request_id = self.shown_id(response.headers());
        if exchange.reading == Reading::Events && is_stream(response.headers()) {
            return self.read_first(exchange, response, request_id, ledger).await;
        }
        let body = self.read_answer(target, response, exchange.limit, ledger).await;
        let body = body.map_err(|error| error.of_request(request_id.as_deref()))?;
        if let Some(failure) = self.failure_instead(target, &body, request_id.as_deref()) {
            return Err(failure);
        }
        spans::answered(&body, request_id.as_deref());
        spans::text(self, "answer", &body);
        Ok(Got::Whole(Answer { body, request_id }))
    }

    pub(super) async fn send(
        &self,
        target: &Target,
        request: RequestBuilder,
        reading: Reading,
    ) -> Result<Response, NimError> {
        let accept = match reading {
            Reading::Whole => "application/json",
            Reading::Events => "text/event-stream",
        };
        let mut request = request.header(ACCEPT, accept);
        if let Some(key) = self.keys.of(target.service) {
            request = request.header(AUTHORIZATION, key.header()?);
        }
        let mut request = request.build().map_err(|error| self.network(target, error))?;
        for (name, value) in self.extra_for(target) {
            request.headers_mut().entry(name).or_insert(value.clone());
        }
        self.http.execute(request).await.map_err(|error| self.network(target, error))
    }

    /// Headers of the caller for this address: all, but for NVIDIA's status address. That belongs
    /// to another host than the caller named, and needs the key alone.
    fn extra_for<'a>(
        &'a self,
        target: &Target,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        let is_named = target.url.host_str() != self.hosted_poll.host_str();
        self.extra.iter().filter(move |_| is_named)
    }

    /// The server's name of a request, fit to be shown.
    pub(super) fn shown_id(&self, headers: &HeaderMap) -> Option<String> {
        request_id(headers).map(|id| self.presentable(id, ID_LIMIT))
    }

    async fn read_answer(
        &self,
        target: &Target,
        mut response: Response,
        limit: u64,
        ledger: &mut Ledger<'_>,
    ) -> Result<Vec<u8>, NimError> {
        let too_large = || too_large(target, limit);
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let told = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut answer = Vec::with_capacity(told.unwrap_or_default().min(TOLD_LIMIT));
        while let Some(chunk) = response.chunk().await.map_err(|e| self.network(target, e))? {
            ledger.received(chunk.len());
            if chunk.len() > limit.saturating_sub(answer.len()) {
                return Err(too_large());
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// Reads up to the first event. An error object there is a refusal like any other.
    async fn read_first(
        &self,
        exchange: &Exchange<'_>,
        response: Response,
        request_id: Option<String>,
        ledger: &mut Ledger<'_>,
    ) -> Result<Got, Failure> {
        let left = usize::try_from(exchange.limit).unwrap_or(usize::MAX);
        let mut stream = Box::new(Incoming {
            response,
            request_id,
            parser: EventParser::default(),
            ready: VecDeque::new(),
            limit: exchange.limit,
            left,
            ended: false,
        });
        let first = self.read_event(exchange.target, &mut stream, ledger).await?;
        let id = || stream.request_id.as_deref();
        if let Some(event) = &first
            && let Ok(value) = serde_json::from_slice(event)
            && let Some(failure) = self.failure_in(exchange.target, event, &value, id())
        {
            return Err(failure);
        }
        Ok(Got::Events(stream, first))
    }

    /// The next event; none at the end. Holds what it has read while it waits for more.
    pub(super) async fn read_event(
        &self,
        target: &Target,
        stream: &mut Incoming,
        ledger: &mut Ledger<'_>,
    ) -> Result<Option<Vec<u8>>, NimError> {
        loop {
            if let Some(event) = stream.ready.pop_front() {
                spans::text(self, "event", &event);
                return Ok(Some(event));
            }
            if stream.ended {
                return Ok(None);
            }
            let chunk = stream.response.chunk().await.map_err(|e| self.network(target, e))?;
            let Some(chunk) = chunk else {
                stream.ended = true;
                stream.ready.extend(stream.parser.end());
                continue;
            };
            ledger.received(chunk.len());
            let Some(left) = stream.left.checked_sub(chunk.len()) else {
                let error = too_large(target, stream.limit);
                return Err(error.of_request(stream.request_id.as_deref()));
            };
            stream.left = left;
            if stream.parser.push(&chunk, &mut stream.ready).is_err() {
                let what = ResponseFault::EventTooLarge { limit: EVENT_LIMIT };
                return Err(invalid(target, what).of_request(stream.request_id.as_deref()));
            }
        }
    }

    /// The failure that an event or an answer under status 200 tells of, if it holds an error.
    pub(super) fn failure_in(
        &self,
        target: &Target,
        document: &[u8],
        value: &Value,
        request_id: Option<&str>,
    ) -> Option<Failure> {
        let error = value.get("error").filter(|error| !error.is_null())?;
        let told = error.get("code").and_then(Value::as_u64);
        let status = told.and_then(|code| u16::try_from(code).ok());
        let refusal = Refusal {
            status: status.filter(|status| (400..600).contains(status)).unwrap_or(200),
            url: target.url.to_string(),
            request_id: request_id.map(str::to_owned),
            retry_after: None,
            body: document.to_vec(),
        };
        Some(refusal.classify(&self.secrets))
    }

    /// The failure that an answer of status 200 is, if it says so where it begins and brings
    /// nothing beside it. Costs nothing for other answers.
    fn failure_instead(
        &self,
        target: &Target,
        answer: &[u8],
        request_id: Option<&str>,
    ) -> Option<Failure> {
        let begin = answer.get(..ERROR_BEGIN.min(answer.len()))?;
        if answer.len() > ERROR_BODY_LIMIT || !begin.windows(7).any(|word| word == b"\"error\"") {
            return None;
        }
        let value: Value = serde_json::from_slice(answer).ok()?;
        let brings = |name: &&str| value.get(name).is_some_and(|found| !found.is_null());
        let is_failure =
            !["data", "embeddings", "rankings", "results", "choices"].iter().any(brings);
        is_failure.then(|| self.failure_in(target, answer, &value, request_id)).flatten()
    }

    /// The failure that an answer of status 200 tells of, if it is short and holds an error.
    pub(super) fn told_failure(&self, target: &Target, answer: &Answer) -> Option<Failure> {
        let short = Some(&*answer.body).filter(|body| body.len() <= ERROR_BODY_LIMIT)?;
        let value = serde_json::from_slice(short).ok()?;
        self.failure_in(target, short, &value, answer.request_id.as_deref())
    }

    /// Reads what there is of an error body; its loss must not hide the status, so a body that
    /// does not come is not waited for as long as an answer.
    async fn read_refusal(
        &self,
        target: &Target,
        mut response: Response,
        ledger: &mut Ledger<'_>,
    ) -> Refusal {
        let headers = response.headers();
        let mut refusal = Refusal {
            status: response.status().as_u16(),
            url: target.url.to_string(),
            request_id: request_id(headers).map(str::to_owned),
            retry_after: asked_wait(headers),
            body: Vec::new(),
        };
        let end = Instant::now() + REFUSAL_WAIT.min(self.attempt / 4);
        while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(end.into(), response.chunk()).await
        {
            ledger.received(chunk.len());
            let room = ERROR_BODY_LIMIT.saturating_sub(refusal.body.len());
            refusal.body.extend(chunk.iter().take(room));
            if chunk.len() >= room {
                break;
            }
        }
        refusal
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
        // What a proxy says to CONNECT is no answer; the words are those of the HTTP library.
        if reason.contains("proxy authorization required") {
            return NimError::ProxyLogin { url };
        }
        if Chain(Some(&error)).any(is_tls) {
            NimError::Tls { url, reason }
        } else if connecting {
            NimError::Connect { url, reason }
        } else {
            NimError::Disconnected { url, reason }
        }
    }
}

pub(super) fn timeout(target: &Target) -> NimError {
    NimError::Timeout { url: target.url.to_string() }
}

/// Whether the answer is a stream of events; one that does not say is taken for one.
fn is_stream(headers: &HeaderMap) -> bool {
    header(headers, CONTENT_TYPE.as_str())
        .is_none_or(|kind| kind.to_ascii_lowercase().contains("event-stream"))
}

fn too_large(target: &Target, limit: u64) -> NimError {
    NimError::ResponseTooLarge { url: target.url.to_string(), request_id: None, limit }
}

/// What the service calls the request.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    header(headers, "nvcf-reqid").or_else(|| header(headers, "x-request-id"))
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
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

#[cfg(test)]
mod tests {
    use crate::nim::Nim;

    #[test]
    fn headers_of_the_caller_do_not_go_to_the_hosted_status_address() {
        let builder = Nim::builder().api_key("nvapi-canary").header("x-org", "canary-org");
        let nim = builder.build().expect("a hosted client");
        let transport = nim.transport();
        let named = nim.embed_endpoint().target("nvidia/m").expect("an address");
        assert_eq!(transport.extra_for(&named).count(), 1);
        let status = named.status(&transport.hosted_poll, "id-1");
        assert_eq!(transport.extra_for(&status).count(), 0);
    }
}
