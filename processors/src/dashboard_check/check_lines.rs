//! The report as lines: a table, then what is wrong with the files, then the sums. Pure.

use records::dead_letters::shown_text::shown;

use crate::dashboard_check::check_report::{CheckReport, PlaceResult};
use crate::dashboard_check::query_outcome::QueryOutcome;

/// The lines of a report.
#[must_use]
pub fn lines(report: &CheckReport) -> Vec<String> {
    let head = ["dashboard", "place", "rows", "ms", "result"].map(str::to_owned);
    let row = |place: &PlaceResult| {
        let asked = place.outcome != QueryOutcome::Skipped;
        let number = |number: String| if asked { number } else { "-".to_owned() };
        [
            shown(&place.dashboard).to_string(),
            shown(&place.place).to_string(),
            number(place.rows.to_string()),
            number(place.time.as_millis().to_string()),
            shown(place.outcome.text()).to_string(),
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(report.places.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
    let line = |[dashboard, place, rows, ms, result]: &[String; 5]| {
        format!("{dashboard:<first$}  {place:<second$}  {rows:>third$}  {ms:>fourth$}  {result}")
    };
    let mut lines: Vec<_> = rows.iter().map(line).collect();
    lines.extend(
        report.findings.iter().map(|finding| format!("file: {}", shown(&finding.to_string()))),
    );
    lines.push(sums(report));
    lines
}

/// The last line.
fn sums(report: &CheckReport) -> String {
    let count = |is: fn(&QueryOutcome) -> bool| {
        report.places.iter().filter(|place| is(&place.outcome)).count()
    };
    format!(
        "dashboards: {}, places: {} with data, {} without data, {} skipped, {} wrong; attacks: {}; faults of files: {}",
        report.dashboards,
        count(|it| *it == QueryOutcome::Rows),
        count(|it| *it == QueryOutcome::NoData),
        count(|it| *it == QueryOutcome::Skipped),
        count(QueryOutcome::is_wrong),
        report.hostile,
        report.findings.len(),
    )
}

/// Whether something is wrong: with a file, or with a query. A place without data is not.
#[must_use]
pub fn is_wrong(report: &CheckReport) -> bool {
    !report.findings.is_empty() || report.places.iter().any(|place| place.outcome.is_wrong())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dashboards::LintFinding;

    use super::*;

    #[test]
    fn a_report_is_a_table_with_its_sums_and_only_faults_make_it_wrong() {
        let place = |place: &str, rows, outcome| PlaceResult {
            dashboard: "Overview".to_owned(),
            place: place.to_owned(),
            rows,
            time: Duration::from_millis(12),
            outcome,
        };
        let mut report = CheckReport {
            dashboards: 1,
            places: vec![
                place("panel \"Clicks\"", 1, QueryOutcome::Rows),
                place("panel \"Lag\"", 0, QueryOutcome::Skipped),
                place("variable a", 0, QueryOutcome::NoData),
            ],
            ..CheckReport::default()
        };
        let expected = [
            "dashboard  place           rows  ms  result",
            "Overview   panel \"Clicks\"     1  12  ok",
            "Overview   panel \"Lag\"        -   -  skipped",
            "Overview   variable a         0  12  no data",
            "dashboards: 1, places: 1 with data, 1 without data, 1 skipped, 0 wrong; attacks: 0; faults of files: 0",
        ];
        assert_eq!(lines(&report), expected);
        assert!(!is_wrong(&report));
        report.places[0].outcome = QueryOutcome::Failed("Code: 62.\nSyntax".to_owned());
        assert!(is_wrong(&report));
        assert!(lines(&report)[1].ends_with("12  Code: 62.\\nSyntax"), "{:?}", lines(&report));
        report.places.clear();
        let finding = ("clicktrail-a".to_owned(), String::new(), "no title".to_owned());
        report.findings =
            vec![LintFinding { dashboard: finding.0, place: finding.1, text: finding.2 }];
        assert!(is_wrong(&report));
        assert_eq!(lines(&report)[1], "file: clicktrail-a: no title");
    }
}
