//! What is in the named vector fields of a collection.

use super::Collection;
use super::check::{SpaceInfo, vector_bytes};
use crate::error::Result;
use crate::record::ModelContract;
use crate::storage::Snapshot;
use crate::storage::vector_fields::FieldKind;
use crate::vectors::{MatrixCodec, Metric, Originals};

/// What is in a named vector field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VectorFieldInfo {
    /// Name.
    pub name: String,
    /// Components of a vector, or of a row of a matrix.
    pub dimensions: usize,
    /// How vectors are compared; of matrices: how candidates are.
    pub metric: Metric,
    /// How full vectors are kept.
    pub originals: Originals,
    /// How matrices are kept, if the field has one a record.
    pub matrices: Option<MatrixCodec>,
    /// Whether the field has a sparse vector a record; dimensions and metric say nothing then.
    pub sparse: bool,
    /// The model that encodes the vectors, if one is known.
    pub model: Option<ModelContract>,
    /// Records that have a vector or a matrix in the field.
    pub vectors: u64,
    /// Those that are not sealed into a segment yet.
    pub unsealed: u64,
    /// Deleted ones that still take space in a segment.
    pub deleted: u64,
    /// Segments.
    pub segments: usize,
    /// Segments with a graph.
    pub graphs: usize,
    /// Where the bytes are.
    pub space: SpaceInfo,
}

impl Collection {
    pub(super) fn fields_info(&self, snapshot: &dyn Snapshot) -> Result<Vec<VectorFieldInfo>> {
        let mut infos = Vec::new();
        for field in self.fields(snapshot)? {
            let manifest = self.manifest_of(snapshot, field.space)?;
            let encoding = field.space.encoding;
            infos.push(VectorFieldInfo {
                name: field.name,
                dimensions: encoding.dim(),
                metric: encoding.metric(),
                originals: encoding.originals(),
                matrices: field.codec,
                sparse: field.kind == FieldKind::Sparse,
                model: manifest.contract.as_ref().map(ModelContract::from),
                vectors: manifest.records,
                unsealed: manifest.delta,
                deleted: manifest.dead,
                segments: manifest.segments.len(),
                graphs: manifest.segments.iter().filter(|of| of.graph.is_some()).count(),
                space: vector_bytes(snapshot, field.space.id, &manifest)?,
            });
        }
        Ok(infos)
    }
}
