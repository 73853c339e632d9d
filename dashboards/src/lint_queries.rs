//! What is wrong with queries and with the variables in them.

use std::collections::BTreeSet;

use crate::dashboard::{Dashboard, Query};
use crate::hostile::HOSTILE;
use crate::lint_finding::{Findings, named};
use crate::sql_literals::{literals, without_literals};
use crate::variables::{Reference, references};
use crate::view::View;

/// A range for which queries are expanded: a day of 2026.
const RANGE: (i64, i64) = (1_767_225_600, 1_767_312_000);

/// A query of a dashboard, and where it is.
#[derive(Debug, Clone)]
pub struct PlacedQuery<'a> {
    /// As findings name its place.
    pub place: String,
    /// The type of the panel; `variable` or `annotation` of another place.
    pub kind: &'a str,
    /// The panel's place among those of [`Dashboard::charts`].
    pub chart: Option<usize>,
    /// The query.
    pub query: Query<'a>,
    /// The form in which the plugin returns the result.
    pub format: Option<u64>,
}

/// All queries of a dashboard that Grafana sends.
#[must_use]
pub fn placed_queries(dashboard: &Dashboard) -> Vec<PlacedQuery<'_>> {
    let mut placed = Vec::new();
    for (number, panel) in dashboard.charts().enumerate() {
        for target in panel.targets.iter().filter(|target| !target.hide) {
            placed.extend(target.query().map(|query| PlacedQuery {
                place: named(panel),
                kind: &panel.kind,
                chart: Some(number),
                query,
                format: target.format.as_u64(),
            }));
        }
    }
    for variable in dashboard.variables() {
        placed.extend(variable.sql().map(|sql| PlacedQuery {
            place: format!("variable {}", variable.name),
            kind: "variable",
            chart: None,
            query: Query::Sql(sql),
            format: None,
        }));
    }
    for annotation in dashboard.annotations() {
        let target = annotation.target.as_ref();
        placed.extend(target.and_then(|target| target.query()).map(|query| PlacedQuery {
            place: format!("annotation {}", annotation.name),
            kind: "annotation",
            chart: None,
            query,
            format: None,
        }));
    }
    placed
}

/// Adds what is wrong with the queries of a dashboard, and with its variables.
pub(crate) fn queries(dashboard: &Dashboard, findings: &mut Findings<'_>) {
    variables(dashboard, findings);
    let view = View::of(dashboard, RANGE.0, RANGE.1, "Europe/Berlin");
    for panel in dashboard.charts() {
        let empty = panel.targets.iter().any(|target| target.query().is_none());
        if empty {
            findings.add(&named(panel), "a target has neither rawSql nor expr");
        }
    }
    for PlacedQuery { place, kind, query, format, .. } in placed_queries(dashboard) {
        let expanded = match query {
            Query::Sql(sql) => {
                if kind == "timeseries" && format != Some(0) {
                    findings
                        .add(&place, "a time series needs `format: 0`, or series are not named");
                }
                quoting(&view, sql, &place, findings);
                times(sql, &place, findings);
                view.sql(sql)
            }
            Query::Promql { text, .. } => {
                quoting_of_labels(&view, text, &place, findings);
                view.promql(text)
            }
        };
        if let Err(error) = expanded {
            findings.add(&place, error.to_string());
        }
    }
}

/// Each variable is of one value, has a choice that it offers, and is used, here or by the dashboards that links lead to.
fn variables(dashboard: &Dashboard, findings: &mut Findings<'_>) {
    let (mut names, mut used) = (BTreeSet::new(), BTreeSet::new());
    for placed in placed_queries(dashboard) {
        let (Query::Sql(text) | Query::Promql { text, .. }) = placed.query;
        used.extend(references(text).iter().map(|found| found.name.to_owned()));
    }
    let sources = dashboard.charts().flat_map(|panel| &panel.targets);
    let sources = sources.filter_map(|target| target.datasource.as_ref());
    for source in sources {
        used.extend(references(&source.uid).iter().map(|found| found.name.to_owned()));
    }
    for variable in dashboard.variables() {
        let place = format!("variable {}", variable.name);
        if !names.insert(&variable.name) {
            findings.add(&place, "another variable has its name");
        }
        // Of several values Grafana makes a list, which the quoting of a query does not expect.
        if variable.multi || variable.include_all {
            findings.add(&place, "it is to have a single value: no `multi`, no `includeAll`");
        }
        let choices = variable.choices();
        let default = variable.default_values();
        if variable.kind == "custom" && !default.iter().all(|value| choices.contains(value)) {
            findings.add(&place, format!("its default {default:?} is none of {choices:?}"));
        }
        // The choices of other dashboards, which the links to them pass on.
        let passed_on = variable.hide == 2 && dashboard.links.iter().any(|it| it.include_vars);
        if !used.contains(&variable.name) && !passed_on {
            findings.add(&place, "no query uses it");
        }
    }
}

