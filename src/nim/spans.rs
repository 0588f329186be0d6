//! What the client tells a `tracing` subscriber: a span `nim.call` per request with its tries, a
//! span `nim.try` per try, their sizes and ends. Never a key; texts only where the builder's
//! `trace_texts` asks for them. Layer: above `reply`; sends nothing.

use std::time::Duration;

use tracing::{Level, Span, debug, debug_span, trace, warn};

use super::exchange::Exchange;
use super::models::ModelFacts;
use super::reply::Failure;
use super::transport::Transport;

/// Most bytes of a text that are traced.
const TEXT_LIMIT: usize = 4 << 10;

pub(super) fn call(exchange: &Exchange<'_>) -> Span {
    let bytes = exchange.body.as_ref().map_or(0, |body| body.len());
    let method = if exchange.body.is_some() { "POST" } else { "GET" };
    debug_span!("nim.call", method, url = %exchange.target.url, bytes)
}

pub(super) fn attempt(number: u32) -> Span {
    debug_span!("nim.try", number)
}

pub(super) fn answered(answer: &[u8], request_id: Option<&str>) {
    debug!(bytes = answer.len(), request_id, "answered");
}

/// Tells of a failed try. Its kind and status, not the server's words: those may repeat a text.
pub(super) fn failed(failure: &Failure, wait: Option<Duration>) {
    let (kind, reply) = match failure {
        Failure::Other(error) => (error.kind(), error.reply()),
        Failure::TooLarge(large) => ("too_large", Some(large.reply.as_ref())),
    };
    let status = reply.map(|reply| reply.status);
    let request_id = reply.and_then(|reply| reply.request_id.as_deref());
    let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    match wait_ms {
        Some(wait_ms) => warn!(kind, status, request_id, wait_ms, "failed, trying again"),
        None => debug!(kind, status, request_id, "failed"),
    }
}

/// Tells of a model that is withdrawn or will be, of a name that gave way to another, and of one
/// that nothing is known of, so that no request for it is refused before it is sent.
pub(super) fn named(asked: &str, sent: &str, facts: ModelFacts) {
    match facts.replacement {
        _ if !facts.is_known() => debug!(model = asked, "an unknown model"),
        replacement if facts.deprecated => {
            warn!(model = asked, replacement, "a deprecated model");
        }
        _ if asked != sent => warn!(model = asked, sent, "an old name of a model"),
        _ => {}
    }
}

/// Traces a text, when that was asked for.
pub(super) fn text(transport: &Transport, what: &'static str, bytes: &[u8]) {
    if transport.trace_texts && !bytes.is_empty() && tracing::enabled!(Level::TRACE) {
        let text = String::from_utf8_lossy(bytes);
        trace!(what, text = %transport.presentable(&text, TEXT_LIMIT), "text");
    }
}
