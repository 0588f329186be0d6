//! Chat, streams, and what the transport does beyond one request, against a loopback server with
//! scripted answers: budget, breaker, pace, meter, proxy, traces.

#![cfg(feature = "nim")]

#[path = "nim_service/chat.rs"]
mod chat;
#[path = "nim_client/server.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod server;
#[path = "common/span_log.rs"]
mod span_log;
#[path = "nim_service/stream.rs"]
mod stream;
#[path = "nim_service/traces.rs"]
mod traces;
#[path = "nim_service/transport.rs"]
mod transport;
