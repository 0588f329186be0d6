//! Flipped bytes: none changes an answer of a checked file in silence, and `verify` finds every one
//! that means something.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan::{
    CollectionOptions, Database, DatabaseOptions, Language, Maintenance, Matrix, Metric, Record,
    TextIndex, VectorField, Verify,
};

use super::trial::{Base, Faith, caught};
use crate::common::page_editor::{HEADER, Pages, meta, node, page, tree};
use crate::common::{Rng, deep, quick_dir, setting};

/// What a byte of a file means; none for what nothing reads.
type Meaning = Option<&'static str>;

/// The upper byte of the flags of the free tree. LMDB keeps flags of its environment there, and in
/// that bit whether the path named a file (`MDB_NOSUBDIR`). Nothing reads that again, and both are
/// of the format: the flip of this one bit cannot be told, any other must be.
const FREE_FLAGS: &str = "upper flags of the free tree";
const NO_SUBDIRECTORY: u8 = 0x40;

/// What every byte of a whole file means.
fn meanings(pages: &Pages) -> Vec<Meaning> {
    let mut all = vec![None; pages.bytes.len()];
    let mut mark = |at: usize, bytes: usize, meaning: &'static str| {
        all[at..at + bytes].fill(Some(meaning));
    };
    // The older meta page is the spare one, and LMDB reads no map size where one is given.
    let newest = pages.newest();
    mark(newest + page::NUMBER, 8, "number of a meta page");
    mark(newest + page::FLAGS, 2, "flags of a meta page");
    mark(newest + meta::MAGIC, meta::MAP - meta::MAGIC, "begin of a meta page");
    mark(newest + meta::LAST, meta::END - meta::LAST, "end of a meta page");
    for (name, record) in pages.trees() {
        mark(record, 4, if name == "free" { "page size" } else { "pad of a tree" });
        mark(record + tree::FLAGS, 2, "flags of a tree");
        if name == "free" {
            mark(record + tree::FLAGS + 1, 1, FREE_FLAGS);
        }
        mark(record + tree::DEPTH, tree::BYTES - tree::DEPTH, "counts and root of a tree");
        let depth = pages.depth(record);
        for (begin, level) in pages.walk(record) {
            mark(begin + page::NUMBER, 8, "number of a page");
            mark(begin + page::FLAGS, HEADER - page::FLAGS, "header of a page");
            for (index, at) in pages.nodes(begin).into_iter().enumerate() {
                mark(begin + HEADER + 2 * index, 2, "offset of a node");
                if level < depth {
                    // A separator may be another, as long as it separates.
                    mark(at, node::KEY_SIZE, "child of a branch");
                    mark(at + node::KEY_SIZE, 2, "key size of a branch");
                    continue;
                }
                mark(at, node::KEY, "header of a node");
                let (key, data, value) = (pages.key(at), pages.data(at), pages.value(at));
                if name == "free" {
                    // Which transaction freed a page matters to readers of that time alone.
                    let count = pages.u64(value.start) as usize;
                    mark(value.start, 8 * (count + 1), "list of free pages");
                } else {
                    mark(key.start, key.len(), "key");
                    if name != "main" {
                        mark(value.start, value.len(), "value");
                    }
                }
                if pages.is_big(at) {
                    let run = pages.run(at);
                    mark(data.start, 8, "place of a value");
                    mark(run + page::NUMBER, 8, "number of a run");
                    mark(run + page::FLAGS, HEADER - page::FLAGS, "header of a run");
                }
            }
        }
    }
    all
}

/// A file of about a megabyte with everything in it.
fn megabyte() -> Vec<u8> {
    let dir = quick_dir();
    let path = dir.path().join("f.portolan");
    let mut rng = Rng::new(61);
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual);
    let db = options.open(&path).expect("a database");
    let options = CollectionOptions::new(160, Metric::Cosine)
        .text(TextIndex::new(Language::English))
        .vector_field("image", VectorField::new(4, Metric::Dot))
        .vector_field("tokens", VectorField::multi(4))
        .vector_field("terms", VectorField::sparse());
    let docs = db.create_collection("docs", options);
    let docs = docs.expect("a collection");
    for round in 0..3_i64 {
        let mut batch = docs.batch();
        for at in 0..40 {
            // One text has pages of its own.
            let length = if (round, at) == (0, 7) { 12_000 } else { 200 + rng.below(200) };
            // Words that compression cannot shorten by much.
            let text: Vec<String> =
                (0..length / 8).map(|_| format!("{:07x}", rng.below(1 << 28))).collect();
            let record = Record::new(round * 30 + at)
                .title("north wind, harbor charts")
                .text(text.join(" "));
            let record = record.named_vector("image", rng.vector(4));
            let row = |rng: &mut Rng| rng.vector(4);
            let rows = [row(&mut rng), row(&mut rng)];
            let record = record.named_vector("tokens", Matrix::from_rows(rows).expect("rows"));
            let record = record.named_vector("terms", [(at as u32 % 3, 1.5), (9, 0.25)]);
            let record = record.field("number", at % 30).field("tag", format!("t{}", at % 5));
            let record = record.field("even", at % 2 == 0);
            batch.upsert(record.vector(rng.vector(160))).expect("a valid record");
        }
        batch.delete(round * 9 + 2);
        batch.commit().expect("a commit");
        if round == 1 {
            docs.maintain().graph_min_rows(16).run().expect("maintenance");
        }
    }
    drop((docs, db));
    std::fs::read(&path).expect("the file")
}

/// What became of flips.
#[derive(Default)]
struct Flips {
    tried: usize,
    live: usize,
    refused: usize,
    wrong: Vec<String>,
    /// Live bytes whose flip `verify` did not find, by meaning: in a file that was checked when it
    /// was opened, and in one that was not.
    missed: BTreeMap<&'static str, usize>,
    missed_unchecked: BTreeMap<&'static str, usize>,
    examples: Vec<String>,
}

