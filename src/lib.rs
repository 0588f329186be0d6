//! portolan: an embedded vector database with a built-in rerank stage, in one file that an
//! application links against and ships.
//!
//! A [`Database`] is one LMDB file of [`Collection`]s; a collection holds [`Record`]s: text, typed
//! metadata and a vector. Vectors are searched in place, from the memory map, over low-precision
//! codes and a graph. With the feature `nim` (default) a [`Query`] asks NVIDIA's embedding NIM to
//! encode the question and the reranking NIM to order what was found.
//!
//! ```
//! use portolan::{CollectionOptions, Database, Filter, Metric, Record};
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
//! # Ok(()) }
//! ```
//!
//! `ARCHITECTURE.md` tells how the parts fit; `storage-format.md` every byte of the file.

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
    Search, SearchBatch, SearchReport, SpaceInfo, SparseSearch, TextSearch, VectorField,
    VectorFieldInfo, Verified,
};
pub use db::{
    Cursor, Dense, Explanation, Facet, FacetCounts, FacetValue, Find, FindReport, FindStage,
    Findings, Group, Highlights, Lexical, Like, LikeStrategy, ListPlace, ListReport, Mmr, Multi,
    Order, SegmentReport, Sparse,
};
pub use error::{Error, Result};
pub use filter::{Filter, FilterError};
pub use format::{FORMAT_VERSION, FormatError};
pub use fusion::{Fusion, Normalization, RRF_K, fuse};
pub use index::{GraphParams, IndexError, SearchPath};
pub use lexical::{Language, TextError, TextIndex, TextQuery};
#[cfg(feature = "nim")]
pub use pipeline::{
    Answer, Blend, BoxFuture, CacheUse, Candidate, ChatFailure, ChatModel, CollectionReport, Cost,
    CostMeter, CostTotals, Embedded, Embedder, FnReranker, Ingest, IngestProgress, IngestReport,
    MaxSimReranker, Merge, Mode, OnCollectionFailure, OnEmbedFailure, OnRerankFailure, Query,
    QueryReport, RankedPassage, RecordReranker, Rejected, Rerank, Reranked, Reranker, Role,
    StageError, StageOutcome, StageReport, StageTotal, query_all, rerank_fn,
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
