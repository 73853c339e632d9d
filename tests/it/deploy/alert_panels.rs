//! Each alert's metrics are on the dashboard *Pipeline*.

use std::collections::BTreeSet;

use dashboards::{Dashboard, Query, Target};

use crate::deploy::alert_rules::alert_rules;
use crate::deploy::metric_names::family;
use crate::deploy::promql_names::PromqlNames;
use crate::meta::source::none;

/// The families of the metrics that an expression names; recorded ones are named by their own rules.
fn families(expression: &str) -> BTreeSet<String> {
    let metrics = PromqlNames::of(expression).metrics.into_iter().map(|metric| metric.name);
    metrics.filter(|name| !name.contains(':')).map(|name| family(&name).to_owned()).collect()
}

/// The expressions of Prometheus on *Pipeline*.
fn expressions() -> Vec<String> {
    let (_, text) = dashboards::files().into_iter().find(|(name, _)| *name == "pipeline").unwrap();
    let dashboard = Dashboard::parse(text).unwrap();
    let targets = dashboard.charts().flat_map(|panel| &panel.targets);
    let expression = |target: &Target| match target.query()? {
        Query::Promql { text, .. } => Some(text.to_owned()),
        Query::Sql(_) => None,
    };
    targets.filter_map(expression).collect()
}

#[test]
fn each_metric_of_an_alert_is_a_panel_of_the_dashboard_pipeline() {
    let shown: BTreeSet<_> = expressions().iter().flat_map(|text| families(text)).collect();
    let rules = alert_rules();
    assert!(rules.len() > 30 && shown.len() > 40, "{} rules, {shown:?}", rules.len());
    let missing = rules.iter().flat_map(|rule| {
        let lacking = families(&rule.expression).into_iter().filter(|name| !shown.contains(name));
        lacking.map(|name| format!("{} ({})", name, rule.name))
    });
    none("metrics of alerts without a panel", missing.collect());
}

#[test]
fn the_panel_of_free_disk_shows_the_disks_of_its_alert() {
    let rules = alert_rules();
    let rule = rules.iter().find(|rule| rule.name == "DiskFilling").unwrap();
    let (_, selector) = rule.expression.split_once('{').unwrap();
    let (selector, _) = selector.split_once('}').unwrap();
    let shown =
        expressions().into_iter().filter(|text| text.contains("node_filesystem_avail_bytes"));
    let shown: Vec<_> = shown.filter(|text| !text.contains(&format!("{{{selector}}}"))).collect();
    assert_eq!(shown, [""; 0], "without {selector}");
}
