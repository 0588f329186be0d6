//! A whole file, as a stranger may ship it: opened by the portable reader, then asked for all
//! that a reader can ask for. Errors are fine; panics, aborts and wild reads are not.
#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use portolan::{Collection, Database, Filter, Result};
use portolan_fuzz::ScratchFile;

thread_local! {
    static FILE: LazyCell<ScratchFile> = LazyCell::new(|| ScratchFile::new("portolan"));
}

/// Queries of more components say nothing new and take long.
const DIMENSIONS_MAX: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    FILE.with(|file| {
        let Ok(db) = Database::open_read_only(file.fill(bytes)) else { return };
        let _ = db.info();
        let _ = db.verify();
        for name in db.collections().unwrap_or_default() {
            if let Ok(collection) = db.collection(&name) {
                let _ = read(&collection);
                let _ = search(&collection);
            }
        }
    });
});

fn read(collection: &Collection) -> Result<()> {
    let page = collection.scan().limit(20).with_vectors().run()?;
    for record in page.records {
        let _ = collection.get(record.id)?;
    }
    let _ = collection.get("absent")?;
    Ok(())
}

fn search(collection: &Collection) -> Result<()> {
    let dimensions = collection.dimensions();
    if dimensions > DIMENSIONS_MAX {
        return Ok(());
    }
    let query = vec![0.5; dimensions];
    let filter = Filter::gte("year", 1290).and(Filter::exists("tag"));
    let _ = collection.search(&query).limit(5).run()?;
    let _ = collection.search(&query).limit(5).exact().run()?;
    let _ = collection.search(&query).limit(5).filter(filter).run()?;
    Ok(())
}
