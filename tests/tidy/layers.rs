//! Imports run downwards, along the edges of the `layers` block of ARCHITECTURE.md only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::documents::{block, read};
use super::paths::{Target, module_path, root_targets};
use super::source::{Source, rust_files, words};

/// Module to what it may import, with the place of its line; a line may name only modules below it.
struct Table {
    allowed: BTreeMap<String, BTreeSet<String>>,
    faults: Vec<String>,
}

pub fn violations(root: &Path) -> Vec<String> {
    let Some(lines) = block(&read(root, "ARCHITECTURE.md"), "layers") else {
        return vec!["ARCHITECTURE.md: no fenced block `layers`".to_string()];
    };
    let table = parse(&lines);
    let files = rust_files(root, &["src"]);
    let mut found = table.faults.clone();
    found.extend(unlisted(&table, &files));
    for source in &files {
        if source.path.starts_with("src/bin/") {
            found.extend(binary(source, &files));
        } else if !module_path(&source.path).is_empty() && !is_test_file(source, &files) {
            found.extend(edges(&table, source));
        }
    }
    found
}

fn parse(lines: &[String]) -> Table {
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    for line in lines.iter().map(|line| line.split('#').next().unwrap_or("").trim()) {
        if line.is_empty() {
            continue;
        }
        let Some((module, below)) = line.split_once("->") else {
            faults.push(format!("ARCHITECTURE.md: layer line `{line}` has no `->`"));
            continue;
        };
        let below = below.split(',').map(str::trim).filter(|name| !name.is_empty());
        let below: BTreeSet<String> = below.map(str::to_string).collect();
        rows.push((module.trim().to_string(), below));
    }
    for (place, (module, below)) in rows.iter().enumerate() {
        let (above, under) = (&rows[..=place], &rows[place + 1..]);
        if above[..place].iter().any(|(name, _)| name == module) {
            faults.push(format!("ARCHITECTURE.md: layer `{module}` has two lines"));
        }
        for name in below.iter().filter(|name| !under.iter().any(|(row, _)| row == *name)) {
            faults
                .push(format!("ARCHITECTURE.md: `{module} -> {name}`: no line `{name}` below it"));
        }
    }
    Table { allowed: rows.into_iter().collect(), faults }
}

/// Modules without a line, and lines without a module.
fn unlisted(table: &Table, files: &[Source]) -> Vec<String> {
    let inside = files.iter().filter(|source| !source.path.starts_with("src/bin/"));
    let modules: BTreeSet<String> =
        inside.filter_map(|source| module_path(&source.path).first().cloned()).collect();
    let listed: BTreeSet<String> = table.allowed.keys().cloned().collect();
    let missing = modules.difference(&listed);
    let missing = missing.map(|m| format!("src: module `{m}` has no line in the layer table"));
    let stale = listed.difference(&modules);
    let stale = stale.map(|m| format!("ARCHITECTURE.md: layer `{m}` has no module in src"));
    missing.chain(stale).collect()
}

fn edges(table: &Table, source: &Source) -> Vec<String> {
    let own = &module_path(&source.path)[0];
    let Some(allowed) = table.allowed.get(own) else { return Vec::new() };
    let fault = |(at, target): (usize, Target)| match target {
        Target::Everything => Some(source.at(at, "names the crate root; name a module")),
        Target::Name(name) if name == *own || allowed.contains(&name) => None,
        Target::Name(name) if table.allowed.contains_key(&name) => {
            Some(source.at(at, &format!("`{own} -> {name}` is not an edge of the layer table")))
        }
        Target::Name(name) => {
            Some(source.at(at, &format!("`{name}` is no module of the crate; name its module")))
        }
    };
    root_targets(source).into_iter().filter_map(fault).collect()
}

/// A file that some `#[cfg(test)] mod name;` declares.
fn is_test_file(source: &Source, files: &[Source]) -> bool {
    let path = module_path(&source.path);
    let Some((name, parent)) = path.split_last() else { return false };
    let parents = files.iter().filter(|file| module_path(&file.path) == parent);
    let declares = |text: &str| {
        let follows = |at: usize| {
            let rest = text[at + "mod".len()..].trim_start();
            rest.strip_prefix(name.as_str()).is_some_and(|rest| rest.trim_start().starts_with(';'))
        };
        words(text, "mod").into_iter().any(follows)
    };
    parents.into_iter().any(|file| declares(&file.code) && !declares(&file.live))
}

/// A binary reaches the library through `portolan::` alone; `crate::` may name its own files only.
fn binary(source: &Source, files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let folder = source.path.trim_start_matches("src/bin/").split_once('/').map(|(name, _)| name);
    for (at, target) in root_targets(source) {
        let own = match (&target, folder) {
            (Target::Name(name), Some(folder)) => files.iter().any(|file| {
                let base = format!("src/bin/{folder}/{name}");
                file.path == format!("{base}.rs") || file.path == format!("{base}/mod.rs")
            }),
            _ => false,
        };
        if !own {
            found.push(source.at(at, "a binary names the library as `portolan::`"));
        }
    }
    for needle in ["#[path", "include!"] {
        let places = source.live.match_indices(needle);
        let what = format!("a binary uses the public API, not `{needle}`");
        found.extend(places.map(|(at, _)| source.at(at, &what)));
    }
    found
}
