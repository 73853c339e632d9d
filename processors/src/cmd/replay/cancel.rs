//! `processors replay cancel`.

use std::collections::BTreeMap;

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::json_line;
use records::replay::log_range::LogRange;
use records::replay::replay_pass::PartitionRanges;
use serde_json::json;

use super::position_table::PositionTable;
use crate::audit::decoded_events::blocking;
use crate::clickhouse::job_table;
use crate::cmd::dlq::actor::ActorArgs;
use crate::config::Servers;
use crate::exit::{DONE, TEMPORARY, print_line};
use crate::jobs::cancellation;
use crate::jobs::job::{Job, JobState, StoredJob};
use crate::jobs::job_listing;
use crate::jobs::skipped_gap;
use crate::kafka::group_positions::GroupPositions;
use crate::replay::stored_plan::plan_of;

/// Arguments of `replay cancel`.
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// Job.
    id: String,
    /// Of the job of a skip: close its gap, since the live group or another replay reads these offsets. The audit then
    /// counts a click of them that has no row as missing, and the alert of the gap ends.
    #[arg(long)]
    close_gap: bool,
    /// Close the gap although the live group has passed it: the group was moved back and has read it, or another replay
    /// has.
    #[arg(long, requires = "close_gap")]
    force: bool,
    /// Name of the consumer group of `processors run`, whose positions --close-gap compares with the gap.
    #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
    group: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: ActorArgs,
}

pub(super) async fn cancel(servers: &Servers, args: &CancelArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    // Refuses a job of another kind.
    let job = job_table::job(&server, &args.id).await?.job;
    let plan = plan_of(&job, &servers.kafka.topic)?;
    check(&job, args.close_gap)?;
    if args.close_gap && !args.force {
        check_positions(servers, args, &plan.ranges).await?;
    }
    let job = match args.close_gap {
        true => cancellation::close_gap(&server, &args.id, args.actor.name()).await?,
        false => cancellation::cancel(&server, &args.id, args.actor.name()).await?,
    };
    let has_ended = job.state.has_ended();
    let positions = PositionTable::read(servers, &job, &plan).await?;
    let stored = StoredJob { now_us: job.updated_at_us, job };
    if args.json {
        let object = json!({
            "job": job_listing::object(&stored), "pass": positions.pass_json(),
            "positions": positions.json(),
        });
        print_line(json_line(&object));
    } else {
        print_line(job_listing::line(&stored));
        positions.rewritten().iter().for_each(print_line);
        if !has_ended {
            print_line(format_args!(
                "not ended within 5 s: `processors replay status {}` prints its end; if its process is gone, \
                 repeat this in 15 s",
                args.id
            ));
        }
        if skipped_gap::is_open(&stored.job) {
            print_line(format_args!(
                "the skipped offsets have no rows until the job is done; run it with: processors replay run {}",
                args.id
            ));
        }
    }
    Ok(if has_ended { DONE } else { TEMPORARY })
}

/// Refuses to cancel a job that has ended, and to close a gap that is not open.
fn check(job: &Job, closes_gap: bool) -> Result<(), ServerError> {
    let Job { id, state, .. } = job;
    let text = match (state, closes_gap) {
        (JobState::Done, _) => format!("job {id} is done: there is nothing to cancel"),
        (_, true) if !skipped_gap::is_open(job) => {
            format!("job {id} has no open gap: it is not that of a skip, or its gap was closed")
        }
        (JobState::Cancelled | JobState::Failed | JobState::Unverified, false) => {
            let close = match skipped_gap::is_open(job) {
                true => {
                    format!(", `processors replay cancel --close-gap {id}` closes its gap unread")
                }
                false => String::new(),
            };
            format!(
                "job {id} is {state} already: `processors replay status {id}` prints what it has rewritten, \
                 `processors replay run {id}` resumes it{close}"
            )
        }
        (_, true) | (JobState::Planned | JobState::Planning | JobState::Running, false) => {
            return Ok(());
        }
    };
    Err(ServerError::fatal("job_ended", text))
}

/// Refuses to close a gap that the live group has passed: no process is known to read it.
async fn check_positions(
    servers: &Servers,
    args: &CancelArgs,
    gap: &PartitionRanges,
) -> Result<(), ServerError> {
    let CancelArgs { id, group, .. } = args;
    let topic = servers.kafka.topic.as_str();
    let positions = GroupPositions::open(&servers.kafka.brokers(), group, topic)?;
    let partitions: Vec<i32> = gap.keys().copied().collect();
    let positions = blocking(move || positions.committed(partitions)).await?;
    let passed = passed(gap, &positions);
    if passed.is_empty() {
        return Ok(());
    }
    let text = format!(
        "group {group} has passed the gap of job {id} ({}), and does not read it: \
         `processors replay run {id}` fills the gap, `processors offsets reset --live` moves the group back. If \
         the group or another replay has read it already, repeat this with --force",
        passed.join(", ")
    );
    Err(ServerError::fatal("gap_unread", text))
}

/// The partitions of which the group is at or beyond the end of the gap.
fn passed(gap: &PartitionRanges, positions: &BTreeMap<i32, i64>) -> Vec<String> {
    let passed = gap.iter().filter_map(|(partition, ranges)| {
        let (first, last) = (ranges.first()?, ranges.last()?);
        let position = positions.get(partition).filter(|position| **position >= last.end)?;
        let gap = LogRange { first: first.first, end: last.end };
        Some(format!("partition {partition}: position {position}, gap {gap}"))
    });
    passed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_passed_where_the_group_is_at_its_end_or_beyond_it() {
        let range = |first, end| LogRange { first, end };
        let gap = PartitionRanges::from([(0, vec![range(10, 20)]), (1, vec![range(5, 8)])]);
        for (positions, expected) in [
            (&[(0, 10), (1, 7)][..], &[][..]),
            (&[], &[]),
            (&[(0, 20), (1, 5)], &["partition 0: position 20, gap 10-19"]),
            (&[(1, 90)], &["partition 1: position 90, gap 5-7"]),
        ] {
            let positions = positions.iter().copied().collect();
            assert_eq!(passed(&gap, &positions), expected, "{positions:?}");
        }
    }

    #[test]
    fn a_job_that_has_ended_is_not_cancelled_and_only_an_open_gap_is_closed() {
        let refused = |state, has_gap: bool, closes_gap| {
            let counts = has_gap.then(|| (skipped_gap::GAP.to_owned(), 5)).into_iter().collect();
            let job = Job { counts, ..Job::example("replay", state, "{}") };
            let refused = check(&job, closes_gap).err();
            let names_way_out = refused.as_ref().map(|it| it.message.contains("--close-gap j`"));
            let has_way_out = has_gap && state != JobState::Done;
            assert_eq!(names_way_out.unwrap_or(has_way_out), has_way_out, "{state}");
            refused.map(|error| error.code)
        };
        for state in JobState::ALL {
            let ended = state.has_ended().then_some("job_ended");
            assert_eq!(refused(state, false, false), ended, "{state}");
            assert_eq!(refused(state, true, false), ended, "{state}");
            assert_eq!(refused(state, false, true), Some("job_ended"), "{state}");
            let done = (state == JobState::Done).then_some("job_ended");
            assert_eq!(refused(state, true, true), done, "{state}");
        }
    }
}
