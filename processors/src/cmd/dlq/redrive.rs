//! `processors dlq redrive`: sends copies of dead letters to the source topic.

use std::time::Duration;

use broker::ServerError;
use clap::Args;
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::repair::Repair;
use records::dead_letters::shown_text::json_line;
use records::dead_letters::state::DeadLetterState;
use schemas::TopicName;
use serde_json::{Map, Value, json};

use crate::clickhouse::dead_letter_filter::DeadLetterFilter;
use crate::clickhouse::dead_letter_queries::count;
use crate::cmd::dlq::actor::ActorArgs;
use crate::cmd::dlq::no_match::NoMatch;
use crate::config::Servers;
use crate::exit::{DIFFERS, print_error, print_line};
use crate::redrive::{RedriveRun, Start, redrive as run};

/// Arguments of `dlq redrive`.
#[derive(Debug, Args)]
pub(super) struct RedriveArgs {
    #[command(flatten)]
    filter: DeadLetterFilter,
    /// Count what would be sent and what would fail again; send nothing and write nothing.
    #[arg(long, conflicts_with_all = ["wait", "rate", "reason"])]
    dry_run: bool,
    /// Redrive at most this many dead letters.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Send at most this many records a second; `dlq jobs rate` changes it while the job runs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Send the copies to this topic instead; changes the state of no dead letter.
    #[arg(long, value_name = "TOPIC", conflicts_with = "wait")]
    to: Option<TopicName>,
    /// Repair each value where the repair applies, and store the repaired value: trailing_bytes (cut bytes
    /// after the datum), schema_id=N (replace the schema id), key_facts (set a nil event id, or a time out of
    /// bounds).
    #[arg(long, value_name = "REPAIR")]
    repair: Option<RepairArgument>,
    /// Send also records that would fail again, and dead letters of which three copies have failed; with
    /// --state pending, another copy of those that did not arrive.
    #[arg(long)]
    force: bool,
    /// Resume the job of this id, on any host, with the options of its start; --wait, --wait-seconds, --rate
    /// and --json may be given again. Sends again at most the batch that was in flight (1,000 records). With
    /// --wait, print the outcome of a job that is done.
    #[arg(long, value_name = "ID", conflicts_with_all =
        ["DeadLetterFilter", "dry_run", "limit", "to", "repair", "force", "reason"])]
    resume: Option<String>,
    /// Wait until each copy is in the table or is a dead letter again; exit code 1 unless all are in the
    /// table.
    #[arg(long)]
    wait: bool,
    /// Seconds to wait.
    #[arg(long, value_name = "N", default_value_t = 120, requires = "wait")]
    wait_seconds: u64,
    /// Reason, stored with the job and with each dead letter.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Print JSON: one line with the job, one with the result.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: ActorArgs,
}

/// A repair on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RepairArgument(String);

impl std::str::FromStr for RepairArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.parse::<Repair>().map(|_| Self(text.to_owned()))
    }
}

impl RedriveArgs {
    /// The filter, which without names of states or dead letters selects those that can be sent.
    fn filter(&self) -> DeadLetterFilter {
        let states = match self.force {
            false => &[DeadLetterState::Open, DeadLetterState::FailedAgain][..],
            true => {
                &[DeadLetterState::Open, DeadLetterState::FailedAgain, DeadLetterState::Parked][..]
            }
        };
        self.filter.clone().with_default_states(states)
    }

    /// The plan of a new redrive of the dead letters of `topic`.
    fn plan(&self, topic: &str) -> RedrivePlan {
        RedrivePlan {
            topic: topic.to_owned(),
            condition: self.filter().sql(topic),
            to: self.to.as_ref().map(TopicName::to_string),
            repair: self.repair.as_ref().map(|RepairArgument(text)| text.clone()),
            force: self.force,
            limit: self.limit,
            rate: self.rate,
            actor: self.actor.name().to_owned(),
            reason: self.reason.clone(),
        }
    }
}

pub(super) async fn redrive(servers: &Servers, args: RedriveArgs) -> Result<u8, ServerError> {
    let topic = servers.kafka.topic.as_str();
    let plan = args.plan(topic);
    if args.resume.is_none() {
        let server = servers.clickhouse.server()?;
        if count(&server, &plan.condition).await? == 0 {
            let filter = args.filter();
            let none = NoMatch::of(&server, &filter, topic, &filter.state).await?;
            print_none(&none, &args);
            return Ok(DIFFERS);
        }
        for (condition, text) in warnings(&plan) {
            if count(&server, &condition).await? > 0 {
                print_warning(text, args.json);
            }
        }
    }
    let start = match args.resume {
        Some(id) => Start::Resume(id),
        None if args.dry_run => Start::DryRun(plan),
        None => Start::New(plan),
    };
    let wait = args.wait.then(|| Duration::from_secs(args.wait_seconds));
    run(servers, RedriveRun { start, rate: args.rate, wait, json: args.json }).await
}

