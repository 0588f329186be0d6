//! How good a collection's search is, measured on its own vectors.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Collection;
use super::matching::Matching;
use super::search::Depth;
use super::space::Space;
use super::view::View;
use crate::error::Result;
use crate::index::{Effort, Segment};
use crate::record::Slot;
use crate::storage::vector_fields::FieldKind;
use crate::vectors::{PreparedQuery, Random};

/// What [`Collection::audit`] measured, of each vector field by itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Audit {
    /// Of the default vectors.
    pub vectors: VectorAudit,
    /// Of the named vector fields, by name. Of a field of matrices it is the search for
    /// candidates, by the vectors that stand for matrices. Fields of sparse vectors are left out:
    /// their search is exact and has no graph.
    pub named_vectors: BTreeMap<String, VectorAudit>,
}

/// What [`Collection::audit`] measured of one vector field.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct VectorAudit {
    /// Stored vectors that were searched for.
    pub samples: u64,
    /// Share of the true ten nearest, the vector itself left out, that a search found; none where
    /// there was nothing to find, as in a field without vectors.
    pub recall: Option<f64>,
    /// Bounds of the recall that hold with 95 % confidence: Wilson's interval with each sample as
    /// one observation. The neighbors of a sample are found or missed together, so they do not
    /// count one by one; a share of ten varies no more than all or nothing, so it is wide
    /// enough. From 0 to 1 without a recall.
    pub interval: (f64, f64),
    /// Vectors in graphs that no chain of links leads to, those of deleted records left out: only
    /// a scan finds them. A graph is written without such vectors: this tells of damage, or of a
    /// file of an earlier development build. [`Maintain::rebuild`](super::Maintain::rebuild), with
    /// the same [`graph_min_rows`](super::Maintain::graph_min_rows) as before, builds graphs anew.
    ///
    /// It is told of the links alone, from all entries of a graph. A search starts at a few of
    /// them and ends long before it has followed every link: that all vectors can be reached does
    /// not say that they are found. What searches find is what `recall` tells.
    pub unreachable: u64,
}

/// Neighbors compared for each sample, besides the vector itself.
const NEIGHBORS: usize = 10;
/// Vectors searched for in one version of the file.
const BATCH: usize = 256;
/// Vectors that one task searches for.
const TASK: usize = 16;
/// Fixes the sample, so that an audit can be repeated.
const SEED: u64 = 0x0061_7564_6974;

/// Stored vectors that are searched for, in the same order as their slots.
#[derive(Debug, Default)]
struct Sample {
    slots: Vec<u32>,
    queries: Vec<PreparedQuery>,
}

impl Collection {
    /// Samples up to `samples` stored vectors of each vector field and compares a default search
    /// with an exact one; also follows all links of all graphs. Costs an exact search for each
    /// sample, and a look at every link.
    ///
    /// Stored vectors flatter: a walk may come past the sampled vector itself, whose links lead to
    /// its neighbors. Queries that are no stored vectors can find less, those unlike all of them
    /// much less; the recall that a build measures leaves its samples out of the walk.
    ///
    /// As [`Maintain::run`](super::Maintain::run), it must not be called from a task that a rayon
    /// worker may steal while another writes.
    ///
    /// # Errors
    /// Storage; a damaged segment; the collection was deleted.
    pub fn audit(&self, samples: usize) -> Result<Audit> {
        self.audit_by(samples, Effort::default())
    }

    /// [`Collection::audit`] for a search with `ef` candidates.
    ///
    /// # Errors
    /// As [`Collection::audit`].
    pub fn audit_at(&self, samples: usize, ef: usize) -> Result<Audit> {
        self.audit_by(samples, Effort::Ef(ef))
    }

    fn audit_by(&self, samples: usize, effort: Effort) -> Result<Audit> {
        let fields = self.fields(self.inner.snapshot()?.as_ref())?;
        let vectors = self.audit_of(self.space(), samples, effort)?;
        let mut named_vectors = BTreeMap::new();
        for field in fields.into_iter().filter(|field| field.kind != FieldKind::Sparse) {
            let audit = self.audit_of(field.space, samples, effort)?;
            named_vectors.insert(field.name, audit);
        }
        Ok(Audit { vectors, named_vectors })
    }

