//! portolan: an embedded retrieval engine with built-in rerank stages, in one file that an
//! application links against and ships.
//!
//! A [`Database`] is one LMDB file of [`Collection`]s; a collection holds [`Record`]s: text, typed
//! metadata, a vector, and in named fields ([`VectorField`]) more vectors, matrices and sparse
//! vectors. Vectors are searched in place, from the memory map, over low-precision codes and a
//! graph ([`Collection::search`]); words by BM25 over an index of the texts
//! ([`Collection::search_text`]); [`Filter`]s go by an index of the metadata.
//!
//! A [`Find`] ([`Collection::find`]) is one query over any number of such lists: filtered once,
//! fused, made diverse, grouped, counted, ordered, explained. With the feature `nim` (default) a
//! [`Query`] ([`Collection::query`]) asks NVIDIA's embedding NIM, or another model, to encode the
//! question, finds by vector and words, and lets rerankers order what was found.
//!
//! ```
//! use portolan::{CollectionOptions, Database, Filter, Language, Metric, Record, TextIndex};
//!
//! # fn main() -> portolan::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("kb.portolan");
//! let db = Database::open(&path)?;
//! let docs = db.create_collection("docs", CollectionOptions::new(3, Metric::Cosine))?;
//!
//! let mut batch = docs.batch();
//! batch.upsert(Record::new("a").text("sea chart").field("year", 1290).vector([1.0, 0.0, 0.1]))?;
//! batch.upsert(Record::new("b").text("compass").field("year", 1300).vector([0.9, 0.2, 0.0]))?;
//! batch.commit()?;
//!
//! let hits = docs.search(&[1.0, 0.0, 0.0]).filter(Filter::gte("year", 1295)).limit(1).run()?;
//! assert_eq!(hits[0].text(), "compass");
//!
//! docs.index_text(&TextIndex::new(Language::English))?;
//! let found = docs.find().dense(&[1.0, 0.0, 0.0]).text("charts").limit(1).run()?;
//! assert_eq!(found.hits[0].text(), "sea chart");
//! # Ok(()) }
//! ```
//!
//! `docs/query.md` tells when to use which kind of query; `ARCHITECTURE.md` how the parts fit;
//! `storage-format.md` every byte of the file.

#![deny(clippy::expect_used, clippy::unwrap_used)]

#[cfg(feature = "chunk")]
mod chunk;
mod db;
mod error;
pub mod eval;
mod filter;
mod format;
mod fusion;
mod index;
mod kernels;
mod lexical;
#[cfg(feature = "nim")]
pub mod nim;
#[cfg(all(doctest, feature = "nim", feature = "chunk"))]
mod pages;
#[cfg(feature = "nim")]
mod pipeline;
mod record;
mod storage;
mod vectors;

#[cfg(feature = "chunk")]
pub use chunk::Chunker;
pub use db::{
    Audit, Batch, CacheInfo, CacheOptions, Collection, CollectionInfo, CollectionOptions,
    Committed, Compacted, Counted, Damage, DamagedPart, Database, DatabaseInfo, DatabaseOptions,
    DeclaredField, Found, Hit, Hits, IndexFields, Maintain, Maintained, Maintenance,
    MaintenanceOutcome, MaxSim, Origin, Page, ReaderInfo, RecallPoint, Repaired, Residency, Scan,
    Search, SearchBatch, SearchReport, SpaceInfo, SparseSearch, TextSearch, VectorAudit,
    VectorField, VectorFieldInfo, Verified,
};
pub use db::{
    Cursor, Dense, Explanation, Facet, FacetCounts, FacetValue, FieldHighlight, Find, FindReport,
    FindStage, Findings, Group, Highlights, Lexical, Like, LikeStrategy, ListPlace, ListReport,
    Mmr, Multi, Order, SegmentReport, Sparse,
};
pub use error::{Error, OptionDifference, Result};
pub use filter::{Filter, FilterError};
pub use format::{FORMAT_VERSION, FormatError};
pub use fusion::{Fusion, Normalization, ParseFusionError, RRF_K, fuse};
pub use index::{GraphParams, IndexError, SearchPath};
pub use lexical::{
    Language, ParseLanguageError, ParseStopWordsError, StopWords, TextError, TextIndex, TextQuery,
};
#[cfg(feature = "nim")]
pub use pipeline::agent;
#[cfg(feature = "nim")]
pub use pipeline::{
    Answer, Blend, BoxFuture, CacheUse, Candidate, ChatFailure, ChatModel, CollectionReport, Cost,
    CostMeter, CostTotals, Embedded, Embedder, FnReranker, Ingest, IngestProgress, IngestReport,
    MaxSimReranker, Merge, Mode, OnCollectionFailure, OnEmbedFailure, OnRerankFailure, Query,
    QueryExplanation, QueryReport, RankedPassage, RecordReranker, Rejected, Rerank, Reranked,
    Reranker, Role, StageError, StageOutcome, StageReport, StageTotal, query_all, rerank_fn,
};
#[cfg(feature = "nim")]
pub use pipeline::{
    AnswerDelta, AnswerOutcome, AnswerPrompt, AnswerReport, AnswerStream, Ask, ChatSteps, Citation,
    CitedAnswer, LeftOut, LeftOutReason, OnNoPassages, OnOverlong, Source, UnknownCitation,
};
pub use record::{
    FieldVector, Matrix, MatrixError, Metadata, ModelContract, Record, RecordError, RecordId,
    Roles, Template, TemplateError, Value,
};
pub use storage::{PageError, StorageError, Verify, WriterPolicy};
pub use vectors::{MatrixCodec, Metric, Originals, VectorError};

/// Parsers and decoders for the fuzz targets. Not part of the API: may change at any time.
#[doc(hidden)]
pub mod internals;
