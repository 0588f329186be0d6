//! The value of a term, a run of its own, and the setting of a text index, from the same bytes; and
//! these as a text that is read as a query and marked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals;

fuzz_target!(|bytes: &[u8]| {
    let _ = internals::postings(bytes);
    let _ = internals::text_setting(bytes);
    if let Some((&language, rest)) = bytes.split_first() {
        internals::text_query(language, &String::from_utf8_lossy(rest));
    }
});
