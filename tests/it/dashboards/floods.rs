//! Floods of bots against the same hour of the weeks before, over a change of the clock.

use dashboards::View;
use harness::World;
use serde_json::json;

use crate::dashboards::panel_rows::{dashboard, panel_rows};

const HOUR: i64 = 3_600;
const WEEK: i64 = 7 * 24 * HOUR;
/// Ten o'clock of 27 October 2025 in Berlin, a day after the end of summer time.
const UNTIL: i64 = 1_761_555_600;

/// Adds clicks of a bot within an hour that begins at a time.
fn clicks(world: &World, name: &str, class: &str, begin: i64, count: u32) {
    world.query(&format!(
        "INSERT INTO click_versions (occurred_at, event_id, is_bot, bot_class, bot_name) \
         SELECT fromUnixTimestamp64Second(toInt64({begin}) + number % 3600), \
         substring(toString(generateUUIDv4()), 1, 16), true, '{class}', '{name}' FROM numbers({count})"
    ));
}

#[test]
fn a_flood_is_found_by_the_same_hour_of_the_weeks_before_in_the_viewers_zone() {
    let world = World::new("floods");
    world.setup();
    let this_hour = UNTIL - HOUR;
    for week in 1..=4 {
        // In UTC the hour was one earlier while summer time lasted.
        let begin = this_hour - week * WEEK - HOUR;
        clicks(
            &world,
            "Googlebot",
            "declared_crawler",
            begin,
            8 + 2 * u32::try_from(week).unwrap(),
        );
        clicks(&world, "GPTBot", "ai_crawler", begin, 50);
        // Another hour of the day.
        clicks(&world, "Googlebot", "declared_crawler", begin + HOUR, 1_000);
    }
    // Half a click is usual.
    for week in [1, 4] {
        clicks(&world, "RareBot", "monitor", this_hour - week * WEEK - HOUR, 1);
    }
    clicks(&world, "RareBot", "monitor", this_hour, 21);
    clicks(&world, "Googlebot", "declared_crawler", this_hour, 130);
    clicks(&world, "GPTBot", "ai_crawler", this_hour, 60);
    clicks(&world, "curl", "http_library", this_hour, 19);
    clicks(&world, "NewBot", "ai_agent", this_hour, 40);
    let dashboard = dashboard("bots");
    let view = View::of(&dashboard, UNTIL - 24 * HOUR, UNTIL - 1, "Europe/Berlin");
    let floods = panel_rows(&world, &dashboard, "Floods in the last hour", &view);
    let names = [
        json!(["NewBot", "ai_agent", 40, 0, null]),
        json!(["RareBot", "monitor", 21, 0.5, 42]),
        json!(["Googlebot", "declared_crawler", 130, 13, 10]),
    ];
    assert_eq!(json!(floods), json!(&names));
    // A filter selects machines; which weeks have data it does not change.
    let filtered = |bot: &str| {
        panel_rows(&world, &dashboard, "Floods in the last hour", &view.with("bot_name", bot))
    };
    for row in names {
        assert_eq!(json!(filtered(row[0].as_str().unwrap())), json!([row]), "filtered by its name");
    }
    assert!(filtered("curl").is_empty());
    let in_utc = View { zone: "UTC".to_owned(), ..view.clone() };
    let floods = panel_rows(&world, &dashboard, "Floods in the last hour", &in_utc);
    let has_google = floods.iter().any(|row| row[0] == "Googlebot");
    assert!(!has_google, "an hour later in UTC, 130 clicks are few: {floods:?}");

    let series = panel_rows(&world, &dashboard, "Bots against the usual", &view);
    assert_eq!(series.len(), 24, "a step for each hour");
    let last = series.last().unwrap();
    assert_eq!((&last[1], &last[2]), (&json!(270), &json!(63)), "{last:?}");
    assert_eq!(series[0][1..], [json!(0), json!(0)]);
    let of_new = view.with("bot_name", "NewBot");
    let series = panel_rows(&world, &dashboard, "Bots against the usual", &of_new);
    assert_eq!(series.last().unwrap()[1..], [json!(40), json!(0)], "its usual is known: none");

    // Without a click of any bot in the weeks before there is no usual, and no flood.
    world.query("ALTER TABLE click_versions DELETE WHERE occurred_at < toDateTime(1761400000) SETTINGS mutations_sync = 2");
    assert!(panel_rows(&world, &dashboard, "Floods in the last hour", &view).is_empty());
    let series = panel_rows(&world, &dashboard, "Bots against the usual", &view);
    assert!(series.iter().all(|row| row[2].is_null()), "{series:?}");
}
