//! What can go wrong with a NIM call, as types. Not the reading of error bodies (see `reply`).
//! Layer: leaf of `nim`; imports nothing.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// What a server answered when it refused a request. The text is at most 512 bytes, escaped, and
/// free of the API key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Address of the request, without a query.
    pub url: String,
    /// `NVCF-REQID` or `X-Request-Id` header, when the server sent one.
    pub request_id: Option<String>,
    /// The server's own words.
    pub message: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {} from {}", self.status, self.url)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        if self.message.is_empty() {
            write!(f, ", with an empty body")
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

/// Why a call to a NIM failed. No variant ever holds the API key.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum NimError {
    /// The client, or the call, is set up wrongly; nothing was sent.
    #[error("nim configuration: {0}")]
    Config(#[from] ConfigFault),
    /// A hosted address needs a key and there is none; nothing was sent.
    #[error("{url} needs an api key: set NVIDIA_API_KEY or pass one to the builder")]
    MissingKey {
        /// Address that would have been called.
        url: String,
    },
    /// An input text is empty; nothing was sent.
    #[error("input {index} is an empty string, which the server refuses: drop it before the call")]
    EmptyInput {
        /// Position in the caller's slice.
        index: usize,
    },
    /// The query of a ranking call is empty; nothing was sent.
    #[error("the ranking query is an empty string: pass a query")]
    EmptyQuery,
    /// Status 401.
    #[error("the api key was not accepted, check or renew NVIDIA_API_KEY: {0}")]
    Unauthorized(Box<Reply>),
    /// Status 402 or 403.
    #[error("the api key may not use this model, check its scope and credits: {0}")]
    Forbidden(Box<Reply>),
    /// Status 404 or 410.
    #[error(
        "not found: either the base url has no such endpoint, or the model name is wrong, \
         withdrawn or not enabled for this account: {0}"
    )]
    NotFound(Box<Reply>),
    /// Status 429, after all tries.
    #[error("rate limit reached, slow down and try later: {reply}")]
    RateLimited {
        /// The answer of the last try.
        reply: Box<Reply>,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// One input is longer than the model, or the server's body limit, allows.
    #[error("input {index} is too long, shorten it or set truncate: {reply}")]
    InputTooLong {
        /// Position in the caller's slice.
        index: usize,
        /// The answer to the request that held only this input.
        reply: Box<Reply>,
    },
    /// The server wants an input type and did not see it.
    #[error("the server found no input type, is this an embedding model of this server: {0}")]
    InputTypeRequired(Box<Reply>),
    /// Any other status 4xx.
    #[error("the server refused the request, it will refuse it again: {0}")]
    BadRequest(Box<Reply>),
    /// Status 408, 425 or 5xx, after all tries where a retry makes sense.
    #[error("the server failed: {reply}")]
    Server {
        /// The answer of the last try.
        reply: Box<Reply>,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// A status that is no answer to this request, such as a redirect; redirects are not followed.
    #[error("unexpected answer, check the base url: {0}")]
    UnexpectedStatus(Box<Reply>),
    /// No complete answer within the timeout of one try.
    #[error("no complete answer from {url} within the timeout: send less or raise the timeout")]
    Timeout {
        /// Address of the request.
        url: String,
    },
    /// The caller's deadline passed first.
    #[error("the deadline of the call passed before the answer was complete")]
    DeadlineExceeded,
    /// No connection could be made.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// Address of the request.
        url: String,
        /// The network layer's words.
        reason: String,
    },
    /// The TLS handshake failed, for example on an unknown or expired certificate.
    #[error("no trusted tls connection to {url}: {reason}")]
    Tls {
        /// Address of the request.
        url: String,
        /// The TLS layer's words.
        reason: String,
    },
    /// The connection broke, or what came back was not HTTP.
    #[error("the exchange with {url} broke off: {reason}")]
    Disconnected {
        /// Address of the request.
        url: String,
        /// The network layer's words.
        reason: String,
    },
    /// The body is larger than any right answer could be; it was not read to its end.
    #[error("the answer of {url} is larger than {limit} bytes")]
    ResponseTooLarge {
        /// Address of the request.
        url: String,
        /// Size limit of this answer in bytes.
        limit: u64,
    },
    /// Status 200 with content that cannot be used.
    #[error("the answer of {url} cannot be used: {what}")]
    InvalidResponse {
        /// Address of the request.
        url: String,
        /// What is wrong with it.
        what: ResponseFault,
    },
}

impl NimError {
    /// HTTP status of the answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.reply().map(|reply| reply.status)
    }

    /// True when the same call may succeed later: rate limits, overload, timeouts, connections.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Timeout { .. }
            | Self::DeadlineExceeded
            | Self::Connect { .. }
            | Self::Disconnected { .. } => true,
            Self::Server { reply, .. } => {
                matches!(reply.status, 408 | 425 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// How long the server asked to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// The server's refusal, where there was one.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Unauthorized(reply)
            | Self::Forbidden(reply)
            | Self::NotFound(reply)
            | Self::RateLimited { reply, .. }
            | Self::InputTooLong { reply, .. }
            | Self::InputTypeRequired(reply)
            | Self::BadRequest(reply)
            | Self::Server { reply, .. }
            | Self::UnexpectedStatus(reply) => Some(reply),
            _ => None,
        }
    }
}

