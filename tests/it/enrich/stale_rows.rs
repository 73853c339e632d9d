//! `processors rules list` counts the rows that a replay would enrich with other rules.

use std::path::Path;

use harness::World;
use harness::rules::folder;
use records::enrich::ENRICH_VERSION;
use records::enrich::rule_set::{RuleSet, RuleTable};

#[test]
fn rules_list_counts_stale_rows_by_table_and_also_lists_without_clickhouse() {
    let world = World::new("stale_rows");
    world.setup();
    let rules = folder();
    let list_of = |rules: &Path, code: i32, set: &[(&str, &str)]| {
        let mut command = world.command("processors", set);
        command.args(["rules", "--rules"]).arg(rules).arg("list");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let list = |set: &[(&str, &str)]| list_of(&rules, 0, set);
    let referrers = RuleSet::default().version(RuleTable::Referrers).to_owned();
    // Five clicks: the current program enriched the newest version of one, the current referrer table that
    // of two.
    world.query(&format!(
        "INSERT INTO click_versions (occurred_at, event_id, enrich_version, referrer_rules_version, \
         bot_rules_version, ingested_at) \
         SELECT toDateTime64('2026-01-01 00:00:00', 6, 'UTC'), 'click' || toString(number % 5), \
         if(number = 5, {ENRICH_VERSION}, {}), if(number > 3, '{referrers}', 'old'), 'old', \
         toDateTime64('2026-01-02 00:00:00', 6, 'UTC') + number \
         FROM numbers(6)",
        ENRICH_VERSION - 1
    ));
    let text = list(&[]);
    for line in [
        "stale rows: program: 4 of 5",
        "stale rows: geo: 5 of 5",
        "stale rows: crawlers: 5 of 5",
        "stale rows: referrers: 3 of 5",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    // What a process uses of a table without a usable file is not known here.
    let text = list_of(&world.folder().join("none"), 1, &[]);
    for line in ["stale rows: geo: unknown", "stale rows: referrers: 3 of 5"] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let text = list(&[("CLICKHOUSE_URL", "http://127.0.0.1:1")]);
    assert!(text.contains("referrers: ") && text.contains("stale rows: not counted: "), "{text}");
}
