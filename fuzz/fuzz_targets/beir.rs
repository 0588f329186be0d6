//! The readers of documents, queries and judgments.
#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use portolan::eval::beir;
use portolan_fuzz::ScratchFile;

thread_local! {
    static FILE: LazyCell<ScratchFile> = LazyCell::new(|| ScratchFile::new("jsonl"));
}

fuzz_target!(|bytes: &[u8]| {
    FILE.with(|file| {
        let path = file.fill(bytes);
        if let Ok(documents) = beir::documents(path) {
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
            assert!(documents.count() <= lines, "more documents than lines");
        }
        let _ = beir::queries(path);
        let _ = beir::qrels(path);
    });
});