/// What is wrong with the settings of a client or of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// The text is not an absolute URL.
    #[error("{setting} is not an absolute url such as http://localhost:8000/v1")]
    UrlSyntax {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The scheme is neither http nor https.
    #[error("{setting} must start with https:// (or http:// for this machine)")]
    UrlScheme {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The URL holds a user name or a password.
    #[error("{setting} must not hold a user name or password: pass the key separately")]
    UrlUserInfo {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// Plain http to another machine.
    #[error(
        "{setting} sends text unencrypted to another machine: use https or allow_insecure_http"
    )]
    InsecureHttp {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The URL ends in the endpoint of another service or schema.
    #[error("{setting} ends in the endpoint of another service: give the base url ending in /v1")]
    WrongEndpoint {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The key cannot stand in a header.
    #[error("the api key holds characters that cannot be sent in a header")]
    KeyCharacters,
    /// An environment variable is not UTF-8.
    #[error("environment variable {name} is not valid utf-8")]
    EnvironmentText {
        /// Name of the variable.
        name: &'static str,
    },
    /// The extra root certificates could not be read.
    #[error("the root certificates are not in PEM form, or hold none")]
    Certificates,
    /// The HTTP client could not be built.
    #[error("the http client could not be built with these settings")]
    HttpClient,
    /// The model name is empty or holds characters no model name has.
    #[error("the model name is empty or holds characters outside letters, digits and ._:/@-")]
    ModelName,
    /// Zero dimensions were asked for.
    #[error("dimensions must be at least 1")]
    ZeroDimensions,
    /// Another length was asked of a model that has only one.
    #[error("the model gives vectors of one length only: do not ask for dimensions")]
    FixedDimensions {
        /// That length, where it is known.
        served: Option<u32>,
    },
    /// More dimensions than the model has; some servers would silently send fewer.
    #[error("{asked} dimensions were asked for, the model has {longest}")]
    TooManyDimensions {
        /// Length asked for.
        asked: u32,
        /// Length of a whole vector.
        longest: u32,
    },
    /// The model is known not to give vectors of this type.
    #[error("the model does not give this embedding type: ask for floats")]
    EmbeddingType,
    /// The model is for something else.
    #[error("the model is not served for {service}: choose another, or pass facts of your own")]
    WrongTask {
        /// Service that was called.
        service: &'static str,
    },
    /// An image for a model that is known to read text alone.
    #[error("the model reads text alone: send no image, or choose a vision-language model")]
    TextOnly,
    /// An image alone as a query.
    #[error("an image alone can only be embedded as a passage")]
    ImageAsQuery,
    /// Not an image that can be sent.
    #[error("not a PNG, JPEG, WebP, GIF, BMP or TIFF image, nor a base64 data url of one")]
    ImageForm,
    /// The family of servers has no such thing.
    #[error("servers of the family {api} have no {setting}")]
    Unsupported {
        /// Name of the family, see [`Api`](super::Api).
        api: &'static str,
        /// What was asked for.
        setting: &'static str,
    },
    /// A header of the caller's cannot be sent.
    #[error("an extra header has a name or value that cannot be sent")]
    Header,
}

/// What is wrong with the content of an answer.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ResponseFault {
    /// Not the JSON document that was expected.
    #[error("malformed json: {detail}")]
    Json {
        /// The parser's words, at most 512 bytes.
        detail: String,
    },
    /// More or fewer items than inputs.
    #[error("{found} items for {expected} inputs")]
    Count {
        /// Inputs sent.
        expected: usize,
        /// Items received.
        found: usize,
    },
    /// An item belongs to no input.
    #[error("item index {index} is outside the {inputs} inputs")]
    IndexOutOfRange {
        /// Index as sent, clamped to the range of the type.
        index: i64,
        /// Inputs sent.
        inputs: usize,
    },
    /// Two items for one input.
    #[error("two items for input {index}")]
    DuplicateIndex {
        /// Position in the caller's slice.
        index: usize,
    },
    /// A vector of another length than asked for, or than the other vectors.
    #[error("the vector of input {index} has {found} dimensions instead of {expected}")]
    Dimensions {
        /// Position in the caller's slice.
        index: usize,
        /// Length asked for, or of the first vector.
        expected: usize,
        /// Length received.
        found: usize,
    },
    /// A number that is not finite in single precision.
    #[error("the result for input {index} holds a number that is not finite")]
    NotFinite {
        /// Position in the caller's slice.
        index: usize,
    },
    /// An empty vector, or one whose components are all zero.
    #[error("the vector of input {index} is empty or all zero")]
    ZeroVector {
        /// Position in the caller's slice.
        index: usize,
    },
    /// A vector that came as text and is not base64 of whole numbers.
    #[error("the vector of input {index} is not base64 of the numbers asked for")]
    Base64 {
        /// Position in the caller's slice.
        index: usize,
    },
    /// Status 202 that names no request, or comes from a server that has no status address.
    #[error("status 202 without a request id or without a poll url to ask")]
    Accepted,
}
