//! What a query is to do by, and what it is to do when something fails.

/// What becomes of the query when the reranker fails or is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnRerankFailure {
    /// The hits come in the order of the stage before, and the report says why.
    #[default]
    FirstStageOrder,
    /// The query fails.
    Fail,
}

/// What becomes of a query over several collections when one of them cannot be searched, or not in
/// time, or has vectors of a model that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnCollectionFailure {
    /// The query fails.
    #[default]
    Fail,
    /// The others answer, and the report says why
    /// ([`QueryReport::collections`](crate::QueryReport::collections)). If none can, the query
    /// fails.
    LeaveOut,
}

/// By what a query finds its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// By the vector of the text.
    Dense,
    /// By the words of the text: no embedder is asked.
    Lexical,
    /// By both, fused.
    Hybrid,
}

/// What becomes of a query by vector and words when the embedder fails or is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnEmbedFailure {
    /// The query fails.
    #[default]
    Fail,
    /// It goes on by words alone, and the report says why. A query that is not by words fails.
    Lexical,
}
