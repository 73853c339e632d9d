//! What a server answers, as columns and rows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Columns and rows.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// ClickHouse's name of the type; times are seconds since 1970.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The labels of a series of Prometheus, which may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl Column {
    fn new(name: &str, kind: &str) -> Self {
        Self { name: name.to_owned(), kind: kind.to_owned(), labels: None }
    }
}

/// ClickHouse's format `JSONCompact`.
#[derive(Debug, Deserialize)]
struct Compact {
    meta: Vec<Column>,
    data: Vec<Vec<Value>>,
}

/// What ClickHouse answers.
pub(crate) fn of_clickhouse(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let Compact { meta, data } = serde_json::from_slice(body)?;
    Ok(Answer { columns: meta, rows: data })
}

#[derive(Debug, Deserialize)]
struct PrometheusBody {
    #[serde(default)]
    data: PrometheusData,
}

#[derive(Debug, Default, Deserialize)]
struct PrometheusData {
    #[serde(default)]
    result: Value,
}

/// A series: its labels, and its values by time.
#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    value: Option<(f64, String)>,
}

impl Series {
    fn points(&self) -> impl Iterator<Item = &(f64, String)> {
        self.values.iter().chain(&self.value)
    }
}

/// What Prometheus answers: a column for each series, or for each label.
pub(crate) fn of_prometheus(body: &[u8], is_table: bool) -> Result<Answer, serde_json::Error> {
    let PrometheusBody { data } = serde_json::from_slice(body)?;
    // A query of a number has no series: a time, and the value.
    let is_number = data.result.get(0).is_some_and(Value::is_number);
    let series = if is_number {
        let value = serde_json::from_value(data.result)?;
        vec![Series { metric: BTreeMap::new(), values: Vec::new(), value: Some(value) }]
    } else {
        Vec::<Series>::deserialize(data.result)?
    };
    Ok(if is_table { by_label(&series) } else { by_series(series) })
}

#[derive(Debug, Deserialize)]
struct AlertsBody {
    data: AlertsData,
}

#[derive(Debug, Deserialize)]
struct AlertsData {
    alerts: Vec<Alert>,
}

/// An alert that fires or waits.
#[derive(Debug, Deserialize)]
struct Alert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    state: String,
    /// A time of RFC 3339.
    #[serde(rename = "activeAt")]
    active_at: String,
}

/// The alerts of Prometheus, the longest first.
pub(crate) fn of_alerts(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let AlertsBody { data: AlertsData { mut alerts } } = serde_json::from_slice(body)?;
    alerts.sort_by(|one, other| one.active_at.cmp(&other.active_at));
    let row = |alert: &Alert| {
        let label = |name: &str| json!(alert.labels.get(name));
        let text = |name: &str| json!(alert.annotations.get(name));
        let texts = [label("alertname"), label("severity"), json!(alert.state)];
        let since = alert.active_at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
        let rest = [json!(since), text("summary"), text("description"), text("runbook_url")];
        texts.into_iter().chain(rest).collect()
    };
    let names = ["Alert", "Severity", "State", "Since", "Summary", "Description", "Runbook"];
    let kind = |name: &str| if name == "Since" { "DateTime" } else { "String" };
    let columns = names.iter().map(|name| Column::new(name, kind(name))).collect();
    Ok(Answer { columns, rows: alerts.iter().map(row).collect() })
}

/// `NaN` and infinities are not numbers of JSON.
fn number(text: &str) -> Value {
    text.parse::<f64>().map_or(Value::Null, Value::from)
}

fn by_label(series: &[Series]) -> Answer {
    let labels: BTreeSet<&str> =
        series.iter().flat_map(|one| one.metric.keys().map(String::as_str)).collect();
    let mut columns = vec![Column::new("Time", "DateTime")];
    columns.extend(labels.iter().map(|label| Column::new(label, "String")));
    columns.push(Column::new("Value", "Float64"));
    let row = |one: &Series, (time, value): &(f64, String)| {
        let texts = labels.iter().map(|label| json!(one.metric.get(*label)));
        std::iter::once(json!(time)).chain(texts).chain([number(value)]).collect()
    };
    let rows = series.iter().flat_map(|one| one.points().map(move |point| (one, point)));
    Answer { rows: rows.map(|(one, point)| row(one, point)).collect(), columns }
}

