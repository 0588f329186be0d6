//! A file that may be damaged: surveyed, and repaired into a new one. Errors are fine, but leave no
//! file behind. What a repair makes opens and is whole; it tells of all damage that the survey has
//! found; and of an input that is whole it has every record, unless it tells of a loss.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::{Database, DatabaseOptions, Record, Result, Verify};
use portolan_fuzz::ScratchFile;

/// The search for a changed byte takes time by the square of an extent, and a lie about a length
/// can make one of nearly a whole file. At this size that should take seconds.
const BYTES_MAX: usize = 48 << 10;

thread_local! {
    static FILES: [ScratchFile; 2] = ["damaged", "repaired"].map(ScratchFile::new);
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() > BYTES_MAX {
        return;
    }
    FILES.with(|[damaged, target]| {
        let (path, target) = (damaged.fill(bytes), target.free());
        let surveyed = Database::damage(path);
        let repaired = match Database::repair(path, target) {
            Ok(repaired) => repaired,
            Err(error) => {
                assert!(!target.exists(), "a repair left a file behind: {error:?}");
                return;
            }
        };
        let damage = surveyed.expect("a survey of what can be repaired");
        assert!(repaired.damage.starts_with(&damage), "{:?} after {damage:?}", repaired.damage);
        let made = Database::open_read_only(target).expect("a repaired file opens");
        made.verify().expect("a repaired file is whole");
        let options = DatabaseOptions::new().verify(Verify::Full);
        let Ok(whole) = options.open_read_only(path) else { return };
        if repaired.is_complete() {
            let (found, expected) = (records(&made), records(&whole));
            let found = found.expect("the records of a repaired file");
            assert_eq!(found, expected.expect("the records of a whole file"));
        }
    });
});

/// The records of each collection without their vectors: a file that its checksums vouch for may
/// have some that no writer would keep bit by bit.
fn records(db: &Database) -> Result<Vec<(String, Vec<Record>)>> {
    let mut all = Vec::new();
    for name in db.collections()? {
        let records = db.collection(&name)?.scan().limit(usize::MAX).run()?.records;
        all.push((name, records));
    }
    Ok(all)
}
