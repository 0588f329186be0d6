//! The model table: data alone. Its meaning and its source are in `models`.

use super::embed::EmbeddingType::{self, Binary, Float, Int8, Ubinary, Uint8};
use super::models::{ModelFacts, Row, Task};

const FLOAT: &[EmbeddingType] = &[Float];
const BYTES: &[EmbeddingType] = &[Float, Int8, Uint8];
const ALL: &[EmbeddingType] = &[Float, Int8, Uint8, Binary, Ubinary];
/// Lengths that the Llama models are trained for.
const LLAMA: &[u32] = &[384, 512, 768, 1024, 2048];

const EMBED: ModelFacts = ModelFacts::unknown().task(Task::Embedding).images(false);
const FIXED: ModelFacts = EMBED.reducible(false);
const RANK: ModelFacts = ModelFacts::unknown().task(Task::Ranking).images(false);
const MULTI: ModelFacts = ModelFacts::unknown().task(Task::MultiVector);
/// The Llama embedding models. Their NIMs add the prefixes.
const NEMOTRON: ModelFacts =
    EMBED.dimensions(2048).reducible(true).max_tokens(8192).prefixed("query: ", "passage: ");
/// Multimodal, by the release notes of 2.4. 2,048 dimensions are served by default; which others
/// are is a range whose ends are not published, so that no length is refused.
const NEMOTRON_35: ModelFacts =
    EMBED.images(true).reducible(true).max_tokens(32_768).embedding_types(BYTES);

const fn row(name: &'static str, facts: ModelFacts) -> Row {
    Row { name, aliases: &[], facts }
}

/// Rows by name; the first that fits counts.
pub(super) const ROWS: &[Row] = &[
    row("nvidia/llama-nemotron-embed-1b-v2", NEMOTRON.listed(LLAMA).embedding_types(ALL)),
    row("nvidia/llama-nemotron-embed-300m-v2", NEMOTRON),
    row("nvidia/llama-nemotron-embed-vl-1b-v2", NEMOTRON.max_tokens(2048).images(true)),
    row("nvidia/nemotron-3-embed-1b", FIXED.dimensions(2048).max_tokens(4096)),
    row("nvidia/nemotron-3.5-embed-1b", NEMOTRON_35),
    row("nvidia/Nemotron-3.5-Embed-1B-BF16", NEMOTRON_35),
    row("nvidia/Nemotron-3.5-Embed-1B-NVFP4", NEMOTRON_35),
    row("nvidia/Nemotron-3.5-Embed-8B-BF16", NEMOTRON_35),
    row(
        "nvidia/llama-3.2-nv-embedqa-1b-v2",
        NEMOTRON.listed(LLAMA).replaced(Some("nvidia/llama-nemotron-embed-1b-v2")),
    ),
    row("nvidia/llama-3.2-nv-embedqa-1b-v1", EMBED),
    row("nvidia/llama-3.2-nemoretriever-300m-embed-v2", EMBED),
    row(
        "nvidia/llama-3.2-nemoretriever-1b-vlm-embed-v1",
        EMBED.images(true).replaced(Some("nvidia/llama-nemotron-embed-vl-1b-v2")),
    ),
    row("nvidia/nv-embedqa-e5-v5", FIXED.dimensions(1024).max_tokens(512).embedding_types(FLOAT)),
    row("nvidia/nv-embedqa-mistral-7b-v2", FIXED.dimensions(4096).max_tokens(512).replaced(None)),
    Row {
        name: "NV-Embed-QA",
        aliases: &["ai-embed-qa-4", "embed-qa-4"],
        facts: FIXED.dimensions(1024).max_tokens(512),
    },
    Row { name: "nvidia/nv-embed-v1", aliases: &["ai-nv-embed-v1"], facts: FIXED },
    row("nvidia/nv-embedcode-7b-v1", EMBED),
    row("baai/bge-m3", FIXED.dimensions(1024).max_tokens(8192).embedding_types(FLOAT)),
    row("baai/bge-large-zh-v1.5", FIXED.dimensions(1024).max_tokens(512).embedding_types(FLOAT)),
    row("snowflake/arctic-embed-l", FIXED.dimensions(1024).max_tokens(512).replaced(None)),
    // Published weights, not a NIM; its query prefix depends on the task.
    row("nvidia/llama-nv-embed-reasoning-3b", EMBED.max_tokens(8192)),
    row("nvidia/nemotron-colembed-vl-8b-v2", MULTI),
    row("nvidia/llama-nemoretriever-colembed-3b-v1", MULTI),
    // As served; NIM_PIPELINE_MAX_SEQ_LEN allows up to 32768.
    row(
        "nvidia/Nemotron-3.5-Rerank-8B-BF16",
        ModelFacts::unknown().task(Task::Ranking).max_tokens(10_240),
    ),
    row("nvidia/llama-nemotron-rerank-1b-v2", RANK.max_tokens(8192)),
    row("nvidia/llama-nemotron-rerank-500m-v2", RANK.max_tokens(8192)),
    row("nvidia/llama-nemotron-rerank-vl-1b-v2", RANK.max_tokens(8192).images(true)),
    row(
        "nvidia/llama-3.2-nv-rerankqa-1b-v2",
        RANK.max_tokens(8192).replaced(Some("nvidia/llama-nemotron-rerank-1b-v2")),
    ),
    row("nvidia/llama-3.2-nv-rerankqa-1b-v1", RANK),
    row("nvidia/nv-rerankqa-mistral-4b-v3", RANK.max_tokens(512)),
    Row { name: "nv-rerank-qa-mistral-4b:1", aliases: &["ai-rerank-qa-mistral-4b"], facts: RANK },
];

/// Facts by how a model's name begins, organization aside.
pub(super) const FAMILIES: &[(&str, ModelFacts)] = &[
    ("gte-", ModelFacts::unknown().symmetric(true)),
    ("gtr-", ModelFacts::unknown().symmetric(true)),
];
