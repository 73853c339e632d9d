//! What a dashboard of Grafana's classic format holds: panels, queries, variables, annotations, links.

use serde::Deserialize;
use serde_json::Value;

/// The type of the ClickHouse data source.
const CLICKHOUSE: &str = "grafana-clickhouse-datasource";
/// The type of the Prometheus data source.
const PROMETHEUS: &str = "prometheus";

/// A dashboard.
#[derive(Debug, Clone, Deserialize)]
pub struct Dashboard {
    /// Its stable name in addresses.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Its panels in the file's order, those of collapsed rows within their row.
    pub panels: Vec<Panel>,
    /// The links at its top.
    #[serde(default)]
    pub links: Vec<DashboardLink>,
    #[serde(default)]
    templating: List<Variable>,
    #[serde(default)]
    annotations: List<Annotation>,
}

#[derive(Debug, Clone, Deserialize)]
struct List<T> {
    list: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

/// A panel.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// Its number in the dashboard.
    pub id: u64,
    /// Its type, such as `stat` or `row`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its title; a panel may have none.
    #[serde(default)]
    pub title: String,
    /// What it shows.
    #[serde(default)]
    pub description: String,
    /// Where it is.
    pub grid_pos: Cell,
    /// Where its queries go that state no other place.
    #[serde(default)]
    pub datasource: Option<Source>,
    /// Its queries.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// The panels of a collapsed row.
    #[serde(default)]
    pub panels: Vec<Panel>,
    /// Links of its header.
    #[serde(default)]
    pub links: Vec<PanelLink>,
    /// The highest number of points that it asks for; its width in pixels if it states none.
    #[serde(default)]
    pub max_data_points: Option<u32>,
    /// The shortest interval that it asks for, such as `1m`.
    #[serde(default)]
    pub interval: Option<String>,
    /// Units, texts, links and colours of its fields.
    #[serde(default)]
    pub field_config: Value,
    /// The options of its type.
    #[serde(default)]
    pub options: Value,
}

/// A place in the grid of 24 columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Cell {
    /// Its first column.
    pub x: u32,
    /// Its first row.
    pub y: u32,
    /// Its columns.
    pub w: u32,
    /// Its rows.
    pub h: u32,
}

/// A query of a panel or of an annotation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name in the panel.
    #[serde(default)]
    pub ref_id: String,
    /// What it asks; that of the annotation if it states none.
    #[serde(default)]
    pub datasource: Option<Source>,
    /// The form of the result in which the plugin's backend returns it: 0 a series, 1 a table.
    #[serde(default)]
    pub format: Value,
    /// Whether Grafana does not send it.
    #[serde(default)]
    pub hide: bool,
    /// The shortest interval of a query of Prometheus.
    #[serde(default)]
    pub interval: Option<String>,
    #[serde(default)]
    raw_sql: Option<String>,
    #[serde(default)]
    expr: Option<String>,
    #[serde(default)]
    instant: bool,
}

/// A data source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Source {
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its name, or the variable that holds it.
    #[serde(default)]
    pub uid: String,
}

/// The text of a query, with its macros and variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'a> {
    /// For ClickHouse.
    Sql(&'a str),
    /// For Prometheus.
    Promql {
        /// The expression.
        text: &'a str,
        /// Whether it asks for one moment, the end of the range.
        instant: bool,
    },
}

/// A variable.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// `custom`, `textbox`, `query`, `datasource`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its title.
    #[serde(default)]
    pub label: Option<String>,
    /// 0: shown, 1: without its title, 2: not shown.
    #[serde(default)]
    pub hide: u8,
    /// Whether several values can be chosen.
    #[serde(default)]
    pub multi: bool,
    /// Whether it has the value "All".
    #[serde(default)]
    pub include_all: bool,
    /// What a query variable asks.
    #[serde(default)]
    pub datasource: Option<Source>,
    #[serde(default)]
    query: Value,
    #[serde(default)]
    current: Value,
    #[serde(default)]
    options: Value,
}

/// A query that marks moments in all panels with a time axis.
#[derive(Debug, Clone, Deserialize)]
pub struct Annotation {
    /// Its title.
    pub name: String,
    /// What it asks.
    #[serde(default)]
    pub datasource: Option<Source>,
    /// Its query.
    #[serde(default)]
    pub target: Option<Target>,
}

/// A link at the top of a dashboard.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DashboardLink {
    /// Its text.
    #[serde(default)]
    pub title: String,
    /// `link`: to an address; `dashboards`: to all dashboards with some tags.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The address.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether it keeps the time range.
    #[serde(default)]
    pub keep_time: bool,
    /// Whether it keeps the values of variables.
    #[serde(default)]
    pub include_vars: bool,
}

/// A link of a panel's header, or of its values.
#[derive(Debug, Clone, Deserialize)]
pub struct PanelLink {
    /// Its text.
    #[serde(default)]
    pub title: String,
    /// The address.
    pub url: String,
}

