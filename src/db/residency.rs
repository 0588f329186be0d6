//! Where searches read the hot arrays of segments from: the file's map, or copies in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::queue::Queue;
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
    /// searched, one collection or named field after the other; until they are there, in place.
    /// Worth it where the system has small pages for files only. What it gains there is to be
    /// measured (`bench-ann --resident`).
    Resident,
    /// As `Resident` while the copies take less than a quarter of the memory that is available
    /// (on Linux, the only system where huge pages are asked for); otherwise in place.
    Auto,
}

impl Residency {
    /// Whether so many bytes are to be copied; asks what memory is available where that decides.
    fn wants(self, bytes: u64, available: impl FnOnce() -> Option<u64>) -> bool {
        match self {
            Self::Mapped => false,
            Self::Resident => true,
            Self::Auto => available().is_some_and(|available| bytes < available / 4),
        }
    }
}

/// The copies of the segments of one handle, and what waits to be copied.
#[derive(Default)]
pub(super) struct Residents {
    state: Mutex<State>,
    /// Views to be copied: the newest of each space. They come under the lock of the state, so
    /// that none waits once copies are wanted no more; they are taken without it.
    queue: Queue<Weak<View>>,
    /// The thread that was started last.
    #[cfg(test)]
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    mode: Residency,
    /// Of the segments that the newest views have, by space and number; none before it is made.
    copies: HashMap<(u32, u32), Option<Resident>>,
}

impl State {
    /// Gives the segments of a new view the copies there are, and forgets those of segments that
    /// are gone.
    fn hand_out(&mut self, space: u32, view: &View) {
        let numbers: Vec<u32> = view.manifest.segments.iter().map(|entry| entry.id).collect();
        self.copies.retain(|(of, number), _| *of != space || numbers.contains(number));
        for (number, segment) in numbers.iter().zip(&view.segments) {
            if let Some(resident) = self.copies.entry((space, *number)).or_default() {
                segment.adopt(resident.clone());
            }
        }
    }

    /// Keeps a copy for later views, unless its segment went while it was made: nobody would
    /// forget it before the next version.
    fn keep(&mut self, at: (u32, u32), resident: &Resident) {
        if let Some(copy) = self.copies.get_mut(&at) {
            *copy = Some(resident.clone());
        }
    }
}

impl Residents {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mode: Residency) {
        let mut state = self.lock();
        state.mode = mode;
        if mode == Residency::Mapped {
            state.copies.clear();
            self.queue.clear();
        }
    }

    /// Gives the segments of a new view the copies there are, forgets those of segments that
    /// are gone, and has the others copied if that is wanted.
    pub(super) fn attend(self: &Arc<Self>, space: u32, view: &Arc<View>) {
        let mut state = self.lock();
        state.hand_out(space, view);
        let missing = view.segments.iter().any(|segment| !segment.is_resident());
        if missing && state.mode.wants(bytes(view), available_memory) {
            self.queue.line_up(space, Arc::downgrade(view), || self.start());
        }
    }

    /// Starts the thread; whether there is one. Without it, searches go on in place, until the
    /// next view tries it again.
    fn start(self: &Arc<Self>) -> bool {
        let residents = Arc::clone(self);
        let work = move || residents.copy_in_background(available_memory);
        let name = "portolan-resident".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(work);
        #[cfg(test)]
        let thread = thread.map(|thread| {
            *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        });
        thread.is_ok()
    }

    /// Copies all that waits, and what comes to wait meanwhile.
    fn copy_in_background(&self, available: impl Fn() -> Option<u64>) {
        while let Some((space, view)) = self.queue.take() {
            self.copy_view(space, &view, &available);
        }
    }

    /// Copies segment by segment, letting go of the view in between so that a new version can
    /// take its place; stops when it is gone, memory is short, or copies are wanted no more.
    fn copy_view(&self, space: u32, view: &Weak<View>, available: impl FnOnce() -> Option<u64>) {
        // Asked again, as there may be less memory since the copies before this one.
        let mode = self.lock().mode;
        let wanted = view.upgrade().is_some_and(|view| mode.wants(bytes(&view), available));
        if !wanted {
            return;
        }
        for place in 0.. {
            let Some(view) = view.upgrade() else { return };
            let Some(entry) = view.manifest.segments.get(place) else { return };
            let segment = &view.segments[place];
            if segment.is_resident() {
                continue;
            }
            let at = (space, entry.id);
            let Ok(resident) = self.copy_of(at, segment) else { return };
            let mut state = self.lock();
            if state.mode == Residency::Mapped {
                // Asked for no more while it was made.
                return;
            }
            state.keep(at, &resident);
            drop(state);
            segment.adopt(resident);
        }
    }

    /// The copy of a segment, made now if there is none.
    fn copy_of(&self, at: (u32, u32), segment: &Segment) -> std::io::Result<Resident> {
        let known = self.lock().copies.get(&at).cloned().flatten();
        known.map_or_else(|| segment.copy_resident(), Ok)
    }

    /// Gives a segment its copy; the bytes it takes.
    fn copy_segment(&self, at: (u32, u32), segment: &Segment) -> std::io::Result<u64> {
        let resident = self.copy_of(at, segment)?;
        self.lock().keep(at, &resident);
        let bytes = resident.bytes();
        segment.adopt(resident);
        Ok(bytes)
    }

    /// Forgets the copies of a collection that is gone.
    pub(super) fn forget(&self, space: u32) {
        self.lock().copies.retain(|(of, _), _| *of != space);
    }

    /// Copies what is missing; the bytes of all copies of the space.
    fn copy(&self, space: u32, view: &View) -> std::io::Result<u64> {
        let segments = view.manifest.segments.iter().zip(&view.segments);
        segments.map(|(entry, segment)| self.copy_segment((space, entry.id), segment)).sum()
    }
}

/// What the copies of a view take.
fn bytes(view: &View) -> u64 {
    view.segments.iter().map(Segment::resident_bytes).sum()
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

#[cfg(test)]
mod tests;
