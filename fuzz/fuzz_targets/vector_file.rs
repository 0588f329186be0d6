//! The readers of `.npy` and `.fvecs`, `.bvecs`, `.ivecs` files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::eval::vector_file::VectorFile;
use portolan_fuzz::ScratchFile;

thread_local! {
    static FILES: Vec<ScratchFile> =
        ["npy", "fvecs", "bvecs", "ivecs"].map(ScratchFile::new).into();
}

fuzz_target!(|bytes: &[u8]| {
    FILES.with(|files| {
        let (npy, vecs) = files.split_at(1);
        let files = if bytes.starts_with(b"\x93NUMPY") { npy } else { vecs };
        for file in files {
            let Ok(vectors) = VectorFile::open(file.fill(bytes)) else { continue };
            let last = vectors.len().saturating_sub(1);
            for row in [0, last, vectors.len()] {
                let _ = vectors.row(row);
                let _ = vectors.row_u32(row);
            }
        }
    });
});
