//! The command `portolan` as a child process that no environment lends a key or an address.

use std::process::{Command, Output};

use serde_json::Value;

pub fn portolan(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(args).env_remove("NVIDIA_API_KEY").env_remove("NVIDIA_BASE_URL");
    command.output().expect("the command runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What a command that must succeed prints as JSON.
pub fn json_of(args: &[&str]) -> Value {
    let output = portolan(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).expect("JSON")
}
