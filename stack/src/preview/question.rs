//! What the page asks: a query of a dashboard, named, and the choices of a viewer. Pure.

use std::collections::BTreeMap;

use dashboards::{Dashboard, ExpandError, Query, View};
use serde::Deserialize;

/// The type of a panel that has no query: it lists alerts.
pub(crate) const ALERT_LIST: &str = "alertlist";

/// The body of a request.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Question {
    /// The `uid` of the dashboard.
    pub(crate) dashboard: String,
    /// The panel, with a target; or
    #[serde(default)]
    pub(crate) panel: Option<u64>,
    /// an annotation.
    #[serde(default)]
    pub(crate) annotation: Option<String>,
    /// The name of a target of the panel; its first one by default.
    #[serde(default)]
    pub(crate) target: Option<String>,
    /// Begin of the range, in milliseconds since 1970.
    pub(crate) from: i64,
    /// Its end.
    pub(crate) to: i64,
    /// The name of the viewer's time zone.
    pub(crate) zone: String,
    /// The most points of a series.
    #[serde(default)]
    pub(crate) max_points: Option<u32>,
    /// Values of variables; those of the others are their defaults.
    #[serde(default)]
    pub(crate) values: BTreeMap<String, Vec<String>>,
}

/// A query with everything expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expanded {
    /// For ClickHouse.
    Sql(String),
    /// For Prometheus.
    Promql(Promql),
    /// The alerts of Prometheus.
    Alerts,
}

/// A query of Prometheus; times in seconds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Promql {
    pub(crate) text: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// The step of a series; none for the values at the end of the range.
    pub(crate) step: Option<i64>,
    /// Whether the result is a table.
    pub(crate) is_table: bool,
}

/// Why a question has no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidQuestion {
    #[error("no dashboard has the uid {0}")]
    Dashboard(String),
    #[error("the dashboard {dashboard} has no query of {what}")]
    Query { dashboard: String, what: String },
    #[error("{0:?} is no name of a time zone")]
    Zone(String),
    #[error("the time range ends before it begins")]
    Range,
    #[error("{0}")]
    Expand(#[from] ExpandError),
}

impl Question {
    /// The text of the query that is asked for.
    pub(crate) fn expand(&self, dashboards: &[Dashboard]) -> Result<Expanded, InvalidQuestion> {
        let missing = || InvalidQuestion::Dashboard(self.dashboard.clone());
        let dashboard = dashboards.iter().find(|one| one.uid == self.dashboard);
        let dashboard = dashboard.ok_or_else(missing)?;
        let view = self.view(dashboard)?;
        if let Some(id) = self.panel {
            let what = || self.missing(format!("panel {id}, target {:?}", self.target));
            let panel = dashboard.charts().find(|panel| panel.id == id).ok_or_else(what)?;
            if panel.kind == ALERT_LIST {
                return Ok(Expanded::Alerts);
            }
            let is_asked = |name: &str| self.target.as_deref().is_none_or(|target| target == name);
            let mut targets = panel.targets.iter();
            let target = targets.find(|target| is_asked(&target.ref_id)).ok_or_else(what)?;
            let view = view.at(panel, self.max_points);
            let is_table = target.format.as_str() == Some("table");
            return expanded(&view, target.query().ok_or_else(what)?, is_table);
        }
        let name = self.annotation.as_deref().unwrap_or_default();
        let what = || self.missing(format!("annotation {name}"));
        let mut annotations = dashboard.annotations().iter();
        let annotation = annotations.find(|annotation| annotation.name == name);
        let target = annotation.and_then(|annotation| annotation.target.as_ref());
        expanded(&view, target.and_then(|target| target.query()).ok_or_else(what)?, true)
    }

    fn missing(&self, what: String) -> InvalidQuestion {
        InvalidQuestion::Query { dashboard: self.dashboard.clone(), what }
    }

