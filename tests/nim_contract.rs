//! The contract of NeMo Retriever NIMs, case by case, against servers in this process: both server
//! generations and the hosted gateway, embeddings, ranking, URLs, keys, status polling, models;
//! and the other families of servers. Bodies are compared whole, so a field too many fails too.
//!
//! Numbers in test names and comments are those of the conformance list that the client was
//! written against: 1 embeddings, 2 ranking, 3 status polling, 4 base URL, 5 API key, 6 models,
//! 7 chat; then the cases of the integration tests, and what two other clients add.

#![cfg(feature = "nim")]

#[path = "nim_contract/additions.rs"]
mod additions;
#[path = "nim_contract/base_url.rs"]
mod base_url;
#[path = "nim_contract/chat.rs"]
mod chat;
#[cfg(feature = "cli")]
#[path = "nim_contract/command.rs"]
mod command;
#[path = "nim_contract/embeddings.rs"]
mod embeddings;
#[path = "nim_contract/extra_fields.rs"]
mod extra_fields;
#[path = "nim_contract/integration.rs"]
mod integration;
#[path = "nim_contract/models.rs"]
mod models;
#[path = "nim_contract/other_servers.rs"]
mod other_servers;
#[path = "nim_contract/polling.rs"]
mod polling;
#[path = "nim_contract/ranking.rs"]
mod ranking;
#[cfg(feature = "cli")]
#[path = "nim_contract/rejects.rs"]
mod rejects;
#[allow(dead_code, reason = "shared with the tests of the client, which need more of it")]
#[path = "nim_client/server.rs"]
mod server;
#[path = "nim_contract/service.rs"]
mod service;
