//! A dashboard: its title, variables, links and panels.

use serde_json::{Value, json};

use crate::generate::grid::Grid;
use crate::generate::panel::Panel;
use crate::generate::variable_list;

/// The dashboards, in the order of their links: the end of the `uid`, and the title.
const DASHBOARDS: [(&str, &str); 5] = [
    ("overview", "Overview"),
    ("link", "Link"),
    ("bots", "Bots"),
    ("pipeline", "Pipeline"),
    ("alerts", "Alerts"),
];

/// A dashboard.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    name: &'static str,
    title: &'static str,
    description: String,
    from: &'static str,
    refresh: &'static str,
    variables: Vec<Value>,
    annotations: Vec<Value>,
    grid: Grid,
}

impl Page {
    /// A dashboard without panels, and with the variables of the data sources.
    pub(crate) fn new(name: &'static str, title: &'static str, description: &str) -> Self {
        Self {
            name,
            title,
            description: description.to_owned(),
            from: "now-24h",
            refresh: "1m",
            variables: variable_list::data_sources(),
            annotations: Vec::new(),
            grid: Grid::default(),
        }
    }

    /// The name of its file, which is the end of its `uid`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The time range at first, such as `now-7d`, and how often the page refreshes.
    #[must_use]
    pub(crate) fn time(mut self, from: &'static str, refresh: &'static str) -> Self {
        (self.from, self.refresh) = (from, refresh);
        self
    }

    /// Adds variables.
    #[must_use]
    pub(crate) fn variables(mut self, variables: impl IntoIterator<Item = Value>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// Adds annotations.
    #[must_use]
    pub(crate) fn annotations(mut self, annotations: impl IntoIterator<Item = Value>) -> Self {
        self.annotations.extend(annotations);
        self
    }

    /// Adds the heading of a section.
    #[must_use]
    pub(crate) fn section(mut self, title: &str) -> Self {
        self.grid.section(title);
        self
    }

    /// Adds what several dashboards have in common.
    #[must_use]
    pub(crate) fn extended(self, extend: impl FnOnce(Self) -> Self) -> Self {
        extend(self)
    }

    /// Adds a panel.
    #[must_use]
    pub(crate) fn panel(mut self, panel: &Panel) -> Self {
        self.grid.add(panel);
        self
    }

    /// Adds several panels.
    #[must_use]
    pub(crate) fn panels(self, panels: &[Panel]) -> Self {
        panels.iter().fold(self, Self::panel)
    }

    /// The text of its file.
    pub(crate) fn text(&self) -> String {
        format!("{:#}\n", self.json())
    }

    fn json(&self) -> Value {
        let others = DASHBOARDS.into_iter().filter(|(name, _)| *name != self.name);
        let panels = json!([self.grid.panels(), self.annotations]).to_string();
        // A dashboard that asks only one of the two data sources has no variable for the other one.
        let variables: Vec<_> = self
            .variables
            .iter()
            .filter(|variable| {
                variable["type"] != "datasource"
                    || panels.contains(&format!(
                        "${{{}}}",
                        variable["name"].as_str().unwrap_or_default()
                    ))
            })
            .collect();
        let links: Vec<_> = others.map(|(name, title)| dashboard_link(name, title)).collect();
        json!({
            "uid": format!("clicktrail-{}", self.name),
            "title": self.title,
            "description": self.description,
            "tags": ["clicktrail"],
            "schemaVersion": 41,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": self.refresh,
            "fiscalYearStartMonth": 0,
            "liveNow": false,
            "weekStart": "",
            "time": { "from": self.from, "to": "now" },
            "timepicker": {},
            "annotations": { "list": self.annotations },
            "links": links,
            "templating": { "list": variables },
            "panels": self.grid.panels(),
        })
    }
}

/// A link at the top of a dashboard to another one, which keeps the time range and the filters.
fn dashboard_link(name: &str, title: &str) -> Value {
    json!({
        "title": title,
        "type": "link",
        "url": format!("/d/clicktrail-{name}"),
        "tags": [],
        "asDropdown": false,
        "includeVars": true,
        "keepTime": true,
        "targetBlank": false,
        "icon": "dashboard",
        "tooltip": "",
    })
}
