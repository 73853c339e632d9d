//! The dashboard *Alerts*: the alerts of Prometheus.

use serde_json::{Value, json};

use crate::generate::badge::badge;
use crate::generate::look::{self, Colour, Unit};
use crate::generate::page::Page;
use crate::generate::panel::Panel;
use crate::generate::stat::stat;
use crate::generate::variable_list;

/// The dashboard.
pub(crate) fn alerts() -> Page {
    Page::new(
        "alerts",
        "Alerts",
        "The alerts of Prometheus: which fire or wait, with their texts, and when they fired.",
    )
    .time("now-24h", "30s")
    .variables(variable_list::carried([variable_list::traffic("people"), variable_list::compare()]))
    .variables(variable_list::carried(variable_list::filters()))
    .panels(&badge(8))
    .panel(&firing(
        "Alerts that page",
        "Alerts that fire and ask for an act now.",
        "page",
        Colour::Bad,
    ))
    .panel(&firing(
        "Tickets",
        "Alerts that fire and can wait for the day.",
        "ticket",
        Colour::Warning,
    ))
    .panel(&list())
    .panel(&timeline())
}

/// How many alerts of a severity fire.
fn firing(title: &str, description: &str, severity: &str, colour: Colour) -> Panel {
    let expression =
        format!("count(ALERTS{{alertstate=\"firing\", severity=\"{severity}\"}}) or vector(0)");
    stat(title, description)
        .no_value("Prometheus does not answer")
        .default("color", json!({ "mode": "thresholds" }))
        .default("thresholds", look::thresholds(Colour::Good, &[(1.0, colour)]))
        .option("colorMode", json!("background"))
        .option("textMode", json!("value"))
        .promql_now(&expression, severity)
        .size(4, 4)
}

/// Grafana's own list, of the rules of every data source.
fn list() -> Panel {
    let description = "Each alert of the rules that Prometheus has loaded, the longest first, with its text and its heading in \
        RUNBOOK.md.";
    let options: Value = json!({
        "viewMode": "list",
        "groupMode": "default",
        "groupBy": [],
        "maxItems": 100,
        "sortOrder": 4,
        "dashboardAlerts": false,
        "alertName": "",
        "alertInstanceLabelFilter": "",
        "datasource": null,
        "folder": null,
        "showInstances": true,
        "showInactiveAlerts": false,
        "stateFilter": {
            "firing": true,
            "pending": true,
            "recovering": true,
            "noData": true,
            "normal": false,
            "error": true,
        },
    });
    Panel::new("alertlist", "Alerts that fire or wait", description, options)
        .unit(Unit::Short)
        .no_value("No alert fires or waits")
        .size(24, 14)
}

/// When alerts fired.
fn timeline() -> Panel {
    let options = json!({
        "showValue": "never",
        "mergeValues": true,
        "rowHeight": 0.8,
        "alignValue": "left",
        "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false },
        "tooltip": { "mode": "single", "sort": "none" },
    });
    let description = "Each alert while it fired, by its name and its severity.";
    let fires = json!([{ "type": "value", "options": { "1": { "text": "fires", "index": 0 } } }]);
    Panel::new("state-timeline", "When they fired", description, options)
        .unit(Unit::Short)
        .no_value("No alert fired in this time range")
        .default("color", look::fixed(Colour::Bad))
        .default("mappings", fires)
        .custom("fillOpacity", json!(70))
        .custom("lineWidth", json!(0))
        .custom("insertNulls", json!(false))
        .custom("spanNulls", json!(false))
        .promql(
            "max by (alertname, severity) (ALERTS{alertstate=\"firing\"})",
            "{{alertname}} ({{severity}})",
        )
        .size(24, 12)
}
