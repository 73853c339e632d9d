//! The table of alerts on RUNBOOK's first page has one row for each shipped alert, and states the same.

use std::collections::BTreeMap;

use crate::deploy::alert_rules::{AlertRule, alert_rules};
use crate::meta::source::{none, page};

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct AlertRow {
    name: String,
    severity: &'static str,
    lasts: String,
    links: String,
}

/// The rows of the table.
fn rows(runbook: &str) -> Vec<AlertRow> {
    let (_, section) = runbook.split_once("\n## Page 1: Alerts\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let severity = match cells[0] {
            "P" => "page",
            "T" => "ticket",
            _ => return None,
        };
        let name = cells[1].trim_matches('`').to_owned();
        let links = cells.last().unwrap().to_string();
        Some(AlertRow { name, severity, lasts: cells[2].to_owned(), links })
    };
    section.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// The link of a row that leads to the place of an alert: `code` and `result` are labels.
fn link(rule: &AlertRule) -> String {
    let url = &rule.annotations["runbook_url"];
    match url.split_once("{{ $labels.") {
        Some((_, rest)) if url.starts_with("RUNBOOK.md") => {
            format!("label `{}`", rest.split(' ').next().unwrap())
        }
        Some((before, _)) => format!("]({before}"),
        None => format!("]({})", url.trim_start_matches("RUNBOOK.md")),
    }
}

#[test]
fn each_row_of_the_runbooks_table_is_an_alert_and_each_alert_has_a_row() {
    let runbook = page("RUNBOOK.md");
    let rows = rows(&runbook);
    let mut by_name: BTreeMap<_, _> = rows.iter().map(|row| (row.name.as_str(), row)).collect();
    assert_eq!(by_name.len(), rows.len(), "a row is there twice");
    assert!(rows.len() > 40, "{} rows are all", rows.len());
    let mut wrong = Vec::new();
    for rule in alert_rules().iter().filter(|rule| rule.is_alert()) {
        let Some(row) = by_name.remove(rule.name.as_str()) else {
            wrong.push(format!("{} of {} has no row", rule.name, rule.file));
            continue;
        };
        if (row.severity, &row.lasts) != (rule.severity.as_str(), &rule.lasts) {
            wrong.push(format!("{row:?}, but {} for {}", rule.severity, rule.lasts));
        }
        if !row.links.contains(&link(rule)) {
            wrong.push(format!("{row:?} does not have {}", link(rule)));
        }
    }
    wrong.extend(by_name.keys().map(|name| format!("{name} is no alert")));
    none("rows and alerts", wrong);
}

#[test]
fn every_label_that_a_text_of_an_alert_names_is_a_label_of_the_alert() {
    let mut wrong = Vec::new();
    for rule in alert_rules() {
        for text in rule.annotations.values() {
            let labels = text.split("$labels.").skip(1);
            let labels = labels
                .filter_map(|rest| rest.split(|letter: char| !letter.is_alphanumeric()).next());
            // An aggregation keeps the labels that it names alone; others keep those of each scraped series.
            let of_series = ["instance", "job", "mountpoint"];
            let is_known = |label: &str| {
                if rule.expression.contains(" by (") {
                    rule.expression.contains(label)
                } else {
                    of_series.contains(&label)
                }
            };
            let unknown = labels.filter(|label| !is_known(label));
            wrong.extend(unknown.map(|label| format!("{}: {label} in {text:?}", rule.name)));
        }
    }
    none("labels", wrong);
}
