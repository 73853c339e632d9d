//! Documents: each test that ARCHITECTURE or an ADR names exists; names of tests and README are short enough.

use std::collections::BTreeSet;

use super::source::{files, in_code, none, page, rust};

/// Longest name of a test.
const NAME_LENGTH_MAX: usize = 80;

/// Longest README, bytes: two screens of text.
const README_BYTES_MAX: usize = 6_000;

/// The names of the tests in a text.
fn test_names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            let signature = lines.by_ref().find_map(|line| line.split_once("fn "));
            let name = signature.and_then(|(_, rest)| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let names: BTreeSet<_> = rust().iter().flat_map(|(_, text)| test_names(text)).collect();
    assert!(names.len() > 500, "only {} tests are found", names.len());
    names
}

/// The names in `code` of a text that are as long as those of tests: a table's or a topic's is shorter, and a
/// command has spaces.
fn named_tests(text: &str) -> BTreeSet<String> {
    let is_test = |word: &String| word.matches('_').count() >= 3 && !word.contains(' ');
    in_code(text).into_iter().filter(is_test).collect()
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let architecture = page("ARCHITECTURE.md");
    let (_, rest) = architecture.split_once("## Invariants").unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let (tests, mut wrong) = (tests(), Vec::new());
    for number in 1..=15 {
        let start = section.find(&format!("\n{number}. "));
        let Some(start) = start else {
            wrong.push(format!("invariant {number} is gone; its number is permanent"));
            continue;
        };
        let text = &section[start + 1..];
        let end = text.find(&format!("\n{}. ", number + 1)).unwrap_or(text.len());
        let named = named_tests(&text[..end]);
        let admits = text[..end].contains("No such") || text[..end].contains("no test");
        if named.is_empty() && !admits {
            wrong.push(format!("invariant {number} names no test and does not say why"));
        }
        let absent = named.difference(&tests);
        wrong.extend(
            absent.map(|name| format!("invariant {number} names {name}, which is no test")),
        );
    }
    none("invariants", wrong);
}

#[test]
fn every_adr_has_a_confirmation_whose_tests_exist() {
    let (tests, mut wrong, mut found) = (tests(), Vec::new(), 0);
    let of_adrs = |path: &String| path.starts_with("docs/adr/");
    for (path, text) in files().into_iter().filter(|(path, _)| of_adrs(path)) {
        let Some((_, confirmation)) = text.split_once("\n## Confirmation\n") else {
            wrong.push(format!("{path} has no confirmation"));
            continue;
        };
        let named = named_tests(confirmation);
        found += named.len();
        // A word with a unit is a ratio of `make bench`.
        let absent = named.difference(&tests).filter(|name| !name.ends_with("_ms"));
        wrong.extend(absent.map(|name| format!("{path} names {name}, which is no test")));
    }
    assert!(found > 50, "the ADRs name {found} tests only");
    none("ADRs", wrong);
}

#[test]
fn no_name_of_a_test_is_longer_than_eighty_characters() {
    let long = tests().into_iter().filter(|name| name.len() > NAME_LENGTH_MAX);
    none("names of tests", long.collect());
}

#[test]
fn the_readme_stays_short() {
    let bytes = page("README.md").len();
    assert!(bytes <= README_BYTES_MAX, "README.md has {bytes} bytes, more than {README_BYTES_MAX}");
}

#[test]
fn the_names_of_tests_are_found_behind_their_attributes() {
    let text = [
        "#[test]",
        "fn one() {",
        "#[tokio::test(start_paused = true)]",
        "#[expect(x)]",
        "async fn two() {",
        "fn helper() {",
    ];
    let names = test_names(&text.join("\n"));
    assert_eq!(names, BTreeSet::from(["one", "two"].map(str::to_owned)));
}
