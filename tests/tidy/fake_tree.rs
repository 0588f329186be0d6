//! Each rule on a small made-up repository: it is silent on one in order, and finds the one thing
//! that a test puts out of order.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{bytes, constants, documents, layers, msrv, text, unsafe_code};

const ARCHITECTURE: &str = "\
# Layers
```layers
db -> storage, format   # a remark
storage -> format
format ->
```
```unsafe
src/storage/env.rs   maps the file
```
See `src/storage/env.rs`.
";

const STORAGE_FORMAT: &str = "\
<!-- constants -->
| constant | value |
|---|---|
| `MAGIC` | `*b\"PTLN\"` |
| `PAGE` | 4096 |
| `EXTENT` | 256 * 4096 - 16 |
<!-- /constants -->
";

const FORMAT: &str = "\
//! Constants.
pub const MAGIC: [u8; 4] = *b\"PTLN\"; // not *b\"XXXX\"
pub(crate) const PAGE: usize = 0x1000;
pub const EXTENT: usize = 256 * PAGE - 16;
const PRIVATE: u8 = 1;
pub const fn twice(x: u8) -> u8 { x * 2 }
";

const ENV: &str = "\
//! The map.
use crate::format::PAGE;
/// # Safety
/// Nothing is asked.
pub unsafe fn open() {
    // SAFETY: nothing is done.
    unsafe {}
}
";

