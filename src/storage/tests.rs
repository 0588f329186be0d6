//! The two readers against each other and against a map in memory, over random tables: LMDB, our
//! page reader, the validator and the writer of copies agree on every file that LMDB writes.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::copy::copy;
use super::validate::validate;
use super::*;

type Model = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// Tables whose values are of no concern to the storage.
const TABLES: [Table; 3] = [Table::Ids, Table::Records, Table::Extents];

#[derive(Debug, Clone)]
enum Change {
    Put { table: usize, key: Vec<u8>, len: usize },
    Delete { table: usize, key: Vec<u8> },
    DeletePrefix { table: usize, prefix: u8 },
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(0_u8..6, 1..4),
        2 => proptest::collection::vec(any::<u8>(), 1..20),
        1 => (0_u8..40, 400_usize..=511).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let len = prop_oneof![
        4 => 0_usize..40,
        2 => 300_usize..2_100,
        2 => 2_000_usize..2_100,
        1 => 4_000_usize..20_000,
        1 => 60_000_usize..70_000,
    ];
    prop_oneof![
        8 => (0..TABLES.len(), key(), len)
            .prop_map(|(table, key, len)| Change::Put { table, key, len }),
        3 => (0..TABLES.len(), key()).prop_map(|(table, key)| Change::Delete { table, key }),
        1 => (0..TABLES.len(), 0_u8..6)
            .prop_map(|(table, prefix)| Change::DeletePrefix { table, prefix }),
    ]
}

fn value(key: &[u8], len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7) ^ key[at % key.len()]).collect()
}

fn apply(store: &LmdbStore, model: &mut Model, changes: &[Change]) {
    let done: Result<(), StorageError> = store.write(WriterPolicy::Wait, |txn| {
        for change in changes {
            match change {
                Change::Put { table, key, len } => {
                    txn.put(TABLES[*table], key, &value(key, *len))?;
                }
                Change::Delete { table, key } => drop(txn.delete(TABLES[*table], key)?),
                Change::DeletePrefix { table, prefix } => {
                    txn.delete_prefix(TABLES[*table], &[*prefix])?;
                }
            }
        }
        Ok(())
    });
    done.unwrap();
    for change in changes {
        match change {
            Change::Put { table, key, len } => {
                model.insert((*table as u8, key.clone()), value(key, *len));
            }
            Change::Delete { table, key } => drop(model.remove(&(*table as u8, key.clone()))),
            Change::DeletePrefix { table, prefix } => {
                model.retain(|(of, key), _| usize::from(*of) != *table || key[0] != *prefix);
            }
        }
    }
}

fn open(path: &Path, verify: Verify) -> LmdbStore {
    let (map_bytes, map_bytes_max) = (1 << 16, 1 << 40);
    LmdbStore::open(path, LmdbOptions { map_bytes, map_bytes_max, create: true, verify }).unwrap()
}

