//! What a replay would change, as its dry run finds it. Pure.

use std::collections::BTreeMap;

use broker::ServerError;
use records::error::RecordError;
use serde::Serialize;

use crate::audit::entry::hex;
use crate::audit::examples::Examples;
use crate::replay::compared_columns::{ComparedColumn, compared_columns};
use crate::replay::planned_row::{ClickKey, ComparedRow, PlannedRow, RowDifference};

/// Examples of a column in the report.
const EXAMPLES_MAX: usize = 3;
/// Characters of a value in an example.
const VALUE_CHARS_MAX: usize = 200;

/// The report. `--json` prints it with these field names.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DryRunReport {
    /// Records of the ranges.
    pub(crate) records: u64,
    /// Distinct clicks among them.
    pub(crate) clicks: u64,
    /// Further records of a click.
    pub(crate) resends: u64,
    /// Clicks without a row.
    pub(crate) new: u64,
    /// Clicks whose row would stay as it is, but for the versions of the rules.
    pub(crate) equal: u64,
    /// Clicks of which a column would change.
    pub(crate) changed: u64,
    /// Clicks whose records differ among themselves, so that the record that is inserted last decides.
    pub(crate) undecided: u64,
    /// Records that cannot become rows: live processing writes a dead letter of each.
    pub(crate) undecodable: u64,
    /// The same by error code.
    pub(crate) undecodable_by_code: BTreeMap<&'static str, u64>,
    /// Offsets of the ranges that retention has deleted since the plan.
    pub(crate) expired: u64,
    /// The columns that would change.
    pub(crate) columns: Vec<ColumnChange>,
    /// The versions of rules that would change.
    pub(crate) rules: Vec<ColumnChange>,
    /// The first undecided clicks.
    pub(crate) undecided_examples: Vec<String>,
}

/// How a column would change.
#[derive(Debug, Serialize)]
pub(crate) struct ColumnChange {
    pub(crate) column: &'static str,
    /// Clicks.
    pub(crate) changed: u64,
    pub(crate) examples: Vec<ValueChange>,
}

/// A value that would change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ValueChange {
    pub(crate) event_id: String,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// The counts while the ranges are read.
#[derive(Debug, Default)]
pub(crate) struct DryRunCounts {
    report: DryRunReport,
    /// By index of the column.
    examples: BTreeMap<usize, Examples<(ClickKey, ValueChange)>>,
}

impl DryRunCounts {
    /// Counts a record; `None` of one that can become a row.
    pub(crate) fn add_record(&mut self, error: Option<&RecordError>) {
        self.report.records += 1;
        if let Some(error) = error {
            self.report.undecodable += 1;
            *self.report.undecodable_by_code.entry(error.code()).or_default() += 1;
        }
    }

    /// Compares the row of a record with the one that the view shows, and keeps examples.
    pub(crate) fn compare(
        &mut self,
        planned: &PlannedRow,
        current: Option<&[String]>,
    ) -> ComparedRow {
        let row = ComparedRow::of(planned, current);
        let pairs = planned.texts.iter().zip(current.unwrap_or_default()).enumerate();
        for (column, (new, old)) in pairs.filter(|(column, _)| row.difference.has(*column)) {
            let event_id = hex(&planned.key.event_id);
            let change = ValueChange { event_id, old: cut(old), new: cut(new) };
            self.examples.entry(column).or_default().offer((planned.key, change));
        }
        row
    }

    /// The report, from all rows that were compared, sorted by key. `expired` are offsets that the log no
    /// longer holds.
    ///
    /// # Errors
    /// The first error of the stream.
    pub(crate) fn report(
        self,
        rows: impl Iterator<Item = Result<ComparedRow, ServerError>>,
        expired: u64,
    ) -> Result<DryRunReport, ServerError> {
        let Self { mut report, mut examples } = self;
        let columns = compared_columns();
        let mut changed = vec![0_u64; columns.len()];
        let mut undecided = Examples::default();
        let mut add = |click: Click| {
            report.clicks += 1;
            report.resends += click.resends;
            let row = click.row;
            if click.is_undecided {
                report.undecided += 1;
                undecided.offer(row.key);
                examples.values_mut().for_each(|kept| kept.remove(|(key, _)| *key == row.key));
                return;
            }
            if row.difference == RowDifference::NEW {
                report.new += 1;
                return;
            }
            let mut is_equal = true;
            for (column, changed) in changed.iter_mut().enumerate() {
                if row.difference.has(column) {
                    *changed += 1;
                    is_equal &= columns[column].is_rule;
                }
            }
            *(if is_equal { &mut report.equal } else { &mut report.changed }) += 1;
        };
        let mut current: Option<Click> = None;
        for row in rows {
            let row = row?;
            match &mut current {
                Some(click) if click.row.key == row.key => click.add(row),
                Some(_) | None => current.replace(Click::of(row)).into_iter().for_each(&mut add),
            }
        }
        current.into_iter().for_each(&mut add);
        report.undecided_examples = undecided.texts(|key| hex(&key.event_id));
        report.expired = expired;
        for ((index, column), changed) in columns.iter().enumerate().zip(changed) {
            let ComparedColumn { name, is_rule } = *column;
            if changed == 0 {
                continue;
            }
            let kept = examples.remove(&index).unwrap_or_default().into_items();
            let examples = kept.map(|(_, change)| change).take(EXAMPLES_MAX).collect();
            let change = ColumnChange { column: name, changed, examples };
            (if is_rule { &mut report.rules } else { &mut report.columns }).push(change);
        }
        Ok(report)
    }
}

