//! The variables of a dashboard.

use serde_json::{Value, json};

use crate::generate::filter::Filter;

/// The variable that holds a data source: the first one of its type.
fn data_source(name: &str, label: &str, kind: &str) -> Value {
    json!({
        "name": name,
        "type": "datasource",
        "label": label,
        "query": kind,
        "hide": 2,
        "current": {},
        "options": [],
        "refresh": 1,
        "regex": "",
        "multi": false,
        "includeAll": false,
    })
}

/// The data sources that all dashboards have.
pub(crate) fn data_sources() -> Vec<Value> {
    vec![
        data_source("datasource", "ClickHouse", "grafana-clickhouse-datasource"),
        data_source("metrics", "Prometheus", "prometheus"),
    ]
}

/// A choice between fixed values, each with its title. The first argument after the label is the default.
fn choice(
    name: &str,
    label: &str,
    description: &str,
    default: &str,
    values: &[(&str, &str)],
) -> Value {
    let option = |(title, value): &(&str, &str)| json!({ "text": title, "value": value, "selected": *value == default });
    let options: Vec<_> = values.iter().map(option).collect();
    let current = options.iter().find(|option| option["selected"] == true).cloned();
    let query: Vec<_> = values.iter().map(|(title, value)| format!("{title} : {value}")).collect();
    json!({
        "name": name,
        "type": "custom",
        "label": label,
        "description": description,
        "query": query.join(","),
        "multi": false,
        "includeAll": false,
        "hide": 0,
        "current": current,
        "options": options,
    })
}

/// Whose clicks are shown.
pub(crate) fn traffic(default: &str) -> Value {
    let description =
        "Whose clicks the panels show: people, machines as far as the rules detect them, or both";
    let values = [("People", "people"), ("Bots", "bots"), ("Everyone", "all")];
    choice("traffic", "Traffic", description, default, &values)
}

/// What the time range is compared with.
pub(crate) fn compare() -> Value {
    let description = "The time range that changes refer to. Same weekday: the same hours one or more weeks \
        before, in your time zone";
    let values = [
        ("None", "none"),
        ("Previous period", "previous"),
        ("Same weekday", "weekday"),
        ("Last year", "year"),
    ];
    choice("compare", "Compare with", description, "previous", &values)
}

/// The variable of each filter; those that a person types are shown.
pub(crate) fn filters() -> Vec<Value> {
    Filter::ALL.into_iter().map(filter).collect()
}

/// The choices of other dashboards, not shown: the links between dashboards pass them on.
pub(crate) fn carried(variables: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let hidden = |mut variable: Value| {
        variable["hide"] = json!(2);
        variable
    };
    variables.into_iter().map(hidden).collect()
}

fn filter(filter: Filter) -> Value {
    json!({
        "name": filter.variable(),
        "type": "textbox",
        "label": filter.title(),
        "description": filter.help(),
        "query": "",
        "hide": if filter.is_typed() { 0 } else { 2 },
        "current": { "text": "", "value": "", "selected": true },
        "options": [{ "text": "", "value": "", "selected": true }],
    })
}
