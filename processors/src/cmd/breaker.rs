//! `processors breaker`: overrides of the storm breaker, for records that are already in the log.

use broker::ServerError;
use clap::{ArgGroup, Args, Subcommand};
use records::replay::log_range::LogRange;

use crate::clickhouse::breaker_overrides::{add_override, overrides};
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::kafka::group_backlog::group_backlog;
use crate::run::sink::BreakerOverride;

/// Arguments of `breaker`.
#[derive(Debug, Args)]
pub struct BreakerArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    #[command(subcommand)]
    action: BreakerAction,
}

#[derive(Debug, Subcommand)]
enum BreakerAction {
    /// Dead-letter the undecodable records of these offsets in spite of the storm breaker.
    #[command(group(ArgGroup::new("ranges").args(["partition", "backlog"]).required(true)))]
    Override {
        /// Partition of the log.
        #[arg(long, requires = "offsets")]
        partition: Option<u32>,
        /// First and last offset, such as 100-199, or one offset.
        #[arg(long, value_parser = offsets, requires = "partition")]
        offsets: Option<(u64, u64)>,
        /// Override what the group has not committed yet: of each partition, from the committed position to the
        /// present end of the log.
        #[arg(long, conflicts_with_all = ["partition", "offsets"])]
        backlog: bool,
        /// Name of the consumer group of `processors run`.
        #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
        group: String,
        /// Print the overrides and add none.
        #[arg(long)]
        dry_run: bool,
        /// Reason, stored with the override.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Print every override.
    List,
}

pub(super) async fn breaker(args: BreakerArgs) -> Result<u8, ServerError> {
    let server = args.servers.clickhouse.server()?;
    let topic = args.servers.kafka.topic.as_str();
    match args.action {
        BreakerAction::Override { partition, offsets, backlog: _, group, dry_run, reason } => {
            let ranges = match partition.zip(offsets) {
                Some(range) => vec![range],
                None => backlog(&args.servers, &group).await?,
            };
            if ranges.is_empty() {
                print_line(format_args!("breaker: group {group} has committed all of {topic}"));
            }
            for (partition, (first, last)) in ranges {
                if dry_run {
                    print_line(format_args!(
                        "dry run: override for {topic} {partition}:{first}-{last}"
                    ));
                    continue;
                }
                let added = BreakerOverride {
                    kafka_topic: topic.to_owned(),
                    kafka_partition: partition,
                    first_offset: first,
                    last_offset: last,
                    reason: reason.clone(),
                };
                add_override(&server, &added).await?;
                print_line(format_args!(
                    "breaker: override for {topic} {partition}:{first}-{last}"
                ));
            }
        }
        BreakerAction::List => {
            for own in overrides(&server, topic).await? {
                let BreakerOverride { kafka_partition, first_offset, last_offset, reason, .. } =
                    own;
                print_line(format_args!(
                    "{topic} {kafka_partition}:{first_offset}-{last_offset} {reason}"
                ));
            }
        }
    }
    Ok(DONE)
}

/// A partition, and its first and last offset.
type Range = (u32, (u64, u64));

/// What the group has not committed of each partition.
async fn backlog(servers: &Servers, group: &str) -> Result<Vec<Range>, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let group = group.to_owned();
    let asked = tokio::task::spawn_blocking(move || group_backlog(&brokers, &group, &topic));
    let ranges = asked.await.map_err(|error| ServerError::fatal("task_panicked", error))??;
    // Partitions and offsets of the log are not negative.
    let range = |(partition, range): (i32, LogRange)| {
        let partition = u32::try_from(partition).ok()?;
        let (first, last) = (u64::try_from(range.first), u64::try_from(range.end - 1));
        Some((partition, (first.ok()?, last.ok()?)))
    };
    Ok(ranges.into_iter().filter_map(range).collect())
}

fn offsets(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| error.to_string());
    match (number(first)?, number(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err("the first offset is greater than the last".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::offsets;

    #[test]
    fn a_range_of_offsets_is_read_or_refused() {
        assert_eq!(offsets("100-199"), Ok((100, 199)));
        assert_eq!(offsets("7"), Ok((7, 7)));
        for bad in ["", "-", "a-b", "9-3", "-5", "1-2-3"] {
            assert!(offsets(bad).is_err(), "{bad}");
        }
    }
}
