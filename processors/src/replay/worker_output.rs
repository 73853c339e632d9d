//! What a replay worker prints on standard output.

use records::dead_letters::shown_text::{json_line, shown};
use serde_json::json;

use crate::exit::{DIFFERS, DONE, TERMINATED, print_line};
use crate::jobs::job::{Job, JobState};
use crate::jobs::job_listing;
use crate::replay::replay_verdict::ReplayVerdict;

/// The output of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerOutput<'a> {
    /// Job.
    pub(crate) id: &'a str,
    /// Prints JSON.
    pub(crate) json: bool,
}

impl WorkerOutput<'_> {
    fn command(&self, action: &str) -> String {
        format!("processors replay {action} {}", self.id)
    }

    /// Prints how the job is cancelled and resumed, before its first record.
    pub(crate) fn begin(&self) {
        let (id, cancel, run) = (self.id, self.command("cancel"), self.command("run"));
        if self.json {
            print_line(json_line(&json!({ "job": id, "run": run, "cancel": cancel })));
        } else {
            print_line(format_args!("replay: job {id}"));
            print_line(format_args!("replay: add a worker, or resume, with: {run}"));
            print_line(format_args!("replay: cancel with: {cancel}"));
        }
    }

    /// Prints why this worker ends before its job does; returns the exit code.
    pub(crate) fn stopped(&self, how: &str) -> u8 {
        let resume = self.command("run");
        match self.json {
            true => {
                let object = json!({ "job": self.id, "ended": how, "resume": resume });
                print_line(json_line(&object));
            }
            false => print_line(format_args!("replay: {how}; resume with: {resume}")),
        }
        TERMINATED
    }

    /// Prints how the job ended; returns the exit code.
    pub(crate) fn ended(&self, job: &Job) -> u8 {
        let verdict = ReplayVerdict::of_counts(&job.counts).filter(|_| job.state == JobState::Done);
        let is_balanced = verdict.is_some_and(|verdict| verdict.is_balanced());
        if self.json {
            let (id, state) = (&job.id, job.state.name());
            print_line(json_line(&json!({
                "job": id, "state": state, "balanced": is_balanced, "verdict": verdict,
                "message": job.message,
            })));
        } else {
            print_line(format_args!("replay: {}: {}", job.state, shown(&job.message)));
            if job.state != JobState::Done {
                let resume = job_listing::resume_command(job);
                print_line(format_args!("replay: resume with: {resume}"));
            }
        }
        match (job.state == JobState::Done, is_balanced) {
            (true, true) => DONE,
            (true, false) => DIFFERS,
            (false, _) => TERMINATED,
        }
    }
}
