//! The tables of folders in ARCHITECTURE: they name the whole tree, and pure files do no I/O.

use std::collections::BTreeSet;

use harness::root;

use super::impure_calls::{calls, kinds};
use super::source::{in_code, none, page, product};

/// The crates whose `src` has a table.
const CRATES: [&str; 7] =
    ["schemas", "records", "broker", "service", "producer", "processors", "dashboards"];
/// Words that pure code does not have.
const IO_WORDS: [&str; 9] = [
    "std::fs",
    "net::Tcp",
    "net::Udp",
    "SocketAddr",
    "std::env",
    "std::process",
    "File::",
    "println!",
    ".await",
];

/// One row: files and folders, and their content.
#[derive(Debug)]
struct Row {
    names: BTreeSet<String>,
    text: String,
}

/// The table of a crate.
fn rows(architecture: &str, name: &str) -> Vec<Row> {
    let heading = format!("### `{name}/src`\n");
    let (_, section) = architecture.split_once(&heading).expect("the heading of a crate");
    let section = section.split("\n#").next().unwrap_or_default();
    let row = |line: &str| {
        let (_, row) = line.split_once("| ")?;
        let (names, text) = row.split_once(" | ")?;
        let names = in_code(names);
        let text = text.trim_end_matches(" |").to_owned();
        (!names.is_empty()).then_some(Row { names, text })
    };
    section.lines().filter_map(row).collect()
}

/// The entries of a crate's `src`: `name` for a folder, with or without a file of its name, else `name.rs`.
fn entries(name: &str) -> BTreeSet<String> {
    let folder = root().join(name).join("src");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let shown = |name: String| match name.strip_suffix(".rs") {
        Some("lib" | "main") => None,
        Some(stem) if folder.join(stem).is_dir() => Some(stem.to_owned()),
        _ => Some(name),
    };
    names.filter_map(shown).collect()
}

#[test]
fn the_tables_of_folders_name_everything_that_the_crates_hold() {
    let architecture = page("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    for name in CRATES {
        let entries = entries(name);
        let rows = rows(&architecture, name).into_iter();
        // A file whose folder holds only its tests is named as a file.
        let plain = |entry: String| match entry.strip_suffix(".rs") {
            Some(stem) if entries.contains(stem) => stem.to_owned(),
            _ => entry,
        };
        let named: BTreeSet<_> = rows.flat_map(|row| row.names).map(plain).collect();
        let missing = entries.difference(&named);
        wrong.extend(missing.map(|entry| format!("{name}/src/{entry} is in no table")));
        let extra = named.difference(&entries);
        wrong.extend(extra.map(|entry| format!("{name}/src/{entry} is in a table only")));
    }
    none("tables of folders", wrong);
}

/// Whether the header of a file calls the file pure.
fn calls_itself_pure(text: &str) -> bool {
    let header = text.lines().filter_map(|line| line.strip_prefix("//! "));
    header.take(30).any(|line| line.contains("Pure.") || line.contains("Pure:"))
}

#[test]
fn what_is_called_pure_reads_no_clock_and_does_no_io() {
    let architecture = page("ARCHITECTURE.md");
    let mut folders = vec!["schemas/src".to_owned(), "records/src".to_owned()];
    for name in CRATES {
        for row in rows(&architecture, name).iter().filter(|row| row.text.ends_with("(pure)")) {
            // Of several files in a row, only the last one is.
            let names = row.names.iter().filter(|entry| !entry.ends_with(".rs"));
            folders.extend(names.map(|entry| format!("{name}/src/{entry}")));
        }
    }
    assert!(folders.len() > 1, "only {folders:?} are called pure");
    let calls = calls(&page("clippy.toml"));
    let (mut wrong, mut pure) = (Vec::new(), 0);
    for (path, text) in product() {
        let in_folder = folders.iter().any(|folder| path.starts_with(folder));
        if !in_folder && !calls_itself_pure(&text) {
            continue;
        }
        pure += 1;
        // Types of tokio's clock and channels are pure; the folders do without.
        let words = IO_WORDS.into_iter().chain(in_folder.then_some("tokio::"));
        let words = words.filter(|word| text.contains(word)).map(str::to_owned);
        let found = words.chain(kinds(&calls, &text));
        wrong.extend(found.map(|word| format!("{path} has {word}")));
    }
    assert!(pure > 60, "only {pure} files are called pure");
    none("I/O in what is called pure", wrong);
}
