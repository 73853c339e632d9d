//! The badge of each dashboard, in each state of the audit, and the annotations of jobs and links.

use std::collections::BTreeSet;

use dashboards::{Dashboard, View};
use harness::World;
use serde_json::Value;

use crate::dashboards::panel_rows::{annotation_rows, dashboard, panel_rows};

const ZONE: &str = "Europe/Berlin";
const NEWEST: &str = "Newest click";
const BALANCE: &str = "Log and table balance";

/// A dashboard, and a view of the last day.
fn last_day(name: &str) -> (Dashboard, View) {
    let (dashboard, now) = (dashboard(name), jiff::Timestamp::now().as_second());
    let view = View::of(&dashboard, now - 86_400, now, ZONE);
    (dashboard, view)
}

/// The text of a panel of the badge; empty without a row.
fn shown(world: &World, title: &str) -> String {
    let (dashboard, view) = last_day("overview");
    let rows = panel_rows(world, &dashboard, title, &view);
    assert!(rows.len() <= 1, "{rows:?}");
    rows.first().map_or_else(String::new, |row| row[0].as_str().unwrap().to_owned())
}

/// Stores a verdict some seconds old, with further columns, about the log until 08:30 UTC of today.
fn verdict(world: &World, age: u32, state: &str, columns: &str, values: &str) {
    world.query("TRUNCATE TABLE audit_verdict_versions");
    world.query(&format!(
        "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, judged_at, state, \
         logged_from, logged_until{columns}) SELECT 't', 'g', 60, now64(3) - {age}, '{state}', \
         toStartOfDay(now('UTC')), toStartOfDay(now('UTC')) + 30600{values}"
    ));
}

/// A time of today (UTC), in seconds, as a person in Berlin reads it.
fn moment(second: i64) -> String {
    let now = jiff::Timestamp::now();
    let day = now.to_zoned_datetime(jiff::tz::TimeZone::UTC).start_of_day().unwrap();
    let until = day.timestamp() + jiff::SignedDuration::from_secs(second);
    let [until, now] = [until, now].map(|it| it.in_tz(ZONE).unwrap());
    let format = if until.date() == now.date() { "%H:%M" } else { "%-d %b %H:%M" };
    until.strftime(format).to_string()
}

#[test]
fn the_badge_states_until_when_log_and_table_balance_or_why_that_is_unknown() {
    let world = World::new("badge_balance");
    world.setup();
    assert_eq!(shown(&world, BALANCE), "", "the panel's own text says that no audit runs");
    let until = moment(30_600);
    let part = format!("From {} to {until}", moment(0));
    let jobs = (", in_jobs", ", map('a', 7, 'b', 5)");
    let ended = (", in_jobs, ended_jobs", ", map('a', 7, 'b', 5), ['a']");
    for (age, state, (columns, values), expected) in [
        (9, "balanced", ("", ""), part.clone()),
        (9, "balanced", jobs, format!("{part}, except 12 clicks of 2 open jobs")),
        (
            9,
            "out_of_balance",
            (", missing, undecodable, duplicates", ", 3, 1, 2"),
            "Not balanced: 4 missing, 2 counted twice".to_owned(),
        ),
        (
            9,
            "balanced",
            (", in_jobs", ", map('a', 1)"),
            format!("{part}, except 1 click of 1 open job"),
        ),
        (9, "out_of_balance", ended, "Not balanced: 12 clicks of 1 ended job".to_owned()),
        (
            9,
            "out_of_balance",
            (", missing, misplaced, surplus", ", 1, 2, 3"),
            "Not balanced: 1 missing, 0 counted twice, 2 on a wrong shard, 3 without a record"
                .to_owned(),
        ),
        (
            9,
            "unknown",
            (", code", ", 'kafka_unreachable'"),
            "Unknown: kafka_unreachable".to_owned(),
        ),
        (
            9,
            "unknown",
            (", code", ", 'group_behind'"),
            "Unknown: clicks wait in the log".to_owned(),
        ),
        (301, "balanced", ("", ""), format!("Unknown since {until}: the audit is silent")),
    ] {
        verdict(&world, age, state, columns, values);
        assert_eq!(shown(&world, BALANCE), expected);
    }
    // What was known before stays known.
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, state, code) \
         VALUES ('t', 'g', 60, 'unknown', 'registry_unreachable')",
    );
    assert_eq!(shown(&world, BALANCE), format!("Unknown since {until}: registry_unreachable"));
    // A difference is shown until a later audit has compared that part of the log again.
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, judged_at, state, missing, \
         logged_from, logged_until, differences_from, differences_until) \
         SELECT 't', 'g', 60, now64(3) - 90, 'out_of_balance', 7, toStartOfDay(now('UTC')), \
         toStartOfDay(now('UTC')) + 30600, toStartOfDay(now('UTC')) + 60, toStartOfDay(now('UTC')) + 65",
    );
    let since = format!("Not balanced: differences since {}, run processors audit", moment(60));
    assert_eq!(shown(&world, BALANCE), since);
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, scope, state, logged_from, logged_until) \
         SELECT 't', 'g', 'log', 'balanced', toStartOfDay(now('UTC')) + 7200, toStartOfDay(now('UTC')) + 43200",
    );
    let part = format!("From {} to {}", moment(7_200), moment(43_200));
    assert_eq!(shown(&world, BALANCE), part);
    // Of two logs, the one that needs attention is shown.
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, state, missing) \
         VALUES ('u', 'g', 60, 'out_of_balance', 1)",
    );
    assert_eq!(shown(&world, BALANCE), "Not balanced: 1 missing, 0 counted twice");
    // Also when its audit has ended, and for days: another log that balances does not hide it.
    verdict(&world, 2 * 86_400, "balanced", "", "");
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, state, logged_from, \
         logged_until) SELECT 'u', 'g', 60, 'balanced', now64(3) - 900, now64(3) - 60",
    );
    assert_eq!(shown(&world, BALANCE), format!("Unknown since {until}: the audit is silent"));
}