/// Every way to ask gives what the model says.
fn check(snapshot: &dyn Snapshot, model: &Model, probes: &[Vec<u8>]) {
    for (at, table) in TABLES.into_iter().enumerate() {
        let of = |(of, key): &(u8, Vec<u8>)| (usize::from(*of) == at).then(|| key.clone());
        let expected: Vec<(Vec<u8>, &Vec<u8>)> =
            model.iter().filter_map(|(key, value)| Some((of(key)?, value))).collect();
        let found = snapshot.range(table, &[], &[]).unwrap();
        let found: Vec<(&[u8], &[u8])> = found.collect::<Result<_, _>>().unwrap();
        let expected: Vec<(&[u8], &[u8])> =
            expected.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        assert!(found == expected, "{table:?} differs");
        for probe in probes.iter().map(Vec::as_slice).chain(found.iter().map(|entry| entry.0)) {
            let here = expected.partition_point(|(key, _)| *key < probe);
            let value = expected.get(here).filter(|(key, _)| *key == probe).map(|entry| entry.1);
            assert!(snapshot.get(table, probe).unwrap() == value, "{table:?}: a lookup differs");
            let before = here.checked_sub(1).map(|at| expected[at]);
            assert!(snapshot.before(table, probe).unwrap() == before, "{table:?}: before differs");
            let prefix = &probe[..1];
            let mut from = snapshot.range(table, prefix, probe).unwrap();
            let next = expected.get(here).filter(|(key, _)| key.starts_with(prefix));
            assert!(from.next().transpose().unwrap() == next.copied(), "{table:?}: range differs");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn lmdb_the_page_reader_and_copies_of_all_page_sizes_agree_on_random_tables(
        commits in proptest::collection::vec(proptest::collection::vec(change(), 1..60), 1..8),
        probes in proptest::collection::vec(key(), 8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let store = open(&path, Verify::None);
        let mut model = Model::new();
        for changes in &commits {
            apply(&store, &mut model, changes);
            // What LMDB wrote is valid after every commit.
            validate(&std::fs::read(&path).unwrap()).unwrap();
        }
        check(store.snapshot().unwrap().as_ref(), &model, &probes);
        for page_bytes in [512, 1024, 4096, 16_384, 32_768] {
            // LMDB's limit of a key, 511 bytes, needs pages of 4 KiB.
            if page_bytes < 4096 && model.keys().any(|(_, key)| key.len() > 100) {
                continue;
            }
            let mut out = Cursor::new(Vec::new());
            let snapshot = store.snapshot().unwrap();
            let bytes = copy(snapshot.as_ref(), &mut out, page_bytes).unwrap();
            let out = out.into_inner();
            prop_assert_eq!(out.len() as u64, bytes);
            let meta = validate(&out).unwrap();
            prop_assert_eq!((meta.page_size, meta.free), (page_bytes, pages::Tree::EMPTY));
            let read = FileStore::of_bytes(out.into(), Verify::None).unwrap();
            check(read.snapshot().unwrap().as_ref(), &model, &probes);
        }
        drop(store);
        let read = FileStore::open(&path, Verify::None).unwrap();
        check(read.snapshot().unwrap().as_ref(), &model, &probes);
    }

    #[test]
    fn lmdb_reads_and_writes_copies_of_its_page_sizes(
        before in proptest::collection::vec(change(), 1..200),
        after in proptest::collection::vec(proptest::collection::vec(change(), 1..60), 1..4),
        page_bytes in prop_oneof![Just(4096_usize), Just(16_384), Just(32_768)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (path, copied) = (dir.path().join("f"), dir.path().join("copy"));
        let store = open(&path, Verify::None);
        let mut model = Model::new();
        apply(&store, &mut model, &before);
        let mut out = std::fs::File::create(&copied).unwrap();
        copy(store.snapshot().unwrap().as_ref(), &mut out, page_bytes).unwrap();
        drop(store);
        let store = open(&copied, Verify::None);
        check(store.snapshot().unwrap().as_ref(), &model, &[]);
        for changes in &after {
            apply(&store, &mut model, changes);
            validate(&std::fs::read(&copied).unwrap()).unwrap();
        }
        check(store.snapshot().unwrap().as_ref(), &model, &[]);
    }
}

#[test]
fn records_that_come_in_order_fill_their_pages_and_others_find_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let bytes_of = |name: &str, keys: &[u32]| {
        let store = open(&dir.path().join(name), Verify::None);
        for keys in keys.chunks(250) {
            let done: Result<(), StorageError> = store.write(WriterPolicy::Wait, |txn| {
                keys.iter()
                    .try_for_each(|key| txn.put(Table::Records, &key.to_be_bytes(), &[7; 700]))
            });
            done.unwrap();
        }
        let snapshot = store.snapshot().unwrap();
        let found = snapshot.range(Table::Records, &[], &[]).unwrap();
        let found: Vec<u32> =
            found.map(|entry| u32::from_be_bytes(entry.unwrap().0.try_into().unwrap())).collect();
        assert_eq!(found, (0..2_000).collect::<Vec<_>>());
        drop(snapshot);
        drop(store);
        std::fs::metadata(dir.path().join(name)).unwrap().len()
    };
    let in_order: Vec<u32> = (0..2_000).collect();
    // Five of 712 bytes and 2 for their place to a page of 4,080, 400 pages; some of each commit
    // are free after it. Halves would take 667.
    let pages = bytes_of("in_order", &in_order) / 4_096;
    assert!((400..=460).contains(&pages), "{pages} pages");
    let mixed: Vec<u32> = (0..2_000).map(|at| at * 1_237 % 2_000).collect();
    bytes_of("mixed", &mixed);
}

/// More leaves than are held back at once, with values between them.
#[test]
fn copies_of_many_leaves_are_whole_and_read_alike_while_they_come_from_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    let copied = dir.path().join("copy");
    let store = open(&dir.path().join("f"), Verify::None);
    let put = |at: u16| Change::Put {
        table: usize::from(at % 3),
        key: at.to_be_bytes().to_vec(),
        len: if at.is_multiple_of(10) { 5_000 } else { 1_800 },
    };
    let mut model = Model::new();
    apply(&store, &mut model, &(0..2_400).map(put).collect::<Vec<_>>());
    let mut out = std::fs::File::create(&copied).unwrap();
    copy(store.snapshot().unwrap().as_ref(), &mut out, 4096).unwrap();
    validate(&std::fs::read(&copied).unwrap()).unwrap();
    let read = FileStore::open(&copied, Verify::None).unwrap();
    for is_cold in [false, true] {
        if is_cold {
            read.chill();
        }
        check(read.snapshot().unwrap().as_ref(), &model, &[]);
    }
    drop(read);
    // What is damaged is told of where it stands, whatever is asked for ahead.
    let bytes = std::fs::read(&copied).unwrap();
    for at in (8_200..bytes.len()).step_by(bytes.len() / 60) {
        let mut damaged = bytes.clone();
        damaged[at..(at + 8).min(bytes.len())].fill(0xff);
        std::fs::write(&copied, damaged).unwrap();
        let Ok(read) = FileStore::open(&copied, Verify::None) else { continue };
        let entries = |is_cold: bool| {
            if is_cold {
                read.chill();
            }
            let snapshot = read.snapshot().unwrap();
            let all = TABLES.map(|table| {
                let entries = snapshot.range(table, &[], &[]).unwrap();
                let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
                entries.map(|entry| entry.map(owned).ok()).collect::<Vec<_>>()
            });
            all.concat()
        };
        assert!(entries(false) == entries(true), "byte {at}");
    }
}

/// A file with entries of every kind, sealed as they are to be.
fn sealed_file(path: &Path) -> Vec<u8> {
    let store = open(path, Verify::None);
    for round in 0..3_u32 {
        let done: Result<(), StorageError> = store.write(WriterPolicy::Wait, |txn| {
            for at in 0..150 {
                let key = (at * 3 + round).to_be_bytes();
                let sealed = crate::format::seal(Table::Ids as u8, &key, b"payload");
                txn.put(Table::Ids, &key, &sealed)?;
                txn.put_field(&[b"field", key.as_slice()].concat())?;
            }
            txn.delete(Table::Ids, &(7 * round).to_be_bytes())?;
            Ok(())
        });
        done.unwrap();
    }
    drop(store);
    std::fs::read(path).unwrap()
}

/// What can be asked of the sealed file.
fn answers(store: &FileStore) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
    let snapshot = Checked::new(store.snapshot()?, store.format());
    let mut answers = Vec::new();
    for at in 0..460_u32 {
        answers.push(snapshot.get(Table::Ids, &at.to_be_bytes())?.map(<[u8]>::to_vec));
    }
    for prefix in [&b"field"[..], &[0, 0], &[0, 0, 1]] {
        for table in [Table::Ids, Table::Fields] {
            for entry in snapshot.range(table, prefix, prefix)? {
                answers.push(Some(entry?.0.to_vec()));
            }
        }
    }
    Ok(answers)
}

#[test]
fn no_flipped_byte_changes_an_answer_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sealed_file(&dir.path().join("f"));
    let read = |bytes: Vec<u8>| answers(&FileStore::of_bytes(bytes.into(), Verify::Touched)?);
    let expected = read(bytes.clone()).unwrap();
    let mut refused = 0;
    let step = if std::env::var_os("PORTOLAN_DEEP").is_some() { 1 } else { 37 };
    for at in (0..bytes.len()).step_by(step) {
        for mask in [0x01, 0x06, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            match read(damaged) {
                Ok(found) => assert!(found == expected, "byte {at} ^ {mask:#x}: other answers"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > bytes.len() / step / 10, "only {refused} of {} flips mattered", bytes.len());
}

#[test]
fn a_meta_whose_number_was_changed_does_not_bring_back_an_older_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let bytes = sealed_file(&path);
    let newest = pages::newest_meta(&bytes, bytes.len() as u64).unwrap();
    let at = usize::from(newest.slot) * newest.page_size + 16 + 128;
    for number in (0..8_u64).map(|by| newest.version.wrapping_add(by).wrapping_sub(4)) {
        let mut damaged = bytes.clone();
        damaged[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let opened = FileStore::of_bytes(damaged.clone().into(), Verify::Touched);
        assert_eq!(opened.is_ok(), number == newest.version, "{number}");
        std::fs::write(&path, damaged).unwrap();
        let (map_bytes, map_bytes_max, create) = (1 << 16, 1 << 40, false);
        let verify = Verify::Touched;
        let options = LmdbOptions { map_bytes, map_bytes_max, create, verify };
        assert_eq!(LmdbStore::open(&path, options).is_ok(), number == newest.version, "{number}");
    }
}

#[test]
fn a_page_at_the_end_of_the_address_space_is_outside_the_file() {
    let (bytes, page_size) = ([0_u8; 1024], 512);
    let number = usize::MAX as u64 / 512;
    let pages = pages::Pages { bytes: &bytes, page_size, last_page: number };
    let outside = PageError::Page { page: number, rule: "is outside the file" };
    assert_eq!(pages.page(number, true).err(), Some(outside.clone()));
    assert_eq!(pages.overflow(number, usize::MAX).err(), Some(outside));
    assert!(pages.nodes(number, true).is_err());
    assert!(pages.behind_header(number, 8).is_none());
    assert!(pages.behind_header(number, usize::MAX).is_none());
}

#[test]
fn bytes_in_memory_keep_living_in_what_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Arc<[u8]> = sealed_file(&dir.path().join("f")).into();
    let store = FileStore::of_bytes(Arc::clone(&bytes), Verify::Full).unwrap();
    let shared = {
        let snapshot = store.snapshot().unwrap();
        let entry = snapshot.range_shared(Table::Ids, &[0, 0]).unwrap().next();
        entry.unwrap().unwrap().1
    };
    drop(store);
    assert!(bytes.as_ptr_range().contains(&shared.as_ptr()));
}

#[test]
fn the_end_of_a_prefix_is_the_next_key_of_no_greater_length() {
    assert_eq!(prefix_end(&[1, 2]), Some(vec![1, 3]));
    assert_eq!(prefix_end(&[1, 0xff]), Some(vec![2]));
    assert_eq!(prefix_end(&[0xff, 0xff]), None);
}

/// A committed file: what Miri can run, as it is neither mapped nor touched by LMDB.
#[test]
fn bytes_alone_are_validated_read_copied_and_refused_when_they_are_damaged() {
    let bytes = if cfg!(miri) {
        include_bytes!("../../fuzz/corpus/pages/seed-512").as_slice()
    } else {
        include_bytes!("../../tests/fixtures/version-2.portolan")
    };
    let store = FileStore::of_bytes(bytes.into(), Verify::Touched).unwrap();
    let tables = |store: &FileStore| {
        let snapshot = Checked::new(store.snapshot().unwrap(), store.format());
        let all = Table::ALL.into_iter().filter(|table| *table != Table::Meta);
        let entries = |table| {
            let entries = snapshot.range(table, &[], &[]).unwrap();
            entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        };
        all.map(|table| entries(table).collect::<Result<Vec<_>, _>>().unwrap()).collect::<Vec<_>>()
    };
    let expected = tables(&store);
    let mut out = Cursor::new(Vec::new());
    copy(store.snapshot().unwrap().as_ref(), &mut out, 16_384).unwrap();
    let copied = FileStore::of_bytes(out.into_inner().into(), Verify::Touched).unwrap();
    assert!(tables(&copied) == expected);
    // Headers of pages, where a reader steps.
    let flips = if cfg!(miri) { 20 } else { 600 };
    for at in (0..flips).map(|flip| flip * 61_441 % bytes.len() / 16 * 16 + 12) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x41;
        let _ = FileStore::of_bytes(damaged.into(), Verify::Touched).map(|store| store.format());
    }
}
