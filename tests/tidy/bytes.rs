//! Everything that reaches disk passes few files: bincode in one, byte order in the layers that lay
//! bytes by hand.

use std::path::Path;

use super::source::{rust_files, words};

const BINCODE: &str = "src/storage/tables.rs";
const BYTE_ORDER: [&str; 7] = [
    "src/format.rs",
    "src/storage/",
    "src/kernels/",
    "src/vectors/",
    "src/index/",
    "src/lexical/",
    "src/eval/vector_file.rs",
];

pub fn violations(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for source in rust_files(root, &["src"]) {
        if source.path != BINCODE {
            let places = words(&source.code, "bincode");
            let what = format!("bincode is named only in {BINCODE}");
            found.extend(places.into_iter().map(|at| source.at(at, &what)));
        }
        if !BYTE_ORDER.iter().any(|allowed| matches(&source.path, allowed)) {
            for word in ["to_le_bytes", "from_le_bytes"] {
                let places = words(&source.code, word);
                let what = format!("{word} belongs to the layers that lay bytes");
                found.extend(places.into_iter().map(|at| source.at(at, &what)));
            }
        }
    }
    found
}

/// A file by its whole path, a folder by its prefix.
fn matches(path: &str, allowed: &str) -> bool {
    if allowed.ends_with('/') { path.starts_with(allowed) } else { path == allowed }
}
