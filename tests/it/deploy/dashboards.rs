//! The shipped dashboards: their files, and what a visitor's text does in them; the faults that `processors dashboards
//! check` finds.

use std::collections::BTreeSet;

use ::dashboards::{Dashboard, Query, View, lint, placed_queries};
use harness::{Exit, World, closed_port, root};
use serde_json::{Value, json};

use crate::dashboards::browsed_clicks::{BEGIN, END, HOSTILE, SLUGS, load};

/// The files of `dashboards/`, without their ending.
pub(crate) const DASHBOARDS: [&str; 5] = ["alerts", "bots", "link", "overview", "pipeline"];

/// One of them.
pub(crate) fn dashboard(name: &str) -> Value {
    let path = root().join("dashboards").join(name).with_extension("json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The range of the loaded clicks, as the command line takes it.
fn range() -> [String; 4] {
    let time = |seconds| jiff::Timestamp::from_second(seconds).unwrap().to_string();
    ["--from".to_owned(), time(BEGIN), "--to".to_owned(), time(END)]
}

/// Runs the check as the user that may only read.
fn check(world: &World, arguments: &[&str], set: &[(&str, &str)]) -> Exit {
    let (user, password) = &world.backends.reader;
    let reader = [("CLICKHOUSE_USER", user.as_str()), ("CLICKHOUSE_PASSWORD", password)];
    let mut command = world.command("processors", &[&reader, set].concat());
    command.args(["dashboards", "check"]).args(range()).args(arguments);
    world.start(command).end()
}

/// The answer to a query of a dashboard as the user that may only read: columns by name, and rows.
fn ask(world: &World, sql: &str) -> (Vec<String>, Vec<Vec<Value>>) {
    let format = [("default_format", "JSONCompact")];
    let answer = world.send(&world.backends.reader, "POST", &format, sql).unwrap();
    assert_eq!(answer.status, 200, "{sql}: {}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let columns = answer["meta"].as_array().unwrap().iter();
    let columns = columns.map(|column| column["name"].as_str().unwrap().to_owned());
    let rows = answer["data"].as_array().unwrap().iter();
    (columns.collect(), rows.map(|row| row.as_array().unwrap().clone()).collect())
}

/// The SQL of a panel of *Overview*.
fn sql_of<'a>(dashboard: &'a Dashboard, place: &str) -> &'a str {
    let mut queries = placed_queries(dashboard).into_iter();
    let found = queries.find(|placed| placed.place == place);
    match found.unwrap_or_else(|| panic!("no {place}")).query {
        Query::Sql(sql) => sql,
        Query::Promql { .. } => panic!("{place} does not ask ClickHouse"),
    }
}

#[test]
fn the_committed_dashboards_are_those_of_the_program_and_have_no_fault() {
    let files = std::fs::read_dir(root().join("dashboards")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> =
        names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    assert_eq!(names, DASHBOARDS.map(str::to_owned).into());
    let mut held = BTreeSet::new();
    let mut parsed = Vec::new();
    for (name, text) in ::dashboards::files() {
        held.insert(name.to_owned());
        parsed.push(Dashboard::parse(text).unwrap());
        assert_eq!(parsed.last().unwrap().uid, format!("clicktrail-{name}"), "links have the uid");
    }
    assert_eq!(held, names);
    let findings: Vec<_> = lint(&parsed).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn any_slug_of_a_visitor_filters_a_dashboard_and_appears_as_it_is() {
    let world = World::new("dashboard_values");
    world.setup();
    load(&world);
    the_values_of_visitors_filter_and_appear(&world);
    the_filters_of_the_plugin_filter_the_view(&world);
}

/// A slug of a visitor filters by itself, and appears as it is; as a choice it changes nothing.
fn the_values_of_visitors_filter_and_appear(world: &World) {
    let dashboard = Dashboard::parse(&dashboard("overview").to_string()).unwrap();
    let everyone = View::of(&dashboard, BEGIN, END, "Europe/Berlin").with("traffic", "all");
    let slugs = SLUGS.into_iter().chain([HOSTILE]).map(str::to_owned);
    let forged = slugs.clone().map(|slug| format!("{slug}'"));
    for (slug, is_held) in slugs.map(|slug| (slug, true)).chain(forged.map(|slug| (slug, false))) {
        let view = everyone.with("link", &slug);
        let (columns, rows) =
            ask(world, &view.sql(sql_of(&dashboard, "panel \"Totals\"")).unwrap());
        let at = columns.iter().position(|name| name == "clicks").unwrap();
        let clicks = rows.last().unwrap()[at].as_f64().unwrap_or_default();
        let encoded: String = slug.bytes().map(|byte| format!("{byte:02X}")).collect();
        let counted = world.number(&format!(
            "SELECT count() FROM clicks WHERE slug = unhex('{encoded}') AND occurred_at >= {BEGIN} \
             AND occurred_at < {END}"
        ));
        assert_eq!(clicks > 0.0, is_held, "{slug}");
        assert!((clicks - counted as f64).abs() < 0.5, "{slug}: {clicks} and {counted}");
        let (columns, rows) =
            ask(world, &view.sql(sql_of(&dashboard, "panel \"Newest clicks\"")).unwrap());
        let at = columns.iter().position(|name| name == "link").unwrap();
        assert_eq!(rows.is_empty(), !is_held, "{slug}");
        assert!(rows.iter().all(|row| row[at] == slug.as_str()), "{slug}: {rows:?}");
    }
}

/// What the plugin appends for its ad-hoc filters.
fn the_filters_of_the_plugin_filter_the_view(world: &World) {
    let count = |filter: &str| {
        let sql = format!(
            "SELECT count() FROM clicks\nsettings additional_table_filters={{'clicks' : '{filter}'}}"
        );
        let (_, rows) = ask(world, &sql);
        rows[0][0]
            .as_str()
            .map_or_else(|| rows[0][0].to_string(), str::to_owned)
            .parse::<u64>()
            .unwrap()
    };
    let (all, german) =
        (world.clicks(), world.number("SELECT count() FROM clicks WHERE country = 'DE'"));
    assert!(german > 0 && german < all, "{german} of {all}");
    assert_eq!(count(r" country = \'DE\' "), german);
    assert_eq!(count(r" country = \'DE\' AND country = \'US\' "), 0);
    let quoted =
        world.number("SELECT count() FROM clicks WHERE slug = '\\'); DROP TABLE clicks; --'");
    assert_eq!(count(r" slug = \'\\\'); DROP TABLE clicks; --\' "), quoted);
    assert!(quoted > 0);
}

/// A dashboard of one panel.
fn one_panel(sql: &str) -> Value {
    let source = json!({"type": "grafana-clickhouse-datasource", "uid": "${datasource}"});
    json!({
        "uid": "clicktrail-own", "title": "Own",
        "templating": {"list": [
            {"name": "datasource", "type": "datasource"},
            {"name": "link", "type": "textbox", "query": ""},
        ]},
        "panels": [{
            "id": 1, "type": "stat", "title": "Clicks", "description": "All.",
            "gridPos": {"x": 0, "y": 0, "w": 12, "h": 4},
            "fieldConfig": {"defaults": {"unit": "short", "noValue": "None"}},
            "targets": [{"refId": "A", "format": 1, "datasource": source, "rawSql": sql}],
        }],
    })
}

#[test]
fn dashboards_check_names_each_fault_and_ends_with_its_code() {
    let world = World::new("dashboard_faults");
    world.setup();
    let folder = world.folder().join("own");
    std::fs::create_dir(&folder).unwrap();
    let dir = folder.to_str().unwrap();
    let file = folder.join("own.json");
    let end = |text: &str, arguments: &[&str], set: &[(&str, &str)]| {
        std::fs::write(&file, text).unwrap();
        check(&world, &[&["--dir", dir], arguments].concat(), set)
    };
    let filter =
        "('${link:percentencode}' = '' OR slug = decodeURLComponent('${link:percentencode}'))";
    let sound = format!("SELECT count() FROM clicks WHERE $__timeFilter(occurred_at) AND {filter}");
    let sound = one_panel(&sound).to_string();
    let exit = end(&sound, &[], &[]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.out.ends_with("attacks: 1; faults of files: 0\n"), "{}", exit.out);

    // Queries: what the server refuses, what the panel cannot show, what an attack changes.
    for (sql, expected) in [
        ("SELECT nothing FROM clicks WHERE '${link:percentencode}' = ''", "Code: 47"),
        (
            "SELECT 1 FROM numbers(2) WHERE '${link:percentencode}' = ''",
            "stat needs a value in one row",
        ),
        (
            "SELECT $__timeShift(a) FROM clicks WHERE '${link:percentencode}' = ''",
            "no macro $__timeShift",
        ),
        (
            "SELECT count() FROM clicks WHERE $__timeFilter(occurred_at) AND slug = '${link:raw}'",
            "with attacks as values: ",
        ),
        (
            "SELECT number AS clicks FROM numbers(1 + 9 * ('${link:percentencode}' != '')) WHERE $__fromTime > toDateTime(0)",
            "10 rows, without: 1",
        ),
    ] {
        let exit = end(&one_panel(sql).to_string(), &[], &[]);
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let line = exit.out.lines().nth(1).unwrap();
        assert!(
            line.starts_with("Own        panel \"Clicks\"") && line.contains(expected),
            "{line}"
        );
    }
    let other = one_panel("SELECT 1").to_string().replace("\"title\":\"Clicks\"", "\"title\":\"\"");
    let exit = end(&other, &[], &[]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.out.contains("file: clicktrail-own, panel 1: it needs a title"), "{}", exit.out);

    // What is not a fault of a dashboard.
    let closed = format!("http://{}", closed_port());
    for (text, arguments, set, code, expected) in [
        ("{", &[][..], &[][..], 78, "dashboard_file: "),
        (
            &sound,
            &["--var", "other=1"],
            &[],
            78,
            "dashboard_argument: no dashboard has the variable other",
        ),
        (&sound, &["--var", "other"], &[], 64, "not NAME=VALUE"),
        (&sound, &["--zone", "Mars"], &[], 64, "not a time zone"),
        (&sound, &["--prometheus-url", &closed], &[], 75, "prometheus_unreachable: "),
        (&sound, &[], &[("CLICKHOUSE_URL", closed.as_str())], 75, "clickhouse_unreachable: "),
        (&sound, &[], &[("CLICKHOUSE_PASSWORD", "wrong")], 78, "clickhouse_access: "),
    ] {
        let exit = end(text, arguments, set);
        assert_eq!(exit.code, Some(code), "{exit:?}");
        assert!(exit.err.contains(expected), "{expected}: {exit:?}");
    }
}
