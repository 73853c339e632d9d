//! Tables of settings in docs/: each setting of both services is in one row, with its flag and its default.

use std::collections::BTreeMap;

use clap::CommandFactory as _;

use super::source::{files, none};

/// A setting as a command line declares it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    flag: String,
    /// Empty where there is none, or an empty one.
    default: String,
}

/// The settings of a command and of its subcommands, by environment name.
fn settings(command: &clap::Command, into: &mut BTreeMap<String, Setting>) {
    for argument in command.get_arguments() {
        if let (Some(name), Some(flag)) = (argument.get_env(), argument.get_long()) {
            let default = argument.get_default_values().first();
            let default = default.map(|value| value.to_string_lossy().into_owned());
            let default = default.filter(|_| argument.get_action().takes_values());
            let setting =
                Setting { flag: format!("--{flag}"), default: default.unwrap_or_default() };
            into.insert(name.to_string_lossy().into_owned(), setting);
        }
    }
    command.get_subcommands().for_each(|inner| settings(inner, into));
}

/// A row of a table of settings: the environment name, and what the row says of it.
fn row(line: &str) -> Option<(String, Setting)> {
    let mut cells = line.strip_prefix("| `--")?.split('|').map(str::trim);
    let flag = format!("--{}", cells.next()?.trim_end_matches('`'));
    let name = cells.next()?.trim_matches('`');
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    // `4,096 (4 KiB)`, or `10,000, and at most …`.
    let shown = cells.next()?.split(" (").next()?.split(", ").next()?;
    let default = shown.trim_matches('`').replace(',', "");
    Some((name.to_owned(), Setting { flag, default }))
}

#[test]
fn every_setting_is_in_one_row_of_the_documents_with_flag_and_default() {
    let mut declared = BTreeMap::new();
    settings(&producer::config::Cli::command(), &mut declared);
    settings(&processors::cmd::Cli::command(), &mut declared);
    // Settings of the stack are in development.md.
    let pages = files().into_iter().filter(|(path, _)| {
        path.starts_with("docs/") && path.ends_with(".md") && path != "docs/development.md"
    });
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (path, text) in pages {
        for (name, setting) in text.lines().filter_map(row) {
            rows.entry(name).or_default().push((path.clone(), setting));
        }
    }
    let mut wrong = Vec::new();
    for name in rows.keys().filter(|name| !declared.contains_key(*name)) {
        wrong.push(format!("{name} is no setting"));
    }
    for (name, setting) in &declared {
        let found = rows.get(name).map_or(&[][..], Vec::as_slice);
        let [(page, row)] = found else {
            wrong.push(format!("{name} is in {} rows: {found:?}", found.len()));
            continue;
        };
        let same_default = setting.default.is_empty() || setting.default == row.default;
        if row.flag != setting.flag || !same_default {
            wrong.push(format!("{page} has {row:?} for {name}, the program {setting:?}"));
        }
    }
    none("tables of settings", wrong);
}

#[test]
fn a_row_of_a_setting_is_read_with_its_default() {
    let read = |line| row(line).map(|(name, setting)| (name, setting.flag, setting.default));
    let row = |name: &str, flag: &str, default: &str| {
        Some((name.to_owned(), flag.to_owned(), default.to_owned()))
    };
    let text = "| `--outbox-bytes` | `A_BYTES` | 4,096 (4 KiB) | bytes | the most |";
    assert_eq!(read(text), row("A_BYTES", "--outbox-bytes", "4096"));
    let text = "| `--n` | `N` | 10,000, and at most 7 | | |";
    assert_eq!(read(text), row("N", "--n", "10000"));
    assert_eq!(read("| `--check` | – | off | | changes nothing |"), None);
    assert_eq!(read("| `--rate` | no limit | clicks a second | maximum |"), None);
}
