//! Files from strangers: crafted ones, mutated ones, and ones with a flipped byte. Whatever a file
//! says, opening and reading it, repairing it, and after the structural check writing to it, gives
//! a right answer or a typed error: no signal, no panic, no hang, no more memory than twice the
//! file and 64 MiB.
//!
//! What a mistake of the validator could kill runs in child processes that tell each file before
//! they open it, so that a death names its file.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

#[path = "hostile/children.rs"]
mod children;
#[path = "hostile/contents.rs"]
mod contents;
#[path = "hostile/flips.rs"]
mod flips;
#[path = "hostile/mutations.rs"]
mod mutations;
#[path = "hostile/shapes.rs"]
mod shapes;
#[path = "hostile/trial.rs"]
mod trial;
#[path = "hostile/words.rs"]
mod words;
