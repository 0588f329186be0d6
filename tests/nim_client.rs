//! The NIM client against a real loopback TCP server with scripted answers. No network beyond this
//! machine, no sleeps; waits of the client are set to zero or to a few milliseconds.

#![cfg(feature = "nim")]

#[path = "nim_client/embeddings.rs"]
mod embeddings;
#[path = "nim_client/flight.rs"]
mod flight;
#[path = "nim_client/hostile.rs"]
mod hostile;
#[path = "nim_client/rankings.rs"]
mod rankings;
#[path = "nim_client/retries.rs"]
mod retries;
#[path = "nim_client/secrets.rs"]
mod secrets;
#[path = "nim_client/server.rs"]
mod server;
