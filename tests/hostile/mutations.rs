//! Random edits of whole files, biased to where a reader or LMDB steps: one to three at a time.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use portolan::{Database, DatabaseOptions, Verify};

use super::children;
use super::shapes::MEMORY_KIB;
use super::trial::{Base, Faith, Outcome, caught};
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

    fn samples(changes: bool) -> Vec<Self> {
        let whole = |name: &'static str| {
            let base = Base::sample(name);
            let base = if changes { base } else { Base::of(base.bytes, false) };
            Self::new(name, base)
        };
        SAMPLES.map(|(name, _)| whole(name)).into_iter().collect()
    }
}

/// The subject and the edits of a case: always the same for its number.
fn case(subjects: &[Subject], seed: u64, number: usize) -> (&Subject, Vec<Edit>) {
    let mut rng = Rng::new(seed ^ (number as u64) << 20);
    let subject = &subjects[number % subjects.len()];
    (subject, subject.map.edits(&subject.file, &mut rng))
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

/// Counts ends, and keeps what is wrong.
#[derive(Default)]
struct Tally {
    ends: [usize; 3],
    wrong: Vec<String>,
}

impl Tally {
    fn note(&mut self, end: Outcome, what: impl FnOnce() -> String) {
        match end {
            Ok(end) => self.ends[end as usize] += 1,
            Err(wrong) => self.wrong.push(format!("{}: {wrong}", what())),
        }
    }
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

#[test]
fn mutated_files_that_are_read_give_right_answers_or_errors() {
    let cases =
        setting("PORTOLAN_CASES").unwrap_or(if deep() { 1_000_000 } else { 1_500 }) as usize;
    let seed = setting("PORTOLAN_SEED").unwrap_or(1);
    let subjects = Subject::samples(false);
    let mut buffers: Vec<Buffer> =
        subjects.iter().map(|of| Buffer { bytes: of.base.bytes.as_slice().into() }).collect();
    let (mut unchecked, mut checked) = (Tally::default(), Tally::default());
    for number in 0..cases {
        let (subject, edits) = case(&subjects, seed, number);
        let buffer = &mut buffers[number % subjects.len()];
        let what = |mode| format!("seed {seed}, case {number} ({}), {mode}", told(subject, &edits));
        buffer.try_edited(&edits, &subject.base.bytes, |bytes| {
            let base = &subject.base;
            let end = caught(|| base.read_unchecked(Database::from_bytes(Arc::clone(&bytes))));
            unchecked.note(end, || what("unchecked"));
            let options = DatabaseOptions::new().verify(Verify::Touched);
            let end = caught(|| base.read(options.from_bytes(bytes), Faith::Damaged));
            checked.note(end, || what("checked"));
        });
        if number % 100_000 == 99_999 {
            println!("{} cases: {:?}, {:?}", number + 1, unchecked.ends, checked.ends);
        }
    }
    println!(
        "seed {seed}: {cases} mutated files read: {:?} refused, failed, right unchecked; \
         {:?} checked",
        unchecked.ends, checked.ends
    );
    let wrong: Vec<String> = unchecked.wrong.into_iter().chain(checked.wrong).collect();
    let some = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), some.join("\n"));
    assert!(checked.ends[0] > cases / 10 && checked.ends[2] > cases / 100);
}

const TEST: &str = "mutations::mutated_files_that_are_written_never_kill_the_process";
const ROLE: &str = "mutated files";

fn writes() -> usize {
    let cases = setting("PORTOLAN_CASES").unwrap_or(if deep() { 200_000 } else { 300 });
    cases as usize
}

/// In the child: edits files and tries to write to them.
fn child(place: &Path) {
    let seed = setting("PORTOLAN_SEED").unwrap_or(1);
    let bases = SAMPLES.map(|(name, _)| {
        let bytes = std::fs::read(place.join(name)).expect("a base");
        Subject::new(name, Base::of(bytes, true))
    });
    let path = place.join("f.portolan");
    children::work(writes(), |number| {
        let (subject, edits) = case(&bases, seed ^ 0x77, number);
        let mut bytes = subject.base.bytes.clone();
        for edit in &edits {
            bytes[edit.at..edit.at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        std::fs::write(&path, bytes).expect("the file");
        match caught(|| subject.base.write(&path, Faith::Damaged)) {
            Ok(end) => end.to_string(),
            Err(wrong) => format!("WRONG {wrong}"),
        }
    });
}

#[test]
fn mutated_files_that_are_written_never_kill_the_process() {
    if is(ROLE) {
        return child(&children::place());
    }
    let dir = quick_dir();
    let seed = setting("PORTOLAN_SEED").unwrap_or(1);
    let mut subjects = Vec::new();
    for (name, make) in SAMPLES {
        let path = dir.path().join(name);
        make(&path);
        let bytes = std::fs::read(&path).expect("the file");
        subjects.push(Subject::new(name, Base::of(bytes, false)));
    }
    let (mut ends, mut wrong, mut most) = ([0; 3], Vec::new(), 0);
    let cases = writes();
    for told_of in children::run(TEST, ROLE, dir.path(), cases) {
        let (subject, edits) = case(&subjects, seed ^ 0x77, told_of.case);
        let file_kib = subject.base.bytes.len() as u64 >> 10;
        let beyond = told_of.grown_kib.saturating_sub(2 * file_kib);
        most = most.max(beyond);
        let ended = match told_of.result.as_deref() {
            Ok("refused") => Ok(0),
            Ok("failed") => Ok(1),
            Ok("right") => Ok(2),
            Ok(told) => Err(told.to_owned()),
            Err(death) => Err(death.clone()),
        };
        let ended = ended.and_then(|end| match beyond > MEMORY_KIB {
            true => Err(format!("took {} KiB", told_of.grown_kib)),
            false => Ok(end),
        });
        match ended {
            Ok(end) => ends[end] += 1,
            Err(what) => {
                let told = told(subject, &edits);
                wrong.push(format!("seed {seed}, case {} ({told}): {what}", told_of.case));
            }
        }
    }
    println!(
        "seed {seed}: {cases} mutated files written: {ends:?} refused, failed, right; \
         at most {most} KiB of memory beyond twice the file"
    );
    let some = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), some.join("\n"));
}
