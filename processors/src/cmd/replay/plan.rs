//! `processors replay plan`.

use std::collections::BTreeMap;

use broker::ServerError;
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use records::dead_letters::shown_text::json_line;
use records::replay::log_range::PartitionRange;
use records::replay::log_window::LogWindow;
use records::replay::occurred_window::OccurredWindow;
use records::replay::planned_partition::PlannedPartition;
use serde_json::json;

use crate::clickhouse::filter_time::filter_time;
use crate::cmd::dlq::actor::ActorArgs;
use crate::cmd::dlq::table::Table;
use crate::config::{RulesArgs, Servers};
use crate::exit::{DONE, print_line};
use crate::replay::planning::{self, PlannedReplay, ReplayRequest, window_error};

/// Arguments of `replay plan`: one kind of window.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("window").required(true).args(["from", "occurred_from", "offsets"])))]
pub(super) struct PlanArgs {
    /// First log time: RFC 3339, or how long ago (90s, 2h, 7d). Resolved now.
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    from: Option<Timestamp>,
    /// Log time after the last one; by default the end that the log has now.
    #[arg(long, value_name = "TIME", value_parser = filter_time, requires = "from",
        conflicts_with_all = ["occurred_from", "offsets"])]
    to: Option<Timestamp>,
    /// First time at which a click occurred, in the form of `--from`: the log is read from a day before it to
    /// its end, and only clicks that occurred in the window are inserted and verified.
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    occurred_from: Option<Timestamp>,
    /// Time of occurrence after the last one; by default there is none.
    #[arg(long, value_name = "TIME", value_parser = filter_time, requires = "occurred_from",
        conflicts_with_all = ["from", "offsets"])]
    occurred_to: Option<Timestamp>,
    /// Offsets of one partition, such as 0:1000-1999; once for each partition.
    #[arg(long, value_name = "PARTITION:FIRST-LAST")]
    offsets: Vec<PartitionRange>,
    /// Plan it although a replay that has not ended reads a part of the same offsets.
    #[arg(long)]
    force: bool,
    /// Reason that is stored with the job.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: ActorArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

impl PlanArgs {
    fn window(&self) -> Result<LogWindow, ServerError> {
        if let Some(from) = self.from {
            if self.to.is_some_and(|to| to <= from) {
                return Err(window_error("--to is not after --from".to_owned()));
            }
            let to_ms = self.to.map(Timestamp::as_millisecond);
            return Ok(LogWindow::LogTime { from_ms: from.as_millisecond(), to_ms });
        }
        if let Some(from) = self.occurred_from {
            if self.occurred_to.is_some_and(|to| to <= from) {
                return Err(window_error("--occurred-to is not after --occurred-from".to_owned()));
            }
            let to_us = self.occurred_to.map(Timestamp::as_microsecond);
            return Ok(LogWindow::Occurred(OccurredWindow {
                from_us: from.as_microsecond(),
                to_us,
            }));
        }
        let mut ranges = BTreeMap::new();
        for PartitionRange { partition, range } in &self.offsets {
            if ranges.insert(*partition, *range).is_some() {
                return Err(window_error(format!("--offsets names partition {partition} twice")));
            }
        }
        Ok(LogWindow::Offsets(ranges))
    }
}

pub(super) async fn plan(servers: &Servers, args: PlanArgs) -> Result<u8, ServerError> {
    let request = ReplayRequest {
        window: args.window()?,
        force: args.force,
        actor: args.actor.name().to_owned(),
        reason: args.reason.clone(),
    };
    let planned = planning::plan(servers, &args.rules, request).await?;
    match args.json {
        true => print_line(json_line(&object(&planned))),
        false => lines(&planned).iter().for_each(print_line),
    }
    Ok(DONE)
}

fn run_command(planned: &PlannedReplay) -> String {
    format!("processors replay run {}", planned.job.id)
}

