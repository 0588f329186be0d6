//! Servers that mean harm, or are broken in ways that look like it: each misbehavior against
//! embedding, ranking, chat and streamed chat. Every call must end in a typed error or in the right
//! result, within its time, having read no more than its cap, and with the key in no error.

#![cfg(feature = "nim")]

#[path = "nim_hostile/bodies.rs"]
mod bodies;
#[path = "nim_hostile/events.rs"]
mod events;
#[path = "nim_hostile/network.rs"]
mod network;
#[path = "nim_hostile/server.rs"]
mod server;
#[path = "nim_hostile/tls.rs"]
mod tls;
#[path = "nim_hostile/trial.rs"]
mod trial;
