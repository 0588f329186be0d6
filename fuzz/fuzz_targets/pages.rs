//! The check of structure and the reader of pages over arbitrary bytes in memory.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portolan::{Database, DatabaseOptions, Verify};
use portolan_fuzz::ask;

fuzz_target!(|bytes: &[u8]| {
    let bytes: Arc<[u8]> = bytes.into();
    if let Ok(db) = Database::from_bytes(Arc::clone(&bytes)) {
        ask(&db);
    }
    if let Ok(db) = DatabaseOptions::new().verify(Verify::Touched).from_bytes(bytes) {
        ask(&db);
    }
});
