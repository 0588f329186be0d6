//! Evaluation: sets of judged queries, ranking metrics, comparisons, runs for trec_eval, vector
//! files and reports. Above the database, below the command line; it holds no index and runs no
//! search.
//!
//! - `metrics`: nDCG@k, recall@k, MRR@k, MAP@k, P@k as trec_eval computes them; `measure`: by name.
//! - `beir`: documents, queries and judgments in BEIR form (and TREC qrels).
//! - `set`: queries with judgments in the form of BEIR, BRIGHT or ViDoRe.
//! - `significance`: two ways over the same queries: wins, losses, p, a confidence interval.
//! - `trec_run`: runs and judgments as trec_eval reads them.
//! - `vector_file`: `.npy`, `.fvecs`, `.bvecs`, `.ivecs`, read in place.
//! - `report`: the figures of one evaluation, for scripts and for people.
//! - `synthetic`: embedding-like vectors from a seed, for measuring at any size.

pub mod beir;
mod bright;
mod comparison;
mod error;
mod lines;
pub mod measure;
pub mod metrics;
mod npy;
mod random;
pub mod report;
pub mod set;
pub mod significance;
pub mod synthetic;
pub mod trec_run;
pub mod vector_file;
mod vidore;

pub use error::{EvalError, LineProblem, SetProblem, VectorProblem};
