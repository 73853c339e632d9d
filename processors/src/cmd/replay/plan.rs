//! `processors replay plan`.

use std::collections::BTreeMap;

use broker::ServerError;
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use records::dead_letters::shown_text::json_line;
use records::replay::log_range::PartitionRange;
use records::replay::log_window::LogWindow;
use records::replay::occurred_window::OccurredWindow;
use records::replay::row_selection::{RowSelection, StaleRules};

use super::plan_report::{lines, object};
use crate::clickhouse::filter_time::{filter_time, window_start};
use crate::cmd::dlq::actor::ActorArgs;
use crate::config::{RulesArgs, Servers};
use crate::exit::{DONE, print_line};
use crate::replay::planning::{self, ReplayRequest, RowCheck};
use crate::replay::window_ranges::window_error;

/// Arguments of `replay plan`: one kind of window.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("window").required(true).args(["from", "occurred_from", "offsets", "stale", "condition"])))]
pub(super) struct PlanArgs {
    /// First log time: RFC 3339, or how long ago (90s, 2h, 7d). Resolved now.
    #[arg(long, value_name = "TIME", value_parser = window_start)]
    from: Option<Timestamp>,
    /// Log time after the last one; by default the end that the log has now.
    #[arg(long, value_name = "TIME", value_parser = filter_time, requires = "from",
        conflicts_with_all = ["occurred_from", "offsets", "stale", "condition"])]
    to: Option<Timestamp>,
    /// First time at which a click occurred, in the form of `--from`: the log is read from a day before it to
    /// its end, and only clicks that occurred in the window are inserted and verified.
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    occurred_from: Option<Timestamp>,
    /// Time of occurrence after the last one; by default there is none.
    #[arg(long, value_name = "TIME", value_parser = filter_time, requires = "occurred_from",
        conflicts_with_all = ["from", "offsets", "stale", "condition"])]
    occurred_to: Option<Timestamp>,
    /// Offsets of one partition, such as 0:1000-1999; once for each partition.
    #[arg(long, value_name = "PARTITION:FIRST-LAST")]
    offsets: Vec<PartitionRange>,
    /// Rows of the view `clicks` that other versions of these rules made; several with commas; also by the names of
    /// `rules list` (`user_agents`, `crawlers`, `program`). The ranges of the
    /// log that hold their records are replayed; ranges that are closer than 10,000 offsets are joined.
    #[arg(long, value_name = "RULES", value_enum, value_delimiter = ',')]
    stale: Vec<StaleRules>,
    /// Likewise, rows of the view `clicks` that meet a condition in ClickHouse's SQL, such as "country = ''".
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Replay the newest day first: a pass for each UTC day of log time, each with a consumer group of its own.
    /// Of any window; at most 400 days.
    #[arg(long)]
    newest_first: bool,
    /// Plan it although its rules are older than those of rows that it rewrites.
    #[arg(long)]
    downgrade: bool,
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
        if let Some(condition) = &self.condition {
            return Ok(LogWindow::Rows(RowSelection::Where(condition.clone())));
        }
        if !self.stale.is_empty() {
            return Ok(LogWindow::Rows(RowSelection::Stale(self.stale.clone())));
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
        newest_first: args.newest_first,
        force: args.force,
        rows: if args.downgrade { RowCheck::Count } else { RowCheck::RefuseOlder },
        writes_dead_letters: false,
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
    fn a_window_is_of_one_kind_and_has_its_end_after_its_start() {
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
        let stale = window(&["--stale", "geo,bots", "--stale", "code"]).unwrap();
        assert_eq!(stale.to_string(), "rows of other versions of geo, bots, code");
        let own = window(&["--where", "country = ''"]).unwrap();
        assert_eq!(own.to_string(), "rows where country = ''");
        let twice = window(&["--offsets", "0:1-2", "--offsets", "0:5-6"]).unwrap_err();
        assert_eq!(twice.code, "replay_window");
        for bad in [
            &[][..],
            &["--to", from],
            &["--from", from, "--offsets", "0:1-2"],
            &["--to", from, "--offsets", "0:1-2"],
            &["--from", from, "--occurred-from", from],
            &["--stale", "geo", "--where", "1"],
            &["--stale", "colour"],
            &["--stale", "geo", "--from", from],
            &["--from", from, "--occurred-to", from],
            &["--occurred-to", from, "--offsets", "0:1-2"],
            &["--offsets", "0:2-1"],
            &["--from", "yesterday"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
