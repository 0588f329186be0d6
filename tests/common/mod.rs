//! What the integration tests share: a seeded generator, child processes of the test binary, an
//! oracle that scores stored vectors by the definition of the metric, and batches known by their
//! numbers. No test is in here.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod numbered;
pub mod oracle;
pub mod page_editor;
pub mod process;
pub mod questions;
pub mod raw_lmdb;
pub mod samples;

use portolan::{Collection, Database, DatabaseInfo, Record};

/// Multiplies the work of a test: `PORTOLAN_DEPTH`, or 20 with `PORTOLAN_DEEP=1`.
pub fn depth() -> u32 {
    let asked = setting("PORTOLAN_DEPTH").and_then(|depth| u32::try_from(depth).ok());
    asked.unwrap_or(if deep() { 20 } else { 1 })
}

/// Whether everything is to be tried that can be, however long it takes.
pub fn deep() -> bool {
    std::env::var_os("PORTOLAN_DEEP").is_some_and(|set| set == "1")
}

/// A number from the environment, if it is set.
pub fn setting(name: &str) -> Option<u64> {
    let set = std::env::var(name).ok()?;
    Some(set.parse().unwrap_or_else(|_| panic!("{name} is no number: {set}")))
}

/// A directory, in memory where the system has such a folder: nothing waits for a disk.
pub fn quick_dir() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// SplitMix64 (Steele, Lea, Flood 2014): equal seeds give equal numbers on every machine.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A text that no compression makes much shorter.
    pub fn noise(&mut self, letters: u64) -> String {
        (0..letters).map(|_| char::from(b'0' + self.below(64) as u8)).collect()
    }

    /// True about once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// At most so many of the items, in any order.
    pub fn sample<T>(&mut self, mut items: Vec<T>, wanted: usize) -> Vec<T> {
        let wanted = wanted.min(items.len());
        for at in 0..wanted {
            let left = (items.len() - at) as u64;
            items.swap(at, at + self.below(left) as usize);
        }
        items.truncate(wanted);
        items
    }

    /// A component from -1 to 1.
    pub fn component(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// A vector that is not zero.
    pub fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..dimensions).map(|_| self.component()).collect();
        if let Some(first) = vector.first_mut() {
            *first += 1.5;
        }
        vector
    }
}

/// All records with their vectors, read in pages of `page`.
pub fn everything(collection: &Collection, page: usize) -> Vec<Record> {
    try_everything(collection, page).expect("all pages")
}

/// As [`everything`], for a file that may be damaged.
pub fn try_everything(collection: &Collection, page: usize) -> portolan::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let mut scan = collection.scan().limit(page).with_vectors();
        if let Some(after) = after {
            scan = scan.after(after);
        }
        let mut found = scan.run()?;
        records.append(&mut found.records);
        match found.next {
            Some(next) => after = Some(next),
            None => return Ok(records),
        }
    }
}

/// The whole content of a database, to compare it before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    pub info: Vec<portolan::CollectionInfo>,
    pub records: Vec<Vec<Record>>,
}

/// Reads the whole content, after a check of every checksum.
pub fn content(db: &Database) -> Content {
    db.verify().expect("an undamaged file");
    let DatabaseInfo { collections: info, .. } = db.info().expect("the info");
    let records = info.iter().map(|info| {
        let collection = db.collection(&info.name).expect("a collection");
        everything(&collection, 97)
    });
    Content { records: records.collect(), info }
}
