//! `processors breaker`: overrides of the storm breaker, for records that are already in the log.

use broker::ServerError;
use clap::{Args, Subcommand};

use crate::clickhouse::breaker_overrides::{add_override, overrides};
use crate::config::Servers;
use crate::exit::{DONE, print_line};
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
    Override {
        /// Partition of the log.
        #[arg(long)]
        partition: u32,
        /// First and last offset, such as 100-199, or one offset.
        #[arg(long, value_parser = offsets)]
        offsets: (u64, u64),
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
        BreakerAction::Override { partition, offsets: (first, last), reason } => {
            let added = BreakerOverride {
                kafka_topic: topic.to_owned(),
                kafka_partition: partition,
                first_offset: first,
                last_offset: last,
                reason,
            };
            add_override(&server, &added).await?;
            print_line(format_args!("breaker: override for {topic} {partition}:{first}-{last}"));
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
