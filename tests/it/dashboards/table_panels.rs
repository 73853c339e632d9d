//! Tables whose rows come from two sources: the links and their clicks, the clicks and the newest rules.

use dashboards::View;
use harness::World;
use serde_json::{Value, json};

use crate::dashboards::panel_rows::{dashboard, panel_rows};

const DAY: i64 = 24 * 3_600;
/// Clicks on a slug of two domains, 30 days ago.
const CLICKS: &str = "INSERT INTO click_versions (occurred_at, event_id, domain, slug, link_id, link_version, target_url) \
    SELECT now64(6) - toIntervalDay(30), toString(number), if(number < 3, 'a.example', 'b.example') AS host, 'sale', host, 1, \
    concat('https://', host, '/target') FROM numbers(5)";
/// The two links, and one for every domain that was never clicked.
const LINKS: &str = "INSERT INTO link_versions (link_id, version, domain, slug, target_url, changed_at) VALUES \
    ('a.example', 1, 'a.example', 'sale', 'https://a.example/target', now64(6)), \
    ('b.example', 2, 'b.example', 'sale', 'https://b.example/other', now64(6)), \
    ('any', 1, '', 'sale', 'https://any.example/', now64(6))";

#[test]
fn destinations_are_of_one_domain_and_stale_rows_of_known_rules() {
    let world = World::new("table_panels");
    world.setup();
    world.query(CLICKS);
    world.query(LINKS);
    let now = i64::try_from(world.number("SELECT toUnixTimestamp(now())")).unwrap();
    destinations(&world, now);
    stale_rows(&world, now);
}

/// Versions of links with one slug are not mixed.
fn destinations(world: &World, now: i64) {
    let link = dashboard("link");
    let view = View::of(&link, now - 31 * DAY, now, "UTC").with("link", "sale");
    let rows = |view: &View| {
        let rows = panel_rows(world, &link, "Destination history", view);
        Value::from_iter(rows.into_iter().map(|row| row[..4].to_vec()))
    };
    let any = json!(["", 1, "https://any.example/", 0]);
    let a = json!(["a.example", 1, "https://a.example/target", 3]);
    let b = [
        json!(["b.example", 2, "https://b.example/other", 0]),
        json!(["b.example", 1, "https://b.example/target", 2]),
    ];
    assert_eq!(rows(&view), json!([any, a, b[0], b[1]]));
    assert_eq!(rows(&view.with("domain", "b.example")), json!([any, b[0], b[1]]));
}

/// Without a click of the last days, no row is called stale.
fn stale_rows(world: &World, now: i64) {
    let pipeline = dashboard("pipeline");
    let view = View::of(&pipeline, now - 31 * DAY, now - 29 * DAY, "UTC");
    let rows = || panel_rows(world, &pipeline, "Stale rows", &view);
    assert_eq!(rows(), Vec::<Vec<Value>>::new());
    world.query(
        "INSERT INTO click_versions (occurred_at, event_id, enrich_version) \
         SELECT now64(6), 'now', 9",
    );
    let stale: Vec<_> = rows().into_iter().filter(|row| row[1] != 0).collect();
    assert_eq!(json!(stale), json!([["program", 5, 1, 5, "processors replay plan --stale code"]]));
    let empty = View { from: now - 60 * DAY, to: now - 59 * DAY, ..view.clone() };
    assert!(panel_rows(world, &pipeline, "Stale rows", &empty).is_empty());
}