impl Flips {
    fn try_one(
        &mut self,
        base: &Base,
        bytes: &mut Arc<[u8]>,
        (at, mask): (usize, u8),
        meaning: Meaning,
    ) {
        let meaning = meaning.filter(|of| (*of, mask) != (FREE_FLAGS, NO_SUBDIRECTORY));
        let flip = |bytes: &mut Arc<[u8]>| {
            if Arc::get_mut(bytes).is_none() {
                *bytes = bytes.to_vec().into();
            }
            Arc::get_mut(bytes).expect("the only owner")[at] ^= mask;
        };
        flip(bytes);
        self.tried += 1;
        self.live += usize::from(meaning.is_some());
        let open = |verify| DatabaseOptions::new().verify(verify).from_bytes(Arc::clone(bytes));
        match caught(|| base.read(open(Verify::Touched), Faith::Damaged)) {
            Ok(_) => {}
            Err(wrong) => self.wrong.push(format!("byte {at} ^ {mask:#x} ({meaning:?}): {wrong}")),
        }
        let finds = |verify| open(verify).and_then(|db: Database| db.verify()).is_err();
        let found = finds(Verify::Touched);
        self.refused += usize::from(found);
        if let Some(meaning) = meaning {
            if !found {
                *self.missed.entry(meaning).or_default() += 1;
                let was = bytes[at] ^ mask;
                self.examples.push(format!("{meaning}: byte {at}, {was:#x} -> {:#x}", bytes[at]));
            }
            if !finds(Verify::None) {
                *self.missed_unchecked.entry(meaning).or_default() += 1;
            }
        }
        flip(bytes);
    }

    fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.live += other.live;
        self.refused += other.refused;
        self.wrong.extend(other.wrong);
        self.examples.extend(other.examples);
        for (sums, of) in
            [(&mut self.missed, other.missed), (&mut self.missed_unchecked, other.missed_unchecked)]
        {
            of.into_iter().for_each(|(meaning, count)| *sums.entry(meaning).or_default() += count);
        }
    }
}

/// The positions of a file that a deep run takes: all, or so many as `PORTOLAN_CASES` says from
/// `PORTOLAN_FROM` on.
fn part(positions: usize) -> Range<usize> {
    let from = setting("PORTOLAN_FROM").unwrap_or(0).min(positions as u64) as usize;
    let cases = setting("PORTOLAN_CASES").unwrap_or(u64::MAX).min((positions - from) as u64);
    let part = from..from + cases as usize;
    assert!(!part.is_empty(), "none of {positions} positions is tried");
    part
}

/// The flips to try: each byte of a part in one way, or a sample with the rarer meanings in it.
/// What is drawn for a byte is the same whichever part it is tried in.
fn flips(meanings: &[Meaning]) -> Vec<(usize, u8)> {
    let mut rng = Rng::new(setting("PORTOLAN_SEED").unwrap_or(62));
    let any = |rng: &mut Rng| 1 + rng.below(255) as u8;
    if deep() {
        let part = part(meanings.len());
        let all = (0..part.end).map(|at| (at, any(&mut rng)));
        return all.skip(part.start).collect();
    }
    let mut by_meaning: BTreeMap<Meaning, Vec<usize>> = BTreeMap::new();
    for (at, meaning) in meanings.iter().enumerate() {
        by_meaning.entry(*meaning).or_default().push(at);
    }
    let mut sample = Vec::new();
    for places in by_meaning.values() {
        for _ in 0..60 {
            let at = places[rng.below(places.len() as u64) as usize];
            let mask = if rng.once_in(2) { 0xff } else { any(&mut rng) };
            sample.push((at, mask));
        }
    }
    sample
}

#[test]
fn a_flipped_byte_is_found_or_changes_no_answer() {
    let base = Base::of(megabyte(), false);
    let meanings = meanings(&Pages::new(base.bytes.clone()));
    let flips = flips(&meanings);
    let covered = if deep() {
        let Range { start, end } = part(meanings.len());
        format!("positions {start} to {end} (exclusive) of {}", meanings.len())
    } else {
        format!("a sample of the positions 0 to {} (exclusive)", meanings.len())
    };
    eprintln!("{covered}: {} flips", flips.len());
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Flips::default();
    std::thread::scope(|scope| {
        let worker = || {
            let mut done = Flips::default();
            let mut bytes: Arc<[u8]> = base.bytes.as_slice().into();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&flip) = flips.get(at) else { return done };
                done.try_one(&base, &mut bytes, flip, meanings[flip.0]);
                if at % 100_000 == 99_999 {
                    println!("{} flips", at + 1);
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().for_each(|worker| sum.add(worker.join().expect("a worker")));
    });
    let live = meanings.iter().flatten().count();
    println!(
        "{} bytes, {live} of them live; {covered}: {} flips, {} of live bytes: {} found; live ones \
         that were not, of a checked file: {:?}, of another: {:?}",
        meanings.len(),
        sum.tried,
        sum.live,
        sum.refused,
        sum.missed,
        sum.missed_unchecked
    );
    sum.examples.iter().take(40).for_each(|example| println!("not found: {example}"));
    let some = &sum.wrong[..sum.wrong.len().min(20)];
    assert!(sum.wrong.is_empty(), "{} of {}:\n{}", sum.wrong.len(), sum.tried, some.join("\n"));
    for missed in [&sum.missed, &sum.missed_unchecked] {
        assert!(missed.is_empty(), "{missed:?}:\n{}", sum.examples.join("\n"));
    }
}
