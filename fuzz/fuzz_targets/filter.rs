//! The text of a filter: what is read is written, and read again, as the same filter. And of a
//! query for words, which any text is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::{Filter, TextQuery};

fuzz_target!(|text: &str| {
    let _ = TextQuery::parse(text);
    if let Ok(filter) = text.parse::<Filter>() {
        let written = filter.to_string();
        assert_eq!(written.parse::<Filter>().expect("its own text"), filter, "{written}");
    }
});
