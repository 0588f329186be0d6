//! A whole file, as a stranger may ship it: opened by the portable reader, then after the check of
//! its structure, and then for writing. Errors are fine; panics, aborts and wild reads are not, nor
//! is a file that LMDB cannot take though the check has let it through.
#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use portolan::{Database, DatabaseOptions, Maintenance, Record, Result, Verify};
use portolan_fuzz::{ScratchFile, ask};

thread_local! {
    static FILE: LazyCell<ScratchFile> = LazyCell::new(|| ScratchFile::new("portolan"));
}

fuzz_target!(|bytes: &[u8]| {
    FILE.with(|file| {
        let path = file.fill(bytes);
        let Ok(db) = Database::open_read_only(path) else { return };
        ask(&db);
        drop(db);
        let options = || DatabaseOptions::new().verify(Verify::Touched);
        let Ok(db) = options().open_read_only(path) else { return };
        ask(&db);
        drop(db);
        let options = options().maintenance(Maintenance::Manual).initial_map(1 << 20);
        let Ok(db) = options.open(path) else { return };
        ask(&db);
        let _ = write(&db);
    });
});

fn write(db: &Database) -> Result<()> {
    for name in db.collections()? {
        let collection = db.collection(&name)?;
        let mut batch = collection.batch();
        batch.upsert(Record::new("s".repeat(480)).text("t".repeat(5_000)).field("year", 1290))?;
        batch.delete(1);
        batch.commit()?;
        collection.maintain().run()?;
    }
    Ok(())
}
