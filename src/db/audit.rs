//! How good a collection's search is, measured on its own vectors.

use super::Collection;
use super::SearchBatch;
use crate::error::Result;
use crate::record::{RecordId, Slot};
use crate::storage::tables;
use crate::vectors::Random;

/// What [`Collection::audit`] measured.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Audit {
    /// Stored vectors that were searched for.
    pub samples: u64,
    /// Share of the true ten nearest, the vector itself left out, that a search found.
    pub recall: f64,
    /// Bounds of the recall that hold with 95 % confidence: Wilson's interval with each sample as
    /// one observation. The neighbors of a sample are found or missed together, so they do not
    /// count one by one; a share of ten varies no more than all or nothing, so it is wide
    /// enough.
    pub interval: (f64, f64),
    /// Vectors in graphs that no chain of links leads to: only a scan finds them.
    pub unreachable: u64,
}

/// Neighbors compared for each sample, besides the vector itself.
const NEIGHBORS: usize = 10;
/// Vectors searched for in one batch.
const BATCH: usize = 256;
/// Fixes the sample, so that an audit can be repeated.
const SEED: u64 = 0x0061_7564_6974;

/// A record and its vector.
type Sample = (RecordId, Vec<f32>);

impl Collection {
    /// Samples up to `samples` stored vectors and compares a default search with an exact one;
    /// also follows all links of all graphs. Costs an exact search for each sample.
    ///
    /// Stored vectors flatter: a walk may come past the sampled vector itself, whose links lead to
    /// its neighbors. Queries that are no stored vectors can find less, those unlike all of them
    /// much less; the recall that a build measures leaves its samples out of the walk.
    ///
    /// # Errors
    /// Storage; a damaged segment.
    pub fn audit(&self, samples: usize) -> Result<Audit> {
        self.audit_by(samples, |search| search)
    }

    /// [`Collection::audit`] for a search with `ef` candidates.
    ///
    /// # Errors
    /// As [`Collection::audit`].
    pub fn audit_at(&self, samples: usize, ef: usize) -> Result<Audit> {
        self.audit_by(samples, |search| search.ef(ef))
    }

    fn audit_by(
        &self,
        samples: usize,
        set: impl for<'v> Fn(SearchBatch<'v, &'v [f32]>) -> SearchBatch<'v, &'v [f32]>,
    ) -> Result<Audit> {
        let (sample, unreachable) = self.sample(samples)?;
        let (mut found, mut wanted) = (0_u64, 0_u64);
        for sample in sample.chunks(BATCH) {
            let (ids, vectors): (Vec<&RecordId>, Vec<&[f32]>) =
                sample.iter().map(|(id, vector)| (id, vector.as_slice())).unzip();
            let search = || set(self.search_batch(&vectors).limit(NEIGHBORS + 1));
            let (hits, truth) = (search().run()?, search().exact().run()?);
            for ((hits, truth), own) in hits.iter().zip(&truth).zip(ids) {
                let truth = truth.iter().filter(|true_| true_.id != *own).take(NEIGHBORS);
                wanted += truth.clone().count() as u64;
                found +=
                    truth.filter(|true_| hits.iter().any(|hit| hit.id == true_.id)).count() as u64;
            }
        }
        let recall = if wanted == 0 { 1.0 } else { found as f64 / wanted as f64 };
        let interval = wilson(recall, if wanted == 0 { 0 } else { sample.len() });
        Ok(Audit { samples: sample.len() as u64, recall, interval, unreachable })
    }

    /// Vectors drawn at random from those that are live, and how many rows no link leads to.
    fn sample(&self, samples: usize) -> Result<(Vec<Sample>, u64)> {
        let snapshot = self.inner.snapshot()?;
        let view = self.view(snapshot.as_ref())?;
        let unreachable = view.segments.iter().map(|of| of.unreachable().len() as u64).sum();
        let sealed = view
            .segments
            .iter()
            .flat_map(|segment| (0..segment.len()).filter_map(|position| segment.slot(position)));
        let live = sealed.filter(|&slot| !view.dead.contains(slot));
        let mut slots: Vec<u32> = live.chain(view.delta.iter().map(|(slot, _)| slot.0)).collect();
        let mut random = Random::new(SEED);
        let count = samples.min(slots.len());
        for at in 0..count {
            let other = at as u64 + random.next_u64() % (slots.len() - at) as u64;
            slots.swap(at, other as usize);
        }
        slots.truncate(count);
        let named = |slot: u32| {
            let stored = tables::record(snapshot.as_ref(), self.id, Slot(slot))?;
            Ok((stored.record.id, view.vector(Slot(slot))?))
        };
        let sample = slots.into_iter().map(named).collect::<Result<Vec<_>>>()?;
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
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::wilson;

    #[test]
    fn the_interval_holds_the_share_and_narrows_with_more_samples() {
        let (low, high) = wilson(0.95, 1_000);
        // Checked against the published formula by hand.
        assert!((low - 0.9347).abs() < 2e-4 && (high - 0.9619).abs() < 2e-4, "{low} {high}");
        let (wide_low, wide_high) = wilson(0.95, 100);
        assert!(wide_low < low && wide_high > high);
        assert_eq!(wilson(1.0, 0), (0.0, 1.0));
        assert!(wilson(1.0, 10).1 <= 1.0 && wilson(0.0, 10).0 >= 0.0);
    }
}