/// The records of one click.
struct Click {
    row: ComparedRow,
    resends: u64,
    is_undecided: bool,
}

impl Click {
    fn of(row: ComparedRow) -> Self {
        Self { row, resends: 0, is_undecided: false }
    }

    fn add(&mut self, copy: ComparedRow) {
        self.resends += 1;
        self.is_undecided |= copy.fingerprint != self.row.fingerprint;
    }
}

fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let mut cut: String = chars.by_ref().take(VALUE_CHARS_MAX).collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of click `event` whose column `name` has a value, and no other column.
    fn planned(event: u8, values: &[(&str, &str)]) -> PlannedRow {
        let value = |column: &ComparedColumn| {
            let found = values.iter().find(|(name, _)| *name == column.name);
            found.map_or_else(String::new, |(_, value)| (*value).to_owned())
        };
        let key = ClickKey { occurred_at_us: i64::from(event), event_id: [event; 16] };
        PlannedRow { key, texts: compared_columns().iter().map(value).collect() }
    }

    fn report(records: &[(PlannedRow, Option<PlannedRow>)]) -> DryRunReport {
        let mut counts = DryRunCounts::default();
        let mut rows = Vec::new();
        for (planned, current) in records {
            counts.add_record(None);
            rows.push(counts.compare(planned, current.as_ref().map(|row| row.texts.as_slice())));
        }
        counts.add_record(Some(&RecordError::EmptyValue));
        rows.sort_by_key(|row| row.to_bytes());
        counts.report(rows.into_iter().map(Ok), 4).unwrap()
    }

    #[test]
    fn each_click_is_new_equal_changed_or_undecided_and_counted_by_column() {
        let long = "x".repeat(300);
        let old = |event| Some(planned(event, &[("country", "DE"), ("geo_db_build", "1")]));
        let new = |event, country| planned(event, &[("country", country), ("geo_db_build", "2")]);
        let found = report(&[
            (new(1, "FR"), old(1)),
            (new(1, "FR"), old(1)),
            (new(2, "DE"), old(2)),
            (new(3, &long), old(3)),
            (new(4, "FR"), None),
            // Two records of one click that differ.
            (new(0, "FR"), old(0)),
            (new(0, "IT"), old(0)),
        ]);
        assert_eq!((found.records, found.clicks, found.resends), (8, 5, 2));
        let counts = (found.new, found.equal, found.changed, found.undecided);
        assert_eq!(counts, (1, 1, 2, 1));
        assert_eq!((found.undecodable, found.undecodable_by_code["empty_value"]), (1, 1));
        assert_eq!(found.expired, 4);
        let [country] = found.columns.as_slice() else { panic!("{found:?}") };
        assert_eq!((country.column, country.changed, country.examples.len()), ("country", 2, 2));
        let first = ValueChange {
            event_id: "01010101-0101-0101-0101-010101010101".to_owned(),
            old: "DE".to_owned(),
            new: "FR".to_owned(),
        };
        assert_eq!(country.examples[0], first);
        assert_eq!(country.examples[1].new.chars().count(), VALUE_CHARS_MAX + 1);
        let [geo] = found.rules.as_slice() else { panic!("{found:?}") };
        assert_eq!((geo.column, geo.changed), ("geo_db_build", 3));
        assert_eq!(found.undecided_examples, ["00000000-0000-0000-0000-000000000000"]);
    }

    #[test]
    fn a_column_has_at_most_three_examples() {
        let records: Vec<_> = (0..30)
            .map(|event| (planned(event, &[("city", "b")]), Some(planned(event, &[("city", "a")]))))
            .collect();
        let found = report(&records);
        assert_eq!((found.columns[0].changed, found.columns[0].examples.len()), (30, 3));
    }
}