fn by_series(series: Vec<Series>) -> Answer {
    // Times in milliseconds, which have an order.
    #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds")]
    let moment = |time: f64| (time * 1_000.0).round() as i64;
    let mut rows: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    for (nth, one) in series.iter().enumerate() {
        for (time, value) in one.points() {
            let empty = || {
                let mut row = vec![Value::Null; series.len() + 1];
                row[0] = json!(time);
                row
            };
            rows.entry(moment(*time)).or_insert_with(empty)[nth + 1] = number(value);
        }
    }
    let column = |mut one: Series| {
        let name = one.metric.remove("__name__").unwrap_or_else(|| "Value".to_owned());
        Column { labels: Some(one.metric), ..Column::new(&name, "Float64") }
    };
    let time = std::iter::once(Column::new("Time", "DateTime"));
    Answer {
        columns: time.chain(series.into_iter().map(column)).collect(),
        rows: rows.into_values().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(answer: &Answer) -> Value {
        json!(answer.rows)
    }

    #[test]
    fn a_result_of_clickhouse_keeps_its_types() {
        let body = br#"{"meta": [{"name": "n", "type": "UInt64"}], "data": [[1]], "rows": 1}"#;
        let answer = of_clickhouse(body).unwrap();
        assert_eq!(
            json!(answer),
            json!({"columns": [{"name": "n", "type": "UInt64"}], "rows": [[1]]})
        );
    }

    #[test]
    fn series_of_prometheus_share_their_times() {
        let body = br#"{"status": "success", "data": {"resultType": "matrix", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "values": [[10, "1"], [20, "NaN"]]},
            {"metric": {"job": "b"}, "values": [[20, "2.5"]]}]}}"#;
        let answer = of_prometheus(body, false).unwrap();
        let names: Vec<_> = answer.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["Time", "up", "Value"]);
        assert_eq!(answer.columns[2].labels.as_ref().unwrap()["job"], "b");
        let bare = br#"{"data": {"result": [{"metric": {}, "value": [1, "1"]}]}}"#;
        let bare = json!(of_prometheus(bare, false).unwrap());
        assert_eq!(bare["columns"][1]["labels"], json!({}), "a legend is of a series");
        assert_eq!(rows(&answer), json!([[10.0, 1.0, null], [20.0, null, 2.5]]));
    }

    #[test]
    fn alerts_are_listed_with_their_texts_the_longest_first() {
        let body = br#"{"status": "success", "data": {"alerts": [
            {"labels": {"alertname": "B", "severity": "page"}, "annotations": {"summary": "s",
             "runbook_url": "RUNBOOK.md#b"}, "state": "firing", "activeAt": "1970-01-01T00:00:20.5Z",
             "value": "1e+00"},
            {"labels": {"alertname": "A"}, "annotations": {}, "state": "pending",
             "activeAt": "1970-01-01T00:00:10Z", "value": "1e+00"}]}}"#;
        let answer = of_alerts(body).unwrap();
        assert_eq!(
            rows(&answer),
            json!([
                ["A", null, "pending", 10, null, null, null],
                ["B", "page", "firing", 20, "s", null, "RUNBOOK.md#b"]
            ])
        );
        assert_eq!(answer.columns[3].kind, "DateTime");
        assert!(of_alerts(br#"{"status": "error"}"#).is_err());
    }

    #[test]
    fn a_table_of_prometheus_has_its_labels_as_columns() {
        let body = br#"{"data": {"resultType": "vector", "result": [
            {"metric": {"job": "a"}, "value": [10, "1"]},
            {"metric": {"topic": "t"}, "value": [10, "2"]}]}}"#;
        let answer = of_prometheus(body, true).unwrap();
        let names: Vec<_> = answer.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["Time", "job", "topic", "Value"]);
        assert_eq!(rows(&answer), json!([[10.0, "a", null, 1.0], [10.0, null, "t", 2.0]]));
        let scalar =
            of_prometheus(br#"{"data": {"resultType": "scalar", "result": [10, "3"]}}"#, true);
        assert_eq!(rows(&scalar.unwrap()), json!([[10.0, 3.0]]));
        let empty = br#"{"data": {"resultType": "vector", "result": []}}"#;
        assert!(of_prometheus(empty, false).unwrap().rows.is_empty());
    }
}
