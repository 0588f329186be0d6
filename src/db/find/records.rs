//! The records of candidates, each read at most once in a query.

use std::collections::HashMap;

use crate::error::Result;
use crate::record::{Record, Slot, Value};
use crate::storage::{Snapshot, fields, tables};

/// Records that are kept once read, at most: what a page can show is among them, and a look at all
/// records of a large collection does not fill the memory.
const KEPT_MAX: usize = 1024;

/// Records by slot, read when they are asked for.
pub(super) struct Records<'s> {
    snapshot: &'s dyn Snapshot,
    collection: u32,
    kept: HashMap<u32, Record>,
}

impl<'s> Records<'s> {
    pub(super) fn new(snapshot: &'s dyn Snapshot, collection: u32) -> Self {
        Self { snapshot, collection, kept: HashMap::new() }
    }

    fn read(&self, slot: u32) -> Result<Record> {
        Ok(tables::record(self.snapshot, self.collection, Slot(slot))?.record)
    }

    /// Looks at a record.
    pub(super) fn with<T>(&mut self, slot: u32, look: impl FnOnce(&Record) -> T) -> Result<T> {
        if let Some(record) = self.kept.get(&slot) {
            return Ok(look(record));
        }
        let record = self.read(slot)?;
        let seen = look(&record);
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(slot, record);
        }
        Ok(seen)
    }

    /// Takes a record that nobody will look at again.
    pub(super) fn take(&mut self, slot: u32) -> Result<Record> {
        match self.kept.remove(&slot) {
            Some(record) => Ok(record),
            None => self.read(slot),
        }
    }
}

/// The values of a field with what tells and orders them: one, the items of a list without
/// repeats, or none.
pub(super) fn values(record: &Record, field: &str) -> Vec<(Vec<u8>, Value)> {
    let items = match record.metadata.get(field) {
        None => &[],
        Some(Value::List(items)) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    let keyed = items.iter().filter_map(|item| Some((fields::entry_value(item)?, item.clone())));
    let mut values: Vec<_> = keyed.collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    values.dedup_by(|a, b| a.0 == b.0);
    values
}
