//! All panels and variables of the dashboard on the real engine: each query runs as the read-only user
//! and returns columns that its panel can display.

use std::collections::{BTreeMap, BTreeSet};

use harness::{Raw, View, World, root};
use schemas::{Encoder, Method, Outcome, RawClick};
use serde_json::Value;
use uuid::Uuid;

const PLUGIN: &str = "grafana-clickhouse-datasource";
const HOUR: i64 = 3600;
/// One click every ten minutes of two days.
const CLICKS: i64 = 288;
const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/131.0.0.0 Safari/537.36";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) \
    AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

/// The files of `dashboards/`, without their ending.
pub(crate) const DASHBOARDS: [&str; 2] = ["alerts", "clicks"];

/// One of them.
pub(crate) fn dashboard(name: &str) -> Value {
    let path = root().join("dashboards").join(name).with_extension("json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name} in {value:#}"))
}

/// Midnight (UTC) of the day before yesterday, so that the panels of a week include the clicks.
fn begin() -> i64 {
    let day = 24 * HOUR;
    (jiff::Timestamp::now().as_second() / day - 2) * day
}

/// Every third click is a bot's, every fourth has no link, and so on. No address is recorded; seven
/// people with three user agents have an id, and every eighth click has none.
fn load(world: &World) {
    let encoder = Encoder::new(world.schema_id());
    let agents = [CHROME, IPHONE, "Mozilla/5.0 (compatible; bingbot/2.0)"];
    let record = |n: i64| {
        let of = |values: &[&'static str]| values[usize::try_from(n).unwrap() % values.len()];
        let missing = n % 4 == 3;
        let visitor = u64::try_from(n % 7 * 3 + n % 3 + 1).unwrap();
        let click = RawClick {
            domain: Some(of(&["a.example", "b.example"])),
            query: Some(of(&["", "utm_source=news&utm_medium=mail&utm_campaign=spring"])),
            link_id: (!missing).then_some("l"),
            outcome: if missing { Outcome::NotFound } else { Outcome::Redirected },
            status: if missing { 404 } else { 302 },
            target_url: (!missing).then_some("https://shop.example/sale"),
            method: Method::Get,
            visitor_id: (n % 8 != 0).then(|| visitor.to_be_bytes()),
            user_agent: Some(of(&agents)),
            referer: Some(of(&["https://t.co/x", "https://news.example/", ""])),
            accept_language: Some(of(&["de-DE,de;q=0.9", "en"])),
            latency_us: Some(40),
            ..RawClick::new(
                Uuid::now_v7(),
                (begin() + n * 600) * 1_000_000,
                if missing { "nothing" } else { of(&["spring", "o'clock", "sale"]) },
            )
        };
        let mut value = Vec::new();
        encoder.encode(&click, &mut value).unwrap();
        Raw { partition: i32::try_from(n % 3).unwrap(), value: Some(value), ..Raw::default() }
    };
    world.kafka.produce(&world.topic, &(0..CLICKS).map(record).collect::<Vec<_>>());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(world);
    processors.stop().expect_code(0);
}

/// The form of a domain or a slug in a variable: not its own bytes, since visitors choose them.
fn id(value: &str) -> String {
    value.bytes().fold("x".to_owned(), |id, byte| format!("{id}{byte:02X}"))
}

fn view(traffic: &str, domain: &[&str], link: &[&str]) -> View {
    let chosen = |values: &[&str]| values.iter().map(|value| id(value)).collect();
    View {
        from: begin(),
        to: begin() + 48 * HOUR,
        interval: HOUR,
        zone: "Europe/Berlin",
        chosen: BTreeMap::from([
            ("traffic".to_owned(), vec![traffic.to_owned()]),
            ("domain".to_owned(), chosen(domain)),
            ("link".to_owned(), chosen(link)),
        ]),
    }
}

/// Names, types and rows of a result.
#[derive(Debug)]
struct Table {
    columns: Vec<(String, String)>,
    rows: Vec<Vec<Value>>,
}

/// Queries as a dashboard does, as the read-only user.
fn ask(world: &World, view: &View, sql: &str) -> Table {
    let format = [("default_format", "JSONCompact")];
    let answer = world.send(&world.backends.reader, "POST", &format, view.expand(sql)).unwrap();
    assert_eq!(answer.status, 200, "{sql}: {}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let columns = answer["meta"].as_array().unwrap().iter();
    let columns =
        columns.map(|column| (text(column, "name").to_owned(), text(column, "type").to_owned()));
    let rows = answer["data"].as_array().unwrap().iter();
    let rows = rows.map(|row| row.as_array().unwrap().clone());
    Table { columns: columns.collect(), rows: rows.collect() }
}

fn is_time(kind: &str) -> bool {
    kind.starts_with("DateTime")
}

fn is_number(kind: &str) -> bool {
    ["UInt", "Int", "Float", "Decimal"].iter().any(|number| kind.starts_with(number))
}

fn is_text(kind: &str) -> bool {
    kind == "String" || kind == "LowCardinality(String)"
}

/// A count, which is a number, or text if it has 64 bits.
fn integer(cell: &Value) -> i64 {
    let text = cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    text.parse().unwrap_or_else(|_| panic!("no count: {cell}"))
}

/// The errors of a result for a panel of a type.
fn misfit(kind: &str, table: &Table) -> Option<String> {
    let types: Vec<_> = table.columns.iter().map(|(_, kind)| kind.as_str()).collect();
    let fits = match kind {
        "stat" => types.len() == 1 && is_number(types[0]) && table.rows.len() == 1,
        "timeseries" => {
            let (first, rest) = types.split_first()?;
            let wide = rest.iter().all(|kind| is_number(kind));
            let long = matches!(rest, [label, value] if is_text(label) && is_number(value));
            let times: Vec<_> = table.rows.iter().map(|row| row[0].to_string()).collect();
            table.columns[0].0 == "time"
                && is_time(first)
                && !rest.is_empty()
                && (wide || long)
                && times.is_sorted()
        }
        "bargauge" => matches!(types[..], [label, value] if is_text(label) && is_number(value)),
        "barchart" => {
            types.len() > 1 && is_text(types[0]) && types[1..].iter().all(|kind| is_number(kind))
        }
        "table" => types.len() > 1,
        other => return Some(format!("no rule for panels of type {other}")),
    };
    (!fits || table.rows.is_empty()).then(|| format!("{kind} cannot display {table:?}"))
}

#[test]
fn every_panel_and_variable_gets_columns_that_it_can_display() {
    let world = World::new("dashboard");
    world.setup();
    load(&world);
    let dashboard = dashboard("clicks");
    let everyone = view("all", &[], &[]);
    let views = [
        everyone.clone(),
        view("people", &[], &[]),
        View { zone: "utc", ..view("all", &["a.example", "b.example"], &["o'clock", "nothing"]) },
    ];
    let mut wrong = Vec::new();
    let mut asked = 0;
    let mut answers = BTreeMap::new();
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        for target in panel["targets"].as_array().unwrap() {
            if target["datasource"]["type"] != PLUGIN {
                continue;
            }
            for (number, view) in views.iter().enumerate() {
                let table = ask(&world, view, text(target, "rawSql"));
                asked += 1;
                wrong.extend(
                    misfit(text(panel, "type"), &table)
                        .map(|misfit| format!("{title} (view {number}): {misfit}")),
                );
                answers.insert((title, number), table);
            }
            // A range without clicks returns a result, not an error.
            let before = View { from: 0, to: 10 * HOUR, ..everyone.clone() };
            let empty = ask(&world, &before, text(target, "rawSql"));
            if panel["type"] == "stat" && empty.rows.len() != 1 {
                wrong.push(format!("{title} returns nothing for an empty range"));
            }
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] != "query" {
            continue;
        }
        let table = ask(&world, &everyone, text(&variable["query"], "rawSql"));
        asked += 1;
        // The chosen values, and the displayed ones.
        let fits = matches!(&table.columns[..], [(_, a), (_, b)] if is_text(a) && is_text(b))
            && table.rows.iter().all(|row| row[0] == id(row[1].as_str().unwrap()));
        if !fits || table.rows.len() < 2 {
            wrong.push(format!("variable {}: {table:?}", text(variable, "name")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 60, "{asked} queries are all");

    // The panels show the right numbers.
    let number = |title, view: usize| answers[&(title, view)].rows[0][0].clone();
    let count = |title, view| integer(&number(title, view));
    assert_eq!(count("Clicks", 0), CLICKS);
    assert_eq!(count("Clicks", 1), CLICKS * 2 / 3);
    // D1: without an address, visitors are counted by their ids.
    assert_eq!(count("Visitors per day, summed", 0), 7 * 3);
    assert_eq!(number("Without a visitor id", 0), Value::from(0.125));
    assert_eq!(number("Bots", 1), Value::from(1.0 / 3.0));
    assert_eq!(number("Redirected", 0), Value::from(0.75));
    let sum = |table: &Table, from: usize| {
        let cells = table.rows.iter().flat_map(|row| &row[from..]);
        cells.map(integer).sum::<i64>()
    };
    for title in ["People and bots", "By hour of the day", "By day of the week"] {
        assert_eq!(sum(&answers[&(title, 0)], 1), CLICKS, "{title}");
    }
    assert_eq!(answers[&("People and bots", 0)].rows.len(), 48, "each hour");
    // Midnight in Berlin is another hour than in UTC, but a day has 24 of them everywhere.
    assert_eq!(answers[&("By hour of the day", 0)].rows.len(), 24);
    assert_eq!(sum(&answers[&("The eight most clicked links", 0)], 2), CLICKS);
    assert_eq!(sum(&answers[&("What the visitor got", 0)], 1), CLICKS);
    let visitors: Vec<_> = answers[&("Links", 0)].rows.iter().map(|row| integer(&row[3])).collect();
    assert!(visitors.iter().all(|visitors| (1..=21).contains(visitors)), "{visitors:?}");

    // Of two clicks, another program version enriched one, and another referrer table both.
    let stale = &answers[&("Stale rows", 0)];
    assert_eq!(stale.rows.len(), 5);
    assert_eq!(stale.rows.iter().map(|row| integer(&row[1])).sum::<i64>(), 0);
    world.query(&format!(
        "INSERT INTO click_versions (occurred_at, event_id, enrich_version, geo_db_build, ua_rules_version, \
         bot_rules_version, referrer_rules_version, ingested_at) \
         SELECT fromUnixTimestamp64Micro({} * 1000000), 'stale' || toString(number), enrich_version - number, \
         geo_db_build, ua_rules_version, bot_rules_version, 'old', ingested_at - 1 \
         FROM (SELECT * FROM clicks LIMIT 1) AS click CROSS JOIN numbers(2) AS numbers",
        begin() + 1
    ));
    let panels = panels(&dashboard);
    let panel = panels.iter().find(|panel| panel["title"] == "Stale rows").unwrap();
    let stale = ask(&world, &everyone, text(&panel["targets"][0], "rawSql"));
    let counts: Vec<_> = stale.rows.iter().map(|row| (row[0].as_str(), integer(&row[1]))).collect();
    assert!(
        counts.contains(&(Some("program"), 1)) && counts.contains(&(Some("referrers"), 2)),
        "{counts:?}"
    );
    assert!(counts.contains(&(Some("geo"), 0)), "{counts:?}");
}

#[test]
fn m10_no_domain_or_slug_of_a_visitor_is_part_of_a_query() {
    const TEXTS: [&str; 4] = [
        r"\') union all select max(424242) from clicks where 1=1 -- go.example",
        r"go.example\",
        "x', 'y') OR 1=1 --",
        "}, {x61,x62} $__all ${link}",
    ];
    let world = World::new("dashboard_texts");
    world.setup();
    let encoder = Encoder::new(world.schema_id());
    let record = |text: &&'static str| {
        let click = RawClick {
            domain: Some(*text),
            link_id: Some("l"),
            outcome: Outcome::Redirected,
            status: 302,
            user_agent: Some(CHROME),
            ..RawClick::new(Uuid::now_v7(), (begin() + HOUR) * 1_000_000, text)
        };
        let mut value = Vec::new();
        encoder.encode(&click, &mut value).unwrap();
        Raw { value: Some(value), ..Raw::default() }
    };
    world.kafka.produce(&world.topic, &TEXTS.iter().map(record).collect::<Vec<_>>());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    processors.stop().expect_code(0);
    let dashboard = dashboard("clicks");
    let mut asked = 0;
    for value in TEXTS {
        // As chosen from the list, and as in a forged URL of the dashboard.
        let mut forged = view("all", &[], &[]);
        for name in ["domain", "link", "traffic"] {
            forged.chosen.insert(name.to_owned(), vec![format!("{value}'")]);
        }
        for (view, expected) in [(view("all", &[value], &[value]), Some(1)), (forged, None)] {
            for panel in panels(&dashboard) {
                for target in panel["targets"].as_array().unwrap() {
                    if target["datasource"]["type"] != PLUGIN {
                        continue;
                    }
                    let table = ask(&world, &view, text(target, "rawSql"));
                    asked += 1;
                    let injected = |cell: &Value| cell == "424242" || cell == 424_242;
                    assert!(!table.rows.iter().flatten().any(injected), "{table:?}");
                    if let ("Clicks", Some(expected)) = (text(panel, "title"), expected) {
                        assert_eq!(integer(&table.rows[0][0]), expected, "{value}");
                    }
                }
            }
        }
    }
    assert!(asked > 8 * 20, "{asked} queries are all");
}

#[test]
fn the_dashboards_are_complete_and_portable() {
    let files = std::fs::read_dir(root().join("dashboards")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    assert_eq!(names, DASHBOARDS);
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert_eq!(dashboard["uid"], format!("clicktrail-{name}"), "links have the uid");
        check(&dashboard);
    }
}

fn check(dashboard: &Value) {
    let sources: BTreeSet<_> = ["${datasource}", "${metrics}"].into();
    let list = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<_> = list.iter().map(|variable| text(variable, "name")).collect();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id twice");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title} is out of the grid");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(!text(panel, "description").is_empty(), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        if panel["type"] == "alertlist" {
            // Of any data source: it takes a name, not a variable.
            assert!(panel["options"]["datasource"].is_null(), "{title} is tied to a source");
            continue;
        }
        for target in panel["targets"].as_array().unwrap() {
            let source = text(&target["datasource"], "uid");
            assert!(sources.contains(source), "{title} is tied to {source}");
            if target["datasource"]["type"] == PLUGIN {
                let series = panel["type"] == "timeseries";
                assert_eq!(target["format"], if series { 0 } else { 1 }, "{title}");
                assert!(!text(target, "rawSql").contains("click_versions"), "{title}");
            }
        }
    }
    let all = dashboard.to_string();
    for name in &variables {
        assert!(all.contains(&format!("${{{name}")), "variable {name} is never used");
    }
}
