//! Random edits of whole files, biased to where a reader or LMDB steps: one to three at a time.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use portolan::{Database, DatabaseOptions, Verify};

use super::children;
use super::shapes::MEMORY_KIB;
use super::trial::{Base, Faith, caught, in_words, place_of};
use crate::common::page_editor::{HEADER, Pages, meta, node, page, tree};
use crate::common::process::is;
use crate::common::samples::SAMPLES;
use crate::common::{Rng, deep, quick_dir, setting};

/// What is there to edit in a file: places of numbers, with their width, by what they are.
struct Map {
    places: Vec<Vec<(usize, usize)>>,
    /// Begins of the pages in use.
    pages: Vec<usize>,
    /// Offset arrays with more than one entry.
    offsets: Vec<Range<usize>>,
    pages_in_all: u64,
}

impl Map {
    fn of(pages: &Pages) -> Self {
        let mut metas = Vec::new();
        for begin in [0, pages.size] {
            let eights = [meta::ADDRESS, meta::MAP, meta::LAST, meta::TXN, page::NUMBER];
            metas.extend(eights.map(|at| (begin + at, 8)));
            metas.extend([(begin + meta::MAGIC, 4), (begin + meta::VERSION, 4)]);
            metas.push((begin + page::FLAGS, 2));
            for record in [meta::FREE, meta::MAIN] {
                metas.extend(record_places(begin + record));
            }
        }
        let (mut headers, mut offsets, mut nodes, mut branches) = (vec![], vec![], vec![], vec![]);
        let (mut runs, mut keys, mut values, mut free) = (vec![], vec![], vec![], vec![]);
        let (mut begins, mut arrays, mut records) = (vec![], vec![], vec![]);
        for (name, record) in pages.trees() {
            if !matches!(name, "free" | "main") {
                records.extend(record_places(record));
            }
            for begin in pages.branches(record) {
                let children = pages.nodes(begin).into_iter();
                branches
                    .extend(children.flat_map(|node| [(node, 4), (node + 4, 2), (node + 6, 2)]));
            }
            for (begin, _) in pages.walk(record) {
                begins.push(begin);
                headers.push((begin, 8));
                headers.extend([8, 10, 12, 14].map(|at| (begin + at, 2)));
                let count = pages.nodes(begin).len();
                offsets.extend((0..count).map(|at| (begin + HEADER + 2 * at, 2)));
                if count > 1 {
                    arrays.push(begin + HEADER..begin + HEADER + 2 * count);
                }
            }
            for entry in pages.entries(record) {
                let fields = [(node::SIZE, 4), (node::FLAGS, 2), (node::KEY_SIZE, 2)];
                nodes.extend(fields.map(|(at, width)| (entry + at, width)));
                keys.extend(pages.key(entry).map(|at| (at, 1)));
                let value = pages.value(entry);
                if pages.is_big(entry) {
                    runs.push((pages.data(entry).start, 8));
                    let run = pages.run(entry);
                    begins.push(run);
                    runs.extend([(run, 8), (run + page::FLAGS, 2), (run + page::RUN, 4)]);
                }
                if name == "free" {
                    free.extend(value.step_by(8).map(|at| (at, 8)));
                    free.push((pages.key(entry).start, 8));
                } else {
                    values.extend(value.map(|at| (at, 1)));
                }
            }
        }
        let places =
            vec![metas, headers, offsets, nodes, branches, runs, keys, values, free, records];
        let places = places.into_iter().filter(|of| !of.is_empty()).collect();
        let pages_in_all = pages.last_page() + 1;
        Self { places, pages: begins, offsets: arrays, pages_in_all }
    }
}

fn record_places(record: usize) -> Vec<(usize, usize)> {
    let eights = [tree::BRANCHES, tree::LEAVES, tree::RUNS, tree::ENTRIES, tree::ROOT];
    let mut places = vec![(record, 4), (record + tree::FLAGS, 2), (record + tree::DEPTH, 2)];
    places.extend(eights.map(|at| (record + at, 8)));
    places
}

/// One edit at most as long as a page.
struct Edit {
    at: usize,
    bytes: Vec<u8>,
}

impl Map {
    /// One to three edits of a whole file.
    fn edits(&self, file: &Pages, rng: &mut Rng) -> Vec<Edit> {
        let count = [1, 1, 1, 2, 2, 3][rng.below(6) as usize];
        (0..count).map(|_| self.edit(file, rng)).collect()
    }

