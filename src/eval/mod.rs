//! Evaluation: ranking metrics, BEIR-form sets, vector files and reports. Above the database,
//! below the command line; it holds no index and runs no search.
//!
//! - `metrics`: nDCG@k, recall@k, MRR@k as trec_eval computes them.
//! - `beir`: documents, queries and judgments in BEIR form (and TREC qrels).
//! - `vector_file`: `.npy`, `.fvecs`, `.bvecs`, `.ivecs`, read in place.
//! - `report`: the figures of one evaluation, for scripts and for people.
//! - `synthetic`: embedding-like vectors from a seed, for measuring at any size.

pub mod beir;
mod error;
pub mod metrics;
mod npy;
pub mod report;
pub mod synthetic;
pub mod vector_file;

pub use error::{EvalError, LineProblem, VectorProblem};
