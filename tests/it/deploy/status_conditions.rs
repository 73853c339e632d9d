//! `processors status` and the alerts: the same limits, metrics and headings.

use std::collections::BTreeMap;

use processors::status::alert_condition::AlertCondition;
use processors::status::finding_level::FindingLevel;
use processors::status::gauge_checks::GAUGE_CHECKS;

use crate::deploy::alert_rules::{AlertRule, alert_rules};
use crate::meta::source::none;

fn alerts() -> BTreeMap<String, AlertRule> {
    let alerts = alert_rules().into_iter().filter(AlertRule::is_alert);
    alerts.map(|rule| (rule.name.clone(), rule)).collect()
}

#[test]
fn each_condition_of_status_has_the_limit_and_the_heading_of_its_alert() {
    let (alerts, mut wrong) = (alerts(), Vec::new());
    for condition in AlertCondition::ALL {
        let name = condition.to_string();
        let Some(rule) = alerts.get(&name) else {
            wrong.push(format!("{name} is no alert"));
            continue;
        };
        let limit = condition.limit().to_string();
        // A number is not the begin of another one.
        let mut behind = rule.expression.split(&limit).skip(1);
        if !behind.any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.'))
        {
            wrong.push(format!("{name} compares with {limit:?} here, and: {}", rule.expression));
        }
        let severity = match condition.level() {
            FindingLevel::Ticket => "ticket",
            FindingLevel::Wrong | FindingLevel::Unknown => "page",
        };
        if rule.severity != severity {
            wrong.push(format!("{name} is a {severity} here and a {} there", rule.severity));
        }
        let heading = condition.heading().unwrap_or("{{ $labels.code }}");
        if rule.annotations["runbook_url"] != format!("RUNBOOK.md#{heading}") {
            wrong.push(format!("{name} has the heading {heading} here"));
        }
    }
    none("conditions", wrong);
}

#[test]
fn each_gauge_that_status_reads_is_in_the_expression_of_its_alert() {
    let (alerts, mut wrong) = (alerts(), Vec::new());
    for check in &GAUGE_CHECKS {
        let name = check.condition.to_string();
        let expression = &alerts[&name].expression;
        let absent = check.metrics().into_iter().filter(|metric| !expression.contains(metric));
        wrong.extend(absent.map(|metric| format!("{name} does not read {metric}")));
    }
    none("gauges", wrong);
}

#[test]
fn clicks_are_missing_only_below_the_lag_that_is_too_large() {
    let limit = AlertCondition::LagGrows.limit().to_string().replace('>', "<");
    let expression = &alerts()["ClicksMissing"].expression;
    assert!(expression.contains(&limit), "{limit}: {expression}");
}
