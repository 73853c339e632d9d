//! A panel without its place: title, description, queries, units, links.

use serde_json::{Map, Value, json};

use crate::generate::column::Column;
use crate::generate::data_link::DataLink;
use crate::generate::look::Unit;

/// The ClickHouse data source, by the variable that holds it.
pub(crate) fn clickhouse() -> Value {
    json!({ "type": "grafana-clickhouse-datasource", "uid": "${datasource}" })
}

/// The Prometheus data source, by the variable that holds it.
fn prometheus() -> Value {
    json!({ "type": "prometheus", "uid": "${metrics}" })
}

/// The version of the plugin whose format of queries this is.
const PLUGIN_VERSION: &str = "4.20.0";

/// The query of an annotation or of a panel that returns a table.
pub(crate) fn table_query(ref_id: &str, sql: &str) -> Value {
    json!({
        "refId": ref_id,
        "datasource": clickhouse(),
        "editorType": "sql",
        "queryType": "table",
        "format": 1,
        "pluginVersion": PLUGIN_VERSION,
        "rawSql": sql,
    })
}

/// A panel.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    kind: &'static str,
    title: String,
    description: String,
    width: u32,
    height: u32,
    targets: Vec<Value>,
    defaults: Map<String, Value>,
    overrides: Vec<Value>,
    options: Value,
    rest: Map<String, Value>,
}

impl Panel {
    /// A panel of a type of Grafana, with the options of that type.
    pub(crate) fn new(kind: &'static str, title: &str, description: &str, options: Value) -> Self {
        let panel = Self {
            kind,
            title: title.to_owned(),
            description: description.to_owned(),
            width: 8,
            height: 8,
            targets: Vec::new(),
            defaults: Map::new(),
            overrides: Vec::new(),
            options,
            rest: Map::new(),
        };
        panel.no_value("No clicks in this time range that match the filters")
    }

    /// Its width, of 24 columns, and its height, in rows of about 38 pixels.
    #[must_use]
    pub(crate) fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// The text where there is no data.
    #[must_use]
    pub(crate) fn no_value(self, text: &str) -> Self {
        self.default("noValue", json!(text))
    }

    /// The unit of all values that have no unit of their own.
    #[must_use]
    pub(crate) fn unit(self, unit: Unit) -> Self {
        self.default("unit", json!(unit.name()))
    }

    /// A setting of all fields, such as `min` or `color`.
    #[must_use]
    pub(crate) fn default(mut self, name: &str, value: Value) -> Self {
        self.defaults.insert(name.to_owned(), value);
        self
    }

    /// A setting of all fields that only this type of panel has, such as `lineWidth`.
    #[must_use]
    pub(crate) fn custom(mut self, name: &str, value: Value) -> Self {
        let custom = self.defaults.entry("custom").or_insert_with(|| json!({}));
        custom[name] = value;
        self
    }

    /// The settings of one field.
    #[must_use]
    pub(crate) fn column(mut self, column: &Column) -> Self {
        self.overrides.push(column.json());
        self
    }

    /// The settings of several fields.
    #[must_use]
    pub(crate) fn columns(self, columns: &[Column]) -> Self {
        columns.iter().fold(self, Self::column)
    }

    /// A link of each value.
    #[must_use]
    pub(crate) fn link(mut self, link: &DataLink) -> Self {
        let links = self.defaults.entry("links").or_insert_with(|| json!([]));
        if let Some(links) = links.as_array_mut() {
            links.push(link.json());
        }
        self
    }

    /// A link in the panel's header.
    #[must_use]
    pub(crate) fn header_link(mut self, link: &DataLink) -> Self {
        let links = self.rest.entry("links").or_insert_with(|| json!([]));
        if let Some(links) = links.as_array_mut() {
            links.push(link.json());
        }
        self
    }

    /// An option of this type of panel, in place of the one it has.
    #[must_use]
    pub(crate) fn option(mut self, name: &str, value: Value) -> Self {
        self.options[name] = value;
        self
    }

    /// Any other property of the panel, such as `maxDataPoints`.
    #[must_use]
    pub(crate) fn property(mut self, name: &str, value: Value) -> Self {
        self.rest.insert(name.to_owned(), value);
        self
    }

    /// A query of ClickHouse whose rows are shown as they are.
    #[must_use]
    pub(crate) fn sql(mut self, sql: &str) -> Self {
        let target = table_query(&self.next_ref(), sql);
        self.targets.push(target);
        self
    }

    /// A query of ClickHouse whose first column is `time`.
    #[must_use]
    pub(crate) fn series(mut self, sql: &str) -> Self {
        let mut target = table_query(&self.next_ref(), sql);
        target["queryType"] = json!("timeseries");
        target["format"] = json!(0);
        self.targets.push(target);
        self
    }

    /// An expression of Prometheus over the range, and the name of each of its lines.
    #[must_use]
    pub(crate) fn promql(self, expression: &str, legend: &str) -> Self {
        self.metric(expression, legend, false)
    }

    /// An expression of Prometheus at the end of the range, and the name of each of its values.
    #[must_use]
    pub(crate) fn promql_now(self, expression: &str, legend: &str) -> Self {
        self.metric(expression, legend, true)
    }

    fn metric(mut self, expression: &str, legend: &str, instant: bool) -> Self {
        let target = json!({
            "refId": self.next_ref(),
            "datasource": prometheus(),
            "expr": expression,
            "legendFormat": legend,
            "range": !instant,
            "instant": instant,
        });
        self.targets.push(target);
        self
    }

    /// `A`, `B`, …
    fn next_ref(&self) -> String {
        let letters = ('A'..='Z').map(String::from);
        letters
            .clone()
            .nth(self.targets.len())
            .unwrap_or_else(|| format!("Q{}", self.targets.len()))
    }

    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    pub(crate) fn height(&self) -> u32 {
        self.height
    }

    /// The JSON of the panel at a place of the grid.
    pub(crate) fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let source = self.targets.first().map(|target| target["datasource"].clone());
        let mut panel = json!({
            "id": id,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "fieldConfig": { "defaults": self.defaults, "overrides": self.overrides },
            "options": self.options,
        });
        if let Some(source) = source {
            panel["datasource"] = source;
            panel["targets"] = json!(self.targets);
        }
        for (name, value) in &self.rest {
            panel[name.as_str()] = value.clone();
        }
        panel
    }
}