/// Prints that nothing is redriven, and why.
fn print_none(none: &NoMatch, args: &RedriveArgs) {
    if args.json {
        let others = none.others.iter().map(|(state, count)| (state.clone(), (*count).into()));
        let unchanged: Map<String, Value> = others.collect();
        let object = json!({ "dry_run": args.dry_run, "selected": 0, "unchanged": unchanged });
        return print_line(json_line(&object));
    }
    none.lines().iter().for_each(|line| print_line(format_args!("redrive: {line}")));
}

const NEW_IDS: &str = "warning: a new event id makes a new click: if the sender sent the click again with an \
     id, it counts twice; see RUNBOOK event_id_nil";
const IN_FLIGHT: &str = "warning: copies that were announced within an hour may still be in flight; what is sent \
     twice counts once, and fails twice where it cannot be decoded";

/// The warnings about a redrive, each with the condition of the dead letters that it concerns: those that
/// it gives new event ids, and those of which an earlier copy may still arrive.
fn warnings(plan: &RedrivePlan) -> impl Iterator<Item = (String, &'static str)> {
    let is_repaired = plan.repair.as_deref() == Some(Repair::KeyFacts.name());
    let of = |condition: &str| format!("({}) AND {condition}", plan.condition);
    let new_ids = is_repaired.then(|| (of("code = 'event_id_nil'"), NEW_IDS));
    let is_sent_again = plan.force && plan.changes_states();
    let recent = "state = 'pending' AND changed_at > now64(6) - INTERVAL 1 HOUR";
    let in_flight = is_sent_again.then(|| (of(recent), IN_FLIGHT));
    new_ids.into_iter().chain(in_flight)
}

fn print_warning(text: &str, json: bool) {
    // With --json, each line of stdout is an object.
    if json { print_error(text) } else { print_line(format_args!("redrive: {text}")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: RedriveArgs,
    }

    fn parsed(args: &[&str]) -> Result<RedriveArgs, clap::Error> {
        let all = ["redrive"].iter().chain(args);
        Cli::try_parse_from(all).map(|cli| cli.args)
    }

    fn warnings_of(args: &[&str]) -> Vec<(String, &'static str)> {
        warnings(&parsed(args).unwrap().plan("t")).collect()
    }

    #[test]
    fn a_redrive_selects_open_and_failed_ones_and_by_force_parked_ones() {
        let condition = |args: &[&str]| parsed(args).unwrap().plan("t").condition;
        assert!(condition(&[]).contains("state IN ('open', 'failed_again')"));
        assert!(condition(&["--force"]).contains("'open', 'failed_again', 'parked'"));
        assert!(condition(&["--state", "discarded"]).contains("state IN ('discarded')"));
        assert!(!condition(&["3:41"]).contains("state IN"));
    }

    #[test]
    fn key_facts_of_records_without_an_event_id_are_new_clicks() {
        let found = warnings_of(&["--repair", "key_facts"]);
        assert!(found[0].0.ends_with(") AND code = 'event_id_nil'"), "{found:?}");
        assert_eq!((found.len(), found[0].1), (1, NEW_IDS));
        assert!(warnings_of(&["--repair", "trailing_bytes"]).is_empty());
        assert!(warnings_of(&[]).is_empty());
    }

    #[test]
    fn a_forced_redrive_of_pending_ones_warns_of_copies_that_may_be_in_flight() {
        let forced = ["--state", "pending", "--force"];
        let condition = parsed(&forced).unwrap().plan("t").condition;
        assert!(condition.contains("state IN ('pending')"), "{condition}");
        let found = warnings_of(&forced);
        assert!(found[0].0.contains("state = 'pending' AND changed_at > "), "{found:?}");
        assert_eq!((found.len(), found[0].1), (1, IN_FLIGHT));
        assert!(warnings_of(&["--state", "pending"]).is_empty());
        assert!(warnings_of(&["--state", "pending", "--force", "--to", "other.v1"]).is_empty());
    }

    #[test]
    fn options_that_do_not_fit_together_are_refused() {
        for bad in [
            &["--resume", "id", "--code", "bad_magic"][..],
            &["--resume", "id", "3:41"],
            &["--resume", "id", "--dry-run"],
            &["--to", "other", "--wait"],
            &["--dry-run", "--wait"],
            &["--repair", "hope"],
            &["--limit", "0"],
            &["--rate", "0"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
        for good in [
            &["--resume", "id", "--rate", "5", "--wait", "--wait-seconds", "9"][..],
            &["--repair", "schema_id=7", "--limit", "10", "--force"],
            &["--dry-run", "--to", "other.v1", "--json"],
        ] {
            assert!(parsed(good).is_ok(), "{good:?}");
        }
    }
}