    fn view(&self, dashboard: &Dashboard) -> Result<View, InvalidQuestion> {
        // A name becomes a part of the text of queries.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
        if self.zone.is_empty() || self.zone.len() > 64 || !self.zone.bytes().all(is_name) {
            return Err(InvalidQuestion::Zone(self.zone.clone()));
        }
        if self.from > self.to {
            return Err(InvalidQuestion::Range);
        }
        // A view has whole seconds. Its end is rounded up, as queries round the milliseconds of Grafana: "yesterday"
        // ends at 23:59:59.999.
        let (from, to) = (self.from.div_euclid(1_000), (self.to + 999).div_euclid(1_000));
        let mut view = View::of(dashboard, from, to, &self.zone);
        for (name, values) in &self.values {
            if let Some(known) = view.values.get_mut(name) {
                known.clone_from(values);
            }
        }
        Ok(view)
    }
}

fn expanded(view: &View, query: Query<'_>, is_table: bool) -> Result<Expanded, InvalidQuestion> {
    Ok(match query {
        Query::Sql(text) => Expanded::Sql(view.sql(text)?),
        Query::Promql { text, instant } => Expanded::Promql(Promql {
            text: view.promql(text)?,
            from: view.from,
            to: view.to,
            step: (!instant).then(|| view.step()),
            is_table,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard() -> Vec<Dashboard> {
        let place = r#""gridPos": {"x": 0, "y": 0, "w": 1, "h": 1}"#;
        let text = format!(
            r#"{{"uid": "u", "title": "T",
            "templating": {{"list": [{{"name": "slug", "type": "textbox", "query": ""}}]}},
            "annotations": {{"list": [{{"name": "n", "target": {{"rawSql": "SELECT 2"}}}}]}},
            "panels": [{{"id": 1, "type": "stat", {place}, "targets": [
              {{"refId": "A", "rawSql": "SELECT '${{slug:percentencode}}'"}},
              {{"refId": "B", "expr": "up[$__range]", "format": "table", "instant": true}},
              {{"refId": "C", "expr": "up"}}]}},
              {{"id": 3, "type": "alertlist", {place}}}]}}"#
        );
        vec![Dashboard::parse(&text).unwrap()]
    }

    fn question() -> Question {
        Question {
            dashboard: "u".to_owned(),
            to: 3_600_000,
            zone: "Europe/Berlin".to_owned(),
            ..Question::default()
        }
    }

    #[test]
    fn a_query_is_named_and_never_sent() {
        let sql = |text: &str| Ok(Expanded::Sql(text.to_owned()));
        let values = BTreeMap::from([("slug".to_owned(), vec!["a'b".to_owned()])]);
        let panel = Question { panel: Some(1), values, ..question() };
        assert_eq!(panel.expand(&dashboard()), sql("SELECT 'a%27b'"));
        let annotation = Question { annotation: Some("n".to_owned()), ..question() };
        assert_eq!(annotation.expand(&dashboard()), sql("SELECT 2"));
        let target = |name: &str| Question { target: Some(name.to_owned()), ..panel.clone() };
        let promql = |text: &str, step, is_table| {
            let text = text.to_owned();
            Ok(Expanded::Promql(Promql { text, from: 0, to: 3_600, step, is_table }))
        };
        assert_eq!(target("B").expand(&dashboard()), promql("up[3600s]", None, true));
        let points = Question { max_points: Some(60), ..target("C") };
        assert_eq!(points.expand(&dashboard()), promql("up", Some(60), false));
        let alerts = Question { panel: Some(3), ..question() };
        assert_eq!(alerts.expand(&dashboard()), Ok(Expanded::Alerts));
        let yesterday = Question { to: 3_599_001, ..points };
        assert_eq!(yesterday.expand(&dashboard()), promql("up", Some(60), false), "whole seconds");
    }

    #[test]
    fn a_question_without_a_query_is_refused() {
        for (question, cause) in [
            (Question { dashboard: "x".to_owned(), ..question() }, "no dashboard has the uid x"),
            (Question { panel: Some(2), ..question() }, "panel 2"),
            (question(), "annotation"),
            (Question { zone: "UTC') --".to_owned(), ..question() }, "time zone"),
            (Question { from: 3_600_001, ..question() }, "before it begins"),
        ] {
            let error = question.expand(&dashboard()).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
    }
}
