//! The vocabulary of CONTRIBUTING: words that it replaces appear in no text that a person reads.

use super::source::{in_code, literals, none, page, product};

/// The replaced words, those in `code` in the last column of the table.
fn replaced() -> Vec<String> {
    let page = page("CONTRIBUTING.md");
    let (_, table) = page.split_once("## Vocabulary").expect("the heading of the table");
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let last = |row: &str| row.trim_end_matches('|').rsplit('|').next().map(in_code);
    rows.filter_map(last).flatten().collect()
}

/// Whether `text` has `word` as a separate word, in any case.
fn has(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    let apart = |letter: Option<char>| letter.is_none_or(|l| !l.is_alphanumeric() && l != '_');
    text.match_indices(&word.to_lowercase()).any(|(at, found)| {
        apart(text[..at].chars().next_back()) && apart(text[at + found.len()..].chars().next())
    })
}

/// Texts of a file that a person reads: its literals, and what clap makes help of.
fn read_by_people(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut texts = literals(text);
    let name = path.rsplit('/').next().unwrap_or_default();
    let settings = ["cli.rs", "telemetry.rs", "cmd.rs"].contains(&name)
        || name.ends_with("args.rs")
        || ["/config", "/cmd/"].iter().any(|part| path.contains(part));
    if settings {
        let help = (1..).zip(text.lines());
        texts.extend(help.filter_map(|(number, line)| {
            line.trim_start().strip_prefix("/// ").map(|line| (number, line.to_owned()))
        }));
    }
    texts
}

#[test]
fn no_help_error_log_or_metric_uses_a_replaced_word() {
    let words = replaced();
    assert!(words.len() >= 30, "the table names {} words only", words.len());
    let (mut wrong, mut texts) = (Vec::new(), 0);
    for (path, text) in product() {
        for (number, said) in read_by_people(&path, &text) {
            texts += 1;
            let found = words.iter().filter(|word| has(&said, word));
            wrong.extend(found.map(|word| format!("{path}:{number}: {word:?} in {said:?}")));
        }
    }
    assert!(texts > 2_000, "only {texts} texts are read");
    none("replaced words", wrong);
}

#[test]
fn a_word_is_found_alone_and_not_inside_another() {
    assert!(has("the Bell rings", "bell") && has("it gives way.", "gives way"));
    assert!(!has("labelled", "bell") && !has("rung_count", "rung"));
}
