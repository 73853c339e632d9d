//! Calls that read a clock, randomness or the environment: which files make them.
//!
//! Clippy refuses these calls, but an expected lint of a file also covers the files below it. Here each
//! file is read as text.

use std::collections::BTreeSet;

use super::source::{in_code, none, page, product};

/// One call that `clippy.toml` refuses.
#[derive(Debug)]
pub(super) struct Call {
    /// What it reads: the column of ARCHITECTURE.
    kind: String,
    /// The word of a text that makes the call.
    word: String,
}

/// The calls of a `clippy.toml`.
pub(super) fn calls(text: &str) -> Vec<Call> {
    let entries = text.lines().filter_map(|line| line.trim().strip_prefix("{ path = \""));
    let call = |entry: &str| {
        let (path, reason) = entry.split_once("\", reason = \"")?;
        let kind = reason.split_once(':')?.0.to_owned();
        let segments: Vec<_> = path.split("::").collect();
        let word = match segments[..] {
            [.., "elapsed"] => ".elapsed()".to_owned(),
            // All other functions of such a crate are random, too.
            [all, _] if kind == "randomness" => format!("{all}::"),
            [.., of, call] if of.starts_with(char::is_uppercase) => format!("{of}::{call}"),
            [.., of, call] => format!("{of}::{call}("),
            _ => return None,
        };
        Some(Call { kind, word })
    };
    entries.map(|entry| call(entry).unwrap_or_else(|| panic!("{entry}"))).collect()
}

/// The kinds of calls that a text makes outside comments.
pub(super) fn kinds(calls: &[Call], text: &str) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let made = calls.iter().filter(|call| code.iter().any(|line| line.contains(&call.word)));
    made.map(|call| call.kind.clone()).collect()
}

/// The table of ARCHITECTURE: each kind with each file.
fn listed(architecture: &str) -> BTreeSet<(String, String)> {
    let heading = "### Files that read a clock, randomness or the environment\n";
    let (_, section) = architecture.split_once(heading).expect("the heading of the table");
    let mut rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let cells = |row: &str| row.split('|').map(str::to_owned).collect::<Vec<_>>();
    let head = cells(rows.next().expect("the head of the table"));
    let mut found = BTreeSet::new();
    for row in rows.skip(1).take_while(|line| line.starts_with('|')).map(cells) {
        let name = in_code(&row[1]).pop_first().expect("the name of a crate");
        for (kind, cell) in head.iter().zip(&row).skip(2) {
            let full = |path: String| match path.starts_with(&format!("{name}/")) {
                true => path,
                false => format!("{name}/src/{path}"),
            };
            let files = in_code(cell).into_iter().map(full);
            found.extend(files.map(|path| (kind.trim().to_owned(), path)));
        }
    }
    found
}

#[test]
fn the_architecture_lists_each_file_that_reads_a_clock_or_randomness() {
    let calls = calls(&page("clippy.toml"));
    assert!(calls.len() > 15, "clippy.toml has {} calls only", calls.len());
    let mark = ["clippy::disallowed", "methods"].join("_");
    let (mut made, mut wrong) = (BTreeSet::new(), Vec::new());
    for (path, text) in product() {
        let kinds = kinds(&calls, &text);
        if !kinds.is_empty() && !text.contains(&mark) {
            wrong.push(format!("{path} does not expect {mark}: {kinds:?}"));
        }
        made.extend(kinds.into_iter().map(|kind| (kind, path.clone())));
    }
    assert!(made.len() > 40, "only {} files make such calls", made.len());
    let listed = listed(&page("ARCHITECTURE.md"));
    let missing = made.difference(&listed);
    wrong.extend(missing.map(|(kind, path)| format!("{kind}: {path} is not listed")));
    let extra = listed.difference(&made);
    wrong.extend(extra.map(|(kind, path)| format!("{kind}: {path} is listed and makes no call")));
    none("files that read a clock, randomness or the environment", wrong);
}

#[test]
fn a_call_is_found_as_a_path_a_method_and_a_crate() {
    let text = [
        r#"  { path = "tokio::time::Instant::now", reason = "clock: x" },"#,
        r#"  { path = "std::time::Instant::elapsed", reason = "clock: x" },"#,
        r#"  { path = "fastrand::u64", reason = "randomness: x" },"#,
        r#"  { path = "std::env::var", reason = "environment: x" },"#,
    ];
    let calls = calls(&text.join("\n"));
    for (line, kind) in [
        ("since.get_or_insert_with(Instant::now)", Some("clock")),
        ("began.elapsed() > LIMIT", Some("clock")),
        ("use fastrand::f64;", Some("randomness")),
        ("env::var(name)", Some("environment")),
        ("// Instant::now()", None),
        ("env::args(); elapsed: u64", None),
    ] {
        let found: Vec<_> = kinds(&calls, line).into_iter().collect();
        assert_eq!(found, Vec::from_iter(kind.map(str::to_owned)), "{line}");
    }
}
