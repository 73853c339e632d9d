//! `processors replay dry-run`.

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::{json_line, shown};
use serde_json::json;

use crate::audit::sort_args::SortArgs;
use crate::clickhouse::job_table;
use crate::config::{RulesArgs, Servers};
use crate::exit::{DONE, print_line};
use crate::jobs::job::JobState;
use crate::replay::dry_run_report::{ColumnChange, DryRunReport};
use crate::replay::row_comparison;

/// Arguments of `replay dry-run`.
#[derive(Debug, Args)]
pub(super) struct DryRunArgs {
    /// Job that `replay plan` has printed.
    id: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sort: SortArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn dry_run(servers: &Servers, args: DryRunArgs) -> Result<u8, ServerError> {
    let DryRunArgs { id, json, sort, rules } = args;
    let report = row_comparison::dry_run(servers, &rules, &sort.space(), &id).await?;
    let state = job_table::report(&servers.clickhouse.server()?, &id).await?.job.state;
    match json {
        true => print_line(json_line(&json!({ "job": id, "dry_run": report }))),
        false => lines(&id, state, &report).iter().for_each(print_line),
    }
    Ok(DONE)
}

fn lines(id: &str, state: JobState, report: &DryRunReport) -> Vec<String> {
    let DryRunReport { records, clicks, resends, new, equal, changed, undecided, .. } = report;
    let mut lines = vec![
        format!(
            "records: {records}, of which {resends} are duplicate sends and {} cannot become rows",
            report.undecodable
        ),
        format!(
            "clicks: {clicks}: {changed} would change, {equal} stay equal, {new} have no row yet, \
             {undecided} are undecided"
        ),
    ];
    if report.columns.is_empty() {
        lines.push("no column would change".to_owned());
    }
    lines.extend(report.columns.iter().flat_map(|change| change_lines("column", change)));
    lines.extend(report.rules.iter().flat_map(|change| change_lines("rule version", change)));
    for (code, count) in &report.undecodable_by_code {
        lines.push(format!("{count} records cannot become rows: {code}"));
    }
    if !report.undecided_examples.is_empty() {
        lines.push(format!(
            "undecided, since the records of a click differ and the last insert decides: {}",
            report.undecided_examples.join(", ")
        ));
    }
    if report.expired > 0 {
        lines.push(format!(
            "retention has deleted {} offsets since the plan: their clicks stay as they are",
            report.expired
        ));
    }
    let next = if state == JobState::Done {
        format!("job {id} is done: plan a new one to replay again")
    } else {
        format!("run it with: processors replay run {id}")
    };
    lines.push(format!("nothing was inserted; {next}"));
    lines
}

fn change_lines(kind: &str, change: &ColumnChange) -> Vec<String> {
    let mut lines = vec![format!("{kind} {}: {} clicks", change.column, change.changed)];
    let examples = change.examples.iter().map(|example| {
        let (old, new) = (shown(&example.old), shown(&example.new));
        format!("  \"{old}\" would become \"{new}\": {}", example.event_id)
    });
    lines.extend(examples);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::dry_run_report::ValueChange;

    #[test]
    fn a_report_names_each_column_with_its_count_and_examples() {
        let example =
            ValueChange { event_id: "0198".to_owned(), old: String::new(), new: "SE".to_owned() };
        let country = ColumnChange { column: "country", changed: 2, examples: vec![example] };
        let report = DryRunReport {
            clicks: 5,
            changed: 2,
            columns: vec![country],
            undecodable_by_code: [("bad_magic", 1)].into(),
            expired: 7,
            ..DryRunReport::default()
        };
        let lines = lines("j", JobState::Planned, &report);
        assert_eq!(lines[2..4], ["column country: 2 clicks", "  \"\" would become \"SE\": 0198"]);
        assert_eq!(lines[4], "1 records cannot become rows: bad_magic");
        assert!(lines[5].starts_with("retention has deleted 7 offsets"), "{lines:?}");
        assert!(lines[6].ends_with("processors replay run j"), "{lines:?}");
        let none = super::lines("j", JobState::Done, &DryRunReport::default());
        assert_eq!(none[2], "no column would change");
        assert!(none[3].contains("job j is done"), "{none:?}");
    }
}
