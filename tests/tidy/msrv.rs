//! The minimum Rust version the crate promises holds for all that it depends on.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Packages that need a newer Rust; `Err` says why cargo could not list them.
pub fn violations(root: &Path) -> Result<Vec<String>, String> {
    let metadata = metadata(root, &[]).or_else(|reason| {
        // dependencies of other platforms may be absent from an offline machine
        let host = host().ok_or(reason)?;
        metadata(root, &["--filter-platform", &host])
    })?;
    compare(&metadata)
}

/// Every package of `cargo metadata` against the root package.
pub fn compare(metadata: &Value) -> Result<Vec<String>, String> {
    let packages = metadata["packages"].as_array().ok_or("no packages in the metadata")?;
    let root_id = metadata["resolve"]["root"].as_str().ok_or("no root package in the metadata")?;
    let own = packages.iter().find(|package| package["id"] == root_id);
    let own = own.ok_or("the root package is not listed")?;
    let Some(promised) = own["rust_version"].as_str() else {
        return Ok(vec!["Cargo.toml: no rust-version".to_string()]);
    };
    let newer = packages.iter().filter_map(|package| {
        let needed = package["rust_version"].as_str()?;
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        let fault = format!("{name} {version} needs Rust {needed}, the crate promises {promised}");
        (numbers(needed) > numbers(promised)).then_some(fault)
    });
    Ok(newer.collect())
}

fn numbers(version: &str) -> [u64; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

fn metadata(root: &Path, extra: &[&str]) -> Result<Value, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1"])
        .args(extra)
        .current_dir(root)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_string)
}
