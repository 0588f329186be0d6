//! What can go wrong with a NIM call, as types. Not the reading of error bodies (see `reply`).
//! Layer: above `fault`.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::fault::{ConfigFault, ResponseFault};

/// What a server answered when it refused a request. All texts are free of the API key and of what
/// looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Address of the request, without a query.
    pub url: String,
    /// `NVCF-REQID` or `X-Request-Id` header, when the server sent one.
    pub request_id: Option<String>,
    /// The server's own words, escaped, at most 512 bytes.
    pub message: String,
    /// The server's name for the error: `code`, or else `type`, of the error object.
    pub code: Option<String>,
    /// Position in the caller's slice of the input that the server points at, if it does.
    pub input: Option<usize>,
    /// The body as it came, at most 8 KiB, invalid UTF-8 replaced. Not escaped: may hold control
    /// characters.
    pub raw: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {} from {}", self.status, self.url)?;
        f.write_str(&named(self.request_id.as_deref()))?;
        if let Some(input) = self.input {
            write!(f, ", of input {input}")?;
        }
        if self.message.is_empty() {
            write!(f, ", with an empty body")
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

fn named(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!(" (request {id})"))
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
    #[error(
        "the api key was not accepted, or none was sent: check NVIDIA_API_KEY, or what was set in \
         its place: {0}"
    )]
    Unauthorized(Box<Reply>),
    /// Status 402 or 403.
    #[error("the api key may not use this model, check its scope and credits: {0}")]
    Forbidden(Box<Reply>),
    /// Status 407, of a proxy.
    #[error(
        "the proxy in front of {url} wants a login, or another one: name it as \
         http://user:password@host:port"
    )]
    ProxyLogin {
        /// Address of the request.
        url: String,
    },
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
    /// Messages, tools and the asked answer together are longer than the chat model's context.
    #[error("the conversation is longer than the model's context, shorten it: {0}")]
    ContextOverflow(Box<Reply>),
    /// The server's content policy stopped the request or the answer.
    #[error("the server's content policy refused this conversation: {0}")]
    ContentPolicy(Box<Reply>),
    /// The server was started without a parser for tool calls.
    #[error(
        "the server was started without tool calls: set NIM_ENABLE_AUTO_TOOL_CHOICE=1 and \
         NIM_TOOL_CALL_PARSER, or --enable-auto-tool-choice and --tool-call-parser by \
         NIM_PASSTHROUGH_ARGS: {0}"
    )]
    ToolsNotEnabled(Box<Reply>),
    /// The server wants an input type and did not see it.
    #[error("the server found no input type, is this an embedding model of this server: {0}")]
    InputTypeRequired(Box<Reply>),
    /// Any other status 4xx.
    #[error("the server refused the request, it will refuse it again: {0}")]
    BadRequest(Box<Reply>),
    /// Status 408, 424 (as TEI says that its backend failed), 425 or 5xx, after all tries where a
    /// retry makes sense.
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
    /// An error object where an answer should be, under status 200 or in the middle of a stream.
    #[error("the server gave up the answer: {0}")]
    AnswerFailed(Box<Reply>),
    /// The address failed several times in a row and is left alone for a while; nothing was sent.
    #[error("{url} failed several times in a row, try it again in {} ms", retry_in.as_millis())]
    CircuitOpen {
        /// Address that would have been called.
        url: String,
        /// Time until a request may try again.
        retry_in: Duration,
    },
    /// The limit of requests per minute leaves no room before the deadline; nothing was sent.
    #[error(
        "{requests_per_minute} requests a minute are allowed, the next may start in {} ms, \
         after the deadline",
        retry_in.as_millis()
    )]
    Paced {
        /// The limit set on the client.
        requests_per_minute: u32,
        /// Time until the next request may be sent.
        retry_in: Duration,
    },
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
    #[error("the answer of {url}{} is larger than {limit} bytes", named(request_id.as_deref()))]
    ResponseTooLarge {
        /// Address of the request.
        url: String,
        /// As [`Reply::request_id`].
        request_id: Option<String>,
        /// Size limit of this answer in bytes.
        limit: u64,
    },
    /// Status 200 with content that cannot be used.
    #[error("the answer of {url}{} cannot be used: {what}", named(request_id.as_deref()))]
    InvalidResponse {
        /// Address of the request.
        url: String,
        /// As [`Reply::request_id`].
        request_id: Option<String>,
        /// What is wrong with it.
        what: ResponseFault,
    },
}

impl NimError {
    /// HTTP status of the answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::InvalidResponse { what: ResponseFault::Accepted, .. } => Some(202),
            Self::InvalidResponse { .. } | Self::ResponseTooLarge { .. } => Some(200),
            Self::ProxyLogin { .. } => Some(407),
            _ => self.reply().map(|reply| reply.status),
        }
    }

    /// The server's name of the request, as its operators know it, where it sent one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::InvalidResponse { request_id, .. }
            | Self::ResponseTooLarge { request_id, .. } => request_id.as_deref(),
            _ => self.reply()?.request_id.as_deref(),
        }
    }

    /// The same, of the request with this name, unless it names one.
    pub(super) fn of_request(mut self, name: Option<&str>) -> Self {
        if let Self::InvalidResponse { request_id, .. }
        | Self::ResponseTooLarge { request_id, .. } = &mut self
        {
            *request_id = request_id.take().or_else(|| name.map(str::to_owned));
        }
        self
    }

    /// True when the same call may succeed later: rate limits, overload, timeouts, connections.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::CircuitOpen { .. }
            | Self::Paced { .. }
            | Self::Timeout { .. }
            | Self::DeadlineExceeded
            | Self::Connect { .. }
            | Self::Disconnected { .. } => true,
            Self::Server { reply, .. } => {
                matches!(reply.status, 408 | 424 | 425 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// How long to wait before the next try: as the server asked, or as this client knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => {
                *retry_after
            }
            Self::CircuitOpen { retry_in, .. } | Self::Paced { retry_in, .. } => Some(*retry_in),
            _ => None,
        }
    }

    /// A short name of the variant that stays the same, for logs and figures.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::MissingKey { .. } => "missing_key",
            Self::EmptyInput { .. } => "empty_input",
            Self::EmptyQuery => "empty_query",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::ProxyLogin { .. } => "proxy_login",
            Self::RateLimited { .. } => "rate_limited",
            Self::InputTooLong { .. } => "input_too_long",
            Self::ContextOverflow(_) => "context_overflow",
            Self::ContentPolicy(_) => "content_policy",
            Self::ToolsNotEnabled(_) => "tools_not_enabled",
            Self::InputTypeRequired(_) => "input_type_required",
            Self::BadRequest(_) => "bad_request",
            Self::Server { .. } => "server",
            Self::UnexpectedStatus(_) => "unexpected_status",
            Self::AnswerFailed(_) => "answer_failed",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Paced { .. } => "paced",
            Self::Timeout { .. } => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Disconnected { .. } => "disconnected",
            Self::ResponseTooLarge { .. } => "response_too_large",
            Self::InvalidResponse { .. } => "invalid_response",
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
            | Self::ContextOverflow(reply)
            | Self::ContentPolicy(reply)
            | Self::ToolsNotEnabled(reply)
            | Self::AnswerFailed(reply)
            | Self::InputTypeRequired(reply)
            | Self::BadRequest(reply)
            | Self::Server { reply, .. }
            | Self::UnexpectedStatus(reply) => Some(reply),
            _ => None,
        }
    }
}
