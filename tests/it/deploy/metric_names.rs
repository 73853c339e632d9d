//! Rules, panels and documents name metrics that the code declares, with labels and values that it has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::deploy::alert_rules::alert_rules;
use crate::deploy::dashboards::{DASHBOARDS, dashboard};
use crate::deploy::declared_metrics::{DeclaredMetric, declared_metrics};
use crate::deploy::promql_names::{PromqlNames, SelectedMetric};
use crate::meta::source::{files, literals, none, page, product};

/// Metrics of others.
const FOREIGN: [&str; 5] = [
    // Prometheus makes them for each target, and for each alert that fires or waits.
    "up",
    ALERTS,
    // Prometheus' node exporter.
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    // ClickHouse's own endpoint.
    "ClickHouseAsyncMetrics_MaxPartCountForPartition",
];

/// The series of alerts, and its labels that are not those of an alert's expression.
const ALERTS: &str = "ALERTS";
const OF_ALERTS: [&str; 3] = ["alertname", "alertstate", "severity"];

/// Labels that Prometheus gives each series, and that of a histogram's buckets.
const OF_EVERY_SERIES: [&str; 3] = ["job", "instance", "le"];

/// The expressions of all rules and panels, by where they are.
fn expressions() -> Vec<(String, String)> {
    let rules = alert_rules().into_iter().map(|rule| (rule.name, rule.expression));
    let of_panels = DASHBOARDS.into_iter().flat_map(|name| {
        let texts = expressions_of(&dashboard(name)).into_iter();
        texts.map(move |text| (format!("a panel of {name}"), text))
    });
    let all: Vec<_> = rules.chain(of_panels).collect();
    assert!(all.len() > 50, "{} expressions are all", all.len());
    all
}

/// The PromQL expressions of a dashboard's panels.
pub(crate) fn expressions_of(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect()
}

/// The name without the ending of a histogram's series.
pub(crate) fn family(name: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The declaration of a series.
fn declaration<'d>(
    declared: &'d BTreeMap<String, DeclaredMetric>,
    name: &str,
) -> Option<&'d DeclaredMetric> {
    let histogram = declared.get(family(name)).filter(|metric| metric.kind == "histogram");
    declared.get(name).filter(|metric| metric.kind != "histogram").or(histogram)
}

/// Whether a service exports a metric of this name; a recording rule has colons in its name.
fn is_ours(name: &str) -> bool {
    !name.contains(':') && !FOREIGN.contains(&name)
}

/// The metrics of ours that rules and panels name.
pub(crate) fn named_metrics() -> BTreeSet<String> {
    let names =
        expressions().into_iter().flat_map(|(_, expression)| PromqlNames::of(&expression).metrics);
    names.map(|metric| metric.name).filter(|name| is_ours(name)).collect()
}

#[test]
fn every_metric_label_and_value_of_a_rule_or_a_panel_is_in_the_code() {
    let mut declared = declared_metrics();
    // A recording rule has the labels by which it groups.
    for rule in alert_rules().iter().filter(|rule| !rule.is_alert()) {
        let labels = PromqlNames::of(&rule.expression).grouping.into_iter().collect();
        declared.insert(rule.name.clone(), DeclaredMetric { kind: "gauge".to_owned(), labels });
    }
    let literals: BTreeSet<String> =
        product().iter().flat_map(|(_, text)| literals(text)).map(|(_, text)| text).collect();
    let mut wrong = Vec::new();
    for (place, expression) in expressions() {
        let names = PromqlNames::of(&expression);
        let mut labels: BTreeSet<&str> = OF_EVERY_SERIES.into();
        for SelectedMetric { name, labels: selected } in &names.metrics {
            if name == ALERTS {
                labels.extend(OF_ALERTS);
                let unknown = selected.iter().filter(|(label, _)| !labels.contains(label.as_str()));
                wrong.extend(unknown.map(|(label, _)| format!("{place}: {name} has no {label}")));
            }
            if FOREIGN.contains(&name.as_str()) {
                continue;
            }
            let Some(metric) = declaration(&declared, name) else {
                wrong.push(format!("{place}: {name} is not declared"));
                continue;
            };
            labels.extend(metric.labels.iter().map(String::as_str));
            let is_own = |label: &str| !OF_EVERY_SERIES.contains(&label);
            for (label, value) in selected.iter().filter(|(label, _)| is_own(label)) {
                if !metric.labels.contains(label) {
                    wrong.push(format!("{place}: {name} has no label {label}"));
                }
                let unknown = value.split('|').filter(|value| !literals.contains(*value));
                wrong.extend(unknown.map(|value| format!("{place}: {label} is never {value}")));
            }
        }
        let unknown = names.grouping.iter().filter(|label| !labels.contains(label.as_str()));
        wrong.extend(unknown.map(|label| format!("{place}: no metric has the label {label}")));
    }
    none("expressions", wrong);
}

