//! Named vector fields and matrices: against a model, at their limits, while they come and go, and
//! through damage.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

#[path = "spaces/damage.rs"]
mod damage;
#[path = "spaces/fields.rs"]
mod fields;
#[path = "spaces/lists.rs"]
mod lists;
#[path = "spaces/model.rs"]
mod model;
#[path = "spaces/recall.rs"]
mod recall;
#[path = "spaces/sparse.rs"]
mod sparse;
