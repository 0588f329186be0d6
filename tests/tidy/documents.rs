//! What the documents say: fenced blocks for other rules, and paths in backticks, which must exist.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 4] =
    ["README.md", "ARCHITECTURE.md", "storage-format.md", "CONTRIBUTING.md"];
const FOLDERS: [&str; 6] = ["src/", "tests/", "benches/", "fuzz/", "docs/", "examples/"];

/// The text of a file, empty when it cannot be read.
pub fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap_or_default()
}

/// The lines of the first fenced block with exactly this info string.
pub fn block(document: &str, info: &str) -> Option<Vec<String>> {
    let fence = format!("```{info}");
    let mut lines = document.lines().skip_while(|line| line.trim() != fence);
    lines.next()?;
    let inside = lines.take_while(|line| line.trim() != "```");
    Some(inside.map(str::to_string).collect())
}

/// Paths in backticks that do not exist, and documents that are missing.
pub fn dead_paths(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in DOCUMENTS {
        let Ok(text) = fs::read_to_string(root.join(name)) else {
            found.push(format!("{name}: the document is missing"));
            continue;
        };
        for (line, path) in named_paths(&text) {
            if !root.join(before_wildcard(&path)).exists() {
                found.push(format!("{name}:{line}: `{path}` does not exist"));
            }
        }
    }
    found
}

/// Line number and path of every path-like word in an inline code span.
fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let spans = line.split('`').skip(1).step_by(2);
            let words = spans.flat_map(str::split_whitespace).map(trimmed);
            let is_path = |word: &&str| FOLDERS.iter().any(|folder| word.starts_with(folder));
            paths.extend(words.filter(is_path).map(|word| (index + 1, word.to_string())));
        }
    }
    paths
}

/// A word without trailing punctuation, `:line` or `::item`.
fn trimmed(word: &str) -> &str {
    let word = word.trim_start_matches(['(', '[', '"', '\'']);
    let word = word.split(':').next().unwrap_or(word);
    word.trim_end_matches([',', ';', '.', ')', ']', '"', '\''])
}

/// `src/kernels/*.rs` must have the folder `src/kernels`; `<name>` is a placeholder likewise.
fn before_wildcard(path: &str) -> &str {
    match path.find(['*', '{', '<']) {
        Some(at) => path[..at].rsplit_once('/').map_or("", |(folder, _)| folder),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_from_inline_code_only() {
        let text =
            "see `src/a.rs`, src/b.rs\n```\n`src/c.rs`\n```\n`run tests/d.rs::e now`, `src/f/*.rs`";
        let found: Vec<(usize, String)> = named_paths(text);
        let expected = [(1, "src/a.rs"), (5, "tests/d.rs"), (5, "src/f/*.rs")];
        assert_eq!(found, expected.map(|(line, path)| (line, path.to_string())));
        assert_eq!(before_wildcard("src/f/*.rs"), "src/f");
    }

    #[test]
    fn a_block_is_found_by_its_whole_info_string() {
        let text = "```layers-old\nx\n```\n```layers\na -> b\nb ->\n```\nrest";
        assert_eq!(block(text, "layers").unwrap(), ["a -> b", "b ->"]);
        assert_eq!(block(text, "unsafe"), None);
    }
}