/// A repository in order, with the given files replaced or added.
fn tree(name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tidy").join(name);
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    let files = [
        ("README.md", "`src/lib.rs`"),
        ("ARCHITECTURE.md", ARCHITECTURE),
        ("storage-format.md", STORAGE_FORMAT),
        ("CONTRIBUTING.md", ""),
        ("src/lib.rs", "//! Root.\npub mod db;\npub use crate::db::Database;\n"),
        ("src/bin/tool.rs", "//! Tool.\nuse portolan::Database;\n"),
        ("src/db/mod.rs", "//! Db.\nuse crate::storage::env;\nmod query;\n"),
        ("src/db/query.rs", "//! Query.\nuse super::Database;\nuse crate::{db, format::PAGE};\n"),
        ("src/storage/mod.rs", "//! Storage.\npub mod env;\n"),
        ("src/storage/env.rs", ENV),
        ("src/storage/tables.rs", "//! Tables.\nuse bincode::Encode;\n"),
        ("src/format.rs", FORMAT),
    ];
    for (path, content) in files.iter().chain(changes) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

/// Asserts that there is one violation and that it contains all of `parts`.
fn assert_one(violations: &[String], parts: &[&str]) {
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert!(parts.iter().all(|part| violations[0].contains(part)), "{violations:#?}");
}

#[test]
fn a_tree_in_order_has_no_violations() {
    let root = tree("in_order", &[]);
    let all = [
        layers::violations(&root),
        text::missing_module_docs(&root),
        unsafe_code::violations(&root),
        documents::dead_paths(&root),
        constants::violations(&root),
        bytes::violations(&root),
        text::form_violations(&root, &[]),
        text::unfinished(&root),
    ];
    assert_eq!(all.concat(), Vec::<String>::new());
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    let forms = [
        "use crate::db;",
        "use crate::{format, db::X};",
        "fn f() { crate::db::x() }",
        "use super::super::db::X;",
        "mod inner { use super::super::super::db; }",
    ];
    for (index, form) in forms.iter().enumerate() {
        let file = format!("//! Pages.\n{form}\n");
        let root = tree(&format!("upward_{index}"), &[("src/storage/pages.rs", file.as_str())]);
        assert_one(&layers::violations(&root), &["src/storage/pages.rs:2", "`storage -> db`"]);
    }
}

#[test]
fn tests_and_comments_may_name_any_layer() {
    let module = "//! Pages, see crate::db.\n#[cfg(test)]\nmod tests { use crate::db::X; }\n";
    let declaring = "//! Storage.\npub mod env;\n#[cfg(test)]\nmod tests;\n";
    let changes = [
        ("src/storage/pages.rs", module),
        ("src/storage/mod.rs", declaring),
        ("src/storage/tests.rs", "//! Tests.\nuse crate::db::X;\n"),
    ];
    assert!(layers::violations(&tree("tests_any_layer", &changes)).is_empty());
}

#[test]
fn modules_and_table_lines_must_match() {
    let root = tree("unlisted", &[("src/extra.rs", "//! Extra.\n")]);
    assert_one(&layers::violations(&root), &["`extra` has no line"]);
    let stale = ARCHITECTURE.replace("format ->\n", "format ->\nghost ->\n");
    let root = tree("stale", &[("ARCHITECTURE.md", stale.as_str())]);
    assert_one(&layers::violations(&root), &["`ghost` has no module"]);
    let upward = ARCHITECTURE.replace("format ->\n", "format -> db\n");
    let root = tree("table_upward", &[("ARCHITECTURE.md", upward.as_str())]);
    assert_one(&layers::violations(&root), &["`format -> db`", "no line `db` below"]);
    let root = tree("no_table", &[("ARCHITECTURE.md", "")]);
    assert_one(&layers::violations(&root), &["no fenced block `layers`"]);
}

#[test]
fn root_re_exports_are_not_a_way_around_the_table() {
    let root = tree("re_export", &[("src/storage/mod.rs", "//! S.\nuse crate::Database;\n")]);
    assert_one(&layers::violations(&root), &["`Database` is no module"]);
    let root = tree("glob", &[("src/storage/mod.rs", "//! S.\nuse super::*;\n")]);
    assert_one(&layers::violations(&root), &["names the crate root"]);
}

#[test]
fn a_binary_reaches_the_library_by_its_public_name_only() {
    let root = tree("bin_crate", &[("src/bin/tool.rs", "//! T.\nuse crate::storage;\n")]);
    assert_one(&layers::violations(&root), &["src/bin/tool.rs:2"]);
    let sneaky = "//! T.\n#[path = \"../db/mod.rs\"]\nmod db;\n";
    let root = tree("bin_path", &[("src/bin/tool.rs", sneaky)]);
    assert_one(&layers::violations(&root), &["src/bin/tool.rs:2"]);
    let changes = [
        ("src/bin/large/main.rs", "//! L.\nmod args;\nuse crate::args::Args;\n"),
        ("src/bin/large/args.rs", "//! A.\n"),
    ];
    assert!(layers::violations(&tree("bin_folder", &changes)).is_empty());
}

#[test]
fn a_file_without_module_doc_is_found() {
    let root = tree("no_doc", &[("src/db/query.rs", "/// Not a module doc.\n")]);
    assert_one(&text::missing_module_docs(&root), &["src/db/query.rs"]);
}

#[test]
fn unsafe_outside_the_list_or_without_reason_is_found() {
    let root = tree("unsafe_unlisted", &[("src/db/query.rs", "//! Q.\nfn f() { unsafe {} }\n")]);
    assert_one(&unsafe_code::violations(&root), &["src/db/query.rs:2", "does not list"]);
    for item in ["unsafe impl Send for X {}", "unsafe fn f() {}", "fn f() { unsafe { g() } }"] {
        let file = format!("//! E.\n// SAFETY: too far\n\n\n\n\n\n\n{item}\n");
        let root = tree("unsafe_bare", &[("src/storage/env.rs", file.as_str())]);
        assert_one(&unsafe_code::violations(&root), &["src/storage/env.rs:9", "without"]);
    }
    let harmless = "//! unsafe\n#![deny(unsafe_code)]\nconst S: &str = \"unsafe {\";\n";
    let root = tree("unsafe_words", &[("src/db/query.rs", harmless)]);
    assert!(unsafe_code::violations(&root).is_empty());
    let pointer = "//! E.\ntype Kernel = unsafe fn(u8) -> u8;\n";
    let root = tree("unsafe_pointer", &[("src/storage/env.rs", pointer)]);
    assert!(unsafe_code::violations(&root).is_empty());
    let listed = ARCHITECTURE.replace("maps the file", "maps\nsrc/gone.rs");
    let root = tree("unsafe_stale", &[("ARCHITECTURE.md", listed.as_str())]);
    assert_one(&unsafe_code::violations(&root), &["`src/gone.rs`"]);
}

#[test]
fn a_dead_path_or_missing_document_is_found() {
    let root = tree("dead_path", &[("README.md", "x\nsee `tests/gone.rs`\n")]);
    assert_one(&documents::dead_paths(&root), &["README.md:2", "tests/gone.rs"]);
    let root = tree("no_document", &[]);
    fs::remove_file(root.join("CONTRIBUTING.md")).unwrap();
    assert_one(&documents::dead_paths(&root), &["CONTRIBUTING.md"]);
}

#[test]
fn a_constant_that_differs_or_is_missing_is_found_on_either_side() {
    let cases = [
        ("0x1000", "0x2000", "`PAGE` is 4096"),
        ("256 * PAGE", "255 * PAGE", "`EXTENT`"),
        ("*b\"PTLN\";", "*b\"PTLM\";", "`MAGIC`"),
        ("const PRIVATE", "pub const PRIVATE", "`PRIVATE` is not in storage-format.md"),
        ("pub const MAGIC", "const MAGIC", "`MAGIC` is no public constant"),
    ];
    for (index, (from, to, expected)) in cases.into_iter().enumerate() {
        let format = FORMAT.replace(from, to);
        let root = tree(&format!("constant_{index}"), &[("src/format.rs", format.as_str())]);
        let found = constants::violations(&root);
        assert!(found.iter().any(|violation| violation.contains(expected)), "{found:#?}");
    }
}

#[test]
fn bincode_and_byte_order_outside_their_files_are_found() {
    let root = tree("bincode", &[("src/storage/env.rs", "//! E.\nuse bincode::Encode;\n")]);
    assert_one(&bytes::violations(&root), &["src/storage/env.rs:2", "bincode"]);
    let order = "//! Q.\nfn f() { 1u32.to_le_bytes(); }\n";
    let root = tree("byte_order", &[("src/db/query.rs", order), ("src/storage/mod.rs", order)]);
    assert_one(&bytes::violations(&root), &["src/db/query.rs:2", "to_le_bytes"]);
}

#[test]
fn text_out_of_form_is_found() {
    let root = tree("ascii", &[("src/db/query.rs", "//! Q\u{e9}.\n")]);
    assert_one(&text::form_violations(&root, &[]), &["src/db/query.rs:1", "not ASCII"]);
    let wide = format!("//! Q.\n// {}\n// https://x.y/{}\n", "x".repeat(98), "z".repeat(98));
    let root = tree("wide", &[("src/db/query.rs", wide.as_str())]);
    assert_one(&text::form_violations(&root, &[]), &["src/db/query.rs:2", "101 columns"]);
    let long = "//! Q.\n".repeat(501);
    let root = tree("long", &[("src/db/query.rs", long.as_str())]);
    assert_one(&text::form_violations(&root, &[]), &["501 lines, at most 500"]);
    assert!(text::form_violations(&root, &[("src/db/query.rs", 501)]).is_empty());
    let gone = text::form_violations(&tree("gone", &[]), &[("src/gone.rs", 501)]);
    assert_one(&gone, &["src/gone.rs"]);
}

#[test]
fn unfinished_work_is_found_in_source_and_tests() {
    for left in [concat!("to", "do!()"), concat!("#[ig", "nore = \"slow\"]"), concat!("FIX", "ME")]
    {
        let file = format!("//! T.\n// {left}\n");
        let root = tree("unfinished", &[("tests/t.rs", file.as_str())]);
        assert_one(&text::unfinished(&root), &["tests/t.rs:2"]);
    }
}

/// A package as `cargo metadata` prints it, reduced to what the rule reads.
fn package(name: &str, rust: Option<&str>) -> Value {
    let mut package = json!({ "id": name, "name": name, "version": "1.0.0" });
    package["rust_version"] = rust.into();
    package
}

#[test]
fn a_dependency_that_needs_a_newer_rust_is_found() {
    let packages = [
        package("own", Some("1.90")),
        package("same", Some("1.90.0")),
        package("newer", Some("1.90.1")),
        package("silent", None),
    ];
    let metadata = json!({"packages": packages, "resolve": {"root": "own"}});
    assert_one(&msrv::compare(&metadata).unwrap(), &["newer 1.0.0 needs Rust 1.90.1"]);
    assert!(msrv::compare(&json!({})).is_err());
}