impl Dashboard {
    /// Reads a file.
    ///
    /// # Errors
    /// When the text is not JSON, or not that of a dashboard; the error names the line and the field.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// All panels but rows, also those within collapsed rows.
    pub fn charts(&self) -> impl Iterator<Item = &Panel> {
        let all = self.panels.iter().flat_map(|panel| std::iter::once(panel).chain(&panel.panels));
        all.filter(|panel| panel.kind != "row")
    }

    /// The variables.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.templating.list
    }

    /// The annotations.
    #[must_use]
    pub fn annotations(&self) -> &[Annotation] {
        &self.annotations.list
    }
}

impl Panel {
    /// The links of its values.
    #[must_use]
    pub fn data_links(&self) -> Vec<PanelLink> {
        let read = |links: &Value| Vec::<PanelLink>::deserialize(links).unwrap_or_default();
        let mut links = read(&self.field_config["defaults"]["links"]);
        for rule in self.field_config["overrides"].as_array().into_iter().flatten() {
            let properties = rule["properties"].as_array().into_iter().flatten();
            let of_links = properties.filter(|property| property["id"] == "links");
            links.extend(of_links.flat_map(|property| read(&property["value"])));
        }
        links
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.field_config["defaults"]["unit"].as_str()
    }

    /// What it shows if there is nothing to show.
    #[must_use]
    pub fn no_value(&self) -> Option<&str> {
        self.field_config["defaults"]["noValue"].as_str()
    }
}

impl Source {
    /// Whether it is ClickHouse.
    #[must_use]
    pub fn is_clickhouse(&self) -> bool {
        self.kind == CLICKHOUSE
    }

    /// Whether it is Prometheus.
    #[must_use]
    pub fn is_prometheus(&self) -> bool {
        self.kind == PROMETHEUS
    }
}

impl Target {
    /// Its query, if it has one.
    #[must_use]
    pub fn query(&self) -> Option<Query<'_>> {
        let sql = self.raw_sql.as_deref().map(Query::Sql);
        let instant = self.instant;
        sql.or_else(|| self.expr.as_deref().map(|text| Query::Promql { text, instant }))
    }
}

impl Variable {
    /// The query of a query variable of ClickHouse.
    #[must_use]
    pub fn sql(&self) -> Option<&str> {
        (self.kind == "query").then(|| self.query["rawSql"].as_str()).flatten()
    }

    /// Its values before a viewer chooses others: of a textbox its text, of others the current ones.
    #[must_use]
    pub fn default_values(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(value) = self.current["value"].as_str() {
            return vec![value.to_owned()];
        }
        if let Some(values) = self.current["value"].as_array() {
            return values.iter().filter_map(text).collect();
        }
        match self.kind.as_str() {
            "textbox" | "constant" => vec![text(&self.query).unwrap_or_default()],
            _ => vec![String::new()],
        }
    }

    /// The values that a custom variable offers.
    #[must_use]
    pub fn choices(&self) -> Vec<String> {
        let options = self.options.as_array().into_iter().flatten();
        options.filter_map(|option| option["value"].as_str().map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_is_read_with_the_panels_of_its_collapsed_rows() {
        let cell = r#""gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}"#;
        let text = format!(
            r#"{{"uid": "u", "title": "T", "templating": {{"list": [
              {{"name": "a", "type": "textbox", "query": "x"}},
              {{"name": "b", "type": "custom", "current": {{"value": "y"}}, "options": [{{"value": "y"}}]}}]}},
            "panels": [{{"id": 1, "type": "row", {cell}, "panels": [
              {{"id": 2, "type": "stat", "title": "S", {cell}, "fieldConfig": {{"defaults": {{"unit": "short"}},
                "overrides": [{{"properties": [{{"id": "links", "value": [{{"url": "/d/u"}}]}}]}}]}},
                "targets": [{{"refId": "A", "rawSql": "SELECT 1", "datasource":
                  {{"type": "grafana-clickhouse-datasource", "uid": "${{datasource}}"}}}}]}}]}}]}}"#
        );
        let dashboard = Dashboard::parse(&text).unwrap();
        let charts: Vec<_> = dashboard.charts().collect();
        assert_eq!((charts.len(), charts[0].id, charts[0].unit()), (1, 2, Some("short")));
        assert_eq!(charts[0].data_links()[0].url, "/d/u");
        let target = &charts[0].targets[0];
        assert_eq!(target.query(), Some(Query::Sql("SELECT 1")));
        assert!(target.datasource.as_ref().unwrap().is_clickhouse());
        let values: Vec<_> = dashboard.variables().iter().map(Variable::default_values).collect();
        assert_eq!(values, [["x"], ["y"]]);
        let error = Dashboard::parse("{\"uid\": \"u\"}").unwrap_err().to_string();
        assert!(error.contains("missing field `title`"), "{error}");
    }
}
