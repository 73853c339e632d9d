//! What is wrong with dashboards, found without a server.

use std::collections::BTreeSet;

use crate::dashboard::{Cell, Dashboard, Panel, Source};
use crate::known_dashboards::KnownDashboards;
use crate::lint_finding::{Findings, LintFinding, named};
use crate::lint_links::links;
use crate::lint_queries::queries;

/// Data sources of Grafana itself, which need no variable.
const OF_GRAFANA: [&str; 3] = ["-- Grafana --", "-- Mixed --", "-- Dashboard --"];
/// Columns of the grid.
const COLUMNS: u32 = 24;
/// Longest `uid` that Grafana takes.
const UID_LENGTH_MAX: usize = 40;

/// What is wrong with dashboards. Their links may also lead to the committed ones.
#[must_use]
pub fn lint(dashboards: &[Dashboard]) -> Vec<LintFinding> {
    let known = KnownDashboards::with(dashboards);
    let (mut all, mut uids, mut titles) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for dashboard in dashboards {
        let mut findings = Findings::of(dashboard);
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let uid = &dashboard.uid;
        if uid.is_empty() || uid.len() > UID_LENGTH_MAX || !uid.bytes().all(letters) {
            findings.add("", "the uid is to be 1 to 40 letters, digits, - and _");
        }
        if !uids.insert(&dashboard.uid) {
            findings.add("", "another dashboard has this uid");
        }
        if dashboard.title.trim().is_empty() || !titles.insert(&dashboard.title) {
            findings.add("", "it needs a title that no other dashboard has");
        }
        panels(dashboard, &mut findings);
        layout(&dashboard.panels, &mut findings);
        sources(dashboard, &mut findings);
        queries(dashboard, &mut findings);
        links(dashboard, &known, &mut findings);
        all.extend(findings.all());
    }
    all
}

/// Ids, titles, descriptions, units and texts of panels.
fn panels(dashboard: &Dashboard, findings: &mut Findings<'_>) {
    let mut ids = BTreeSet::new();
    for panel in dashboard.panels.iter().flat_map(|row| std::iter::once(row).chain(&row.panels)) {
        if panel.id == 0 || !ids.insert(panel.id) {
            findings
                .add(&named(panel), format!("another panel has its id {}, or it is 0", panel.id));
        }
    }
    for panel in dashboard.charts() {
        let mut needs = |is_missing: bool, what: &str| {
            if is_missing {
                findings.add(&named(panel), format!("it needs {what}"));
            }
        };
        needs(panel.title.trim().is_empty(), "a title");
        needs(panel.description.trim().is_empty(), "a description");
        let asks = !panel.targets.is_empty();
        needs(asks && panel.unit().is_none(), "a unit (fieldConfig.defaults.unit)");
        let text = panel.no_value().unwrap_or_default();
        needs(asks && text.is_empty(), "a text for no data (fieldConfig.defaults.noValue)");
    }
}

/// Panels cover no cell of another one and stay within the grid.
fn layout(panels: &[Panel], findings: &mut Findings<'_>) {
    let overlap =
        |a: Cell, b: Cell| a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
    for (number, panel) in panels.iter().enumerate() {
        let cell = panel.grid_pos;
        if cell.w == 0 || cell.h == 0 || cell.x + cell.w > COLUMNS {
            findings.add(&named(panel), format!("it is not within the {COLUMNS} columns"));
        }
        let covered = panels[..number].iter().filter(|other| overlap(cell, other.grid_pos));
        for other in covered {
            findings.add(&named(panel), format!("it covers {}", named(other)));
        }
        layout(&panel.panels, findings);
    }
}

