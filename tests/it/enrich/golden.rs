//! Each published example, from its bytes to its row, against the files in `fixtures/rows`.
//!
//! `UPDATE_GOLDEN=1` rewrites these files; their diff shows the effect of a changed rule.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use harness::{root, rules};
use records::decode::decode;
use records::encode::columns::ClickRow;
use records::encode::record_location::RecordLocation;
use records::enrich::rule_set::RuleSet;
use records::enrich::{ENRICH_VERSION, Enricher};
use schemas::{Decoder, Encoder, Example, NEWEST, SchemaId, unframe};
use serde_json::Value;

fn examples() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("schemas/examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The row of an example, through the wire format and back.
fn row(example: &Example, rules: &Arc<RuleSet>) -> String {
    let ip = example.client_ip_bytes();
    let mut value = Vec::new();
    Encoder::new(SchemaId(1)).encode(&example.click(ip.as_deref()), &mut value).unwrap();
    let (_, datum) = unframe(&value).unwrap();
    let logged_at_ms = example.click(None).occurred_at / 1000 + 20;
    let click = decode(&Decoder::new(NEWEST).unwrap(), datum, logged_at_ms).unwrap();
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    let location =
        RecordLocation { topic: "clicks.raw.v1", partition: 3, offset: 41, logged_at_ms, trace_id };
    let mut enricher = Enricher::new(Arc::clone(rules));
    let enriched = enricher.enrich(&click);
    let mut row = serde_json::to_value(ClickRow::new(&click, &enriched, location)).unwrap();
    for field in ["event_id", "trace_id"] {
        let bytes = row[field].as_array().unwrap().iter();
        let hex: String = bytes.map(|byte| format!("{:02x}", byte.as_u64().unwrap())).collect();
        row[field] = hex.into();
    }
    let mut text = serde_json::to_string_pretty(&row).unwrap();
    text.push('\n');
    text
}

/// The fields that differ, one per line.
fn difference(expected: &str, row: &str) -> String {
    let read = |text| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (expected, row) = (read(expected), read(row));
    let empty = serde_json::Map::new();
    let fields = |value: &Value| value.as_object().unwrap_or(&empty).clone();
    let mut names: Vec<_> =
        fields(&expected).into_iter().chain(fields(&row)).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let changed = names.iter().filter(|name| expected[name] != row[name]);
    changed
        .map(|name| format!("  {name}: golden {}, now {}\n", expected[name], row[name]))
        .collect()
}

/// An error if the rules decide differently for the same click with the same versions: old and new rows
/// could not be distinguished.
fn decided_anew(expected: &str, row: &str) -> String {
    let read = |text| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (old, new) = (read(expected), read(row));
    let versions = [
        "enrich_version",
        "geo_db_build",
        "ua_rules_version",
        "bot_rules_version",
        "referrer_rules_version",
    ];
    let same = |names: &[&str]| names.iter().all(|name| old[*name] == new[*name]);
    let is_the_same_click = same(&FACTS);
    if expected.is_empty() || expected == row || !is_the_same_click || !same(&versions) {
        return String::new();
    }
    format!(
        "the rules have changed and the versions have not: raise ENRICH_VERSION, now \
         {ENRICH_VERSION}\n{}",
        difference(expected, row)
    )
}

/// The columns of a click that do not depend on rules.
const FACTS: [&str; 24] = [
    "occurred_at",
    "event_id",
    "origin",
    "source",
    "domain",
    "slug",
    "query",
    "link_id",
    "link_version",
    "outcome",
    "status",
    "target_url",
    "method",
    "scheme",
    "http_version",
    "client_ip",
    "client_ip_policy",
    "visitor_id",
    "identifiers_stripped",
    "user_agent",
    "referer",
    "edge_country",
    "latency_us",
    "logged_at",
];

#[test]
fn a_changed_rule_needs_a_new_enrich_version() {
    let old = r#"{"slug": "a", "device": "desktop", "enrich_version": 7}"#;
    for (new, complains) in [
        (r#"{"slug": "a", "device": "mobile", "enrich_version": 7}"#, true),
        (r#"{"slug": "a", "device": "desktop", "enrich_version": 7, "city": ""}"#, true),
        (r#"{"slug": "a", "device": "mobile", "enrich_version": 8}"#, false),
        (r#"{"slug": "b", "device": "mobile", "enrich_version": 7}"#, false),
        (old, false),
    ] {
        assert_eq!(!decided_anew(old, new).is_empty(), complains, "{new}");
    }
    assert_eq!(decided_anew("", old), "");
}

#[test]
fn every_published_example_becomes_the_row_of_its_golden_file() {
    let folder = root().join("tests/fixtures/rows");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let rules = rules::pinned();
    let mut wrong = String::new();
    let mut expected_files = Vec::new();
    for path in examples() {
        let name = path.file_name().unwrap().to_owned();
        let example = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let row = row(&example, &rules);
        let golden = folder.join(&name);
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        wrong += &decided_anew(&expected, &row);
        if update && wrong.is_empty() {
            std::fs::write(&golden, &row).unwrap();
            expected_files.push(name);
            continue;
        }
        if expected != row {
            wrong += &format!("{}:\n{}", golden.display(), difference(&expected, &row));
        }
        expected_files.push(name);
    }
    assert!(expected_files.len() >= 8, "there are no examples");
    assert!(wrong.is_empty(), "rows have changed; UPDATE_GOLDEN=1 updates the files\n{wrong}");
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    expected_files.sort();
    assert_eq!(found, expected_files, "a golden file without its example");
}

/// Columns of each example as a person chose them, in `fixtures/expected.json`, which no program
/// rewrites.
#[test]
fn golden_rows_have_the_columns_that_a_person_chose() {
    let text = std::fs::read_to_string(root().join("tests/fixtures/expected.json")).unwrap();
    let expected: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&text).unwrap();
    let rules = rules::pinned();
    let (mut wrong, mut compared) = (String::new(), 0);
    for path in examples() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let example = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let row: Value = serde_json::from_str(&row(&example, &rules)).unwrap();
        let Some(fields) = expected.get(name) else {
            wrong += &format!("{name}: `expected.json` has no entry\n");
            continue;
        };
        compared += 1;
        for (field, value) in fields.iter().filter(|(field, value)| row[*field] != **value) {
            wrong += &format!("{name}: {field} is expected to be {value}, is {}\n", row[field]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(compared, expected.len(), "an expectation without its example");
    assert!(compared >= 100, "{compared} expectations");
}
