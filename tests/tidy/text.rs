//! The form of source text: module docs, ASCII, columns, lines per file, nothing unfinished.

use std::path::Path;

use super::source::rust_files;

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 500;

pub fn missing_module_docs(root: &Path) -> Vec<String> {
    let files = rust_files(root, &["src"]).into_iter();
    let bare = files.filter(|source| !source.raw.starts_with("//!"));
    bare.map(|source| format!("{}:1: does not open with `//!`", source.path)).collect()
}

/// Non-ASCII characters, wide lines (those with a URL excepted), and long files of `src`, unless
/// `long_files` allows that length.
pub fn form_violations(root: &Path, long_files: &[(&str, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    for source in rust_files(root, &["src", "tests", "benches", "examples", "fuzz"]) {
        let path = &source.path;
        for (index, line) in source.raw.lines().enumerate() {
            let line = line.trim_end();
            if let Some(character) = line.chars().find(|character| !character.is_ascii()) {
                found.push(format!("{path}:{}: {character:?} is not ASCII", index + 1));
            }
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !line.contains("http://") && !line.contains("https://") {
                found.push(format!("{path}:{}: {columns} columns", index + 1));
            }
        }
        let exception = long_files.iter().find(|(file, _)| file == path);
        let limit = exception.map_or(LINES_MAX, |(_, lines)| *lines);
        let lines = source.raw.lines().count();
        if path.starts_with("src/") && lines > limit {
            found.push(format!("{path}: {lines} lines, at most {limit}"));
        }
    }
    let stale = long_files.iter().filter(|(file, _)| !root.join(file).is_file());
    found.extend(stale.map(|(file, _)| format!("{file}: listed as long, but does not exist")));
    found
}

pub fn unfinished(root: &Path) -> Vec<String> {
    // spelled in pieces, so that this file does not contain them
    let needles = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("db", "g!"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    let mut found = Vec::new();
    for source in rust_files(root, &["src", "tests"]) {
        for needle in needles {
            let places = source.raw.match_indices(needle);
            let what = format!("`{needle}` is left");
            found.extend(places.map(|(at, _)| source.at(at, &what)));
        }
    }
    found
}
