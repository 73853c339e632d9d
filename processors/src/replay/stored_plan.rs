//! The plan of a replay in the table of jobs, and the counts that state where it is.

use std::collections::BTreeMap;

use broker::ServerError;
use records::replay::replay_plan::ReplayPlan;
use schemas::TopicName;

use crate::jobs::job::Job;

/// Kind of the job.
pub(crate) const KIND: &str = "replay";

/// The count of a replay that holds when it started, microseconds since 1970 by the server's clock.
pub(crate) const STARTED: &str = "started_at_us";

/// The count of a replay that holds the number of the pass that its workers read. The leader stores it when it has
/// committed the starts of that pass.
pub(crate) const PASS: &str = "pass";

/// The number of the pass that a replay with these counts reads. A job that was not started, and one that a
/// version without passes has stored, has no such count.
pub(crate) fn pass_number(counts: &BTreeMap<String, u64>) -> usize {
    counts.get(PASS).and_then(|number| usize::try_from(*number).ok()).unwrap_or(1)
}

/// The text of a plan.
///
/// # Errors
/// None in practice.
pub(crate) fn plan_text(plan: &ReplayPlan) -> Result<String, ServerError> {
    serde_json::to_string(plan).map_err(|error| ServerError::fatal("task_panicked", error))
}

/// The plan of a job, with ranges that can be read.
///
/// # Errors
/// The job is no replay, is of another topic, or another version wrote it.
pub(crate) fn plan_of(job: &Job, topic: &TopicName) -> Result<ReplayPlan, ServerError> {
    if job.kind != KIND {
        return Err(unknown_plan(format_args!("its kind is {:?}", job.kind)));
    }
    let plan: ReplayPlan =
        serde_json::from_str(&job.plan).map_err(|error| unknown_plan(format_args!("{error}")))?;
    plan.check_ranges().map_err(|why| unknown_plan(format_args!("{why}")))?;
    if plan.topic != topic.as_str() {
        return Err(unknown_plan(format_args!(
            "it is of the topic {}, not {topic}: set CLICKTRAIL_TOPIC",
            plan.topic
        )));
    }
    Ok(plan)
}

fn unknown_plan(why: std::fmt::Arguments<'_>) -> ServerError {
    ServerError::fatal("job_plan", format!("this command cannot run the plan of the job: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::job::JobState;

    #[test]
    fn a_job_that_this_command_cannot_run_is_refused_with_its_reason() {
        let plan = r#"{"topic":"t.v1","window":{"log_time":{"from_ms":1,"to_ms":2}},
            "ranges":{"0":[{"first":1,"end":5}]},"rules":{"program":1,"geo":"","user_agents":"",
            "crawlers":"","referrers":""}}"#;
        let job = |kind: &str, plan: &str| Job::example(kind, JobState::Planned, plan);
        let topic = |name: &str| name.parse::<TopicName>().unwrap();
        let read = plan_of(&job(KIND, plan), &topic("t.v1")).unwrap();
        assert_eq!(read.offsets(), 4);
        assert_eq!(plan_of(&job(KIND, &plan_text(&read).unwrap()), &topic("t.v1")).unwrap(), read);
        let several =
            plan.replace(r#"{"first":1,"end":5}"#, r#"{"first":1,"end":5},{"first":9,"end":11}"#);
        let several = plan_of(&job(KIND, &several), &topic("t.v1")).unwrap();
        assert_eq!((several.offsets(), several.range_count()), (6, 2));
        let passes = plan.replace(
            r#""ranges":{"0":[{"first":1,"end":5}]}"#,
            r#""passes":[{"day":"2026-11-28","ranges":{"0":[{"first":3,"end":5}]}},
                {"day":"2026-11-27","ranges":{"0":[{"first":1,"end":3}]}}]"#,
        );
        let passes = plan_of(&job(KIND, &passes), &topic("t.v1")).unwrap();
        assert_eq!((passes.pass_count(), &passes.ranges), (2, &read.ranges));
        let none = plan.replace(r#"[{"first":1,"end":5}]"#, "[]");
        for (job, name, why) in [
            (job("redrive", plan), "t.v1", "its kind is"),
            (job(KIND, "{}"), "t.v1", "missing field"),
            (job(KIND, plan), "other.v1", "CLICKTRAIL_TOPIC"),
            (job(KIND, &none), "t.v1", "partition 0 has no range"),
        ] {
            let refused = plan_of(&job, &topic(name)).unwrap_err();
            assert_eq!(refused.code, "job_plan");
            assert!(refused.message.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_job_of_a_version_without_passes_reads_its_only_pass() {
        let counts = |all: &[(&str, u64)]| {
            all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        assert_eq!(pass_number(&counts(&[(STARTED, 9), ("offsets_done", 3)])), 1);
        assert_eq!(pass_number(&counts(&[(PASS, 3)])), 3);
    }
}
