//! Where searches read the hot arrays of segments from: the file's map, or copies in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::view::View;
use super::{Collection, Database};
use crate::error::{Error, Result};
use crate::index::{Resident, Segment};
use crate::storage::StorageError;

/// Where searches read codes and links from. Set by [`Database::set_residency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Residency {
    /// In place, from the file's map: opening costs nothing and memory belongs to the page cache.
    #[default]
    Mapped,
    /// From copies in huge pages, made on a thread of their own when a segment is first
    /// searched; until they are there, in place. Worth it where the system has small pages for
    /// files only. What it gains there is to be measured (`bench-ann --resident`).
    Resident,
    /// As `Resident` while the copies take less than a quarter of the memory that is available
    /// (on Linux, the only system where huge pages are asked for); otherwise in place.
    Auto,
}

/// The copies of the segments of one handle, by space and segment number.
#[derive(Default)]
pub(super) struct Residents {
    mode: AtomicU8,
    copies: Mutex<HashMap<(u32, u32), Resident>>,
    /// Whether a thread is copying: one at a time, whatever happens meanwhile.
    copying: AtomicBool,
}

impl Residents {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u32, u32), Resident>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> Residency {
        match self.mode.load(Ordering::Relaxed) {
            1 => Residency::Resident,
            2 => Residency::Auto,
            _ => Residency::Mapped,
        }
    }

    fn set(&self, mode: Residency) {
        self.mode.store(mode as u8, Ordering::Relaxed);
        if mode == Residency::Mapped {
            self.lock().clear();
        }
    }

    /// Gives the segments of a new view the copies there are, forgets those of segments that
    /// are gone, and has the others copied if that is wanted.
    pub(super) fn attend(self: &Arc<Self>, collection: u32, view: &Arc<View>) {
        let mut copies = self.lock();
        let numbers: Vec<u32> = view.manifest.segments.iter().map(|entry| entry.id).collect();
        copies.retain(|(of, number), _| *of != collection || numbers.contains(number));
        let mut missing = false;
        for (number, segment) in numbers.iter().zip(&view.segments) {
            match copies.get(&(collection, *number)) {
                Some(resident) => segment.adopt(resident.clone()),
                None => missing = true,
            }
        }
        drop(copies);
        if missing && self.is_wanted(view) && !self.copying.swap(true, Ordering::AcqRel) {
            let (residents, weak) = (Arc::clone(self), Arc::downgrade(view));
            let work = move || {
                residents.copy_in_background(collection, &weak);
                residents.copying.store(false, Ordering::Release);
            };
            // Without a thread, searches go on in place.
            let name = "portolan-resident".to_owned();
            if std::thread::Builder::new().name(name).spawn(work).is_err() {
                self.copying.store(false, Ordering::Release);
            }
        }
    }

    fn is_wanted(&self, view: &View) -> bool {
        match self.mode() {
            Residency::Mapped => false,
            Residency::Resident => true,
            Residency::Auto => {
                let wanted: u64 = view.segments.iter().map(Segment::resident_bytes).sum();
                available_memory().is_some_and(|available| wanted < available / 4)
            }
        }
    }

    /// Copies segment by segment, letting go of the view in between so that a new version can
    /// take its place; stops when it is gone, memory is short, or copies are wanted no more.
    fn copy_in_background(&self, collection: u32, view: &Weak<View>) {
        for place in 0.. {
            let Some(view) = view.upgrade() else { return };
            let Some(entry) = view.manifest.segments.get(place) else { return };
            let copied = self.copy_segment((collection, entry.id), &view.segments[place]);
            if copied.is_err() {
                return;
            }
            if self.mode() == Residency::Mapped {
                // Asked for no more while it was made.
                self.lock().clear();
                return;
            }
        }
    }

    /// Gives a segment its copy, made now if there is none; the bytes it takes.
    fn copy_segment(&self, at: (u32, u32), segment: &Segment) -> std::io::Result<u64> {
        let known = self.lock().get(&at).cloned();
        let resident = match known {
            Some(resident) => resident,
            None => {
                let resident = segment.copy_resident()?;
                self.lock().insert(at, resident.clone());
                resident
            }
        };
        let bytes = resident.bytes();
        segment.adopt(resident);
        Ok(bytes)
    }

    /// Forgets the copies of a collection that is gone.
    pub(super) fn forget(&self, collection: u32) {
        self.lock().retain(|(of, _), _| *of != collection);
    }

    /// Copies what is missing; the bytes of all copies of the collection.
    fn copy(&self, collection: u32, view: &View) -> std::io::Result<u64> {
        let segments = view.manifest.segments.iter().zip(&view.segments);
        segments.map(|(entry, segment)| self.copy_segment((collection, entry.id), segment)).sum()
    }
}

/// Memory that could be taken without swapping, in bytes.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

impl Database {
    /// Where searches of this handle, and of its clones, read from. Default:
    /// [`Residency::Mapped`]. Copies survive commits as long as their segment does.
    pub fn set_residency(&self, residency: Residency) {
        self.inner.residents.set(residency);
        self.inner.views.clear();
    }
}

impl Collection {
    /// Copies the hot arrays of this collection into memory now, on this thread, whatever
    /// [`Database::set_residency`] says; the bytes they take.
    ///
    /// # Errors
    /// Storage; [`StorageError::Io`] when there is no memory for them.
    pub fn make_resident(&self) -> Result<u64> {
        let snapshot = self.inner.snapshot()?;
        let failed = |source| {
            let path = self.inner.path.clone();
            Error::from(StorageError::Io { action: "copy to memory", path, source })
        };
        let mut bytes = 0;
        for space in self.spaces(snapshot.as_ref())? {
            let view = self.view_of(snapshot.as_ref(), space)?;
            bytes += self.inner.residents.copy(space.id, &view).map_err(failed)?;
        }
        Ok(bytes)
    }
}