#[test]
fn the_badge_tells_a_log_without_clicks_from_one_that_is_not_processed() {
    let world = World::new("badge_newest");
    world.setup();
    assert_eq!(shown(&world, NEWEST), "No click in seven days");
    let click = |age: u32| {
        world.query("TRUNCATE TABLE click_versions");
        world.query(&format!(
            "INSERT INTO click_versions (occurred_at, event_id, logged_at) \
             SELECT now64(6) - {age}, 'e', now64(3) - {age}"
        ));
    };
    click(47 * 60 + 10);
    assert_eq!(shown(&world, NEWEST), "47 min ago, cause unknown");
    verdict(&world, 9, "balanced", "", "");
    assert_eq!(shown(&world, NEWEST), "47 min ago, no newer click in the log");
    for (state, columns, values) in
        [("balanced", ", lagging", ", 5"), ("unknown", ", code", ", 'group_behind'")]
    {
        verdict(&world, 9, state, columns, values);
        assert_eq!(shown(&world, NEWEST), "47 min ago, clicks wait in the log");
    }
    for (age, state, columns, values) in [
        (400, "balanced", "", ""),
        (400, "balanced", ", lagging", ", 5"),
        (9, "out_of_balance", ", missing", ", 1"),
        (9, "balanced", ", in_jobs", ", map('a', 7)"),
    ] {
        verdict(&world, age, state, columns, values);
        let shown = shown(&world, NEWEST);
        assert_eq!(shown, "47 min ago, cause unknown", "{age} s, {state}{columns}");
    }
    for (age, passed) in [(3 * 3_600 + 60, "3 h"), (6 * 86_400, "6 days")] {
        click(age);
        assert_eq!(shown(&world, NEWEST), format!("{passed} ago, cause unknown"));
    }
    click(5);
    let fresh = shown(&world, NEWEST);
    assert!(fresh.ends_with(" s ago"), "{fresh}");
}