/// A value of a variable is alone in a literal, encoded, and cannot end it.
fn quoting(view: &View, sql: &str, place: &str, findings: &mut Findings<'_>) {
    let literals = literals(sql);
    for found in references(sql) {
        let known = view.values.contains_key(found.name);
        let zone = found.name == "__timezone";
        if !known && !zone || is_condition(sql, &found) {
            continue;
        }
        let alone = literals.contains(&(found.range.start.saturating_sub(1)..found.range.end + 1));
        let encoded = found.format == Some("percentencode");
        if !alone || !(encoded || zone) {
            let name = found.name;
            let text = format!(
                "the variable {name} may appear in SQL only as the complete literal \
                 '${{{name}:percentencode}}', within decodeURLComponent(…)"
            );
            findings.add(place, text);
        }
    }
    // What the rule above implies, tried on the text that the server receives: with all variables at once, and then, to
    // name it, with each alone.
    let used: BTreeSet<_> = references(sql).into_iter().map(|found| found.name).collect();
    let used: Vec<_> =
        view.values.keys().map(String::as_str).filter(|name| used.contains(name)).collect();
    let statement = |names: &[&str], value: &str| {
        let view = names.iter().fold(view.clone(), |view, name| view.with(name, value));
        view.sql(sql).map(|sql| without_literals(&sql))
    };
    let is_changed = |names: &[&str]| {
        let plain = statement(names, "x");
        HOSTILE.iter().any(|value| statement(names, value) != plain)
    };
    if is_changed(&used) {
        for name in used.into_iter().filter(|name| is_changed(&[name])) {
            findings.add(place, format!("a value of the variable {name} changes the statement"));
        }
    }
}

/// A value of a variable is alone in a literal of an expression of Prometheus, encoded: no other format of Grafana
/// escapes the double quote that ends it.
fn quoting_of_labels(view: &View, text: &str, place: &str, findings: &mut Findings<'_>) {
    for found in references(text).iter().filter(|found| view.values.contains_key(found.name)) {
        let (before, after) = (&text[..found.range.start], &text[found.range.end..]);
        let alone = before.ends_with('"') && after.starts_with('"');
        if !alone || found.format != Some("percentencode") {
            let name = found.name;
            let text = format!(
                "the variable {name} may appear in PromQL only as the complete literal \
                 \"${{{name}:percentencode}}\": in any other form a double quote in the value ends the literal"
            );
            findings.add(place, text);
        }
    }
}

/// Whether a variable is the second argument of `$__conditionalAll`, which writes no value.
fn is_condition(sql: &str, found: &Reference<'_>) -> bool {
    let rest = sql[found.range.end..].trim_start();
    let before = sql[..found.range.start].trim_end();
    sql.contains("$__conditionalAll(") && before.ends_with(',') && rest.starts_with(')')
}

/// Times come from macros: a time in the text would be that of its author.
fn times(sql: &str, place: &str, findings: &mut Findings<'_>) {
    let is_date = |text: &str| {
        let bytes = text.as_bytes();
        let form = bytes.get(..10).is_some_and(|date| {
            date.iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
        });
        // 1970-01-01 stands for a time that is not known; it is no range.
        form && !text.starts_with("1970")
    };
    let dates = literals(sql).into_iter().map(|at| sql[at].trim_matches('\'').to_owned());
    for date in dates.filter(|text| is_date(text)) {
        findings.add(place, format!("the time {date} is to come from a macro"));
    }
    let table = ["FROM click_versions", "JOIN click_versions"];
    if table.iter().any(|table| sql.contains(table)) {
        findings.add(place, "it is to read the view clicks, which shows each click once");
    }
}
