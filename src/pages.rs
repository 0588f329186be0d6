//! The code on pages of the documentation, compiled with the examples of the API: each block stands
//! by itself.

/// The code in `README.md`.
#[doc = include_str!("../README.md")]
mod readme {}

/// The code in `docs/query.md`.
#[doc = include_str!("../docs/query.md")]
mod query {}
