//! The rules of this repository as tests: layers, module docs, unsafe, documents that name files,
//! format constants, who may touch bytes, text form, unfinished work, minimum Rust version.
//!
//! Each rule is a function from a repository root to a list of violations. Here they must be empty
//! for this repository; in `tidy/fake_tree.rs` each must find what it is for in a made-up one.

use std::path::Path;

#[path = "tidy/bytes.rs"]
mod bytes;
#[path = "tidy/constants.rs"]
mod constants;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/expression.rs"]
mod expression;
#[path = "tidy/fake_tree.rs"]
mod fake_tree;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/msrv.rs"]
mod msrv;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/unsafe_code.rs"]
mod unsafe_code;

/// Files of `src` that may exceed the line limit, with the length they must not exceed. A ratchet:
/// lower a figure when a file shrinks, remove it at 500, never add one.
const LONG_FILES: &[(&str, usize)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn modules_import_only_along_the_edges_of_the_layer_table() {
    assert_none(layers::violations(root()));
}

#[test]
fn every_source_file_opens_with_a_module_doc() {
    assert_none(text::missing_module_docs(root()));
}

#[test]
fn unsafe_is_confined_to_listed_files_and_justified_where_it_stands() {
    assert_none(unsafe_code::violations(root()));
}

#[test]
fn every_path_a_document_names_exists() {
    assert_none(documents::dead_paths(root()));
}

#[test]
fn format_constants_equal_the_table_of_the_storage_format() {
    assert_none(constants::violations(root()));
}

#[test]
fn only_the_serialization_files_touch_bincode_and_byte_order() {
    assert_none(bytes::violations(root()));
}

#[test]
fn source_is_ascii_within_100_columns_and_500_lines() {
    assert_none(text::form_violations(root(), LONG_FILES));
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    assert_none(text::unfinished(root()));
}

#[test]
fn no_dependency_needs_a_newer_rust_than_the_crate_promises() {
    match msrv::violations(root()) {
        Ok(violations) => assert_none(violations),
        Err(reason) => eprintln!("skipped: dependencies cannot be listed offline: {reason}"),
    }
}
