//! `processors setup`: prints each change, each difference, or the SQL.

use broker::ServerError;
use std::num::NonZeroU16;
use std::time::Duration;

use clap::Args;

use crate::clickhouse::payload_retention;
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, print_line};
use crate::setup::apply::{SetupOptions, apply, until_deadline};
use crate::setup::cluster_tables::printed;
use crate::setup::server_facts::drift;

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Partitions of new topics [default: the number in the topic's description].
    #[arg(long, env = "CLICKTRAIL_PARTITIONS", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,
    /// Replicas of each partition; -1 uses the broker's default.
    #[arg(long, env = "CLICKTRAIL_REPLICATION", default_value_t = -1, allow_negative_numbers = true)]
    replication: i32,
    /// Days for which ClickHouse keeps the bytes of dead letters, 1 to 3650; the dead-letter topic keeps the
    /// complete records for its own retention.
    #[arg(long, env = "CLICKTRAIL_DEAD_LETTER_PAYLOAD_DAYS", value_name = "DAYS", default_value = "90",
        value_parser = payload_retention::days)]
    dead_letter_payload_days: NonZeroU16,
    /// Seconds to wait for servers that do not answer yet.
    #[arg(long, default_value_t = 30)]
    wait_seconds: u64,
    /// Change nothing; print each difference, and exit with 1 if there is one.
    #[arg(long)]
    check: bool,
    /// Print the SQL that creates the tables; connect to no server and change nothing.
    #[arg(long, conflicts_with = "check")]
    print: bool,
}

pub(super) async fn setup(args: SetupArgs) -> Result<u8, ServerError> {
    let (servers, payload_days) = (&args.servers, args.dead_letter_payload_days);
    let wait = Duration::from_secs(args.wait_seconds);
    if args.print {
        print_line(printed(&servers.clickhouse.cluster()?, payload_days));
        return Ok(DONE);
    }
    if args.check {
        let findings = until_deadline(wait, async || drift(servers, payload_days).await).await?;
        findings.iter().for_each(print_line);
        if findings.is_empty() {
            print_line("check: nothing differs");
            return Ok(DONE);
        }
        print_line(format_args!("check: {} findings", findings.len()));
        return Ok(DIFFERS);
    }
    let (partitions, replication) = (args.partitions, args.replication);
    let options = SetupOptions { partitions, replication, payload_days };
    let mut changes = 0;
    let mut report = |change: String| {
        changes += 1;
        print_line(change);
    };
    until_deadline(wait, async || apply(servers, options, &mut report).await).await?;
    if changes == 0 {
        print_line("setup: nothing to change");
    } else {
        print_line(format_args!("setup: {changes} changes"));
    }
    Ok(DONE)
}