/// Each data source is a variable, so that the dashboards work with any data source.
fn sources(dashboard: &Dashboard, findings: &mut Findings<'_>) {
    let variables = dashboard.variables().iter().filter(|variable| variable.kind == "datasource");
    let names: BTreeSet<_> = variables.map(|variable| format!("${{{}}}", variable.name)).collect();
    let mut check = |place: &str, source: Option<&Source>| {
        let Some(source) = source else { return };
        if !names.contains(&source.uid) && !OF_GRAFANA.contains(&source.uid.as_str()) {
            let text = format!("the data source \"{}\" is to be one of {names:?}", source.uid);
            findings.add(place, text);
        }
    };
    for panel in dashboard.charts() {
        let place = named(panel);
        check(&place, panel.datasource.as_ref());
        panel.targets.iter().for_each(|target| check(&place, target.datasource.as_ref()));
    }
    for variable in dashboard.variables() {
        check(&format!("variable {}", variable.name), variable.datasource.as_ref());
    }
    for annotation in dashboard.annotations() {
        check(&format!("annotation {}", annotation.name), annotation.datasource.as_ref());
    }
    for panel in dashboard.charts().filter(|panel| !panel.targets.is_empty()) {
        if panel.targets.iter().any(|target| target.datasource.is_none()) {
            findings.add(&named(panel), "each target needs its data source");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A dashboard without a fault.
    fn sound() -> Value {
        let source = json!({"type": "grafana-clickhouse-datasource", "uid": "${datasource}"});
        let sql = "SELECT count() FROM clicks WHERE $__timeFilter(occurred_at) AND \
            ('${link:percentencode}' = '' OR slug = decodeURLComponent('${link:percentencode}'))";
        json!({
            "uid": "clicktrail-one",
            "title": "One",
            "links": [{"title": "All", "type": "dashboards", "keepTime": true}],
            "templating": {"list": [
                {"name": "datasource", "type": "datasource"},
                {"name": "metrics", "type": "datasource"},
                {"name": "link", "type": "textbox", "query": "", "multi": false},
            ]},
            "annotations": {"list": [{"name": "Replays", "datasource": source.clone(),
                "target": {"refId": "A", "rawSql": "SELECT '${link:percentencode}' AS text"}}]},
            "panels": [{
                "id": 1, "type": "stat", "title": "Clicks", "description": "All.",
                "gridPos": {"x": 0, "y": 0, "w": 12, "h": 4},
                "fieldConfig": {"defaults": {"unit": "short", "noValue": "None", "links": [
                    {"title": "Filter", "url":
                    "/d/clicktrail-one?${__url_time_range}&${link:queryparam}&var-link=${__data.fields.a:percentencode}"},
                ]}},
                "targets": [{"refId": "A", "format": 1, "datasource": source.clone(), "rawSql": sql}],
            }, {
                "id": 2, "type": "stat", "title": "Up", "description": "A process.",
                "gridPos": {"x": 12, "y": 0, "w": 12, "h": 4},
                "fieldConfig": {"defaults": {"unit": "short", "noValue": "None"}},
                "targets": [{"refId": "A", "expr": "up{job=\"${link:percentencode}\"}",
                    "datasource": {"type": "prometheus", "uid": "${metrics}"}}],
            }],
        })
    }

    fn found(dashboard: &Value) -> Vec<String> {
        let dashboard = Dashboard::parse(&dashboard.to_string()).unwrap();
        let findings = lint(&[dashboard]);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_fault_of_a_dashboard_is_found_and_a_sound_one_has_none() {
        assert_eq!(found(&sound()), [""; 0]);
        let sql = "/panels/0/targets/0/rawSql";
        let link = "/panels/0/fieldConfig/defaults/links/0/url";
        let expr = "/panels/1/targets/0/expr";
        for (pointer, value, expected) in [
            ("/uid", json!("a b"), "the uid is to be 1 to 40 letters"),
            ("/title", json!(" "), "a title that no other dashboard has"),
            ("/panels/1/id", json!(1), "another panel has its id 1"),
            ("/panels/0/title", json!(""), "it needs a title"),
            ("/panels/1/description", json!(""), "it needs a description"),
            ("/panels/0/fieldConfig/defaults/unit", json!(null), "it needs a unit"),
            ("/panels/0/fieldConfig/defaults/noValue", json!(""), "a text for no data"),
            ("/panels/1/gridPos/x", json!(11), "it covers panel \"Clicks\""),
            ("/panels/1/gridPos/w", json!(13), "not within the 24 columns"),
            ("/panels/0/targets/0/datasource/uid", json!("ch"), "the data source \"ch\""),
            ("/panels/0/targets/0/datasource", json!(null), "each target needs its data source"),
            (
                "/annotations/list/0/datasource/uid",
                json!("x"),
                "annotation Replays: the data source",
            ),
            ("/templating/list/2/multi", json!(true), "a single value"),
            ("/templating/list/2/name", json!("other"), "no query uses it"),
            ("/templating/list/2/type", json!("custom"), "its default [\"\"] is none of []"),
            ("/panels/0/type", json!("timeseries"), "format: 0"),
            ("/panels/0/targets/0/rawSql", json!(null), "neither rawSql nor expr"),
            (sql, json!("SELECT '${link}'"), "may appear in SQL only as the complete literal"),
            (
                sql,
                json!("SELECT '${link:raw}'"),
                "a value of the variable link changes the statement",
            ),
            (sql, json!("SELECT 'a${link:percentencode}'"), "only as the complete literal"),
            (sql, json!("SELECT ${link:percentencode}"), "only as the complete literal"),
            (sql, json!("SELECT ${link:singlequote}"), "changes the statement"),
            (sql, json!("SELECT $__timeShift(a)"), "no macro $__timeShift"),
            (expr, json!("up{job=\"$link\"}"), "in PromQL only as the complete literal"),
            (expr, json!("up{job=~\"${link:regex}\"}"), "in PromQL only as the complete literal"),
            (expr, json!("${link:percentencode}"), "in PromQL only as the complete literal"),
            (sql, json!("SELECT '${nothing:percentencode}'"), "no variable has the name nothing"),
            (sql, json!("SELECT * FROM click_versions"), "the view clicks"),
            (sql, json!("SELECT t > '2026-01-01'"), "is to come from a macro"),
            (link, json!("/d/clicktrail-two"), "no dashboard has the uid clicktrail-two"),
            (link, json!("/d/clicktrail-one?var-a=b"), "clicktrail-one has no variable a"),
            (link, json!("/d/clicktrail-one?${a:queryparam}"), "has no variable a"),
            (link, json!("/d/clicktrail-one?var-link=${__value.text}"), "needs the format"),
            ("/links/0/keepTime", json!(false), "keep the time range"),
            ("/links/0/title", json!(""), "it needs a title"),
        ] {
            let mut dashboard = sound();
            *dashboard.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
            let found = found(&dashboard);
            assert!(found.iter().any(|text| text.contains(expected)), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn two_dashboards_do_not_share_a_uid_or_a_title() {
        let parse = || Dashboard::parse(&sound().to_string()).unwrap();
        let findings = lint(&[parse(), parse()]);
        let texts: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts.contains(&"another dashboard has this uid"), "{texts:?}");
    }
}
