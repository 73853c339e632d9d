//! `processors replay skip`.

use broker::ServerError;
use clap::Args;
use jiff::Timestamp;
use records::dead_letters::shown_text::json_line;
use serde_json::json;
use service::shutdown::on_signal;

use crate::clickhouse::filter_time::filter_time;
use crate::cmd::reset_args::{ResetArgs, ShownReset};
use crate::config::{RulesArgs, Servers};
use crate::exit::{DONE, TERMINATED, print_line};
use crate::resets::group_reset::GroupReset;
use crate::resets::reset_target::{ResetTarget, skipped};
use crate::resets::skip::{PlannedSkip, SkipRequest};

/// Arguments of `replay skip`.
#[derive(Debug, Args)]
pub(super) struct SkipArgs {
    /// Log time of the first record that the group reads next: RFC 3339, or how long ago (90s, 2h, 7d), resolved
    /// now; by default the group continues at the end of the log.
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    to_time: Option<Timestamp>,
    /// Plan the replay although one that has not ended reads a part of the same offsets.
    #[arg(long)]
    force: bool,
    /// Reason that is stored with the job.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    common: ResetArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn skip(servers: &Servers, args: &SkipArgs) -> Result<u8, ServerError> {
    let SkipArgs { to_time, force, reason, common, rules } = args;
    let target = to_time.map(|time| ResetTarget::Time(time.as_millisecond()));
    let target = target.unwrap_or(ResetTarget::Latest);
    let stop = on_signal().map_err(|error| ServerError::fatal("signal_handler", error))?;
    let prepared = GroupReset::prepare(servers, &common.group, &target);
    let Some(prepared) = stop.run_until_cancelled(prepared).await else { return Ok(TERMINATED) };
    let mut reset = prepared?;
    // A skip moves no partition backwards.
    let gaps = skipped(&reset.facts, &reset.targets);
    reset.targets.retain(|own, _| gaps.contains_key(own));
    let offsets: u64 = gaps.values().map(|gap| gap.offsets()).sum();
    // The equivalent commands leave the other partitions where they are, and end where the job ends.
    let shown = ShownReset::of(servers, &reset, &ResetTarget::Offsets(reset.targets.clone()));
    let mut object = shown.object();
    object["offsets"] = json!(offsets);
    if !common.json {
        shown.lines().iter().for_each(print_line);
        print_line(format_args!(
            "skipped: {offsets} offsets, of which each holds one record or none"
        ));
    }
    if offsets == 0 || common.dry_run {
        match common.json {
            true => print_line(json_line(&object)),
            false if offsets == 0 => print_line("there is nothing to skip"),
            false => print_line("dry run: nothing was planned or committed"),
        }
        return Ok(DONE);
    }
    let request = SkipRequest {
        members: common.leave(servers),
        force: *force,
        actor: common.actor().to_owned(),
        reason: reason.clone(),
    };
    let planned = PlannedSkip::plan(servers, rules, reset, request);
    let Some(planned) = stop.run_until_cancelled(planned).await else { return Ok(TERMINATED) };
    let planned = planned?;
    let job = planned.replay.job.id.clone();
    let run = format!("processors replay run {job}");
    if !common.json {
        print_line(format_args!("job: {job}"));
        print_line("the members leave the group and join it again at the targets");
    }
    planned.commit(&stop).await?;
    if common.json {
        object["job"] = json!(job);
        object["run"] = json!(run);
        print_line(json_line(&object));
    } else {
        print_line(format_args!(
            "the positions are committed; replay what was skipped with: {run}"
        ));
    }
    Ok(DONE)
}
