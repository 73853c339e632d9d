//! Checks that a reviewer would otherwise do by hand in every file. Needs no backend.

use std::collections::BTreeSet;

use clap::CommandFactory as _;

use super::source::{files, in_code, literals, none, page, product, rust};

const LINES_MAX: usize = 500;

/// Every `"literal"` of these texts that `keep` wants.
fn words(text: &str, keep: impl Fn(&str) -> bool) -> BTreeSet<String> {
    literals(text).into_iter().map(|(_, word)| word).filter(|word| keep(word)).collect()
}

#[test]
fn every_file_says_what_it_is_and_is_short_enough_to_read() {
    let mut wrong = Vec::new();
    for (path, text) in rust() {
        // An attribute of the whole file may precede its header.
        let header = text.lines().take(8).any(|line| line.starts_with("//! "));
        if !header {
            wrong.push(format!("{path} has no header"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{path} has {lines} lines"));
        }
    }
    none("headers and lengths", wrong);
}

#[test]
fn each_foreign_system_is_known_to_one_folder_only() {
    let folders = [
        (
            "rdkafka::",
            &["broker/src/", "producer/src/kafka/", "processors/src/kafka/", "tests/"][..],
        ),
        ("clickhouse::Client", &["processors/src/clickhouse/", "tests/"]),
        ("clickhouse::error", &["processors/src/clickhouse/", "tests/"]),
        // The stack has a module of that name.
        ("use clickhouse::", &["processors/src/clickhouse/", "stack/src/lib.rs", "tests/"]),
        ("schema_registry_converter::", &["broker/src/registry.rs", "tests/"]),
        ("rusqlite::", &["producer/src/links/store/sqlite.rs"]),
        (
            "tokio_postgres::",
            &["producer/src/links/store/postgres.rs", "producer/src/links/store/postgres/"],
        ),
        ("libloading::", &["clickhouse-front/src/engine.rs", "clickhouse-front/src/engine/"]),
    ];
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for (path, text) in rust().iter().filter(|(path, _)| !path.starts_with("tests/it/meta/")) {
        for (word, allowed) in &folders {
            if text.contains(word) {
                used.insert(*word);
                if !allowed.iter().any(|folder| path.starts_with(folder)) {
                    wrong.push(format!("{path} knows {word}"));
                }
            }
        }
    }
    none("folders", wrong);
    assert!(used.len() >= 5, "these words find nothing any more: {used:?} is all");
}

#[test]
fn the_contract_depends_on_nothing_that_does_io() {
    let manifest = page("schemas/Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let own = dependencies.split("[dev-dependencies]").next().unwrap();
    let names: BTreeSet<_> = own
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    let pure = [
        "apache-avro",
        "serde",
        "serde_avro_fast",
        "serde_bytes",
        "serde_json",
        "thiserror",
        "uuid",
    ];
    let odd: Vec<_> =
        names.difference(&pure.into()).map(|name| format!("schemas depends on {name}")).collect();
    none("a crate that may do I/O", odd);
}

fn variables(command: &clap::Command, into: &mut BTreeSet<String>) {
    let names = command.get_arguments().filter_map(|argument| argument.get_env());
    into.extend(names.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| variables(command, into));
}

#[test]
fn the_list_of_settings_is_what_the_programs_read() {
    let mut read = BTreeSet::new();
    variables(&producer::config::Cli::command(), &mut read);
    variables(&processors::cmd::Cli::command(), &mut read);
    read.retain(|name| name.starts_with("CLICKTRAIL_"));
    // Of `stack`, which shares the environment; its command line is no library.
    assert!(page("stack/src/cli.rs").contains("\"CLICKTRAIL_CACHE\""));
    read.insert("CLICKTRAIL_CACHE".to_owned());
    let listed: BTreeSet<_> =
        service::settings::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(listed, read);
}

/// Whether a word looks like one of our stable names.
fn snake(word: &str) -> bool {
    word.len() > 3
        && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && !word.starts_with('_')
}

/// Every stable code that the programs can give: in an error, a log line, an answer.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (path, text) in product() {
        if path.starts_with("stack/") || path.starts_with("clickhouse-front/") {
            continue;
        }
        for call in ["ServerError::fatal(", "ServerError::retryable("] {
            let calls =
                text.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
            codes.extend(calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
        for log in ["code = \"", "let code = \""] {
            let logged = text.split(log).skip(1).filter_map(|rest| rest.split('"').next());
            codes.extend(logged.map(str::to_owned));
        }
        for body in text.split("fn code(").skip(1) {
            codes.extend(words(body.split("\n    }\n").next().unwrap(), snake));
        }
        if path.ends_with("/error_codes.rs") {
            codes.extend(words(&text, |word| word.starts_with("clickhouse_")));
        }
    }
    codes
}

#[test]
fn every_error_code_is_explained() {
    let codes = codes();
    assert!(codes.len() >= 70, "{} codes are found: {codes:?}", codes.len());
    let pages = [page("RUNBOOK.md"), page("docs/collector.md")];
    let headings = pages.iter().flat_map(|page| page.lines());
    let headings = headings.filter_map(|line| line.strip_prefix("### "));
    let headings: BTreeSet<_> =
        headings.map(|heading| heading.trim_matches('`').to_owned()).collect();
    // The codes of lines that an import refuses are in a table.
    let refused_lines = in_code(&page("docs/producer.md"));
    let explained: BTreeSet<_> = headings.union(&refused_lines).cloned().collect();
    // A code that no program returns any longer may keep its heading: old dead letters have it.
    none(
        "codes that RUNBOOK.md, docs/collector.md and docs/producer.md do not explain",
        codes.difference(&explained).cloned().collect(),
    );
}

#[test]
fn every_migration_ends_its_last_statement() {
    let migrations: Vec<_> = files()
        .into_iter()
        .filter(|(path, _)| path.starts_with("processors/migrations/"))
        .collect();
    assert!(!migrations.is_empty());
    for (path, text) in migrations {
        assert!(text.trim_end().ends_with(';') && text.ends_with('\n'), "{path}");
        assert!(
            !text.contains("; \n"),
            "{path}: a statement is split at a semicolon that ends its line"
        );
    }
}

#[test]
fn no_file_names_a_place_of_one_machine_or_a_registry_of_packages() {
    // Put together here, or this file would be the first that is found.
    let home = ["/ho", "me/"].concat();
    let words = [
        home,
        ["/ro", "ot/"].concat(),
        ["/wo", "rk/"].concat(),
        ["/Us", "ers/"].concat(),
        ["static.crates", ".io"].concat(),
        ["registry.npmjs", ".org"].concat(),
        ["files.pythonhosted", ".org"].concat(),
        ["repo1.maven", ".org"].concat(),
    ];
    let mut wrong = Vec::new();
    for (path, text) in files().iter().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                wrong.push(format!("{path}:{number} has {word}"));
            }
        }
    }
    none("places of one machine", wrong);
}

#[test]
fn no_test_is_ignored() {
    let marks = [["#[ign", "ore"].concat(), ["cfg_attr(ign", "ore"].concat()];
    let found = rust()
        .into_iter()
        .filter(|(_, text)| marks.iter().any(|mark| text.contains(mark.as_str())));
    none("a test that `make test` does not run", found.map(|(path, _)| path).collect());
}