    /// Measures one space.
    fn audit_of(&self, space: Space, samples: usize, effort: Effort) -> Result<VectorAudit> {
        let (sample, unreachable) = self.sample(space, samples)?;
        let (mut compared, mut found, mut wanted) = (0_usize, 0_u64, 0_u64);
        for (slots, queries) in sample.slots.chunks(BATCH).zip(sample.queries.chunks(BATCH)) {
            // A snapshot for each batch: a writer whose map has to grow waits for those that read.
            let snapshot = self.inner.snapshot()?;
            let snapshot = snapshot.as_ref();
            if !self.has_space(snapshot, space)? {
                break;
            }
            let view = self.view_of(snapshot, space)?;
            let matching = view.matching(None, snapshot, self.id)?;
            let of = (view.as_ref(), matching.as_ref());
            let tasks = slots.par_chunks(TASK).zip(queries.par_chunks(TASK));
            let counts = tasks.map(|task| self.compare(of, task, effort));
            for (task_found, task_wanted) in counts.collect::<Result<Vec<(u64, u64)>>>()? {
                found += task_found;
                wanted += task_wanted;
            }
            compared += slots.len();
        }
        let recall = (wanted > 0).then(|| found as f64 / wanted as f64);
        let interval = recall.map_or((0.0, 1.0), |recall| wilson(recall, compared));
        Ok(VectorAudit { samples: compared as u64, recall, interval, unreachable })
    }

    /// How many of the true nearest of some stored vectors a search finds, and how many they are.
    fn compare(
        &self,
        (view, matching): (&View, &Matching),
        (slots, queries): (&[u32], &[PreparedQuery]),
        effort: Effort,
    ) -> Result<(u64, u64)> {
        let search = |exact| {
            let depth = Depth { limit: NEIGHBORS + 1, effort, exact };
            let nearest = view.nearest_many(queries, matching, depth);
            nearest.map(|(lists, _)| lists).map_err(|source| self.failed(source))
        };
        let (hits, truth) = (search(false)?, search(true)?);
        let (mut found, mut wanted) = (0_u64, 0_u64);
        for ((hits, truth), own) in hits.iter().zip(&truth).zip(slots) {
            let truth = truth.iter().filter(|true_| true_.slot != *own).take(NEIGHBORS);
            wanted += truth.clone().count() as u64;
            let is_hit = |slot: u32| hits.iter().any(|hit| hit.slot == slot);
            found += truth.filter(|true_| is_hit(true_.slot)).count() as u64;
        }
        Ok((found, wanted))
    }

    /// Vectors drawn at random from those that are live, and how many of those no link leads to.
    /// None of a field that was removed meanwhile.
    fn sample(&self, space: Space, samples: usize) -> Result<(Sample, u64)> {
        let snapshot = self.inner.snapshot()?;
        if !self.has_space(snapshot.as_ref(), space)? {
            return Ok((Sample::default(), 0));
        }
        let view = self.view_of(snapshot.as_ref(), space)?;
        let is_live = |slot: &u32| !view.dead.contains(*slot);
        let lost = view.segments.iter().flat_map(Segment::unreachable);
        let unreachable = lost.filter(is_live).count() as u64;
        let sealed = view
            .segments
            .iter()
            .flat_map(|segment| (0..segment.len()).filter_map(|position| segment.slot(position)));
        let unsealed = view.delta.iter().map(|(slot, _)| slot.0);
        let mut slots: Vec<u32> = sealed.filter(is_live).chain(unsealed).collect();
        let mut random = Random::new(SEED);
        let count = samples.min(slots.len());
        for at in 0..count {
            let other = at as u64 + random.next_u64() % (slots.len() - at) as u64;
            slots.swap(at, other as usize);
        }
        let mut sample = Sample::default();
        for slot in slots.into_iter().take(count) {
            // What rounding made of a vector may be none that can be searched for: all zeros.
            if let Ok(query) = PreparedQuery::new(&view.encoding, &view.vector(Slot(slot))?) {
                sample.slots.push(slot);
                sample.queries.push(query);
            }
        }
        Ok((sample, unreachable))
    }
}