/// The words of a text that begin as a metric of ours, without a shortened name such as `clicktrail_audit_…`.
fn metric_words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let services = [
        "clicktrail_producer_",
        "clicktrail_processors_",
        "clicktrail_audit_",
        "clicktrail_replay_",
    ];
    words.filter(move |word| {
        services.iter().any(|service| word.starts_with(service)) && !word.ends_with('_')
    })
}

#[test]
fn every_metric_that_a_document_names_is_declared() {
    let declared = declared_metrics();
    // The changelog also names metrics that no longer exist.
    let is_read = |path: &str| path.ends_with(".md") && path != "CHANGELOG.md";
    let (mut wrong, mut found) = (Vec::new(), 0);
    for (path, text) in files().iter().filter(|(path, _)| is_read(path)) {
        for word in metric_words(text) {
            found += 1;
            if declaration(&declared, word).is_none() && !declared.contains_key(word) {
                wrong.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(found > 100, "{found} names are all");
    none("metrics of documents", wrong);
}

#[test]
fn the_table_of_metrics_has_each_declared_metric_with_its_kind_and_labels() {
    let declared = declared_metrics();
    let registered: usize = product()
        .iter()
        .filter(|(path, _)| path.starts_with("processors/src/metrics"))
        .map(|(_, text)| {
            text.matches(".register(").count() + text.matches(".register_collector(").count()
        })
        .sum();
    let is_of_processors = |name: &&String| {
        !["clicktrail_producer_", "process_"].iter().any(|other| name.starts_with(other))
    };
    let of_processors = declared.keys().filter(is_of_processors);
    assert_eq!(of_processors.count(), registered, "a metric has no value here: {declared:#?}");
    let constants: BTreeSet<String> = product()
        .iter()
        .filter(|(path, _)| path.starts_with("producer/src/metrics"))
        .flat_map(|(_, text)| literals(text))
        .filter_map(|(_, text)| text.starts_with("clicktrail_producer_").then_some(text))
        .collect();
    let of_producer = declared.keys().filter(|name| name.starts_with("clicktrail_producer_"));
    assert_eq!(of_producer.cloned().collect::<BTreeSet<_>>(), constants);

    let table = page("docs/metrics.md");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<String, DeclaredMetric> = rows
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let labels = cells[2].split(", ").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
            let metric = DeclaredMetric { kind: cells[1].to_owned(), labels };
            (cells[0].trim_matches('`').to_owned(), metric)
        })
        .collect();
    let mut wrong = Vec::new();
    for (name, metric) in &declared {
        if documented.get(name) != Some(metric) {
            wrong.push(format!("{name} is {metric:?}, not {:?}", documented.get(name)));
        }
    }
    let unknown = documented.keys().filter(|name| !declared.contains_key(*name));
    wrong.extend(unknown.map(|name| format!("{name} is not declared")));
    none("docs/metrics.md", wrong);
}
