//! Records whose text is stored and whose vector is to come: stored as such, listed, completed.

use roaring::RoaringBitmap;

use super::Collection;
use super::batch::Change;
use super::{Batch, Database};
#[cfg(feature = "nim")]
use crate::error::Error;
use crate::error::Result;
use crate::record::{Record, RecordId, Slot};
use crate::storage::slot_sets;
use crate::storage::tables;

impl Batch {
    /// Adds a record whose vector is to come: its text can be read and filtered at once, and
    /// [`Collection::pending`] lists it until it is stored with a vector. A record that has one
    /// is stored as by [`Batch::upsert`].
    ///
    /// # Errors
    /// Those of [`Batch::upsert`].
    pub fn upsert_pending(&mut self, record: Record) -> Result<()> {
        self.upsert(record)?;
        if let Some(Change::Upsert { encoded: None, pending, .. }) = self.changes.last_mut() {
            *pending = true;
        }
        Ok(())
    }

    /// Adds the vector of a pending record. Nothing happens if the record has changed since.
    ///
    /// # Errors
    /// [`Error::Vector`].
    #[cfg(feature = "nim")]
    pub(crate) fn complete(&mut self, id: RecordId, slot: Slot, vector: &[f32]) -> Result<()> {
        match self.collection.encoding.encode(vector) {
            Ok(encoded) => {
                self.changes.push(Change::Complete { id, slot, encoded });
                Ok(())
            }
            Err(source) => Err(Error::Vector { id: Some(id), source }),
        }
    }
}

impl Collection {
    /// Ids of the records whose vector is pending, in the order in which they were stored.
    /// `Collection::embed_pending` gives them their vectors. Reads these records alone.
    ///
    /// # Errors
    /// Storage.
    pub fn pending(&self) -> Result<Vec<RecordId>> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        let slots = slot_sets::pending(snapshot.as_ref(), self.id)?;
        let named = |slot| Ok(tables::record(snapshot.as_ref(), self.id, Slot(slot))?.record.id);
        slots.iter().map(named).collect()
    }

    /// How many records [`Collection::pending`] would list, without reading them.
    ///
    /// # Errors
    /// Storage.
    pub fn pending_count(&self) -> Result<u64> {
        Ok(self.pending_slots()?.len())
    }

    pub(crate) fn pending_slots(&self) -> Result<RoaringBitmap> {
        let snapshot = self.inner.snapshot()?;
        self.manifest(snapshot.as_ref())?;
        Ok(slot_sets::pending(snapshot.as_ref(), self.id)?)
    }

    /// The records of those slots that are still pending, up to the first that is enough; and the
    /// last slot that needs no further reading. Slots ascend, and there is one at least.
    #[cfg(feature = "nim")]
    pub(crate) fn pending_records(
        &self,
        slots: &[u32],
        mut is_enough: impl FnMut(&Record) -> bool,
    ) -> Result<(Vec<(Slot, Record)>, u32)> {
        let snapshot = self.inner.snapshot()?;
        let mut records = Vec::new();
        for slot in slot_sets::pending_of(snapshot.as_ref(), self.id, slots)? {
            let stored = tables::record(snapshot.as_ref(), self.id, Slot(slot))?;
            let is_last = is_enough(&stored.record);
            records.push((Slot(slot), stored.record));
            if is_last {
                return Ok((records, slot));
            }
        }
        Ok((records, slots.last().copied().unwrap_or(u32::MAX)))
    }

    /// Whether the vector of that record is pending.
    #[cfg(feature = "nim")]
    pub(crate) fn is_pending(&self, id: &RecordId) -> Result<bool> {
        let snapshot = self.inner.snapshot()?;
        let Some(slot) = tables::slot(snapshot.as_ref(), self.id, id)? else { return Ok(false) };
        Ok(!slot_sets::pending_of(snapshot.as_ref(), self.id, &[slot.0])?.is_empty())
    }
}

impl Database {
    /// How many records of all collections have a vector that is pending.
    ///
    /// # Errors
    /// Storage.
    pub fn pending_count(&self) -> Result<u64> {
        let mut sum = 0;
        for name in self.collections()? {
            sum += self.collection(&name)?.pending_count()?;
        }
        Ok(sum)
    }
}
