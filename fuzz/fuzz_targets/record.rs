//! A record value, sealed and bare, under a key of the first bytes (their number in byte 0).
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals;

fuzz_target!(|bytes: &[u8]| {
    let Some((&key_bytes, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(key_bytes % 32).min(rest.len()));
    let _ = internals::record(key, value);
});
