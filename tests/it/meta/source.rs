//! The source tree as text: files, the part that is not tests, string literals.

use std::collections::BTreeSet;
use std::process::Command;

use harness::root;

/// Every text file of the checkout that is or will be committed: its path and its text.
pub(crate) fn files() -> Vec<(String, String)> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = String::from_utf8(git.output().unwrap().stdout).unwrap();
    let read =
        |path: &str| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?));
    let files: Vec<_> = listed.lines().filter_map(read).collect();
    assert!(files.len() > 50, "git lists {} files only", files.len());
    files
}

/// Every Rust file.
pub(crate) fn rust() -> Vec<(String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// Every Rust file of the programs, without their tests.
pub(crate) fn product() -> Vec<(String, String)> {
    let of_tests = |path: &str| {
        path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
    };
    let files = rust().into_iter().filter(|(path, _)| !of_tests(path));
    files.map(|(path, text)| (path, without_tests(&text))).collect()
}

/// One file by its path.
pub(crate) fn page(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with everything that is wrong.
pub(crate) fn none(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

/// The text without the items that have `#[cfg(test)]`; lines keep their numbers.
pub(crate) fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        kept.push('\n');
        // Its other attributes and its comments.
        let first = lines.by_ref().inspect(|_| kept.push('\n')).find(|line| {
            let line = line.trim_start();
            !line.starts_with('#') && !line.starts_with("//")
        });
        let Some(first) = first.filter(|first| first.ends_with(['{', '(', '['])) else { continue };
        let indent = &first[..first.len() - first.trim_start().len()];
        for line in lines.by_ref() {
            kept.push('\n');
            if line.strip_prefix(indent).is_some_and(closes) {
                break;
            }
        }
    }
    kept
}

/// Whether a line that starts at the indent of an item ends it: `) -> u8 {` and `} else {` do not.
fn closes(line: &str) -> bool {
    line.starts_with(['}', ')', ']']) && line.ends_with(['}', ';', ','])
}

/// Every string literal with the number of its line; comments and characters are skipped.
pub(crate) fn literals(text: &str) -> Vec<(usize, String)> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => line += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            // A character, not a lifetime.
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => {
                at += 3 + text[at + 3..].find('\'').unwrap_or(0);
            }
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 2,
            b'r' if matches!(bytes.get(at + 1), Some(b'"' | b'#')) && !word(bytes, at) => {
                let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
                if bytes.get(at + 1 + hashes) == Some(&b'"') {
                    let start = at + 2 + hashes;
                    let end = format!("\"{}", "#".repeat(hashes));
                    let length = text[start..].find(&end).unwrap_or(text.len() - start);
                    found.push((line, text[start..start + length].to_owned()));
                    line += text[start..start + length].matches('\n').count();
                    at = start + length + end.len();
                    continue;
                }
            }
            b'"' => {
                let (start, begun) = (at + 1, line);
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    line += usize::from(bytes[at] == b'\n');
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                found.push((begun, text[start..at.min(text.len())].to_owned()));
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// The names in `code` of a text.
pub(crate) fn in_code(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn only_the_items_of_a_tests_attribute_are_skipped() {
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod inner {\n    x\n}\nc\n";
    assert_eq!(without_tests(text), "a\n\n\nb\n\n\n\n\nc\n");
    let field = "s {\n    #[cfg(test)]\n    field: u8,\n    other: u8,\n}\n";
    assert_eq!(without_tests(field), "s {\n\n\n    other: u8,\n}\n");
    let long = "#[cfg(test)]\nfn f(\n    x: u8,\n) -> u8 {\n    x\n}\nconst C: u8 = 1;\n";
    assert_eq!(without_tests(long), "\n\n\n\n\n\nconst C: u8 = 1;\n");
    let list = "#[cfg(test)]\nconst L: [u8; 1] = [\n    1,\n];\nconst C: u8 = 1;\n";
    assert_eq!(without_tests(list), "\n\n\n\nconst C: u8 = 1;\n");
    let method =
        "    #[cfg(test)]\n    /// One.\n    #[must_use]\n    fn f() -> u8 { 1 }\n    a\n}\n";
    assert_eq!(without_tests(method), "\n\n\n\n    a\n}\n");
}

#[test]
fn literals_are_found_and_comments_are_not() {
    let text =
        "// \"no\"\nlet a = \"one\\\"\"; let b = '\"'; r#\"two \"x\" \"#;\nf::<'a>(\"three\n\")";
    let found = literals(text);
    let expected = [(2, "one\\\""), (2, "two \"x\" "), (3, "three\n")];
    assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
}