    fn edit(&self, file: &Pages, rng: &mut Rng) -> Edit {
        match rng.below(20) {
            // Anywhere.
            0 => {
                let at = rng.below(file.bytes.len() as u64) as usize;
                Edit { at, bytes: vec![rng.next() as u8] }
            }
            // A page in the place of another, perhaps with the right number.
            1 => {
                let (from, to) = (pick(rng, &self.pages), pick(rng, &self.pages));
                let mut bytes = file.bytes[from..from + file.size].to_vec();
                if !rng.once_in(3) {
                    bytes[..8].copy_from_slice(&((to / file.size) as u64).to_le_bytes());
                }
                Edit { at: to, bytes }
            }
            // Two offsets exchanged.
            2 => {
                let array = &self.offsets[rng.below(self.offsets.len() as u64) as usize];
                let count = (array.len() / 2) as u64;
                let (a, b) = (rng.below(count) as usize * 2, rng.below(count) as usize * 2);
                let mut bytes = file.bytes[array.clone()].to_vec();
                (0..2).for_each(|byte| bytes.swap(a + byte, b + byte));
                Edit { at: array.start, bytes }
            }
            _ => {
                let of = &self.places[rng.below(self.places.len() as u64) as usize];
                let (at, width) = pick(rng, of);
                let mut wide = [0; 8];
                wide[..width].copy_from_slice(&file.bytes[at..at + width]);
                let old = u64::from_le_bytes(wide);
                let new = self.twisted(old, width, rng);
                Edit { at, bytes: new.to_le_bytes()[..width].to_vec() }
            }
        }
    }

    /// Another number in the place of one.
    fn twisted(&self, old: u64, width: usize, rng: &mut Rng) -> u64 {
        let bits = 8 * width as u64;
        match rng.below(12) {
            0 => old ^ 1 << rng.below(bits),
            1 => old.wrapping_add(1),
            2 => old.wrapping_sub(1),
            3 => old.wrapping_add(2),
            4 => old.wrapping_sub(2),
            5 => 0,
            6 => u64::MAX,
            7 => 1 << (bits - 1),
            8 => rng.next(),
            9 => rng.below(self.pages_in_all + 2),
            10 => rng.below(64),
            _ => (old << 1) | rng.below(2),
        }
    }
}

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.below(all.len() as u64) as usize]
}

/// A whole file with its map.
struct Subject {
    name: &'static str,
    base: Base,
    file: Pages,
    map: Map,
}

impl Subject {
    fn new(name: &'static str, base: Base) -> Self {
        let file = Pages::new(base.bytes.clone());
        let map = Map::of(&file);
        Self { name, base, file, map }
    }

    /// In a child: the files as its parent made them, for writing to with `changes`.
    fn all(place: &Path, changes: bool) -> Vec<Self> {
        let whole = |name: &'static str| {
            let bytes = std::fs::read(place.join(name)).expect("a base");
            Self::new(name, Base::of(bytes, changes))
        };
        SAMPLES.map(|(name, _)| whole(name)).into_iter().collect()
    }
}

fn told(subject: &Subject, edits: &[Edit]) -> String {
    let mut text = subject.name.to_owned();
    for Edit { at, bytes } in edits {
        let old = &subject.file.bytes[*at..*at + bytes.len()];
        let size = subject.file.size;
        let _ = write!(text, ", page {} byte {} ", at / size, at % size);
        let _ = match bytes.len() {
            0..=8 => write!(text, "{old:02x?} -> {bytes:02x?}"),
            more => write!(text, "{more} bytes"),
        };
    }
    text
}

/// The bytes of a file that is edited, read and set right again, so that it is not copied each
/// time.
struct Buffer {
    bytes: Arc<[u8]>,
}

impl Buffer {
    fn try_edited(&mut self, edits: &[Edit], whole: &[u8], mut trial: impl FnMut(Arc<[u8]>)) {
        if Arc::get_mut(&mut self.bytes).is_none() {
            // A panic has left a handle behind.
            self.bytes = whole.into();
        }
        let bytes = Arc::get_mut(&mut self.bytes).expect("the only owner");
        for edit in edits {
            bytes[edit.at..edit.at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        trial(Arc::clone(&self.bytes));
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            for edit in edits {
                let at = edit.at..edit.at + edit.bytes.len();
                bytes[at.clone()].copy_from_slice(&whole[at]);
            }
        }
    }
}

/// Mutated files that child processes try, each in a way or two.
struct Trials {
    test: &'static str,
    role: &'static str,
    seed: u64,
    cases: usize,
}

/// How the cases ended, way by way, and what is wrong.
#[derive(Default)]
struct Tally {
    ends: [[usize; 3]; 2],
    wrong: Vec<String>,
    /// The most memory that a case took beyond twice its file.
    most_kib: u64,
}

impl Trials {
    fn of_reads() -> Self {
        Self {
            test: "mutations::mutated_files_that_are_read_give_right_answers_or_errors",
            role: "mutated files that are read",
            seed: seed(),
            cases: cases(1_500, 1_000_000),
        }
    }

    fn of_writes() -> Self {
        Self {
            test: "mutations::mutated_files_that_are_written_never_kill_the_process",
            role: "mutated files",
            seed: seed() ^ 0x77,
            cases: cases(300, 200_000),
        }
    }

    /// The subject and the edits of a case: always the same for its number.
    fn case<'s>(&self, subjects: &'s [Subject], number: usize) -> (&'s Subject, Vec<Edit>) {
        let mut rng = Rng::new(self.seed ^ (number as u64) << 20);
        let subject = &subjects[number % subjects.len()];
        (subject, subject.map.edits(&subject.file, &mut rng))
    }

