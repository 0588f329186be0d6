//! Answers from what a query found, against a chat server of this process with scripted words:
//! citations, streams, budget, failures, deadline, the command.

#![cfg(feature = "nim")]
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "answer/citations.rs"]
mod citations;
#[cfg(feature = "cli")]
#[path = "answer/command.rs"]
mod command;
#[path = "answer/context.rs"]
mod context;
#[path = "answer/failures.rs"]
mod failures;
#[path = "answer/library.rs"]
mod library;
#[path = "nim_client/server.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod server;
