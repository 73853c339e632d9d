//! `processors offsets reset`.

use std::collections::BTreeMap;

use broker::ServerError;
use clap::Args;
use jiff::Timestamp;
use records::dead_letters::shown_text::json_line;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::filter_time::filter_time;
use crate::cmd::reset_args::{ResetArgs, ShownReset};
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::resets::group_reset::{GroupReset, Members};
use crate::resets::reset_target::{PartitionPosition, ResetTarget};

/// Arguments of `offsets reset`.
#[derive(Debug, Args)]
pub(super) struct ResetOffsetsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Let the members leave the group for the reset; they join it again when it has ended.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    common: ResetArgs,
}

/// Where the positions move.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// To the first offset that the log holds.
    #[arg(long)]
    to_earliest: bool,
    /// To the end of the log.
    #[arg(long)]
    to_latest: bool,
    /// To the first record of a log time or later: RFC 3339, or how long ago (90s, 2h, 7d). Resolved now.
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    to_time: Option<Timestamp>,
    /// To these positions, such as 3:41000; other partitions stay.
    #[arg(long, value_name = "PARTITION:OFFSET", num_args = 1..)]
    to_offsets: Vec<PartitionPosition>,
    /// By a number of offsets, such as -1000, from each committed position.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

impl TargetArgs {
    fn target(&self) -> Result<ResetTarget, ServerError> {
        if self.to_earliest {
            return Ok(ResetTarget::Earliest);
        }
        if self.to_latest {
            return Ok(ResetTarget::Latest);
        }
        if let Some(time) = self.to_time {
            return Ok(ResetTarget::Time(time.as_millisecond()));
        }
        if let Some(by) = self.shift_by {
            return Ok(ResetTarget::Shift(by));
        }
        let mut positions = BTreeMap::new();
        for PartitionPosition { partition, position } in &self.to_offsets {
            if positions.insert(*partition, *position).is_some() {
                let text = format!("--to-offsets names partition {partition} twice");
                return Err(ServerError::fatal("reset_target", text));
            }
        }
        Ok(ResetTarget::Offsets(positions))
    }
}

pub(super) async fn reset(servers: &Servers, args: &ResetOffsetsArgs) -> Result<u8, ServerError> {
    let ResetOffsetsArgs { target, live, common } = args;
    let target = target.target()?;
    let reset = GroupReset::prepare(servers, &common.group, &target).await?;
    let shown = ShownReset::of(servers, &reset, &target);
    if !common.json {
        shown.lines().iter().for_each(print_line);
    }
    let state = if common.dry_run {
        "dry run: nothing was committed"
    } else {
        let members = if *live { common.leave(servers) } else { Members::Refused };
        let held = reset.claim(members, common.actor()).await?;
        if !common.json && *live {
            let id = held.id();
            print_line(format_args!(
                "reset {id}: the members leave the group and join it again at its end"
            ));
        }
        let stop = CancellationToken::new();
        reset.commit(held, members, &stop).await.map_err(|failed| failed.error)?;
        "the positions are committed"
    };
    if common.json {
        let mut object = shown.object();
        object["committed"] = json!(!common.dry_run);
        print_line(json_line(&object));
    } else {
        print_line(state);
    }
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ResetOffsetsArgs,
    }

    fn parsed(args: &[&str]) -> Result<ResetOffsetsArgs, clap::Error> {
        Cli::try_parse_from(["reset"].iter().chain(args)).map(|cli| cli.args)
    }

    #[test]
    fn a_reset_has_exactly_one_target() {
        let target = |args: &[&str]| parsed(args).unwrap().target.target();
        for (args, expected) in [
            (&["--to-earliest"][..], ResetTarget::Earliest),
            (&["--to-latest"], ResetTarget::Latest),
            (&["--to-time", "1970-01-01T00:00:01Z"], ResetTarget::Time(1000)),
            (&["--shift-by", "-7"], ResetTarget::Shift(-7)),
            (&["--to-offsets", "0:5", "1:9"], ResetTarget::Offsets([(0, 5), (1, 9)].into())),
        ] {
            assert_eq!(target(args).unwrap(), expected);
        }
        assert_eq!(target(&["--to-offsets", "0:5", "0:6"]).unwrap_err().code, "reset_target");
        for bad in
            [&[][..], &["--to-earliest", "--to-latest"], &["--to-offsets"], &["--shift-by", "x"]]
        {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