/// The 95 % interval of a share seen in `count` observations (Wilson, 1927).
fn wilson(share: f64, count: usize) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let n = count as f64;
    if count == 0 {
        return (0.0, 1.0);
    }
    let middle = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    let (low, high) = ((middle - spread) / scale, (middle + spread) / scale);
    // All or none: rounding must not put the bound past the share itself.
    (low.clamp(0.0, share), high.clamp(share, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{CollectionOptions, Database, VectorField};
    use crate::format::SectionKind;
    use crate::record::{Record, RecordId};
    use crate::storage::extents::{SectionPlace, slot_rows};
    use crate::storage::tables;
    use crate::vectors::Metric;

    const ROWS: usize = 300;

    /// Takes the links to a few rows of a graph away, and leads through all others in a ring; the
    /// ids of those few.
    fn cut_off(docs: &Collection, space: Space) -> Vec<RecordId> {
        let snapshot = docs.inner.snapshot().unwrap();
        let view = docs.view_of(snapshot.as_ref(), space).unwrap();
        let graph = view.segments[0].graph_copy().unwrap();
        let rows = 0..graph.len() as u32;
        let leads_in = |row: &u32| *row == graph.entry || graph.entries.contains(row);
        let lost: Vec<u32> = rows.clone().filter(|row| !leads_in(row)).take(3).collect();
        let kept: Vec<u32> = rows.clone().filter(|row| !lost.contains(row)).collect();
        let next = |row: u32| match kept.iter().position(|kept| *kept == row) {
            Some(at) => kept[(at + 1) % kept.len()],
            None => row,
        };
        let links = rows.flat_map(|row| std::iter::repeat_n(next(row), graph.width()));
        let bytes = slot_rows(&links.collect::<Vec<u32>>());
        let ids = lost.iter().map(|&row| {
            let slot = Slot(view.segments[0].slot(row).unwrap());
            tables::record(snapshot.as_ref(), docs.id, slot).unwrap().record.id
        });
        let ids = ids.collect();
        let place = SectionPlace {
            collection: space.id,
            segment: view.manifest.segments[0].id,
            kind: SectionKind::Links,
            stride: graph.width() * size_of::<u32>(),
        };
        drop((view, snapshot));
        docs.inner.views.clear();
        let store = docs.inner.lmdb().unwrap();
        store.write(docs.inner.writer, |txn| place.put(txn, 0, &bytes)).unwrap();
        ids
    }

    #[test]
    fn vectors_that_no_link_leads_to_are_counted_by_field_while_their_records_live() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(dir.path().join("audit.portolan")).unwrap();
        let options = CollectionOptions::new(4, Metric::L2);
        let options = options.vector_field("image", VectorField::new(4, Metric::Cosine));
        let docs = db.create_collection("docs", options).unwrap();
        let values = Random::new(7).normals(ROWS * 4);
        let mut batch = docs.batch();
        for (id, vector) in values.chunks(4).enumerate() {
            let record = Record::new(id as i64).vector(vector);
            batch.upsert(record.named_vector("image", vector.to_vec())).unwrap();
        }
        batch.commit().unwrap();
        docs.maintain().graph_min_rows(0).run().unwrap();
        let unreachable = || {
            let audit = docs.audit(20).unwrap();
            let fields = [audit.vectors, audit.named_vectors["image"]];
            assert!(fields.iter().all(|of| of.samples == 20 && of.recall.is_some()), "{audit:?}");
            fields.map(|of| of.unreachable)
        };
        assert_eq!(unreachable(), [0, 0]);
        let snapshot = docs.inner.snapshot().unwrap();
        let image = docs.field(snapshot.as_ref(), "image").unwrap().space;
        drop(snapshot);
        let lost = cut_off(&docs, image);
        assert_eq!(unreachable(), [0, 3]);
        cut_off(&docs, docs.space());
        assert_eq!(unreachable(), [3, 3]);
        // Its row in the other field can be one of those that are cut off there.
        docs.delete(lost[0].clone()).unwrap();
        assert_eq!(unreachable()[1], 2);
        docs.maintain().rebuild().graph_min_rows(0).run().unwrap();
        assert_eq!(unreachable(), [0, 0]);
    }

    #[test]
    fn the_interval_holds_the_share_and_narrows_with_more_samples() {
        let (low, high) = wilson(0.95, 1_000);
        // Checked against the published formula by hand.
        assert!((low - 0.9347).abs() < 2e-4 && (high - 0.9619).abs() < 2e-4, "{low} {high}");
        let (wide_low, wide_high) = wilson(0.95, 100);
        assert!(wide_low < low && wide_high > high);
        assert_eq!(wilson(1.0, 0), (0.0, 1.0));
        for count in 1..300 {
            assert_eq!((wilson(0.0, count).0, wilson(1.0, count).1), (0.0, 1.0));
        }
        assert!(wilson(1.0, 10).1 <= 1.0 && wilson(0.0, 10).0 >= 0.0);
    }
}
