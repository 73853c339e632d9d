//! Each alert's metrics are on the dashboard *Pipeline*.

use std::collections::BTreeSet;

use dashboards::{Dashboard, Query};

use crate::deploy::alert_rules::alert_rules;
use crate::deploy::metric_names::family;
use crate::deploy::promql_names::PromqlNames;
use crate::meta::source::none;

/// The families of the metrics that an expression names; recorded ones are named by their own rules.
fn families(expression: &str) -> BTreeSet<String> {
    let metrics = PromqlNames::of(expression).metrics.into_iter().map(|metric| metric.name);
    metrics.filter(|name| !name.contains(':')).map(|name| family(&name).to_owned()).collect()
}

#[test]
fn each_metric_of_an_alert_is_a_panel_of_the_dashboard_pipeline() {
    let (_, text) = dashboards::files().into_iter().find(|(name, _)| *name == "pipeline").unwrap();
    let dashboard = Dashboard::parse(text).unwrap();
    let targets = dashboard.charts().flat_map(|panel| &panel.targets);
    let shown: BTreeSet<_> = targets
        .filter_map(|target| match target.query()? {
            Query::Promql { text, .. } => Some(families(text)),
            Query::Sql(_) => None,
        })
        .flatten()
        .collect();
    let rules = alert_rules();
    assert!(rules.len() > 30 && shown.len() > 40, "{} rules, {shown:?}", rules.len());
    let missing = rules.iter().flat_map(|rule| {
        let lacking = families(&rule.expression).into_iter().filter(|name| !shown.contains(name));
        lacking.map(|name| format!("{} ({})", name, rule.name))
    });
    none("metrics of alerts without a panel", missing.collect());
}
