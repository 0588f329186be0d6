//! The manifest of a collection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals;

fuzz_target!(|bytes: &[u8]| {
    let _ = internals::manifest(bytes);
});
