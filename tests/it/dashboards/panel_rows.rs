//! What the first query of a panel returns to the reader of a dashboard.

use dashboards::{Dashboard, Query, View};
use harness::World;
use serde_json::Value;

/// A dashboard of the repository.
pub(crate) fn dashboard(name: &str) -> Dashboard {
    let file = dashboards::files().into_iter().find(|(file, _)| *file == name);
    let (_, text) = file.unwrap_or_else(|| panic!("no dashboard {name}"));
    Dashboard::parse(text).expect("a dashboard")
}

/// The rows of a panel, by its title.
pub(crate) fn panel_rows(
    world: &World,
    dashboard: &Dashboard,
    title: &str,
    view: &View,
) -> Vec<Vec<Value>> {
    let panel = dashboard.charts().find(|panel| panel.title == title);
    let panel = panel.unwrap_or_else(|| panic!("no panel {title}"));
    let Some(Query::Sql(raw)) = panel.targets[0].query() else { panic!("{title} has no SQL") };
    rows(world, title, &view.at(panel, None).sql(raw).expect("a query"))
}

/// The rows of an annotation, by its name.
pub(crate) fn annotation_rows(
    world: &World,
    dashboard: &Dashboard,
    name: &str,
    view: &View,
) -> Vec<Vec<Value>> {
    let found = dashboard.annotations().iter().find(|annotation| annotation.name == name);
    let target = found.and_then(|annotation| annotation.target.as_ref());
    let Some(Query::Sql(raw)) = target.and_then(|target| target.query()) else {
        panic!("{name} has no SQL")
    };
    rows(world, name, &view.sql(raw).expect("a query"))
}

fn rows(world: &World, title: &str, sql: &str) -> Vec<Vec<Value>> {
    let settings =
        [("default_format", "JSONCompact"), ("output_format_json_quote_64bit_integers", "0")];
    let answer = world.send(&world.backends.reader, "POST", &settings, sql).unwrap();
    assert_eq!(answer.status, 200, "{title}: {}\n{sql}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let rows = answer["data"].as_array().expect("rows").iter();
    rows.map(|row| row.as_array().expect("cells").clone()).collect()
}