#[test]
fn each_dashboard_has_the_same_badge_and_each_of_its_texts_one_colour() {
    let texts = [
        (NEWEST, "5 s ago", Some("green")),
        (NEWEST, "47 min ago, no newer click in the log", Some("text")),
        (NEWEST, "47 min ago, clicks wait in the log", Some("red")),
        (NEWEST, "47 min ago, cause unknown", Some("yellow")),
        (NEWEST, "No click in seven days", None),
        (BALANCE, "From 09:15 to 09:30, except 1 click of 1 open job", Some("green")),
        (BALANCE, "Not balanced: 1 missing, 0 counted twice", Some("red")),
        (BALANCE, "Unknown since 09:30: kafka_unreachable", Some("yellow")),
    ];
    let mut queries = BTreeSet::new();
    for (name, text) in dashboards::files() {
        let json: Value = serde_json::from_str(text).unwrap();
        let panels = json["panels"].as_array().unwrap();
        for (title, text, expected) in texts {
            let panel = panels.iter().find(|panel| panel["title"] == title);
            let panel = panel.unwrap_or_else(|| panic!("{name} has no panel {title}"));
            queries.insert(panel["targets"].to_string());
            let mappings = panel["fieldConfig"]["defaults"]["mappings"].as_array().unwrap();
            let matches = |mapping: &&Value| {
                let pattern = mapping["options"]["pattern"].as_str().unwrap();
                let pattern = pattern.strip_prefix('/').unwrap().strip_suffix('/').unwrap();
                match pattern.strip_prefix('^') {
                    Some(start) => text.starts_with(start),
                    None => text.ends_with(pattern.strip_suffix('$').unwrap()),
                }
            };
            let found: Vec<_> = mappings.iter().filter(matches).collect();
            let colours = found.iter().map(|it| it["options"]["result"]["color"].as_str().unwrap());
            assert_eq!(colours.collect::<Vec<_>>(), Vec::from_iter(expected), "{name}: {text}");
        }
    }
    assert_eq!(queries.len(), 2, "the queries of both panels are the same everywhere");
}

#[test]
fn replays_filled_gaps_and_changes_of_links_are_annotations() {
    let world = World::new("annotations");
    world.setup();
    world.query(
        "INSERT INTO job_versions (id, version, kind, state, plan, counts, created_at, updated_at) \
         SELECT id, 1, 'replay', state, plan, counts, now64(6) - 7200, now64(6) - 1800 \
         FROM VALUES('id String, state String, plan String, counts Map(String, UInt64)', \
         ('r', 'done', '{\"reason\":\"new geo data\"}', map('rewritten', 9, 'started_at_us', 0)), \
         ('planned', 'planned', '{}', map()), \
         ('s', 'done', '{\"writes_dead_letters\":true}', map('records', 8, 'started_at_us', 1)), \
         ('open', 'planned', '{\"writes_dead_letters\":true}', map()))",
    );
    world.query(
        "INSERT INTO link_versions (link_id, version, domain, slug, target_url, changed_at) VALUES \
         ('new', 1, '', 'new', 'https://new.example/', now() - 60), \
         ('l', 3, '', 'a''b', 'https://three.example/', now() - 60), \
         ('m', 2, '', 'other', 'https://other.example/', now() - 90)",
    );
    world.query(
        "INSERT INTO click_versions (occurred_at, event_id, link_id, link_version, domain, slug, \
         target_url) SELECT now64(6) - 100 * (4 - number), toString(number), 'l', number, 'd', \
         'a''b', concat('https://', toString(number)) FROM numbers(1, 3)",
    );
    for (dashboard, view) in ["overview", "link"].map(last_day) {
        let titles = |name: &str, view: &View| {
            let mut rows = annotation_rows(&world, &dashboard, name, view);
            rows.sort_by_key(|row| row[0].to_string());
            rows
        };
        let replays = titles("Replays", &view);
        let texts: Vec<_> = replays.iter().map(|row| (&row[2], &row[3])).collect();
        let text = Value::from("9 clicks rewritten, done: new geo data");
        assert_eq!(texts, [(&"Replay r".into(), &text)], "{replays:?}");
        let gaps = titles("Gaps filled", &view);
        let mut gaps: Vec<_> = gaps.iter().map(|row| row[2].as_str().unwrap()).collect();
        gaps.sort_unstable();
        assert_eq!(gaps, ["Gap filled, job s", "Gap open, job open"]);
        let links = |view: &View| -> Vec<String> {
            let rows = titles("Link changes", view);
            rows.iter().map(|row| format!("{} {}", row[1], row[2]).replace('"', "")).collect()
        };
        if dashboard.uid == "clicktrail-link" {
            let changes = links(&view.with("link", "a'b"));
            let expected = [
                "Link changed: d/a'b version 2, https://2",
                "Link changed: d/a'b version 3, https://3",
            ];
            assert_eq!(changes.len(), 2, "{changes:?}");
            assert_eq!(changes[0], expected[0]);
            assert!(changes[1].contains("version 3"), "{changes:?}");
            assert_eq!(links(&view.with("link", "nothing")), [""; 0]);
        } else {
            assert_eq!(
                links(&view),
                [
                    "Link changed: /other version 2, https://other.example/",
                    "Link changed: /a'b version 3, https://three.example/",
                ]
            );
        }
    }
}
