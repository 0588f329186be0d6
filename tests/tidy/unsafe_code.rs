//! `unsafe` stands only in the files that ARCHITECTURE.md lists, each time with its justification.

use std::path::Path;

use super::documents::{block, read};
use super::source::{Source, rust_files, words};

/// How many lines above an `unsafe` its `SAFETY:` comment or `# Safety` section may stand.
const REACH: usize = 6;

pub fn violations(root: &Path) -> Vec<String> {
    let Some(lines) = block(&read(root, "ARCHITECTURE.md"), "unsafe") else {
        return vec!["ARCHITECTURE.md: no fenced block `unsafe`".to_string()];
    };
    let first_word = |line: &String| line.split_whitespace().next().map(str::to_string);
    let listed: Vec<String> =
        lines.iter().filter_map(first_word).filter(|word| !word.starts_with('#')).collect();
    let absent = listed.iter().filter(|path| !root.join(path).is_file());
    let mut found: Vec<String> = absent
        .map(|path| format!("ARCHITECTURE.md: `{path}` of the `unsafe` block does not exist"))
        .collect();
    for source in rust_files(root, &["src", "tests", "benches", "examples", "fuzz"]) {
        for at in words(&source.code, "unsafe") {
            if !listed.contains(&source.path) {
                found.push(source.at(at, "unsafe in a file that ARCHITECTURE.md does not list"));
            } else if needs_reason(&source.code[at..]) && !has_reason(&source, at) {
                let what = format!("unsafe without `SAFETY:` or `# Safety` {REACH} lines above");
                found.push(source.at(at, &what));
            }
        }
    }
    found
}

/// Blocks, impls and functions; not function pointer types such as `unsafe fn(u8)`, traits or
/// attributes.
fn needs_reason(code: &str) -> bool {
    let rest = code["unsafe".len()..].trim_start();
    let is_impl = words(rest, "impl").first() == Some(&0);
    rest.starts_with('{') || is_impl || declares_function(rest)
}

/// `fn name`, or `extern "C" fn name`, at the start of the text.
fn declares_function(rest: &str) -> bool {
    let rest = match rest.strip_prefix("extern") {
        Some(foreign) => foreign.trim_start_matches(|c: char| c == '"' || c.is_whitespace()),
        None => rest,
    };
    let name = rest.strip_prefix("fn").map(str::trim_start);
    name.is_some_and(|name| name.starts_with(|c: char| c == '_' || c.is_alphabetic()))
}

fn has_reason(source: &Source, at: usize) -> bool {
    let line = source.line_of(at);
    let lines = source.raw.lines().take(line).skip(line.saturating_sub(REACH + 1));
    lines.into_iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}
