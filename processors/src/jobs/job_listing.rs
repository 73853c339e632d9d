//! A job as commands print it. Pure.

use jiff::Timestamp;
use records::dead_letters::shown_text::{json_line, shown};
use serde_json::{Value, json};

use crate::jobs::claim_rules::is_silent;
use crate::jobs::job::{Job, StoredJob};

/// One line.
pub fn line(stored: &StoredJob) -> String {
    let job = &stored.job;
    let counts: Vec<String> =
        job.counts.iter().map(|(name, count)| format!(" {name}={count}")).collect();
    let ended = match job.state.has_ended() {
        true => format!(", {} at {}", job.state, time(job.updated_at_us)),
        false => String::new(),
    };
    let mut line = format!(
        "{} {} {}: planned at {} by {}{ended}{}",
        job.id,
        job.kind,
        job.state,
        time(job.created_at_us),
        actor(job),
        counts.concat()
    );
    if !job.message.is_empty() {
        line.push_str(&format!(": {}", shown(&job.message)));
    }
    if is_abandoned(stored) {
        let last = time(job.updated_at_us);
        line.push_str(&format!(" (process {} last reported at {last})", shown(&job.host)));
    }
    line
}

/// Every fact about a job, a line each.
pub fn lines(stored: &StoredJob) -> Vec<String> {
    let job = &stored.job;
    let mut lines = vec![
        format!("job:      {}", job.id),
        format!("kind:     {}", job.kind),
        format!("state:    {}", job.state),
        format!("planned:  {} by {}", time(job.created_at_us), actor(job)),
        format!("reported: {} by process {}", time(job.updated_at_us), shown(&job.host)),
        format!("plan:     {}", shown(&job.plan)),
    ];
    lines.extend(job.counts.iter().map(|(name, count)| format!("{name}: {count}")));
    if !job.message.is_empty() {
        lines.push(format!("message:  {}", shown(&job.message)));
    }
    if is_abandoned(stored) {
        lines.push(format!("No process works on it. Resume it: {}", resume_command(job)));
    }
    lines
}

/// One JSON object, as a line.
pub fn json(stored: &StoredJob) -> String {
    json_line(&object(stored))
}

/// Every fact about a job.
pub fn object(StoredJob { job, now_us }: &StoredJob) -> Value {
    let plan = serde_json::from_str(&job.plan).unwrap_or_else(|_| Value::from(job.plan.as_str()));
    json!({
        "id": job.id,
        "kind": job.kind,
        "state": job.state.name(),
        "has_process": job.state.has_process() && !is_silent(job, *now_us),
        "plan": plan,
        "counts": job.counts,
        "actor": job.actor,
        "host": job.host,
        "message": job.message,
        "created_at": time(job.created_at_us),
        "updated_at": time(job.updated_at_us),
    })
}

/// The command that resumes a job.
pub fn resume_command(job: &Job) -> String {
    match job.kind.as_str() {
        "replay" => format!("processors replay run {}", job.id),
        kind => format!("processors dlq {kind} --resume {}", job.id),
    }
}

/// Whether a process should work on a job and none does.
pub fn is_abandoned(StoredJob { job, now_us }: &StoredJob) -> bool {
    job.state.has_process() && is_silent(job, *now_us)
}

/// The user that started it.
pub fn actor(job: &Job) -> String {
    if job.actor.is_empty() { "unknown".to_owned() } else { shown(&job.actor) }
}

/// A time, in whole seconds.
pub fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::claim_rules::SILENT_AFTER_US;
    use crate::jobs::job::JobState;

    fn stored(state: JobState, age_us: i64) -> StoredJob {
        let job = Job {
            id: "0198".into(),
            counts: [("sent".to_owned(), 2), ("selected".to_owned(), 3)].into(),
            actor: "anna\u{1b}[2J".into(),
            host: "web1:7".into(),
            created_at_us: 1_764_000_000_000_000,
            updated_at_us: 1_764_000_001_000_000,
            ..Job::example("redrive", state, r#"{"rate":5}"#)
        };
        StoredJob { job, now_us: 1_764_000_001_000_000 + age_us }
    }

    #[test]
    fn a_line_has_the_counts_and_names_a_silent_process() {
        let alive = line(&stored(JobState::Running, 0));
        let expected = "0198 redrive running: planned at 2025-11-24T16:00:00Z by anna\\u{1b}[2J selected=3 sent=2";
        assert_eq!(alive, expected);
        let mut without_actor = stored(JobState::Running, 0);
        without_actor.job.actor.clear();
        assert!(line(&without_actor).contains(" by unknown selected=3"));
        let cancelled = line(&stored(JobState::Cancelled, 0));
        assert!(
            cancelled.contains(", cancelled at 2025-11-24T16:00:01Z selected=3"),
            "{cancelled}"
        );
        let silent = line(&stored(JobState::Running, SILENT_AFTER_US));
        assert!(
            silent.ends_with("(process web1:7 last reported at 2025-11-24T16:00:01Z)"),
            "{silent}"
        );
        assert!(!line(&stored(JobState::Done, SILENT_AFTER_US)).contains("last reported"));
        let lines = lines(&stored(JobState::Planning, SILENT_AFTER_US));
        assert!(
            lines.last().unwrap().ends_with("processors dlq redrive --resume 0198"),
            "{lines:?}"
        );
        let mut planned = stored(JobState::Planned, SILENT_AFTER_US);
        assert!(!line(&planned).contains("last reported"), "it waits for its first process");
        planned.job.kind = "replay".into();
        assert_eq!(resume_command(&planned.job), "processors replay run 0198");
    }

    #[test]
    fn an_object_has_the_plan_as_json_and_whether_a_process_works() {
        let object = object(&stored(JobState::Running, 0));
        assert_eq!((&object["plan"]["rate"], &object["has_process"]), (&json!(5), &json!(true)));
        assert_eq!(object["counts"], json!({ "selected": 3, "sent": 2 }));
    }
}
