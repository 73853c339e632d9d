//! The queries that a dashboard sends, and the same queries on the plain table.

use ::dashboards::{Dashboard, Query, Source, Target, View};
use anyhow::{Context as _, Result};

/// The views of clicks that the queries read, and what replaces them: their definitions without `FINAL`.
pub const VIEWS: [(&str, &str); 2] =
    [("clicks", "click_rows"), ("clicks_of_days", "click_rows_of_days")];

/// A query as ClickHouse receives it.
#[derive(Debug, Clone)]
pub struct PanelQuery {
    /// What it is for.
    pub name: String,
    /// The query.
    pub sql: String,
}

impl PanelQuery {
    /// The same query on the plain table; none if it reads no view of clicks.
    pub fn on_table(&self) -> Option<String> {
        let mut words = self.sql.split_inclusive(|letter: char| !is_of_name(letter));
        let mut replaced = words.next().unwrap_or_default().to_owned();
        let mut is_read = is_before_table(&replaced);
        for word in words {
            let name = word.trim_end_matches(|letter: char| !is_of_name(letter));
            let view = VIEWS.iter().find(|(view, _)| is_read && *view == name);
            replaced +=
                &view.map_or(word.to_owned(), |(view, table)| word.replacen(view, table, 1));
            is_read = is_before_table(word) || (is_read && name.is_empty());
        }
        (replaced != self.sql).then_some(replaced)
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether a table is named after a word.
fn is_before_table(word: &str) -> bool {
    matches!(word.trim_end(), "FROM" | "JOIN")
}

/// The queries of all panels, variables and annotations of a dashboard in a view.
pub fn queries(dashboard: &Dashboard, view: &View) -> Result<Vec<PanelQuery>> {
    let mut queries = Vec::new();
    for variable in dashboard.variables() {
        if let Some(sql) = variable.sql() {
            queries.push((format!("variable {}", variable.name), view.clone(), sql));
        }
    }
    for annotation in dashboard.annotations() {
        let target = annotation.target.as_ref();
        if let Some(sql) = target.and_then(|target| sql(target, annotation.datasource.as_ref())) {
            queries.push((format!("annotation {}", annotation.name), view.clone(), sql));
        }
    }
    for panel in dashboard.charts() {
        for target in panel.targets.iter().filter(|target| !target.hide) {
            if let Some(sql) = sql(target, None) {
                queries.push((panel.title.clone(), view.at(panel, None), sql));
            }
        }
    }
    let expand = |(name, view, raw): (String, View, &str)| {
        let sql = view.sql(raw).with_context(|| format!("{}: {name}", dashboard.title))?;
        Ok(PanelQuery { name: format!("{}: {name}", dashboard.title), sql })
    };
    queries.into_iter().map(expand).collect()
}

fn sql<'t>(target: &'t Target, otherwise: Option<&Source>) -> Option<&'t str> {
    let source = target.datasource.as_ref().or(otherwise)?;
    match target.query()? {
        Query::Sql(sql) if source.is_clickhouse() => Some(sql),
        Query::Sql(_) | Query::Promql { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_table(sql: &str) -> Option<String> {
        PanelQuery { name: String::new(), sql: sql.to_owned() }.on_table()
    }

    #[test]
    fn only_the_view_of_clicks_is_replaced_by_its_table() {
        for (sql, expected) in [
            (
                "SELECT count() AS clicks FROM clicks\nWHERE x IN (SELECT x FROM clicks)",
                Some(
                    "SELECT count() AS clicks FROM click_rows\nWHERE x IN (SELECT x FROM click_rows)",
                ),
            ),
            ("FROM\n  clicks_of_days AS c", Some("FROM\n  click_rows_of_days AS c")),
            ("SELECT 1 FROM links JOIN clicks", Some("SELECT 1 FROM links JOIN click_rows")),
            ("SELECT clicks FROM clicks_a, (SELECT 1 AS clicks)", None),
        ] {
            assert_eq!(on_table(sql).as_deref(), expected);
        }
    }
}