fn lines(planned: &PlannedReplay) -> Vec<String> {
    let PlannedReplay { job, plan, partitions } = planned;
    let headings = ["PARTITION", "FIRST", "LAST", "OFFSETS", "DELETED"];
    let row = |own: &PlannedPartition| {
        let (first, last) = match own.range.offsets() {
            0 => ("-".to_owned(), "-".to_owned()),
            _ => (own.range.first.to_string(), (own.range.end - 1).to_string()),
        };
        let (offsets, deleted) = (own.range.offsets().to_string(), own.deleted.to_string());
        vec![own.partition.to_string(), first, last, offsets, deleted]
    };
    let mut lines = Table::new(&headings).lines(partitions.iter().map(row).collect());
    let rules = &plan.rules;
    lines.push(format!("window: {}", plan.window));
    lines.push(format!("offsets: {}, of which each holds one record or none", plan.offsets()));
    if plan.window.occurred().is_some() {
        lines.push(
            "all of these offsets are read; only clicks that occurred in the window are inserted and \
             verified"
                .to_owned(),
        );
    }
    lines.push(format!(
        "rules: program {}, geo {:?}, user_agents {:?}, crawlers {:?}, referrers {:?}",
        rules.program, rules.geo, rules.user_agents, rules.crawlers, rules.referrers
    ));
    for table in rules.missing() {
        lines.push(format!(
            "warning: the rules folder has no table {table}: the columns of the window that it decides \
             become unknown; cancel the job if that is not meant"
        ));
    }
    if partitions.iter().any(|own| !own.deleted.is_none()) {
        let deleted: u64 = partitions.iter().map(|own| own.deleted.most()).sum();
        lines.push(format!(
            "retention has deleted at most {deleted} offsets of the window: their clicks stay as they are"
        ));
    }
    lines.push(format!("job: {}", job.id));
    lines.push(format!("run it with: {}", run_command(planned)));
    lines
}

fn object(planned: &PlannedReplay) -> serde_json::Value {
    let PlannedReplay { job, plan, partitions } = planned;
    let partition = |own: &PlannedPartition| {
        json!({
            "partition": own.partition,
            "first": own.range.first,
            "end": own.range.end,
            "offsets": own.range.offsets(),
            "deleted_at_most": own.deleted.most(),
        })
    };
    json!({
        "job": job.id,
        "state": job.state.name(),
        "window": plan.window,
        "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
        "offsets": plan.offsets(),
        "rules": plan.rules,
        "run": run_command(planned),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: PlanArgs,
    }

    fn parsed(args: &[&str]) -> Result<PlanArgs, clap::Error> {
        Cli::try_parse_from(["plan"].iter().chain(args)).map(|cli| cli.args)
    }

    #[test]
    fn a_window_is_a_log_time_a_time_of_occurrence_or_offsets_of_different_partitions() {
        let window = |args: &[&str]| parsed(args).unwrap().window();
        let from = "2026-02-01T08:00:00Z";
        let times = window(&["--from", from, "--to", "2026-02-01T09:00:00Z"]).unwrap();
        let expected = "log time from 2026-02-01T08:00:00Z to 2026-02-01T09:00:00Z";
        assert_eq!(times.to_string(), expected);
        let offsets = window(&["--offsets", "0:1-2", "--offsets", "2:5-5"]).unwrap();
        assert_eq!(offsets.to_string(), "offsets 0:1-2, 2:5-5");
        let turned = parsed(&["--from", from, "--to", from]).unwrap().window().unwrap_err();
        assert!(turned.message.contains("--to is not after --from"), "{turned}");
        let to = "2026-02-01T09:00:00Z";
        let occurred = window(&["--occurred-from", from, "--occurred-to", to]).unwrap();
        assert_eq!(occurred.to_string(), format!("clicks that occurred from {from} to {to}"));
        let open = window(&["--occurred-from", from]).unwrap().occurred().unwrap();
        assert!(open.contains(i64::MAX) && !open.contains(0));
        let turned = window(&["--occurred-from", to, "--occurred-to", from]).unwrap_err();
        assert!(turned.message.contains("--occurred-to is not after"), "{turned}");
        let twice = window(&["--offsets", "0:1-2", "--offsets", "0:5-6"]).unwrap_err();
        assert_eq!(twice.code, "replay_window");
        for bad in [
            &[][..],
            &["--to", from],
            &["--from", from, "--offsets", "0:1-2"],
            &["--to", from, "--offsets", "0:1-2"],
            &["--from", from, "--occurred-from", from],
            &["--from", from, "--occurred-to", from],
            &["--occurred-to", from, "--offsets", "0:1-2"],
            &["--offsets", "0:2-1"],
            &["--from", "yesterday"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
