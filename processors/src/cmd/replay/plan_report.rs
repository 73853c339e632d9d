//! What `processors replay plan` prints of a plan.

use records::dead_letters::shown_text::shown;
use records::replay::planned_partition::PlannedPartition;
use records::replay::replay_pass::ReplayPass;
use serde_json::{Value, json};

use super::rules_text::rules_text;
use crate::cmd::dlq::table::Table;
use crate::replay::planning::PlannedReplay;

fn run_command(planned: &PlannedReplay) -> String {
    format!("processors replay run {}", planned.job.id)
}

/// The first and the last offset of a partition.
fn ends(own: &PlannedPartition) -> [String; 2] {
    match own.bounds() {
        Some(bounds) => [bounds.first.to_string(), (bounds.end - 1).to_string()],
        None => ["-".to_owned(), "-".to_owned()],
    }
}

/// The report as lines.
pub(super) fn lines(planned: &PlannedReplay) -> Vec<String> {
    let PlannedReplay { job, plan, partitions, estimate, .. } = planned;
    let headings = ["PARTITION", "RANGES", "FIRST", "LAST", "OFFSETS", "DELETED"];
    let row = |own: &PlannedPartition| {
        let (partition, ranges) = (own.partition.to_string(), own.ranges.len().to_string());
        let (offsets, deleted) = (own.offsets().to_string(), own.deleted.to_string());
        [vec![partition, ranges], ends(own).to_vec(), vec![offsets, deleted]].concat()
    };
    let mut lines = Table::new(&headings).lines(partitions.iter().map(row).collect());
    let rules = &plan.rules;
    lines.push(format!("window: {}", shown(&plan.window.to_string())));
    lines.push(format!("offsets: {}, of which each holds one record or none", plan.offsets()));
    lines.extend(pass_lines(&plan.passes));
    lines.extend(selected_lines(planned));
    lines.extend(estimate.lines());
    lines.extend(new_rows_line(planned));
    lines.push(format!("rules: {}", rules_text(rules)));
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

/// The offsets of a window of the log that may become rows beyond those that the cost counts.
fn new_rows_line(planned: &PlannedReplay) -> Option<String> {
    let without = planned.plan.offsets().saturating_sub(planned.estimate.rows?);
    (planned.selected.is_none() && without > 0).then(|| {
        format!(
            "offsets without such a row: {without}; missing clicks among them are inserted, and are not in the rows, \
             days and bytes above"
        )
    })
}

/// The passes in their order, if the plan has several.
fn pass_lines(passes: &[ReplayPass]) -> Vec<String> {
    if passes.is_empty() {
        return Vec::new();
    }
    let row = |(number, pass): (usize, &ReplayPass)| {
        let [partitions, ranges] = [pass.ranges.len(), pass.range_count()];
        let day = pass.day.map_or_else(String::new, |day| day.to_string());
        let numbers = [partitions, ranges].map(|number| number.to_string());
        [vec![number.to_string(), day], numbers.to_vec(), vec![pass.offsets().to_string()]].concat()
    };
    let what = "passes by the UTC day of log time, the first one first; of copies of a click that differ, that of \
                the oldest day is shown:";
    let mut lines = vec![what.to_owned()];
    let headings = ["PASS", "DAY", "PARTITIONS", "RANGES", "OFFSETS"];
    lines.extend(Table::new(&headings).lines((1..).zip(passes).map(row).collect()));
    lines
}

/// What is read beyond the clicks that the operator asked for.
fn selected_lines(planned: &PlannedReplay) -> Vec<String> {
    let mut lines = Vec::new();
    if planned.plan.window.occurred().is_some() {
        lines.push(
            "all of these offsets are read; only clicks that occurred in the window are inserted and \
             verified"
                .to_owned(),
        );
    }
    let Some(selected) = &planned.selected else { return lines };
    lines.push(format!("rows selected: {}", selected.rows));
    lines.push(format!("rows rewritten beyond the selection: {}", unknown_or(beyond(planned))));
    if selected.expired > 0 {
        lines.push(format!(
            "the log no longer holds the records of {} more selected rows: they stay as they are",
            selected.expired
        ));
    }
    lines.push(
        "records without a row are not selected: a click that the table lacks is replayed by log time or \
         offsets"
            .to_owned(),
    );
    lines
}

/// Rows of the ranges that are not selected.
fn beyond(planned: &PlannedReplay) -> Option<u64> {
    let selected = planned.selected.as_ref()?;
    Some(planned.estimate.rows?.saturating_sub(selected.rows))
}

fn unknown_or(number: Option<u64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

/// The report as JSON.
pub(super) fn object(planned: &PlannedReplay) -> Value {
    let PlannedReplay { job, plan, partitions, selected, estimate } = planned;
    let partition = |own: &PlannedPartition| {
        let bounds = own.bounds();
        json!({
            "partition": own.partition,
            "first": bounds.map(|bounds| bounds.first),
            "end": bounds.map(|bounds| bounds.end),
            "ranges": own.ranges,
            "offsets": own.offsets(),
            "deleted_at_most": own.deleted.most(),
        })
    };
    let pass = |(number, pass): (usize, &ReplayPass)| {
        json!({
            "pass": number, "day": pass.day, "ranges": pass.ranges, "offsets": pass.offsets(),
        })
    };
    let selected = selected.as_ref().map(|selected| {
        json!({
            "rows": selected.rows,
            "rows_beyond": beyond(planned),
            "rows_expired": selected.expired,
        })
    });
    json!({
        "job": job.id,
        "state": job.state.name(),
        "window": plan.window,
        "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
        "passes": (1..).zip(&plan.passes).map(pass).collect::<Vec<_>>(),
        "offsets": plan.offsets(),
        "selected": selected,
        "estimate": estimate.json(),
        "rules": plan.rules,
        "run": run_command(planned),
    })
}

#[cfg(test)]
mod tests {
    use records::enrich::rule_set::RuleSet;
    use records::replay::log_day::LogDay;
    use records::replay::log_range::LogRange;
    use records::replay::log_window::LogWindow;
    use records::replay::pinned_rules::PinnedRules;
    use records::replay::replay_plan::ReplayPlan;
    use records::replay::row_selection::RowSelection;

    use super::*;
    use crate::clickhouse::selected_rows::SelectedRows;
    use crate::jobs::job::{Job, JobState};
    use crate::replay::replay_estimate::ReplayEstimate;

    fn planned() -> PlannedReplay {
        let ranges = [(5, 9), (20, 30)].map(|(first, end)| LogRange { first, end });
        let job = Job { id: "j1".into(), ..Job::example("replay", JobState::Planned, "") };
        let plan = ReplayPlan {
            topic: "t.v1".into(),
            window: LogWindow::Rows(RowSelection::Where("a =\u{1b}1".into())),
            ranges: [(0, ranges.to_vec())].into(),
            passes: Vec::new(),
            rules: PinnedRules::of(&RuleSet::default()),
            reason: String::new(),
            force: false,
            writes_dead_letters: false,
        };
        PlannedReplay {
            job,
            plan,
            partitions: vec![PlannedPartition::held(0, ranges.to_vec())],
            selected: Some(SelectedRows { offsets: Vec::new(), rows: 6, expired: 2 }),
            estimate: ReplayEstimate { rows: Some(13), ..ReplayEstimate::default() },
        }
    }

    #[test]
    fn a_plan_of_rows_names_what_is_rewritten_beyond_them_and_what_stays() {
        let lines = lines(&planned());
        let row: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(row, ["0", "2", "5", "29", "14", "0"]);
        for expected in [
            "window: rows where a =\\u{1b}1",
            "rows selected: 6",
            "rows rewritten beyond the selection: 7",
            "the log no longer holds the records of 2 more selected rows: they stay as they are",
            "rows to rewrite: 13",
            "job: j1",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
        let without = lines.iter().find(|line| line.starts_with("records without a row"));
        assert!(without.is_some(), "{lines:#?}");
        let object = object(&planned());
        assert_eq!(object["selected"]["rows_beyond"], 7);
        assert_eq!(object["partitions"][0]["ranges"][1]["first"], 20);
        assert_eq!(new_rows_line(&planned()), None);
        let log = PlannedReplay { selected: None, ..planned() };
        assert!(new_rows_line(&log).unwrap().starts_with("offsets without such a row: 1;"));
        let mut unknown = planned();
        unknown.estimate.rows = None;
        let lines = super::lines(&unknown);
        let beyond = "rows rewritten beyond the selection: unknown";
        assert!(lines.iter().any(|line| line == beyond), "{lines:#?}");
    }

    #[test]
    fn a_plan_by_days_names_each_pass_with_its_day_and_offsets() {
        assert_eq!(pass_lines(&planned().plan.passes), [""; 0]);
        let mut by_days = planned();
        let pass = |day, first, end| ReplayPass {
            day: Some(LogDay(day)),
            ranges: [(0, vec![LogRange { first, end }])].into(),
        };
        by_days.plan.passes = vec![pass(20_785, 20, 30), pass(20_784, 5, 9)];
        let lines = lines(&by_days);
        let at = lines.iter().position(|line| line.starts_with("passes by")).unwrap();
        let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(row(&lines[at + 2]), ["1", "2026-11-28", "1", "1", "10"]);
        assert_eq!(row(&lines[at + 3]), ["2", "2026-11-27", "1", "1", "4"]);
        let object = object(&by_days);
        assert_eq!(
            (&object["passes"][1]["day"], &object["passes"][1]["offsets"]),
            (&json!("2026-11-27"), &json!(4))
        );
        assert_eq!(object["passes"][0]["ranges"]["0"][0]["first"], 20);
    }
}
