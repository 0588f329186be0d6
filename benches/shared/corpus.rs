//! A synthetic collection in a temporary file, the same in every run.

use std::path::PathBuf;

use portolan::eval::synthetic::Synthetic;
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Maintenance, Metric, Record, Result,
};

use crate::figures::setting;

/// Rows that share one value of the field `bucket` are one thousandth of all.
pub const BUCKETS: usize = 1_000;
/// Name of the collection.
pub const NAME: &str = "bench";
const SEED: u64 = 7;
const TEXT: &str = "A portolan chart shows coasts and harbors with rhumb lines between them, so \
    that a pilot can lay a course by compass. ";

/// Vectors and where their database lies.
pub struct Corpus {
    folder: tempfile::TempDir,
    source: Synthetic,
    vectors: Vec<f32>,
    /// Components of a vector.
    pub dimensions: usize,
    /// Vectors.
    pub rows: usize,
}

impl Corpus {
    /// `PORTOLAN_BENCH_ROWS` (20,000) vectors of so many components.
    pub fn new(dimensions: usize) -> std::io::Result<Self> {
        let rows = setting("PORTOLAN_BENCH_ROWS", 20_000, 500);
        let source = Synthetic::with_clusters(dimensions, SEED, (rows / 50).max(1));
        let vectors = source.vectors(rows);
        Ok(Self { folder: tempfile::tempdir()?, source, vectors, dimensions, rows })
    }

    /// A path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Queries of the same distribution.
    pub fn queries(&self, count: usize) -> Vec<Vec<f32>> {
        let queries = self.source.queries(count);
        queries.chunks(self.dimensions).map(<[f32]>::to_vec).collect()
    }

    /// A new file with an empty collection that is maintained by hand.
    pub fn create(&self, name: &str) -> Result<(Database, Collection)> {
        let options = DatabaseOptions::new().maintenance(Maintenance::Manual).must_be_new();
        let db = options.open(self.path(name))?;
        let shape = CollectionOptions::new(self.dimensions, Metric::Cosine);
        let collection = db.create_collection(NAME, shape)?;
        Ok((db, collection))
    }

    /// Record `row`: a text of about 500 bytes, the field `bucket`, a vector.
    pub fn record(&self, row: usize) -> Record {
        let vector = &self.vectors[row * self.dimensions..][..self.dimensions];
        let bucket = i64::try_from(row % BUCKETS).unwrap_or_default();
        Record::new(format!("row-{row:08}"))
            .text(TEXT.repeat(4))
            .field("bucket", bucket)
            .vector(vector.to_vec())
    }

    /// Commits the rows in batches of `batch`.
    pub fn fill(&self, collection: &Collection, rows: usize, batch: usize) -> Result<()> {
        for begin in (0..rows).step_by(batch.max(1)) {
            let mut writes = collection.batch();
            for row in begin..rows.min(begin + batch) {
                writes.upsert(self.record(row))?;
            }
            writes.commit()?;
        }
        Ok(())
    }
}
