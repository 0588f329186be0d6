//! Who reads which version: the table of readers in LMDB's lock file. A version that somebody
//! reads keeps its pages; nothing is written, and no lock is taken.
//!
//! Layout (`mdb.c`, "Readers don't acquire any locks"): a header whose size depends on the kind of
//! locks the system has, then so many slots of a cache line each, filled from the front: the
//! version (a word, all ones while nothing is read), the process, the thread.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::lock::beside;

/// A snapshot that a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    /// Number of the process.
    pub(crate) process: u32,
    /// The version it reads.
    pub(crate) version: u64,
}

/// LMDB's `CACHELINE`, the size of a slot.
const SLOT_BYTES: usize = 64;
const WORD: usize = size_of::<usize>();

/// The lock file of an open environment.
///
/// Held open for as long as the environment: LMDB locks that file by `fcntl`, and to close any
/// handle of it would let go of all locks that the process has on it. Others would then take
/// its readers for dead.
pub(super) struct LockFile(Mutex<Option<File>>);

impl LockFile {
    /// Of the environment that was just opened on `path`; without it no reader is seen.
    pub(super) fn open(path: &Path) -> Self {
        Self(Mutex::new(File::open(beside(path, "-lock")).ok()))
    }

    /// The readers of a file, oldest version first; none if the lock file cannot be read. `slots`
    /// is the number of readers that the environment was made for.
    ///
    /// What is read may be a moment old in each slot: it tells of readers that stay, not of one
    /// query.
    pub(super) fn readers(&self, slots: u32) -> Vec<Reader> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut *file else { return Vec::new() };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).is_err() {
            return Vec::new();
        }
        let mut readers = in_lock_file(&bytes, slots as usize);
        readers.sort_unstable_by_key(|reader| (reader.version, reader.process));
        readers
    }
}

fn in_lock_file(bytes: &[u8], slots: usize) -> Vec<Reader> {
    // The header is what stands before the slots.
    let table = bytes.len().checked_sub(slots * SLOT_BYTES).and_then(|at| bytes.get(at..));
    let (slots, _) = table.unwrap_or_default().as_chunks::<SLOT_BYTES>();
    slots.iter().filter_map(in_slot).collect()
}

#[expect(clippy::host_endian_bytes, reason = "a lock file is of this machine alone")]
fn in_slot(slot: &[u8; SLOT_BYTES]) -> Option<Reader> {
    let version = usize::from_ne_bytes(*slot.first_chunk::<WORD>()?);
    let process = u32::from_ne_bytes(*slot.get(WORD..)?.first_chunk::<4>()?);
    (process != 0 && version != usize::MAX).then_some(Reader { process, version: version as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::host_endian_bytes, reason = "a lock file is of this machine alone")]
    fn slot(version: usize, process: u32) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..WORD].copy_from_slice(&version.to_ne_bytes());
        slot[WORD..WORD + 4].copy_from_slice(&process.to_ne_bytes());
        slot
    }

    #[test]
    fn slots_without_a_process_or_a_version_are_no_readers() {
        let mut file = vec![7; 128];
        for (version, process) in [(9, 4), (usize::MAX, 4), (8, 0), (5, 6)] {
            file.extend(slot(version, process));
        }
        let found = in_lock_file(&file, 4);
        let expected = [(4, 9), (6, 5)].map(|(process, version)| Reader { process, version });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_lock_file_that_is_too_short_tells_of_nobody() {
        assert_eq!(in_lock_file(&[1; 100], 2), []);
        assert_eq!(in_lock_file(&[], 510), []);
    }
}
