//! The preview of the dashboards: its queries on the real engine, and what it refuses.

use std::net::{Ipv4Addr, SocketAddr};

use harness::{World, request};
use serde_json::{Value, json};
use stack::{Cache, PortChoice, PreviewServers, Stack};

const DAY_MS: i64 = 86_400_000;
const JSON: (&str, &str) = ("content-type", "application/json");

/// A panel's question, on a day of 2025.
fn question(panel: u64) -> Value {
    let from = 1_761_436_800_000_i64;
    json!({"dashboard": "clicktrail-overview", "panel": panel, "from": from, "to": from + DAY_MS, "zone": "Europe/Berlin"})
}

#[test]
fn every_query_of_the_dashboards_is_answered_by_the_preview() {
    let world = World::new("preview");
    world.setup();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::shared().unwrap();
    let stack = Stack::open(folder.path(), cache, PortChoice::default()).unwrap();
    let clickhouse = world.backends.clickhouse.trim_start_matches("http://").parse().unwrap();
    let servers = |database: &str, prometheus| PreviewServers {
        clickhouse,
        database: database.to_owned(),
        prometheus,
    };
    let preview = stack.preview_of(servers(&world.database, None), Some(0)).unwrap();
    let url = format!("http://{}", preview.address);
    let now: i64 = world.number("SELECT toUnixTimestamp64Milli(now64(3))").try_into().unwrap();
    let check = preview.check(now - DAY_MS, now);
    assert_eq!(check.failed, [""; 0], "{check}");
    assert!(check.answered > 60 && check.without_prometheus > 10, "{check}");

    // A page of another site reaches no query: by its form, or by a name of its own for this address.
    let panel = question(panel_of_totals(&url)).to_string();
    for (headers, status) in [
        (&[JSON][..], 200),
        (&[("content-type", "text/plain")], 415),
        (&[JSON, ("host", "preview.example")], 421),
    ] {
        let answer = request("POST", &format!("{url}/api/query"), headers, panel.as_str()).unwrap();
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
    }
    // Times are seconds, also in a zone with summer time, and infinity, from which no change is shown, is a text.
    let answer = request("POST", &format!("{url}/api/query"), &[JSON], panel.as_str()).unwrap();
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["columns"][0]["name"], "time", "{answer}");
    let times: Vec<_> = answer["rows"].as_array().unwrap().iter().map(|row| &row[0]).collect();
    assert!(times.iter().all(|time| time.as_str().is_some_and(|it| it.parse::<f64>().is_ok())));
    assert_eq!(answer["rows"][0][1], "inf", "{answer}");
    for path in ["/", "/d/clicktrail-link?var-link=a%27b", "/page.js"] {
        let answer = request("GET", &format!("{url}{path}"), &[], "").unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }

    // A database without tables, and a Prometheus that does not answer, are errors of each panel.
    let closed_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let empty = stack.preview_of(servers("no_such_database", Some(closed_port)), Some(0)).unwrap();
    let check = empty.check(now - DAY_MS, now);
    assert!(check.answered < 10 && check.without_prometheus > 10, "{check}");
    assert!(check.failed[0].contains("no_such_database"), "{check}");
}

/// The panel *Totals* of *Overview*.
fn panel_of_totals(url: &str) -> u64 {
    let file = request("GET", &format!("{url}/api/dashboards/clicktrail-overview"), &[], "");
    let file: Value = serde_json::from_str(&file.unwrap().body).unwrap();
    let mut panels = file["panels"].as_array().unwrap().iter();
    panels.find(|panel| panel["title"] == "Totals").unwrap()["id"].as_u64().unwrap()
}
