//! Reads what the group and the jobs of skips have still to process.

use broker::ServerError;
use records::replay::replay_plan::ReplayPlan;

use crate::audit::decoded_events::blocking;
use crate::audit::pending_offsets::{PendingOffsets, ReplayRanges};
use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::config::Servers;
use crate::jobs::job::Job;
use crate::jobs::skipped_gap;
use crate::kafka::group_positions::GroupPositions;
use crate::replay::stored_plan::{KIND, plan_of};

/// The positions of `group`, and the replays among the newest thousand jobs. Call it before the view is read: a
/// record before a position has a row or a dead letter.
///
/// # Errors
/// A server does not answer, or refuses to show the group.
pub(crate) async fn pending_offsets(
    servers: &Servers,
    server: &Server,
    group: &str,
    partitions: Vec<i32>,
) -> Result<PendingOffsets, ServerError> {
    let topic = &servers.kafka.topic;
    let positions = GroupPositions::open(&servers.kafka.brokers(), group, topic.as_str())?;
    let positions = blocking(move || positions.committed(partitions)).await?;
    let jobs = job_table::jobs(server).await?.into_iter().map(|stored| stored.job);
    let replays = jobs.filter(|job| job.kind == KIND).filter_map(|job| {
        // A job of another topic, or of another version, names no offset here.
        let plan = plan_of(&job, topic).ok()?;
        // It inserts only some of the clicks of its ranges.
        if plan.window.occurred().is_some() {
            return None;
        }
        let has_gap = skipped_gap::is_open(&job) || is_uncounted(&job, &plan);
        Some(ReplayRanges { id: job.id, state: job.state, has_gap, ranges: plan.ranges })
    });
    Ok(PendingOffsets::new(positions, replays.collect()))
}

/// Whether a job has a gap without its count: an earlier version of this program planned the skip. Of an ended job
/// it is not known whether its gap was closed.
fn is_uncounted(job: &Job, plan: &ReplayPlan) -> bool {
    plan.writes_dead_letters && !job.state.has_ended()
}
