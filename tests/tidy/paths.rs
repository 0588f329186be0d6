//! Paths into the own crate, found in the text of a source file: `crate::x`, `super::super::x`, and
//! groups of them, resolved to the module of the crate root that they name.

use super::source::{Source, closing, words};

/// What a path names at the crate root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An identifier: a module or something that the root re-exports.
    Name(String),
    /// The root itself or all of it: `crate::*`, `use crate as x`.
    Everything,
}

/// The module path of a file of `src`, from the crate root: `src/db/mod.rs` is `db`,
/// `src/db/query.rs` is `db::query`, `src/lib.rs` is empty.
pub fn module_path(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_string).collect();
    let last = parts.last().map(String::as_str);
    if last == Some("mod") || (parts.len() == 1 && matches!(last, Some("lib" | "main"))) {
        parts.pop();
    }
    parts
}

/// Every place of `source` (outside comments, strings, tests) that names the crate root.
pub fn root_targets(source: &Source) -> Vec<(usize, Target)> {
    let mut targets = Vec::new();
    for at in words(&source.live, "crate") {
        let after = at + "crate".len();
        if let Some(path) = path_after(&source.live, after) {
            targets.extend(names(&source.live, path).into_iter().map(|name| (at, name)));
        } else if source.live[after..].trim_start().starts_with("as ") {
            targets.push((at, Target::Everything));
        }
    }
    targets.extend(super_targets(source));
    targets
}

/// Runs of `super::` that reach the crate root.
fn super_targets(source: &Source) -> Vec<(usize, Target)> {
    let live = &source.live;
    let depth = module_path(&source.path).len();
    let mut targets = Vec::new();
    let mut done = 0;
    for at in words(live, "super") {
        if at < done {
            continue;
        }
        let (mut ups, mut end) = (0, at);
        while live[end..].starts_with("super") {
            let Some(next) = path_after(live, end + "super".len()) else { break };
            (ups, end) = (ups + 1, next);
        }
        done = end;
        if ups > 0 && ups >= depth + inline_depth(live, at) {
            targets.extend(names(live, end).into_iter().map(|name| (at, name)));
        }
    }
    targets
}

/// How many `mod name { .. }` of this file enclose byte `at`.
fn inline_depth(live: &str, at: usize) -> usize {
    let encloses = |start: &usize| {
        let rest = &live[start + "mod".len()..];
        let Some(stop) = rest.find(['{', ';']) else { return false };
        let open = start + "mod".len() + stop;
        live.as_bytes()[open] == b'{' && open < at && at < closing(live, open)
    };
    words(live, "mod").iter().filter(|start| encloses(start)).count()
}

/// The offset behind `::` if that is what follows at `at`.
fn path_after(live: &str, at: usize) -> Option<usize> {
    let rest = live[at..].trim_start();
    let rest = rest.strip_prefix("::")?.trim_start();
    Some(live.len() - rest.len())
}

/// The first segments of what stands at `at`: one name, a star, or each branch of a group.
fn names(live: &str, at: usize) -> Vec<Target> {
    if live.as_bytes().get(at) != Some(&b'{') {
        let rest = &live[at..];
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
        return match &rest[..end] {
            "" | "self" => vec![Target::Everything],
            name => vec![Target::Name(name.to_string())],
        };
    }
    let end = closing(live, at) - 1;
    let (mut found, mut branch, mut depth) = (Vec::new(), at + 1, 0usize);
    for (offset, byte) in live.bytes().enumerate().take(end + 1).skip(at + 1) {
        match byte {
            b'{' => depth += 1,
            b'}' if offset < end => depth = depth.saturating_sub(1),
            b',' | b'}' if depth == 0 => {
                if !live[branch..offset].trim().is_empty() {
                    let indent = live[branch..].len() - live[branch..].trim_start().len();
                    found.extend(names(live, branch + indent));
                }
                branch = offset + 1;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(path: &str, text: &str) -> Vec<String> {
        let source = Source::new(path.to_string(), text.to_string());
        let name = |(_, target)| match target {
            Target::Name(name) => name,
            Target::Everything => "*".to_string(),
        };
        root_targets(&source).into_iter().map(name).collect()
    }

    #[test]
    fn crate_paths_are_found_in_uses_groups_and_expressions() {
        let text = "use crate::{a::{b, c}, d,\n  e as f,};\nfn g() -> crate::h::I { crate :: j() }";
        assert_eq!(targets("src/x.rs", text), ["a", "d", "e", "h", "j"]);
        assert_eq!(
            targets("src/x.rs", "use crate::*; use crate as y; pub(crate) fn f() {}"),
            ["*"; 2]
        );
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text =
            "// crate::a\nconst S: &str = \"crate::b\";\n#[cfg(test)] mod t { use crate::c; }";
        assert_eq!(targets("src/x.rs", text), Vec::<String>::new());
    }

    #[test]
    fn super_counts_when_it_reaches_the_root() {
        assert_eq!(targets("src/x.rs", "use super::a;"), ["a"]);
        assert_eq!(targets("src/x/mod.rs", "use super::{a, b};"), ["a", "b"]);
        assert_eq!(targets("src/x/y.rs", "use super::a; use super::super::b::c;"), ["b"]);
        let inline = "mod z { use super::a; use super::super::b; }";
        assert_eq!(targets("src/x.rs", inline), ["b"]);
    }

    #[test]
    fn files_map_to_module_paths() {
        assert!(module_path("src/lib.rs").is_empty());
        assert_eq!(module_path("src/a.rs"), ["a"]);
        assert_eq!(module_path("src/a/mod.rs"), ["a"]);
        assert_eq!(module_path("src/a/b.rs"), ["a", "b"]);
    }
}
