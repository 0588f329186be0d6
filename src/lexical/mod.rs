//! Search by words: text to terms, postings in the same file, BM25 over weighted fields. Knows
//! records, slots and tables; no vectors and no collections.
//!
//! - `language`, `stop_words`, `words`, `analysis`: text to terms.
//! - `config`: what is indexed of a record, as the collection stores it.
//! - `inverter`, `update`, `editor`: what a batch changes, term by term.
//! - `query`, `syntax`: what to search for.
//! - `plan`, `prefix`, `cursor`, `bm25`, `mask`, `best`, `search`, `phrase`: what is found.
//! - `highlight`: where in a text it is.
//! - `check`: whether postings and records agree.
//! - `sparse`: the same postings for sparse vectors, scored by their dot product.
//! - `keys`, `list`, `run`, `packing`, `lengths`: how postings lie in the table.

mod analysis;
mod best;
mod bm25;
mod check;
mod config;
mod cursor;
mod editor;
mod highlight;
mod interner;
mod inverter;
mod keys;
mod language;
mod lengths;
mod list;
mod mask;
mod packing;
mod phrase;
mod plan;
mod prefix;
mod query;
mod run;
mod search;
mod sparse;
mod stop_words;
mod syntax;
mod text_error;
mod update;
mod vain;
mod words;

pub(crate) use analysis::terms;
pub(crate) use check::TextCheck;
pub use config::TextIndex;
pub(crate) use highlight::Marker;
pub use language::{Language, ParseLanguageError};
pub(crate) use list::decode_postings;
pub use query::TextQuery;
pub(crate) use search::{Scored, Searched, search};
pub(crate) use sparse::{SparseChanges, SparseCheck, search_sparse};
pub use stop_words::{ParseStopWordsError, StopWords};
pub use text_error::TextError;
pub(crate) use update::TextChanges;