    /// Has children try the cases.
    fn run(&self) -> Tally {
        let dir = quick_dir();
        let mut subjects = Vec::new();
        for (name, make) in SAMPLES {
            let path = dir.path().join(name);
            make(&path);
            let bytes = std::fs::read(&path).expect("the file");
            subjects.push(Subject::new(name, Base::of(bytes, false)));
        }
        let mut tally = Tally::default();
        for told_of in children::run(self.test, self.role, dir.path(), self.cases) {
            let (subject, edits) = self.case(&subjects, told_of.case);
            let file_kib = subject.base.bytes.len() as u64 >> 10;
            let beyond = told_of.grown_kib.saturating_sub(2 * file_kib);
            tally.most_kib = tally.most_kib.max(beyond);
            let wrong = match told_of.result {
                Err(death) => death,
                Ok(ends) if ends.contains("WRONG") => ends,
                Ok(_) if beyond > MEMORY_KIB => format!("took {} KiB", told_of.grown_kib),
                Ok(ends) => {
                    for (way, end) in ends.split('|').enumerate() {
                        tally.ends[way][place_of(end)] += 1;
                    }
                    continue;
                }
            };
            let (case, edits) = (told_of.case, told(subject, &edits));
            tally.wrong.push(format!("seed {}, case {case} ({edits}): {wrong}", seed()));
        }
        tally
    }

    fn assert_right(&self, wrong: &[String]) {
        let some = &wrong[..wrong.len().min(20)];
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), self.cases, some.join("\n"));
    }
}

fn seed() -> u64 {
    setting("PORTOLAN_SEED").unwrap_or(1)
}

fn cases(usual: u64, most: u64) -> usize {
    setting("PORTOLAN_CASES").unwrap_or(if deep() { most } else { usual }) as usize
}

/// In a child: edits files in memory and reads them, without a check of structure and with it.
fn read(trials: &Trials) {
    let subjects = Subject::all(&children::place(), false);
    let mut buffers: Vec<Buffer> =
        subjects.iter().map(|of| Buffer { bytes: of.base.bytes.as_slice().into() }).collect();
    children::work(trials.cases, |number| {
        let (subject, edits) = trials.case(&subjects, number);
        let base = &subject.base;
        let mut ends = Vec::new();
        buffers[number % subjects.len()].try_edited(&edits, &base.bytes, |bytes| {
            let unchecked = || base.read_unchecked(Database::from_bytes(Arc::clone(&bytes)));
            ends.push(caught(unchecked));
            let options = DatabaseOptions::new().verify(Verify::Touched);
            ends.push(caught(|| base.read(options.from_bytes(bytes), Faith::Damaged)));
        });
        in_words(ends)
    });
}

#[test]
fn mutated_files_that_are_read_give_right_answers_or_errors() {
    let trials = Trials::of_reads();
    if is(trials.role) {
        return read(&trials);
    }
    let Tally { ends: [unchecked, checked], wrong, most_kib } = trials.run();
    let (seed, cases) = (seed(), trials.cases);
    println!(
        "seed {seed}: {cases} mutated files read: {unchecked:?} refused, failed, right unchecked; \
         {checked:?} checked; at most {most_kib} KiB of memory beyond twice the file"
    );
    trials.assert_right(&wrong);
    assert!(checked[0] > cases / 10 && checked[2] > cases / 100);
}

/// One of so many files that are written is surveyed and repaired as well: a number that has no
/// divisor in common with that of the samples, so that each of them is among them.
const REPAIRED_ONE_IN: usize = 16;

/// In a child: edits files and tries to write to them, and to repair some.
fn write(trials: &Trials) {
    let place = children::place();
    let subjects = Subject::all(&place, true);
    let [path, damaged, target] =
        ["f.portolan", "damaged.portolan", "repaired.portolan"].map(|name| place.join(name));
    children::work(trials.cases, |number| {
        let (subject, edits) = trials.case(&subjects, number);
        let base = &subject.base;
        let mut bytes = base.bytes.clone();
        for edit in &edits {
            bytes[edit.at..edit.at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        std::fs::write(&path, &bytes).expect("the file");
        let mut ends = vec![caught(|| base.write(&path, Faith::Damaged))];
        if number.is_multiple_of(REPAIRED_ONE_IN) {
            std::fs::write(&damaged, &bytes).expect("the file");
            ends.push(caught(|| base.repair(&damaged, &target, Faith::Damaged)));
        }
        in_words(ends)
    });
}

#[test]
fn mutated_files_that_are_written_never_kill_the_process() {
    let trials = Trials::of_writes();
    if is(trials.role) {
        return write(&trials);
    }
    let Tally { ends: [written, repaired], wrong, most_kib } = trials.run();
    let (seed, cases) = (seed(), trials.cases);
    println!(
        "seed {seed}: {cases} mutated files written: {written:?} refused, failed, right; some of \
         them repaired: {repaired:?}; at most {most_kib} KiB of memory beyond twice the file"
    );
    trials.assert_right(&wrong);
}
